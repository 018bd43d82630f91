//! Certificate and key files: reads a pair that belongs together, and writes one so that a crash at any moment leaves
//! a pair that belongs together.

use std::{
    fs::{self, DirBuilder, File},
    io::Read,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use secrecy::{ExposeSecret, SecretSlice};

use super::{
    TlsError,
    issue::{Issued, Validity},
};
use crate::secret_file;

/// Bytes read of a file at most; a long chain is a hundredth of it.
const FILE_MAX: u64 = 1024 * 1024;
const KEY_MODE: u32 = 0o600;
const CERT_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o700;

/// Where a certificate chain and its private key are, both PEM.
#[derive(Debug, Clone)]
pub struct PairFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The leaf's key, not encrypted: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// What a pair of files held; the key belongs to the first certificate.
pub struct Pair {
    /// What rustls serves.
    pub certified: CertifiedKey,
    /// The key once more, for signing certificates with it.
    pub key: PrivateKeyDer<'static>,
    /// The certificate file as it was.
    pub cert_pem: String,
    /// When the first certificate is valid.
    pub validity: Validity,
}

/// Why a chain and a key are no pair. No text carries anything of a key.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("the certificate is unusable: {0}")]
    Certificate(String),
    #[error("the private key is unusable: {0}")]
    Key(&'static str),
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

impl Pair {
    /// Takes a chain, leaf first, and the leaf's key, both PEM.
    pub fn parse(cert_pem: &[u8], key_pem: &[u8]) -> Result<Self, Unusable> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(cert_pem)
            .collect::<Result<_, _>>()
            .map_err(|_| Unusable::Certificate("its PEM is damaged".to_owned()))?;
        let Some(leaf) = chain.first() else {
            return Err(Unusable::Certificate("it has no PEM block CERTIFICATE".to_owned()));
        };
        let validity = Validity::of(leaf).map_err(Unusable::Certificate)?;
        // The parser's own errors quote what they read; of a key file, nothing may be quoted.
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| {
            Unusable::Key(
                "it has no intact PEM block PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY, unencrypted",
            )
        })?;
        let signing_key = any_supported_type(&key)
            .map_err(|_| Unusable::Key("it is no RSA, ECDSA (P-256, P-384, P-521) or Ed25519 key"))?;
        let certified = CertifiedKey::new(chain, signing_key);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(Unusable::Mismatch),
            Err(error) => return Err(Unusable::Certificate(error.to_string())),
        }
        Ok(Self { certified, key, cert_pem: String::from_utf8_lossy(cert_pem).into_owned(), validity })
    }

    /// The first certificate of the chain.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.certified.cert[0]
    }
}

impl PairFiles {
    /// Reads both files.
    ///
    /// Fails, naming the file, when one cannot be read, holds nothing usable, or the two do not belong together.
    pub fn read(&self) -> Result<Pair, TlsError> {
        match self.read_once() {
            // kubelet swaps both files at once, but that may happen between our two reads.
            Err(TlsError::Mismatch { .. }) => self.read_once(),
            outcome => outcome,
        }
    }

    fn read_once(&self) -> Result<Pair, TlsError> {
        let cert_pem = read_file(&self.cert)?;
        let key_pem = SecretSlice::from(read_file(&self.key)?);
        Pair::parse(&cert_pem, key_pem.expose_secret()).map_err(|unusable| match unusable {
            Unusable::Certificate(reason) => TlsError::Certificate { path: self.cert.clone(), reason },
            Unusable::Key(reason) => TlsError::Key { path: self.key.clone(), reason: reason.to_owned() },
            Unusable::Mismatch => TlsError::Mismatch { cert: self.cert.clone(), key: self.key.clone() },
        })
    }

    /// Which of the two files exist: certificate, key.
    pub fn present(&self) -> Result<(bool, bool), TlsError> {
        let exists = |path: &Path| {
            path.try_exists().map_err(|cause| TlsError::Read { path: path.to_path_buf(), cause })
        };
        Ok((exists(&self.cert)?, exists(&self.key)?))
    }

    /// Replaces both files and reads them back. The key is readable by its owner alone from the first byte.
    ///
    /// Both are on the disk under other names before the first takes its place, so a crash between the two
    /// renames is mended by [`PairFiles::finish_write`].
    pub fn write(&self, issued: &Issued) -> Result<Pair, TlsError> {
        stage(&self.cert, issued.cert_pem.as_bytes(), CERT_MODE)?;
        stage(&self.key, issued.key_pem.expose_secret().as_bytes(), KEY_MODE)?;
        put_in_place(&self.key)?;
        put_in_place(&self.cert)?;
        self.read()
    }

    /// Completes a [`PairFiles::write`] that was interrupted after the key had taken its place.
    pub fn finish_write(&self) -> Result<(), TlsError> {
        let staged = Self { cert: staged(&self.cert), key: self.key.clone() };
        if staged.present()? == (true, true) && staged.read().is_ok() {
            put_in_place(&self.cert)?;
        }
        Ok(())
    }
}

/// Makes `dir` where it is missing (mode 0700) and keeps other pullgate processes out of it while the result lives.
///
/// A file system without locks is used without: then one process per directory is up to the operator.
pub fn lock(dir: &Path) -> Result<File, TlsError> {
    let failed = |cause| TlsError::Write { path: dir.to_path_buf(), cause };
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir).map_err(failed)?;
    let handle = File::open(dir).map_err(failed)?;
    if let Err(error) = handle.lock() {
        tracing::debug!(dir = %dir.display(), %error, "the directory cannot be locked");
    }
    Ok(handle)
}

pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes))
        .map_err(|cause| TlsError::Read { path: path.to_path_buf(), cause })?;
    Ok(bytes)
}

fn staged(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.next"))
}

fn stage(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    let staged = staged(path);
    secret_file::stage(&staged, bytes, mode).map_err(|cause| TlsError::Write { path: staged.clone(), cause })
}

fn put_in_place(path: &Path) -> Result<(), TlsError> {
    let rename = || {
        fs::rename(staged(path), path)?;
        secret_file::sync_directory(path)
    };
    rename().map_err(|cause| TlsError::Write { path: path.to_path_buf(), cause })
}
