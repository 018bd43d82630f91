//! Signed tokens as a registry of the distribution project takes them: ES256 with the signer's certificate in `x5c`
//! (distribution 2.8, registry/auth/token/token.go).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

/// Signs tokens and knows its own.
pub struct Signer {
    key: EcdsaKeyPair,
    /// PEM; the bundle of roots for a registry.
    pub certificate: String,
    header: String,
}

impl Signer {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        let header =
            json!({"typ": "JWT", "alg": "ES256", "x5c": [BASE64_STANDARD.encode(certificate.der())]});
        let der = key.serialize_der();
        Self {
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).unwrap(),
            certificate: certificate.pem(),
            header: BASE64_URL_SAFE_NO_PAD.encode(header.to_string()),
        }
    }

    /// A token that says this and when it begins and ends: so many seconds from now, or ago.
    pub fn sign(&self, mut claims: Value, life: i64) -> String {
        let now = Timestamp::now().as_second();
        claims["iat"] = json!(now);
        // A clock that is read a moment later in the same second must not find it too young.
        claims["nbf"] = json!(now - 1);
        claims["exp"] = json!(now + life);
        let said = format!("{}.{}", self.header, BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), said.as_bytes()).unwrap();
        format!("{said}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    /// What a token of this signer says, unless it has ended.
    pub fn open(&self, token: &str) -> Option<Value> {
        let (said, signature) = token.rsplit_once('.')?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref());
        key.verify(said.as_bytes(), &signature).ok()?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(said.split_once('.')?.1).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        (claims["exp"].as_i64()? > Timestamp::now().as_second()).then_some(claims)
    }
}

/// `repository:team/app:pull,push` as its type, name and actions; the name may hold colons.
pub fn scope(text: &str) -> Option<(&str, &str, Vec<&str>)> {
    let (kind, rest) = text.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    Some((kind, name, actions.split(',').filter(|action| !action.is_empty()).collect()))
}
