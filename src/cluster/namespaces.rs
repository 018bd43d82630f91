//! Which namespaces exist.

use futures::StreamExt;
use futures::stream::BoxStream;
use imbl::OrdMap;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PartialObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Api, Client};

use super::client;
use crate::domain::record::Name;
use crate::state::NamespaceEvent;

/// All namespaces, then every change. One that is being deleted is gone: nothing can be made in it any more. A
/// watch that fails is begun again for ever.
pub fn watch(cluster: Client) -> BoxStream<'static, NamespaceEvent> {
    let namespaces = Api::<PartialObjectMeta<Namespace>>::all(cluster);
    let mut listed = None;
    let told = move |event| std::future::ready(tell(event, &mut listed));
    client::events(namespaces, client::watching()).filter_map(told).boxed()
}

fn tell(
    event: Event<PartialObjectMeta<Namespace>>,
    listed: &mut Option<OrdMap<Name, String>>,
) -> Option<NamespaceEvent> {
    match event {
        Event::Init => {
            *listed = Some(OrdMap::new());
            None
        }
        Event::InitDone => listed.take().map(NamespaceEvent::Listed),
        Event::Delete(object) => Some(NamespaceEvent::Deleted(object.metadata.name?.into())),
        Event::InitApply(object) | Event::Apply(object) => {
            let leaving = object.metadata.deletion_timestamp.is_some();
            let (name, uid) = (Name::from(object.metadata.name?), object.metadata.uid?);
            match listed {
                Some(listed) if leaving => drop(listed.remove(&name)),
                Some(listed) => drop(listed.insert(name, uid)),
                None if leaving => return Some(NamespaceEvent::Deleted(name)),
                None => return Some(NamespaceEvent::Put(name, uid)),
            }
            None
        }
    }
}
