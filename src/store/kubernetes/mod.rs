//! Records as custom resources, credentials as Secrets in pullgate's own namespace: etcd, through the API server,
//! is the distributed engine, and replicas keep nothing.
//!
//! A record and its Secrets are several objects, which no API server writes in one step. The record is written first,
//! so that a write that is refused changes no credential. A Secret belongs to its record by an owner reference, names
//! the audience that it was given for, and is void for any other.

mod credentials;
mod ledgers;
mod object;
mod owners;
mod watch;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams, Preconditions, TypeMeta};
use kube::core::ObjectMeta;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use self::object::RecordObject;
use self::owners::{Registries, registry_among};
use crate::types::crd::{GROUP, VERSION, plural};
use crate::types::v1alpha1::API_VERSION;

use super::{
    Credential, CredentialChange, Document, Event, Ledger, Page, Precondition, RecordStore, StoreError,
};
use crate::domain::pull_secret::{CredentialId, RobotId};
use crate::domain::record::{Kind, Name};

/// Objects asked for at a time.
const PAGE: usize = 500;
/// Objects of a bulk write that are written at a time.
const WRITES: usize = 16;

/// A store in the cluster that `client` talks to.
#[derive(Clone)]
pub struct KubernetesStore {
    client: Client,
    /// Where credentials are; pullgate's own.
    namespace: String,
}

impl KubernetesStore {
    /// Keeps credentials in `namespace`.
    pub fn new(client: Client, namespace: impl Into<String>) -> Self {
        Self { client, namespace: namespace.into() }
    }

    fn records(&self, kind: Kind) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource(kind))
    }

    /// The same for reading alone.
    fn read(&self, kind: Kind) -> Api<RecordObject> {
        Api::all_with(self.client.clone(), &resource(kind))
    }

    async fn create(
        &self,
        document: &Document,
        registries: Option<&Registries>,
    ) -> Result<DynamicObject, StoreError> {
        let Document { kind, name, .. } = document;
        let mut object = DynamicObject {
            types: Some(TypeMeta { api_version: API_VERSION.to_owned(), kind: kind.as_str().to_owned() }),
            metadata: ObjectMeta { name: Some(name.to_string()), ..ObjectMeta::default() },
            data: json!({"spec": document.spec}),
        };
        self.own(&mut object, document, registries).await?;
        let created = self.records(*kind).create(&PostParams::default(), &object).await;
        created.map_err(|error| match (objection(*kind, name, &error), code(&error)) {
            (Some(refused), _) => refused,
            (None, 409) => StoreError::Exists { kind: *kind, name: name.clone() },
            (None, _) => failure(&error),
        })
    }

    /// The object at this version; what pullgate does not know of it (labels, finalizers) is kept.
    async fn at_version(&self, kind: Kind, name: &str, version: &str) -> Result<DynamicObject, StoreError> {
        let found = self.records(kind).get_opt(name).await.map_err(|error| failure(&error))?;
        let object = found.ok_or_else(|| StoreError::NotFound { kind, name: name.into() })?;
        match object.metadata.resource_version.as_deref() {
            Some(found) if found == version => Ok(object),
            _ => Err(StoreError::Changed { kind, name: name.into() }),
        }
    }

    async fn replace(
        &self,
        document: &Document,
        version: &str,
        registries: Option<&Registries>,
    ) -> Result<DynamicObject, StoreError> {
        let mut object = self.at_version(document.kind, &document.name, version).await?;
        if object.data.get("spec") == Some(&document.spec) {
            return Ok(object);
        }
        object.data["spec"] = document.spec.clone();
        self.own(&mut object, document, registries).await?;
        let replaced =
            self.records(document.kind).replace(&document.name, &PostParams::default(), &object).await;
        replaced.map_err(|error| refused(document.kind, &document.name, &error))
    }

    /// Writes a record; a space goes with one of `registries`, which are read where they are not given.
    async fn put_owned(
        &self,
        document: Document,
        precondition: Precondition,
        credential: CredentialChange,
        registries: Option<&Registries>,
    ) -> Result<Document, StoreError> {
        let Document { kind, name, .. } = &document;
        if *kind != Kind::Registry && !matches!(credential, CredentialChange::Keep) {
            return Err(StoreError::Unavailable(format!("a {} has no credential", kind.as_str())));
        }
        if let CredentialChange::Set(_) = &credential {
            self.check_secret(&document).await?;
        }
        let written = match &precondition {
            Precondition::Absent => {
                let created = self.create(&document, registries).await?;
                // What a crash left of an earlier record of this name is not inherited. Only now: a record that is
                // there keeps its credentials when another is refused.
                self.forget_all(*kind, name).await?;
                created
            }
            Precondition::Version(version) => self.replace(&document, version, registries).await?,
        };
        match credential {
            CredentialChange::Keep => {}
            CredentialChange::Set(credential) => {
                self.set_integration(&document, &written, &credential).await?;
            }
            CredentialChange::Remove => self.forget_integration(name).await?,
        }
        let written = self.put_status(&document, written).await?;
        Ok(self::document(*kind, written))
    }

    /// The status has a subresource of its own, and so a write of its own. It is pullgate's word and nobody else's: one
    /// that is refused is the store's failure, which no caller could mend.
    async fn put_status(
        &self,
        document: &Document,
        mut object: DynamicObject,
    ) -> Result<DynamicObject, StoreError> {
        if object.data.get("status").unwrap_or(&Value::Null) == &document.status {
            return Ok(object);
        }
        object.data["status"] = document.status.clone();
        let Document { kind, name, .. } = document;
        let replaced = self.records(*kind).replace_status(name, &PostParams::default(), &object).await;
        replaced.map_err(|error| overtaken(*kind, name, &error))
    }
}

#[async_trait]
impl RecordStore for KubernetesStore {
    fn watch(&self) -> BoxStream<'static, Result<Event, StoreError>> {
        watch::watch(self)
    }

    async fn get(&self, kind: Kind, name: &str) -> Result<Option<Document>, StoreError> {
        let found = self.read(kind).get_opt(name).await.map_err(|error| failure(&error))?;
        Ok(found.map(|object| object.into_document(kind)))
    }

    /// The API server lists in the order of names and continues only its own pages, so a page far into a long list
    /// costs the pages before it.
    async fn list(&self, kind: Kind, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let (api, mut items) = (self.read(kind), Vec::new());
        let mut asked = ListParams::default().limit(u32::try_from(PAGE.min(limit + 1)).unwrap_or(u32::MAX));
        loop {
            let page = api.list(&asked).await.map_err(|error| failure(&error))?;
            let next = page.metadata.continue_.filter(|token| !token.is_empty());
            let wanted = |object: &RecordObject| after.is_none_or(|after| *object.name() > *after);
            items.extend(page.items.into_iter().filter(wanted).map(|object| object.into_document(kind)));
            let more = items.len() > limit;
            if more || next.is_none() {
                items.truncate(limit);
                return Ok(Page { items, more });
            }
            asked =
                ListParams { continue_token: next, limit: u32::try_from(PAGE).ok(), ..ListParams::default() };
        }
    }

    async fn put(
        &self,
        document: Document,
        precondition: Precondition,
        credential: CredentialChange,
    ) -> Result<Document, StoreError> {
        self.put_owned(document, precondition, credential, None).await
    }

    /// A registry's spaces go first, so that a failure in between leaves less access, never more, and no webhook finds
    /// bindings on it. The garbage collector would take minutes where there are many.
    async fn delete(&self, kind: Kind, name: &str, version: &str) -> Result<(), StoreError> {
        let object = self.at_version(kind, name, version).await?;
        let uid = object.metadata.uid.clone().map(Name::from);
        if kind == Kind::Registry {
            self.remove_spaces(name, |_| true).await?;
        }
        let at = Preconditions { resource_version: Some(version.to_owned()), uid: object.metadata.uid };
        let deleted = self.records(kind).delete(name, &DeleteParams::default().preconditions(at)).await;
        deleted.map_err(|error| refused(kind, name, &error))?;
        if kind == Kind::Registry {
            // A discovery that was under way may have recorded some again, and somebody else a new registry of the name.
            self.remove_spaces(name, |space| space.owner.is_none() || space.owner == uid).await?;
        }
        self.forget_all(kind, name).await
    }

    async fn credential(&self, id: &CredentialId) -> Result<Option<Credential>, StoreError> {
        self.read_credential(id).await
    }

    /// An object each: the API server writes no several in one step.
    async fn put_all(&self, documents: Vec<(Document, Precondition)>) -> Vec<Result<Document, StoreError>> {
        let registries = match self.registries_of(documents.iter().map(|(document, _)| document)).await {
            Ok(registries) => registries,
            Err(error) => return documents.iter().map(|_| Err(error.clone())).collect(),
        };
        let puts = documents
            .into_iter()
            .map(|(document, at)| self.put_owned(document, at, CredentialChange::Keep, Some(&registries)));
        stream::iter(puts).buffered(WRITES).collect().await
    }

    async fn adopt(&self, space: &str) -> Result<(), StoreError> {
        self.adopt_space(space).await
    }

    async fn set_robot(&self, robot: &RobotId, credential: Option<Credential>) -> Result<(), StoreError> {
        self.write_robot(robot, credential).await
    }

    async fn robots(&self, registry: &str) -> Result<Vec<RobotId>, StoreError> {
        self.read_robots(registry).await
    }

    async fn ledgers(&self) -> Result<Vec<Ledger>, StoreError> {
        self.read_ledgers().await
    }

    async fn set_ledger(&self, ledger: &Ledger) -> Result<(), StoreError> {
        self.write_ledger(ledger).await
    }

    async fn installation(&self) -> Result<String, StoreError> {
        self.read_installation().await
    }
}

fn resource(kind: Kind) -> ApiResource {
    ApiResource {
        group: GROUP.to_owned(),
        version: VERSION.to_owned(),
        api_version: API_VERSION.to_owned(),
        kind: kind.as_str().to_owned(),
        plural: plural(kind).to_owned(),
    }
}

/// The record in an object, without what only the API server needs.
fn document(kind: Kind, mut object: DynamicObject) -> Document {
    let owner = registry_among(&object.metadata);
    let created = object.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    Document {
        kind,
        name: Name::from(object.name_any()),
        version: object.metadata.resource_version.unwrap_or_default(),
        created,
        generation: object.metadata.generation.unwrap_or_default(),
        owner,
        uid: object.metadata.uid.unwrap_or_default().into(),
        spec: object.data["spec"].take(),
        status: object.data["status"].take(),
    }
}

/// The HTTP status of a refusal; 0 where there was no answer.
fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// Why the record of somebody was not written or removed.
fn refused(kind: Kind, name: &str, error: &kube::Error) -> StoreError {
    objection(kind, name, error).unwrap_or_else(|| overtaken(kind, name, error))
}

/// What a rule of the definition, or a webhook of the cluster, has against a record. A right that pullgate lacks (403) is
/// none: it says nothing of the record.
fn objection(kind: Kind, name: &str, error: &kube::Error) -> Option<StoreError> {
    let kube::Error::Api(status) = error else { return None };
    let invalid = status.code == 422 && status.reason == "Invalid";
    // The API server words a denial (apiserver, webhook/errors/statuserror.go). Its code is of the webhook's choice; from
    // 500 on the webhook could not judge.
    let words = status.message.strip_prefix("admission webhook \"");
    let by_webhook = words.is_some_and(|words| words.contains("\" denied the request"));
    // Likewise a policy's (apiserver, plugin/policy/validating), after the object's name.
    let by_policy = status.message.contains(": ValidatingAdmissionPolicy '")
        && status.message.contains("' denied request");
    let denied = status.code < 500 && (by_webhook || by_policy);
    (invalid || denied).then(|| StoreError::Refused { kind, name: name.into(), text: status.message.clone() })
}

/// Why a record is not as it was thought to be.
fn overtaken(kind: Kind, name: &str, error: &kube::Error) -> StoreError {
    match code(error) {
        404 => StoreError::NotFound { kind, name: name.into() },
        409 => StoreError::Changed { kind, name: name.into() },
        _ => failure(error),
    }
}

/// Why the cluster did not do what pullgate asked of it for itself.
fn failure(error: &kube::Error) -> StoreError {
    let kube::Error::Api(status) = error else {
        return StoreError::Unavailable(format!(
            "the API server did not answer: {error}; check its address and pullgate's service account"
        ));
    };
    let text = format!("the API server refused: {} ({})", status.message, status.code);
    match status.code {
        // A ResourceQuota, or the database behind the API server (etcd, mvcc.ErrSpaceExceeded).
        403 if status.message.contains("exceeded quota") => StoreError::Full(text),
        507 => StoreError::Full(text),
        _ if status.message.contains("database space exceeded") => StoreError::Full(text),
        401 | 403 => StoreError::Forbidden(text),
        429 => StoreError::Busy(text),
        _ => StoreError::Unavailable(text),
    }
}
