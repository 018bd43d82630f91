//! Events of the cluster (events.k8s.io) that tell of a registry's record what came about. They end by themselves, an hour
//! later by default.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt};
use tokio::sync::mpsc;

use crate::controllers::registries::notices::Notice;
use crate::domain::record::Kind;
use crate::hex::short_digest;
use crate::types::crd;

/// Who writes them.
const CONTROLLER: &str = "pullgate.io/pullgate";
/// Events of objects without a namespace belong there (validation of core/v1 and events.k8s.io/v1).
const NAMESPACE: &str = "default";
/// Bytes of an Event's note, and of the name of who writes it.
const NOTE_MAX: usize = 1024;
const INSTANCE_MAX: usize = 128;
/// Bytes of the digest in their names.
const DIGEST: usize = 16;

/// Writes an Event of each notice, for as long as there are senders. `instance`: which replica this is.
pub async fn write(client: Client, mut notices: mpsc::Receiver<Notice>, instance: String) {
    while let Some(notice) = notices.recv().await {
        if let Err(error) = publish(&client, &notice, &instance).await {
            tracing::warn!(registry = %notice.registry, %error, "an Event cannot be written");
        }
    }
}

async fn publish(client: &Client, notice: &Notice, instance: &str) -> kube::Result<()> {
    let gvk = GroupVersionKind::gvk(crd::GROUP, crd::VERSION, Kind::Registry.as_str());
    let resource = ApiResource::from_gvk_with_plural(&gvk, crd::plural(Kind::Registry));
    let records: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    // `kubectl describe` looks for Events by the object's uid.
    let Some(record) = records.get_metadata_opt(&notice.registry).await? else { return Ok(()) };
    let regarding = ObjectReference {
        api_version: Some(resource.api_version.clone()),
        kind: Some(resource.kind.clone()),
        name: Some(record.name_any()),
        uid: record.uid(),
        ..ObjectReference::default()
    };
    let event = event(notice, regarding, instance, Timestamp::now());
    Api::namespaced(client.clone(), NAMESPACE).create(&PostParams::default(), &event).await.map(drop)
}

fn event(notice: &Notice, regarding: ObjectReference, instance: &str, now: Timestamp) -> Event {
    let cut = |text: &str, most: usize| text[..text.floor_char_boundary(most)].to_owned();
    let identity = [notice.registry.as_str(), &notice.message, &now.as_nanosecond().to_string()];
    Event {
        metadata: ObjectMeta {
            name: Some(format!("pullgate-{}", short_digest(&identity, DIGEST))),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some("Warning".to_owned()),
        reason: Some(notice.reason.to_owned()),
        action: Some("Reconcile".to_owned()),
        note: Some(cut(&notice.message, NOTE_MAX)),
        regarding: Some(regarding),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(cut(instance, INSTANCE_MAX)),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the API server refuses otherwise.
    #[test]
    fn an_event_keeps_to_the_bounds_of_its_kind() {
        let notice = Notice {
            registry: "r".repeat(253).into(),
            reason: "AccountDisabled",
            message: "ü".repeat(2_000),
        };
        let now = Timestamp::UNIX_EPOCH;
        let made = event(&notice, ObjectReference::default(), &"i".repeat(300), now);
        assert_eq!(made.note.unwrap(), "ü".repeat(NOTE_MAX / 2));
        assert_eq!(made.reporting_instance.unwrap().len(), INSTANCE_MAX);
        assert!(made.metadata.name.as_ref().is_some_and(|name| name.len() < 64));
        let another =
            event(&notice, ObjectReference::default(), "i", now + jiff::SignedDuration::from_secs(1));
        assert_ne!(another.metadata.name, made.metadata.name, "each occurrence is one of its own");
    }
}
