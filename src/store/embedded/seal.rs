//! Credentials at rest: the key file, and sealing with it (AES-256-GCM, a random nonce for every seal).

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::ExposeSecret;
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};

use super::error::OpenError;
use super::files::io;
use crate::domain::pull_secret::{CredentialId, RobotId};
use crate::secret_file::Draft;
use crate::store::Credential;

const KEY_LEN: usize = 32;
/// More than any key file; what follows is not read.
const READ_LIMIT: u64 = 256;

/// Something could not be sealed, or was not sealed with this key under this label. Says no more on purpose.
#[derive(Debug)]
pub(super) struct Unsealable;

/// What a sealed credential holds.
#[derive(Serialize, Deserialize)]
struct Plain<'a> {
    #[serde(borrow)]
    username: Cow<'a, str>,
    #[serde(borrow)]
    password: Cow<'a, str>,
    #[serde(borrow)]
    audience: Cow<'a, str>,
}

/// The key with which credentials are sealed.
pub(super) struct Key(RandomizedNonceKey);

impl Key {
    /// Reads the key file; `None` where there is none.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, OpenError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io(path, "open the key file"))?,
        };
        let mode = file.metadata().map_err(io(path, "read the key file"))?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(OpenError::KeyExposed { key_file: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(256));
        file.take(READ_LIMIT).read_to_end(&mut text).map_err(io(path, "read the key file"))?;
        let malformed = |found| OpenError::KeyMalformed { key_file: path.to_owned(), found };
        let bytes = BASE64_STANDARD
            .decode(text.trim_ascii())
            .map(Zeroizing::new)
            .map_err(|_| malformed(format!("{} bytes that are not base64", text.len())))?;
        if bytes.len() != KEY_LEN {
            return Err(malformed(format!("a key of {} bytes", bytes.len())));
        }
        Self::new(&bytes).map(Some).map_err(|_| malformed("a key that cannot be used".to_owned()))
    }

    /// Makes the key file. Where another process was first, its key is taken.
    pub(super) fn create(path: &Path) -> Result<Self, OpenError> {
        let no_randomness = || OpenError::NoRandomness { path: path.to_owned() };
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| no_randomness())?;
        let mut text = Zeroizing::new(BASE64_STANDARD.encode(bytes.as_ref()));
        text.push('\n');
        let make = || {
            let mut draft = Draft::of(path)?;
            draft.write(text.as_bytes())?;
            draft.take_free_place()
        };
        make().map_err(io(path, "write the key file"))?;
        Self::load(path)?.ok_or_else(|| io(path, "open the key file")(ErrorKind::NotFound.into()))
    }

    fn new(bytes: &[u8]) -> Result<Self, Unsealable> {
        RandomizedNonceKey::new(&AES_256_GCM, bytes).map(Self).map_err(|_| Unsealable)
    }

    /// Seals under a label: nonce, ciphertext, tag. The label is authenticated, so that what was sealed for one row
    /// does not open in another.
    pub(super) fn seal(&self, label: &str, mut plain: Zeroizing<Vec<u8>>) -> Result<Vec<u8>, Unsealable> {
        let (nonce, tag) = self
            .0
            .seal_in_place_separate_tag(Aad::from(label), plain.as_mut_slice())
            .map_err(|_| Unsealable)?;
        Ok([nonce.as_ref(), plain.as_slice(), tag.as_ref()].concat())
    }

    /// Opens what was sealed under the label.
    pub(super) fn open(&self, label: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(Unsealable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unsealable)?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self.0.open_in_place(nonce, Aad::from(label), &mut text).map_err(|_| Unsealable)?.len();
        text.truncate(length);
        Ok(text)
    }

    /// Seals a credential for its row.
    pub(super) fn seal_credential(
        &self,
        id: &CredentialId,
        credential: &Credential,
    ) -> Result<Vec<u8>, Unsealable> {
        self.seal_labelled(&row(id), credential)
    }

    pub(super) fn seal_labelled(&self, label: &str, credential: &Credential) -> Result<Vec<u8>, Unsealable> {
        let plain = Plain {
            username: credential.username.as_str().into(),
            password: credential.password.expose_secret().into(),
            audience: credential.audience.as_str().into(),
        };
        // JSON spells a byte with six at most. A buffer that never grows leaves no copy of the password behind.
        let most = 6 * (plain.username.len() + plain.password.len() + plain.audience.len()) + 64;
        let mut text = Zeroizing::new(Vec::with_capacity(most));
        serde_json::to_writer(&mut *text, &plain).map_err(|_| Unsealable)?;
        self.seal(label, text)
    }

    /// Opens the credential of a row.
    pub(super) fn open_credential(&self, id: &CredentialId, sealed: &[u8]) -> Result<Credential, Unsealable> {
        self.open_labelled(&row(id), sealed)
    }

    pub(super) fn open_labelled(&self, label: &str, sealed: &[u8]) -> Result<Credential, Unsealable> {
        let text = self.open(label, sealed)?;
        let plain: Plain = serde_json::from_slice(&text).map_err(|_| Unsealable)?;
        Ok(Credential {
            username: plain.username.into_owned(),
            password: plain.password.into_owned().into(),
            audience: plain.audience.into_owned(),
        })
    }
}

/// A credential's row, and the label under which it is sealed. JSON, because a name may hold any separator.
pub(super) fn row(id: &CredentialId) -> String {
    match id {
        CredentialId::Integration { registry } => serde_json::json!(["integration", registry]),
        CredentialId::Robot(RobotId { registry, workspace, space: None }) => {
            serde_json::json!(["robot", registry, workspace])
        }
        CredentialId::Robot(RobotId { registry, workspace, space: Some(space) }) => {
            serde_json::json!(["robot", registry, workspace, space])
        }
    }
    .to_string()
}
