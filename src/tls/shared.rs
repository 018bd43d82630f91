//! The Secret in which all replicas share a certificate: how it holds its content, and every replica's reading of it.
//!
//! Never writes. A Secret that is damaged, expired or gone changes nothing that is served.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt};
use secrecy::{ExposeSecret, SecretString};

use super::rotation::Content;
use super::{Certificate, unix_now};
use crate::cluster::named;
use crate::runtime::Pending;

/// How often the Secret is read though nothing was said of a change.
const RECHECK: Duration = Duration::from_secs(15);

/// The CAs that clients must trust. Mount or copy this one alone: everything else is for pullgate.
const BUNDLE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
/// While a rotation is under way: the key of the CA that takes over.
const NEXT_CA_KEY: &str = "next-ca.key";
const LEAF: &str = "tls.crt";
const LEAF_KEY: &str = "tls.key";
/// For each CA of the bundle, when the last certificate expires that it signed.
const LEAVES_UNTIL: &str = "leaves-until";

/// The label of a Secret that pullgate made, and its value.
const MADE_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "pullgate");

/// Which Secret replicas share, and who trusts what is in it.
#[derive(Debug, Clone)]
pub struct Shared {
    /// pullgate's own namespace.
    pub namespace: String,
    /// The Secret's name.
    pub secret: String,
    /// DNS names or IP addresses of the leaf, at least one.
    pub names: Vec<String>,
    /// Name of the two webhook configurations.
    pub webhook_config: String,
}

/// What a Secret holds. Bytes that are no text are damage, and are found as such.
pub fn content(secret: &Secret) -> Content {
    let text = |key: &str| {
        let bytes = secret.data.as_ref()?.get(key)?;
        Some(String::from_utf8_lossy(&bytes.0).into_owned())
    };
    let key = |key: &str| text(key).map(SecretString::from);
    Content {
        bundle: text(BUNDLE).unwrap_or_default(),
        ca_key: key(CA_KEY),
        next_ca_key: key(NEXT_CA_KEY),
        leaf: text(LEAF).unwrap_or_default(),
        leaf_key: key(LEAF_KEY),
        leaves_until: text(LEAVES_UNTIL).unwrap_or_default(),
    }
}

/// Whether pullgate may write a Secret: it made it, or there is nothing in it. Somebody's own certificate under this
/// name is not to be lost.
pub fn is_ours(secret: &Secret) -> bool {
    let labelled = secret.labels().get(MADE_BY.0).is_some_and(|value| value == MADE_BY.1);
    let data = secret.data.as_ref();
    let empty = data.is_none_or(|data| data.values().all(|value| value.0.is_empty()));
    labelled || empty || data.is_some_and(|data| data.contains_key(LEAVES_UNTIL))
}

/// Puts a content into a Secret; what else it holds stays.
pub fn put(secret: &mut Secret, content: &Content) {
    let Content { bundle, ca_key, next_ca_key, leaf, leaf_key, leaves_until } = content;
    secret.labels_mut().insert(MADE_BY.0.to_owned(), MADE_BY.1.to_owned());
    let exposed = |key: &'_ Option<SecretString>| key.as_ref().map(|key| key.expose_secret().to_owned());
    let data = secret.data.get_or_insert_with(BTreeMap::new);
    for (key, text) in [
        (BUNDLE, Some(bundle.clone())),
        (CA_KEY, exposed(ca_key)),
        (NEXT_CA_KEY, exposed(next_ca_key)),
        (LEAF, Some(leaf.clone())),
        (LEAF_KEY, exposed(leaf_key)),
        (LEAVES_UNTIL, Some(leaves_until.clone())),
    ] {
        match text {
            Some(text) => data.insert(key.to_owned(), ByteString(text.into_bytes())),
            None => data.remove(key),
        };
    }
}

/// Serves what the Secret holds, endlessly; `pending` ends with the first certificate.
///
/// A failure is logged once, and again only after it has changed or passed.
pub async fn follow(client: Client, shared: Shared, certificate: Certificate, pending: Pending) {
    let Shared { namespace, secret: name, .. } = shared;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let mut changes = named::changes::<Secret>(Api::namespaced(client, &namespace), &name);
    let mut pending = Some(pending);
    let mut failure = None;
    loop {
        let outcome = match secrets.get_opt(&name).await {
            Ok(Some(secret)) => certificate.take(&content(&secret), unix_now()),
            Ok(None) => Err("it is not there; the leader makes it".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let error = outcome.err();
        match &error {
            None => {
                pending = None;
                if failure.is_some() {
                    tracing::info!(secret = name, "the shared certificate can be read");
                }
            }
            Some(error) if failure.as_ref() != Some(error) && pending.is_some() => {
                tracing::warn!(secret = name, %error, "there is no shared certificate to serve yet");
            }
            Some(error) if failure.as_ref() != Some(error) => {
                tracing::error!(secret = name, %error, "keeping the previous TLS certificate");
            }
            Some(_) => {}
        }
        failure = error;
        let _ = tokio::time::timeout(RECHECK, changes.next()).await;
        named::drain(&mut changes);
    }
}
