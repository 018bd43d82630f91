//! One object of the cluster, followed by its name.

use std::fmt::Debug;

use futures::stream::{BoxStream, Stream, StreamExt};
use kube::api::{Api, PartialObjectMeta};
use serde::de::DeserializeOwned;

use super::client;

/// Says, endlessly, that the object of this name may have changed, come or gone. What it is now is for the reader to
/// ask: so nothing depends on what a watch has missed.
pub fn changes<K>(api: Api<PartialObjectMeta<K>>, name: &str) -> BoxStream<'static, ()>
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    client::events(api, client::watching().fields(&format!("metadata.name={name}"))).map(drop).boxed()
}

/// Takes what is there already, so that one look answers many changes.
pub fn drain(changes: &mut (impl Stream<Item = ()> + Unpin)) {
    while futures::FutureExt::now_or_never(changes.next()).flatten().is_some() {}
}
