//! Passwords on their way in: beside a registry's manifest, or on their own. None ever comes out here.

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::auth::Verb;
use super::call::{Answer, Call, QUESTION_MAX};
use super::error::ApiError;
use super::manifest::{IfMatch, respond_empty};
use super::resources::visible;
use super::writer::ATTEMPTS;
use crate::domain::pull_secret::CredentialId;
use crate::domain::record::{Entry, Kind, Problem, Record, Registry, RegistryType, bounds};
use crate::store::{Credential, CredentialChange, Precondition, RecordStore, StoreError};
use crate::types::v1alpha1::RegistryStatus;
use crate::types::{Document, convert, names};

/// What the server logs in to a registry with.
#[derive(Clone, ToSchema)]
pub struct CredentialInput {
    /// Without ':', at which the kubelet splits it from the password.
    username: String,
    #[schema(value_type = String, format = Password, write_only)]
    password: SecretString,
}

/// Reads a credential by hand: serde's messages quote the value that does not fit. `at` is the field that holds
/// it, with a dot, or empty.
fn read(at: &str, value: &Value) -> Result<CredentialInput, Vec<Problem>> {
    let Some(fields) = value.as_object() else {
        let field = if at.is_empty() { "body" } else { at.trim_end_matches('.') };
        return Err(vec![Problem::new(field, "write an object of username and password")]);
    };
    let mut problems = Vec::new();
    for field in fields.keys().filter(|f| !["username", "password"].contains(&f.as_str())) {
        problems.push(Problem::new(
            format!("{at}{field}"),
            "this field is not known; there are username and password",
        ));
    }
    let mut text = |name: &str| {
        let text = fields.get(name).and_then(Value::as_str);
        let fault = match text {
            None => Some("write it as a string"),
            Some("") => Some("it must not be empty"),
            Some(t) if t.len() > if name == "username" { bounds::USERNAME } else { bounds::PASSWORD } => {
                Some("it is longer than a user name (256 bytes) or password (16 KiB) may be")
            }
            Some(t) if t.chars().any(char::is_control) => Some("it must not have control characters"),
            Some(t) if name == "username" && t.contains(':') => {
                Some("it must not have ':', at which nodes split user name and password")
            }
            Some(_) => None,
        };
        problems.extend(fault.map(|message| Problem::new(format!("{at}{name}"), message)));
        text.unwrap_or_default().to_owned()
    };
    let input = CredentialInput { username: text("username"), password: text("password").into() };
    if problems.is_empty() { Ok(input) } else { Err(problems) }
}

/// Whether both parts are there and empty, which is how a form says that a Docker registry has no password.
fn is_blank(value: &Value) -> bool {
    let blank = |name: &str| value.get(name).and_then(Value::as_str) == Some("");
    blank("username") && blank("password")
}

impl CredentialInput {
    fn for_registry(self, registry: &Registry) -> Credential {
        Credential { username: self.username, password: self.password, audience: registry.audience() }
    }
}

/// Decides what becomes of a registry's credential, and writes the reference to it into the record. The client
/// does not choose the reference: a tenant's record could name another's secret.
pub(super) async fn settle(
    store: &dyn RecordStore,
    current: Option<(&Document, &Record)>,
    document: &mut Document,
    given: Option<Value>,
) -> Result<CredentialChange, ApiError> {
    let reference = json!({ "name": names::credential(&document.name) });
    let said = document.spec.as_object_mut().and_then(|spec| spec.remove("credential"));
    let mut problems = Vec::new();
    if said.is_some_and(|said| !said.is_null() && said != reference) {
        let message = "the server sets this; leave it out and give user name and password as credential";
        problems.push(Problem::new("spec.credential", message));
    }
    let parsed = convert::parse(document);
    let registry = match &parsed {
        Ok(Record::Registry(Entry::Valid(registry))) => Some(registry),
        Ok(_) => None,
        Err(faults) => {
            problems.extend(faults.iter().cloned());
            None
        }
    };
    let docker = registry.is_some_and(|r| r.kind == RegistryType::Docker);
    let blank = docker && given.as_ref().is_some_and(is_blank);
    let given = given.filter(|_| !blank).map(|value| read("credential.", &value)).transpose();
    let given = given.unwrap_or_else(|faults| {
        problems.extend(faults);
        None
    });
    let Some(registry) = registry.filter(|_| problems.is_empty()) else {
        return Err(ApiError::Invalid(problems));
    };

    let change = match (given, current) {
        (Some(input), _) => CredentialChange::Set(input.for_registry(registry)),
        (None, Some((current, _))) if has_reference(current) && !blank => {
            let stored = match store.credential(&integration(&document.name)).await {
                Err(StoreError::Damaged(text)) => {
                    tracing::error!(error = text, "a stored credential cannot be kept");
                    let message = "give user name and password again: the stored ones are damaged";
                    return Err(ApiError::invalid("credential", message));
                }
                stored => stored?,
            };
            if stored.is_some_and(|c| c.audience == registry.audience()) {
                CredentialChange::Keep
            } else if docker {
                CredentialChange::Remove
            } else {
                return Err(ApiError::invalid(
                    "credential",
                    "give user name and password again: the stored ones do not follow a changed address or owner",
                ));
            }
        }
        (None, current) if !docker && current.is_none_or(|(_, old)| type_of(old) != Some(registry.kind)) => {
            let kind = if registry.kind == RegistryType::Harbor { "Harbor" } else { "Artifactory" };
            return Err(ApiError::invalid("credential", format!("{kind} needs user name and password")));
        }
        (None, _) => CredentialChange::Remove,
    };
    if !matches!(change, CredentialChange::Remove) {
        set_reference(document, Some(reference));
    }
    Ok(change)
}

fn type_of(record: &Record) -> Option<RegistryType> {
    match record {
        Record::Registry(Entry::Valid(registry)) => Some(registry.kind),
        _ => None,
    }
}

fn integration(registry: &str) -> CredentialId {
    CredentialId::Integration { registry: registry.into() }
}

pub(super) fn has_reference(document: &Document) -> bool {
    document.spec.get("credential").is_some_and(|reference| !reference.is_null())
}

/// Asks for the registry to be read at once with a credential that is about to be stored. A credential alone is no change of
/// the record, so nobody would be told.
pub(super) fn ask_for_a_look(document: &mut Document) {
    let mut status: RegistryStatus = serde_json::from_value(document.status.clone()).unwrap_or_default();
    status.sync_requested = Some(Timestamp::now());
    // This type always serialises.
    document.status = serde_json::to_value(&status).unwrap_or_default();
}

fn set_reference(document: &mut Document, reference: Option<Value>) {
    let Some(spec) = document.spec.as_object_mut() else { return };
    match reference {
        Some(reference) => spec.insert("credential".to_owned(), reference),
        None => spec.remove("credential"),
    };
}

/// Stores the credential of a registry that is there.
pub(super) async fn store(mut call: Call) -> Answer {
    call.caller.check_write_kind(Kind::Registry, Verb::Update, Some(call.param("name"))).await?;
    call.query(&[])?;
    let name = call.param("name");
    let (_, record) = visible(call.state.store.as_ref(), &call.caller, Kind::Registry, name).await?;
    call.caller.check_write(Verb::Update, name, &record).await?;
    let input = read("", &call.json(QUESTION_MAX).await?).map_err(ApiError::Invalid)?;
    change(call, |document, registry| {
        let Some(registry) = registry else {
            let message =
                "the record is not valid, so it is not known whom a password may be shown to; mend it first";
            return Err(ApiError::Conflict(vec![Problem::new("spec", message)]));
        };
        let reference = json!({ "name": names::credential(&document.name) });
        set_reference(document, Some(reference));
        ask_for_a_look(document);
        Ok(Some(CredentialChange::Set(input.clone().for_registry(registry))))
    })
    .await
}

/// Forgets the credential of a registry; one that is not there is no fault.
pub(super) async fn forget(call: Call) -> Answer {
    call.caller.check_write_kind(Kind::Registry, Verb::Update, Some(call.param("name"))).await?;
    call.query(&[])?;
    change(call, |document, _| {
        let stored = has_reference(document);
        set_reference(document, None);
        Ok(stored.then_some(CredentialChange::Remove))
    })
    .await
}

/// What a request does to a registry's record and its credential. `None` for an invalid record, and in return
/// where there is nothing to do.
type Edited = Result<Option<CredentialChange>, ApiError>;

async fn change(
    call: Call,
    edit: impl Fn(&mut Document, Option<&Registry>) -> Edited + Send + Sync,
) -> Answer {
    let name = call.param("name");
    let if_match = IfMatch::read(&call.headers)?;
    let (_, seen) = visible(call.state.store.as_ref(), &call.caller, Kind::Registry, name).await?;
    call.caller.check_write(Verb::Update, name, &seen).await?;
    let mut writer = call.state.writer().await?;
    for _ in 0..ATTEMPTS {
        let (current, record) = writer.again(Kind::Registry, name, &seen).await?;
        if_match.as_ref().map_or(Ok(()), |m| m.check(&current))?;
        let registry = match &record {
            Record::Registry(entry) => entry.valid(),
            _ => None,
        };
        // At the version that was judged: the address must not change between.
        let precondition = Precondition::Version(current.version.clone());
        let mut document = current;
        let Some(change) = edit(&mut document, registry)? else { return respond_empty(&document) };
        match writer.put(document, precondition, change).await {
            Err(StoreError::Changed { .. }) => {}
            outcome => return respond_empty(&outcome?),
        }
    }
    Err(ApiError::Changed)
}
