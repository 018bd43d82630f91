//! What the record of an instance should be: the instance's address, CA and password, and the rest as its administrator
//! has it.

use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use super::instance::{Instance, Source};
use crate::domain::record::{Entry, Kind, Record, Registry};
use crate::store::{Credential, CredentialChange};
use crate::types::conditions::{self, ConditionUpdate};
use crate::types::v1alpha1::{ConditionStatus, Followed, Integrated, RegistryStatus};
use crate::types::{Document, convert, names};

/// The condition that says how a record stands to its instance.
const MANAGED: &str = "Managed";
/// The condition that says whether the registry takes the stored password.
const CREDENTIALS: &str = "CredentialsValid";

/// The instance that a record says it follows.
pub fn source(record: &Document) -> Option<Source> {
    Source::parse(record.spec.get("source")?.as_str()?)
}

/// Whether pullgate made it, so that it goes with its instance. Somebody may have copied the rest from elsewhere.
pub fn is_automatic(record: &Document) -> bool {
    status(record).integrated == Some(Integrated::Automatic)
}

/// In step, or what is in the way of it.
fn standing(instance: &Instance) -> ConditionUpdate {
    match instance.trouble() {
        None => ConditionUpdate::yes("InStep"),
        Some((reason, message)) => ConditionUpdate::no(reason, message),
    }
}

/// The record with this said of it, and nothing else changed.
pub fn saying(before: &Document, saying: ConditionUpdate) -> Document {
    let mut status = status(before);
    status.integrated = Some(Integrated::Automatic);
    conditions::set(&mut status.conditions, MANAGED, saying, 0);
    with_status(before.clone(), &status)
}

/// The record as one that an administrator keeps.
pub fn released(before: &Document) -> Document {
    let mut status = status(before);
    (status.integrated, status.followed) = (Some(Integrated::Manual), None);
    conditions::clear(&mut status.conditions, MANAGED);
    with_status(before.clone(), &status)
}

/// The record in step with its instance, and what becomes of the credential. `stored` is the credential that the record
/// has now.
pub fn following(
    before: Option<&Document>,
    instance: &Instance,
    stored: Option<&Credential>,
) -> (Document, CredentialChange) {
    let new = || Document::new(Kind::Registry, instance.source.record(), json!({}));
    let mut document = before.cloned().unwrap_or_else(new);
    let mut status = status(&document);
    let mut followed = status.followed.take().unwrap_or_default();
    let mut spec = document.spec.as_object().cloned().unwrap_or_default();
    spec.insert("type".to_owned(), json!("Harbor"));
    spec.insert("source".to_owned(), json!(instance.source.to_string()));
    if let Ok(url) = &instance.url {
        spec.insert("url".to_owned(), json!(url));
    }
    follow_ca(&mut spec, instance.ca.as_deref(), &mut followed);
    document.spec = spec.into();
    let works = status
        .conditions
        .iter()
        .any(|condition| condition.r#type == CREDENTIALS && condition.status == ConditionStatus::True);
    let change = follow_password(&mut document, instance, stored, works, &mut followed);
    status.followed = (followed != Followed::default()).then_some(followed);
    status.integrated = Some(Integrated::Automatic);
    conditions::set(&mut status.conditions, MANAGED, standing(instance), 0);
    (with_status(document, &status), change)
}

/// One that an administrator gave to an instance without a CA stays.
fn follow_ca(spec: &mut Map<String, Value>, ca: Option<&str>, followed: &mut Followed) {
    match ca {
        Some(ca) => {
            let tls = spec.entry("tls").or_insert(Value::Null);
            if !tls.is_object() {
                *tls = json!({});
            }
            tls["caBundle"] = json!(ca);
        }
        None if followed.ca => {
            let tls = spec.get_mut("tls").and_then(Value::as_object_mut);
            if tls.is_some_and(|tls| tls.remove("caBundle").is_some() && tls.is_empty()) {
                spec.remove("tls");
            }
        }
        None => {}
    }
    followed.ca = ca.is_some();
}

/// Takes the instance's password where the record has none that is for its address, and where the instance has another one
/// than before.
///
/// That password is only the one that the instance was installed with. Where it was changed in Harbor since, an
/// administrator gives the new one to the record, and it must not be replaced by the old one again: not by the next
/// pass, and not by an upgrade that writes the same Secret anew while the one that is stored works.
fn follow_password(
    document: &mut Document,
    instance: &Instance,
    stored: Option<&Credential>,
    works: bool,
    followed: &mut Followed,
) -> CredentialChange {
    let Ok(password) = &instance.password else { return CredentialChange::Keep };
    let reference = json!({ "name": names::credential(&document.name) });
    let referenced = document.spec.get("credential") == Some(&reference);
    document.spec["credential"] = reference;
    // One that is invalid is not written.
    let Some(registry) = registry(document) else { return CredentialChange::Keep };
    let audience = registry.audience();
    let void = !referenced || stored.is_none_or(|stored| stored.audience != audience);
    let same = stored.is_some_and(|stored| {
        stored.username == password.username
            && stored.password.expose_secret() == password.password.expose_secret()
    });
    let news = followed.password_version.as_ref() != Some(&password.version);
    let take = void || (news && !same && !works);
    if take || same {
        followed.password_version = Some(password.version.clone());
    }
    if !take {
        return CredentialChange::Keep;
    }
    CredentialChange::Set(Credential {
        username: password.username.clone(),
        password: password.password.clone(),
        audience,
    })
}

fn registry(document: &Document) -> Option<Registry> {
    match convert::parse(document) {
        Ok(Record::Registry(Entry::Valid(registry))) => Some(registry),
        _ => None,
    }
}

/// One that cannot be read is written anew.
fn status(document: &Document) -> RegistryStatus {
    serde_json::from_value(document.status.clone()).unwrap_or_default()
}

fn with_status(document: Document, status: &RegistryStatus) -> Document {
    // The type always serialises.
    Document { status: serde_json::to_value(status).unwrap_or_default(), ..document }
}
