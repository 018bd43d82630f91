//! How pullgate talks to the API server, and notices that it no longer does.
//!
//! A network that drops everything without a word lets a request wait for ever: on a watch whose events never come, and
//! on an idle connection that is used again. So no watch lives long, and no answer may be silent for longer.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher;
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;

/// Seconds after which a watch is begun anew where it stopped. kube gives a silent one up five seconds later.
const WATCH_SECONDS: u32 = 20;
/// How long an answer may be silent. Above what a watch may be.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// A client of the cluster that KUBECONFIG or the pod's service account names.
///
/// # Errors
/// There is no such cluster, or what says so cannot be read.
pub async fn connect() -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    // The client takes the process's provider; another part may have chosen the same one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    // Or the time that a connection lay idle would count.
    config.reset_reader_on_write = true;
    Ok(Client::try_from(config)?)
}

/// What every watch begins with.
pub fn watching() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// The events of a watch that never ends: where it fails, that is logged, and it begins again. That there is no such kind
/// of object is no failure: its definition may come.
pub fn events<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, watcher::Event<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let url = api.resource_url().to_owned();
    let events = watcher::watcher(api, config).backoff(watcher::DefaultBackoff::default());
    let told = move |event: Result<_, watcher::Error>| {
        let told = event.inspect_err(|error| match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404 => {
                tracing::debug!(%error, url, "there is nothing of the kind to watch yet");
            }
            error => tracing::warn!(%error, url, "a watch failed and begins again"),
        });
        std::future::ready(told.ok())
    };
    events.filter_map(told).boxed()
}
