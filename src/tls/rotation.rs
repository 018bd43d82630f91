//! What the shared Secret should hold next: the CAs that clients trust, the key of the one that issues, and the leaf
//! that every replica serves.
//!
//! No clock, no cluster: one value in, the next one out. A CA is replaced in two steps, so that no handshake fails:
//!
//! 1. A new CA joins the bundle; the old one goes on issuing, and the old leaf is served.
//! 2. Once the bundle has been wherever it is trusted for long enough, the new CA issues a leaf.
//!
//! An old CA leaves the bundle when every leaf that it signed has expired: a replica that lags is never refused.
//! Damage is mended with as much of the old as can be read.

use std::fmt;

use rcgen::KeyPair;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret, SecretString};

use super::TlsError;
use super::bundle::Bundle;
use super::files::Pair;
use super::issue::{self, Names, Validity};

/// CAs in a bundle beyond which a rotation that was asked for has to wait: a webhook configuration carries the bundle
/// once for each webhook.
pub const CAS_MAX: usize = 16;

/// The shared Secret's content as it is; anything may have been done to it.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// What clients must trust, PEM.
    pub bundle: String,
    /// Key of the CA that issues.
    pub ca_key: Option<SecretString>,
    /// Key of the CA that will issue next; absent: no rotation is under way.
    pub next_ca_key: Option<SecretString>,
    /// The served chain, leaf first, PEM.
    pub leaf: String,
    /// The leaf's key.
    pub leaf_key: Option<SecretString>,
    /// For each CA, until when leaves of it are about.
    pub leaves_until: String,
}

/// What the next content depends on beside the present one.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What the leaf is for.
    pub names: &'a Names,
    /// Whether somebody asked for another CA.
    pub rotate: bool,
    /// Whether the present bundle has been wherever it is trusted for as long as clients may take to notice.
    pub settled: bool,
    /// Bundles that clients hold, PEM: whom they trust is kept when the content itself no longer says it.
    pub held: &'a [String],
}

/// The next content.
#[derive(Debug)]
pub struct Next {
    pub content: Content,
    /// Whether it is another than the present one.
    pub changed: bool,
    /// Whether a CA took over, which is what a rotation that was asked for asks.
    pub rotated: bool,
    /// When the CA expires that issues, in Unix seconds; `None`: there is none until the next one takes over.
    pub ca_not_after: Option<i64>,
    /// What happened, for the log.
    pub steps: Vec<Step>,
}

/// Something that happened to the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A part was unusable.
    Damaged(String),
    /// A CA was made that issues at once: nobody depends on another.
    CaMade,
    /// A CA joined the bundle, to issue later.
    CaJoined,
    /// The CA that had joined issues from now on.
    CaReplaced,
    /// So many CAs left the bundle.
    CasDropped(usize),
    /// A leaf was issued.
    LeafIssued(&'static str),
    /// A rotation that was asked for has to wait.
    Full,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => write!(f, "repaired: {what}"),
            Self::CaMade => f.write_str("made a CA; clients must trust it from now on"),
            Self::CaJoined => f.write_str("a new CA joined the bundle and takes over once clients trust it"),
            Self::CaReplaced => f.write_str("the new CA took over"),
            Self::CasDropped(1) => f.write_str("an old CA left the bundle"),
            Self::CasDropped(count) => write!(f, "{count} old CAs left the bundle"),
            Self::LeafIssued(why) => write!(f, "issued a certificate: {why}"),
            Self::Full => write!(
                f,
                "no other CA is made while the bundle holds {CAS_MAX}: their certificates have not expired"
            ),
        }
    }
}

impl Content {
    fn is_blank(&self) -> bool {
        self.same(&Self::default())
    }

    /// Whether it is equal to another, keys too.
    pub fn same(&self, other: &Self) -> bool {
        let equal_texts =
            self.bundle == other.bundle && self.leaf == other.leaf && self.leaves_until == other.leaves_until;
        equal_texts && self.keys() == other.keys()
    }

    fn keys(&self) -> [Option<&str>; 3] {
        [&self.ca_key, &self.next_ca_key, &self.leaf_key]
            .map(|key| key.as_ref().map(ExposeSecret::expose_secret))
    }

    /// The pair to serve, whatever its validity.
    ///
    /// # Errors
    /// Why nobody may serve it; nothing of a key.
    pub(super) fn pair(&self, now: i64) -> Result<Pair, String> {
        pair(self, &Bundle::read(&self.bundle, &self.leaves_until, now))
    }
}

/// A CA that can sign.
struct Signer {
    cert: CertificateDer<'static>,
    validity: Validity,
    key: PrivateKeyDer<'static>,
    key_pem: SecretString,
}

impl Signer {
    /// The CA of the bundle that a key belongs to.
    fn find(bundle: &Bundle, key_pem: Option<&SecretString>, now: i64) -> Option<Self> {
        let key_pem = key_pem?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.expose_secret().as_bytes()).ok()?;
        let signing = any_supported_type(&key).ok()?;
        KeyPair::try_from(&key).ok()?;
        let mine = |cert: &CertificateDer<'static>| {
            CertifiedKey::new(vec![cert.clone()], signing.clone()).keys_match().is_ok()
        };
        let ca = bundle.iter().find(|ca| ca.validity.contains(now) && mine(&ca.cert))?;
        Some(Self { cert: ca.cert.clone(), validity: ca.validity, key, key_pem: key_pem.clone() })
    }

    /// A new CA, in the bundle.
    fn make(bundle: &mut Bundle, now: i64) -> Result<Self, TlsError> {
        let ca = issue::new_ca(now)?;
        let pair = Pair::parse(ca.cert_pem.as_bytes(), ca.key_pem.expose_secret().as_bytes())
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        let cert = pair.leaf().clone();
        bundle.push(cert.clone(), pair.validity);
        Ok(Self { cert, validity: pair.validity, key: pair.key, key_pem: ca.key_pem })
    }

    fn signed(&self, leaf: &Pair) -> bool {
        issue::is_issued_by(leaf.leaf(), &self.cert).unwrap_or(false)
    }
}

/// What is there to go on from.
struct Found {
    bundle: Bundle,
    issuer: Option<Signer>,
    next: Option<Signer>,
    /// One that clients accept.
    leaf: Option<Pair>,
    damage: Vec<String>,
}

impl Found {
    fn read(present: &Content, held: &[String], now: i64) -> Self {
        let read = |bundle: Bundle| {
            let issuer = Signer::find(&bundle, present.ca_key.as_ref(), now);
            let next = Signer::find(&bundle, present.next_ca_key.as_ref(), now)
                .filter(|next| issuer.as_ref().is_none_or(|issuer| issuer.cert != next.cert));
            let mut damage = Vec::new();
            if bundle.damaged || present.bundle.is_empty() {
                damage.push("the bundle is no list of CA certificates".to_owned());
            }
            if issuer.is_none() && next.is_none() {
                damage.push("the CA's key belongs to no valid CA of the bundle".to_owned());
            }
            if next.is_none() && present.next_ca_key.is_some() {
                damage.push("the next CA's key belongs to no other valid CA of the bundle".to_owned());
            }
            let leaf = pair(present, &bundle).map_err(|reason| damage.push(reason)).ok();
            // Clients look at the CA's validity too.
            let valid = |leaf: &Pair| {
                let ca = bundle.issuer_of(leaf.leaf());
                leaf.validity.contains(now) && ca.is_some_and(|ca| ca.validity.contains(now))
            };
            let leaf = leaf.filter(valid);
            Self { bundle, issuer, next, leaf, damage }
        };
        let mut bundle = Bundle::read(&present.bundle, &present.leaves_until, now);
        let mut found = read(bundle.clone());
        if found.issuer.is_none() || found.leaf.is_none() {
            for held in held {
                bundle.join_own(held, &present.leaves_until, now);
            }
            found = read(bundle);
        }
        if present.is_blank() {
            found.damage.clear();
        }
        if let Some(leaf) = &found.leaf
            && let Some(ca) = found.bundle.issuer_of(leaf.leaf()).map(|ca| ca.cert.clone())
        {
            found.bundle.note_leaf(&ca, leaf.validity.not_after);
        }
        found
    }
}

/// What the Secret should hold at `now` (Unix seconds), given what it holds; the same again when all is well.
///
/// # Errors
///
/// [`TlsError::Issue`] when the crypto library cannot make a key or sign.
pub fn next(present: &Content, wanted: &Wanted<'_>, now: i64) -> Result<Next, TlsError> {
    let Found { mut bundle, mut issuer, mut next, leaf, damage } = Found::read(present, wanted.held, now);
    let mut steps: Vec<Step> = damage.into_iter().map(Step::Damaged).collect();
    let settled = wanted.settled && bundle.pem() == present.bundle;

    let nothing_served = issuer.is_none() && leaf.is_none();
    if next.is_some() {
        if settled || nothing_served {
            issuer = next.take();
            steps.push(Step::CaReplaced);
        }
    } else if issuer.as_ref().is_none_or(|issuer| issuer.validity.ca_is_due(now) || wanted.rotate) {
        let due = issuer.as_ref().is_none_or(|issuer| issuer.validity.ca_is_due(now));
        if !due && bundle.len() >= CAS_MAX {
            steps.push(Step::Full);
        } else if nothing_served {
            issuer = Some(Signer::make(&mut bundle, now)?);
            steps.push(Step::CaMade);
        } else {
            next = Some(Signer::make(&mut bundle, now)?);
            steps.push(Step::CaJoined);
        }
    }

    let mut content = present.clone();
    if let Some(issuer) = &issuer
        && let Some(why) = reason_for_leaf(issuer, leaf.as_ref(), wanted.names, settled, now)
    {
        let issued = issue::new_leaf(&issuer.cert, &issuer.key, wanted.names, now)?;
        let cert = CertificateDer::from_pem_slice(issued.cert_pem.as_bytes());
        let validity = cert.ok().and_then(|cert| Validity::of(&cert).ok());
        // Its own CA's life is the longest that a leaf may have.
        let not_after = validity.map_or(issuer.validity.not_after, |validity| validity.not_after);
        bundle.note_leaf(&issuer.cert, not_after);
        (content.leaf, content.leaf_key) = (issued.cert_pem, Some(issued.key_pem));
        steps.push(Step::LeafIssued(why));
    }

    let signers: Vec<_> = issuer.iter().chain(&next).map(|signer| &signer.cert).collect();
    let dropped = bundle.retire(&signers, now);
    if dropped > 0 {
        steps.push(Step::CasDropped(dropped));
    }
    let ca_not_after = issuer.as_ref().map(|issuer| issuer.validity.not_after);
    content.bundle = bundle.pem();
    content.leaves_until = bundle.record();
    content.ca_key = issuer.map(|issuer| issuer.key_pem);
    content.next_ca_key = next.map(|next| next.key_pem);
    let rotated = steps.iter().any(|step| matches!(step, Step::CaMade | Step::CaReplaced));
    Ok(Next { changed: !content.same(present), content, rotated, ca_not_after, steps })
}

/// Why another leaf is to be issued now, if one is.
fn reason_for_leaf(
    issuer: &Signer,
    leaf: Option<&Pair>,
    names: &Names,
    settled: bool,
    now: i64,
) -> Option<&'static str> {
    let Some(leaf) = leaf else { return Some("there is none that clients accept") };
    if !issuer.signed(leaf) {
        // Clients may not know this CA yet.
        return settled.then_some("another CA signed the present one");
    }
    if leaf.validity.leaf_is_due(now) {
        return Some("less than a third of the present one's life is left");
    }
    let same_names = Names::of(leaf.leaf()).is_ok_and(|present| present == *names);
    (!same_names).then_some("the present one is for other names")
}

fn pair(content: &Content, bundle: &Bundle) -> Result<Pair, String> {
    let key = content.leaf_key.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
    let pair = Pair::parse(content.leaf.as_bytes(), key.as_bytes()).map_err(|error| error.to_string())?;
    match bundle.issuer_of(pair.leaf()) {
        Some(_) => Ok(pair),
        None => Err("no CA of the bundle signed the certificate".to_owned()),
    }
}
