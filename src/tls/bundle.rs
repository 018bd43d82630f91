//! The CA certificates that clients trust together, and until when each of them is needed.

use std::collections::BTreeMap;
use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::issue::{self, BACKDATE, LEAF_LIFE, Validity};
use crate::hex::hex;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// Characters in a line of PEM (RFC 7468, 2).
const LINE: usize = 64;

/// A CA that clients trust.
#[derive(Clone)]
pub(super) struct Ca {
    pub cert: CertificateDer<'static>,
    pub validity: Validity,
    /// When the last leaf expires that it signed, in Unix seconds; 0: it has signed none.
    leaves_until: i64,
}

/// CAs, each once, in the order in which they came.
#[derive(Clone, Default)]
pub(super) struct Bundle {
    cas: Vec<Ca>,
    /// Whether something was not taken because it is damaged or no CA.
    pub damaged: bool,
}

impl Bundle {
    /// Takes what is readable and has not expired from PEM, with the record that [`Bundle::record`] wrote.
    ///
    /// A CA that the record does not name may have signed a leaf until now.
    pub fn read(pem: &str, record: &str, now: i64) -> Self {
        let mut bundle = Self::default();
        let damaged = bundle.take(pem, record, now, |_| true);
        bundle.damaged = damaged || (bundle.cas.is_empty() && !pem.is_empty());
        bundle
    }

    /// Takes further CAs, of those that pullgate made.
    pub fn join_own(&mut self, pem: &str, record: &str, now: i64) {
        self.take(pem, record, now, |cert| issue::is_own_ca(cert).unwrap_or(false));
    }

    /// Whether something was no CA.
    fn take(
        &mut self,
        pem: &str,
        record: &str,
        now: i64,
        wanted: impl Fn(&CertificateDer<'_>) -> bool,
    ) -> bool {
        let record: BTreeMap<_, _> = record.lines().filter_map(entry).collect();
        let mut damaged = false;
        // Block by block: one that is damaged hides no other.
        for (start, _) in pem.match_indices(BEGIN) {
            let read = CertificateDer::from_pem_slice(&pem.as_bytes()[start..]).ok().and_then(|cert| {
                let validity = Validity::of(&cert).ok()?;
                issue::is_ca(&cert).ok()?.then_some((cert, validity))
            });
            let Some((cert, validity)) = read else {
                damaged = true;
                continue;
            };
            if validity.not_after >= now && wanted(&cert) && self.cas.iter().all(|known| known.cert != cert) {
                let unknown = now.saturating_add(LEAF_LIFE).min(validity.not_after);
                let leaves_until = record.get(&*fingerprint(&cert)).copied().unwrap_or(unknown);
                self.cas.push(Ca { cert, validity, leaves_until });
            }
        }
        damaged
    }

    /// Takes a CA that has signed nothing yet.
    pub fn push(&mut self, cert: CertificateDer<'static>, validity: Validity) {
        self.cas.push(Ca { cert, validity, leaves_until: 0 });
    }

    /// The CA that signed a leaf.
    pub fn issuer_of(&self, leaf: &CertificateDer<'_>) -> Option<&Ca> {
        self.cas.iter().find(|ca| issue::is_issued_by(leaf, &ca.cert).unwrap_or(false))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Ca> {
        self.cas.iter()
    }

    /// Notes a leaf that a CA signed.
    pub fn note_leaf(&mut self, ca: &CertificateDer<'_>, not_after: i64) {
        for ca in self.cas.iter_mut().filter(|known| known.cert == *ca) {
            ca.leaves_until = ca.leaves_until.max(not_after);
        }
    }

    /// Drops the CAs whose leaves have all expired, but for those that `sign` still; how many.
    ///
    /// Another clock may be behind by as much as a certificate is backdated.
    pub fn retire(&mut self, sign: &[&CertificateDer<'_>], now: i64) -> usize {
        let before = self.cas.len();
        self.cas.retain(|ca| sign.contains(&&ca.cert) || ca.leaves_until >= now.saturating_sub(BACKDATE));
        before - self.cas.len()
    }

    pub fn len(&self) -> usize {
        self.cas.len()
    }

    /// What clients are given.
    pub fn pem(&self) -> String {
        self.cas.iter().map(|ca| pem(&ca.cert)).collect()
    }

    /// A line for each CA: its SHA-256 digest, and when the last leaf expires that it signed.
    pub fn record(&self) -> String {
        self.cas.iter().fold(String::new(), |mut text, ca| {
            let _ = writeln!(text, "{} {}", fingerprint(&ca.cert), ca.leaves_until);
            text
        })
    }
}

fn entry(line: &str) -> Option<(&str, i64)> {
    let (fingerprint, until) = line.split_once(' ')?;
    Some((fingerprint, until.parse().ok()?))
}

fn fingerprint(cert: &CertificateDer<'_>) -> String {
    hex(digest(&SHA256, cert).as_ref())
}

fn pem(cert: &CertificateDer<'_>) -> String {
    let mut text = format!("{BEGIN}\n");
    let encoded = STANDARD.encode(cert);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, further) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = further;
    }
    text + END + "\n"
}
