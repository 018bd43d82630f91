//! The leader's part in TLS: keeps the Secret that replicas share, and sees that the API server trusts what is in it.
//!
//! Owns the Secret's content and `clientConfig.caBundle` of every webhook in the two configurations; all else in them
//! is their manifests'. Every pass compares what is there with what should be, and writes only a difference.
//!
//! Somebody who wants another CA annotates the Secret, `kubectl annotate secret pullgate-tls pullgate.io/rotate=ca`;
//! the annotation goes when the new CA has taken over, about half a minute later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{
    Api, DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams, Preconditions,
};
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::named;
use crate::metrics::{CertificateKind, Metrics, Webhook};
use crate::tls::issue::Names;
use crate::tls::rotation::{self, Content, Next, Step, Wanted};
use crate::tls::shared::{self, Shared};
use crate::tls::{TlsError, unix_now};

/// How long a bundle is in the configurations before a certificate is issued that needs it. API servers notice a
/// changed configuration within seconds.
pub const SETTLE: Duration = Duration::from_secs(30);
/// How often everything is compared though nothing was said of a change.
const RECHECK: Duration = Duration::from_secs(15);
/// The pause after a pass: a change is repaired in less than a second, and somebody who changes it back at once cannot
/// keep the API server busy.
const CALM: Duration = Duration::from_millis(300);
const AFTER_FAULT: Duration = Duration::from_secs(2);

/// The annotation of the Secret that asks for another CA, and its value.
const ROTATE: (&str, &str) = ("pullgate.io/rotate", "ca");
const FIELD_MANAGER: &str = "pullgate";

/// Why a pass did not get to its end.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the API server did not do what was asked: {0}")]
    Cluster(#[from] kube::Error),
    #[error(
        "Secret {0} is not pullgate's and is left alone: serve it from files (--tls-cert, --tls-key), remove it, or name \
         another one (--tls-secret)"
    )]
    Foreign(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Fault {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Cluster(kube::Error::Api(status)) if status.code == 409)
    }
}

/// Keeps the Secret and the configurations as they should be; never returns. For the leader alone.
///
/// A CA that has joined the bundle takes over when the bundle was in every configuration for `settle`; see [`SETTLE`].
pub async fn keep(client: Client, shared: Shared, settle: Duration, metrics: Arc<Metrics>) {
    let mut changes = changes(&client, &shared);
    let mut keeper = CertificateController::new(client, shared, settle, metrics);
    let mut failure = None;
    loop {
        let outcome = keeper.pass().await;
        let error = outcome.as_ref().err().map(Fault::to_string);
        match &error {
            // Somebody else wrote at the same moment; the next pass sees what.
            Some(_) if outcome.as_ref().is_err_and(Fault::is_conflict) => {}
            Some(error) if failure.as_ref() != Some(error) => {
                tracing::error!(%error, "the shared certificate and the webhooks' trust in it cannot be kept");
            }
            None if failure.is_some() => tracing::info!("the shared certificate can be kept again"),
            _ => {}
        }
        failure = error;
        tokio::time::sleep(CALM).await;
        let wait = outcome.unwrap_or(AFTER_FAULT);
        let _ = tokio::time::timeout(wait, changes.next()).await;
        named::drain(&mut changes);
    }
}

fn changes(client: &Client, shared: &Shared) -> BoxStream<'static, ()> {
    let secrets = Api::namespaced(client.clone(), &shared.namespace);
    stream::select_all([
        named::changes::<Secret>(secrets, &shared.secret),
        named::changes::<MutatingWebhookConfiguration>(Api::all(client.clone()), &shared.webhook_config),
        named::changes::<ValidatingWebhookConfiguration>(Api::all(client.clone()), &shared.webhook_config),
    ])
    .boxed()
}

struct CertificateController {
    secrets: Api<Secret>,
    /// The mutating and the validating configuration, of one form.
    configurations: [(Webhook, Api<DynamicObject>); 2],
    shared: Shared,
    settle: Duration,
    metrics: Arc<Metrics>,
    /// The bundle that every configuration carries, and since when it was not seen otherwise.
    in_force: Option<(String, Instant)>,
    /// What could not be written, and the content that it follows: the configurations carry its bundle, and would carry
    /// another one with every pass. Only where the bundle is another; else it is planned again from what is there.
    unwritten: Option<(Content, Next)>,
    /// What was said last of each configuration, and of the Secret.
    said: BTreeMap<&'static str, String>,
}

impl Drop for CertificateController {
    fn drop(&mut self) {
        self.metrics.tls.no_longer_leading();
    }
}

impl CertificateController {
    fn new(client: Client, shared: Shared, settle: Duration, metrics: Arc<Metrics>) -> Self {
        let api = |resource: &ApiResource| Api::all_with(client.clone(), resource);
        let mutating = api(&ApiResource::erase::<MutatingWebhookConfiguration>(&()));
        let validating = api(&ApiResource::erase::<ValidatingWebhookConfiguration>(&()));
        Self {
            secrets: Api::namespaced(client, &shared.namespace),
            configurations: [(Webhook::Mutate, mutating), (Webhook::Validate, validating)],
            shared,
            settle,
            metrics,
            in_force: None,
            unwritten: None,
            said: BTreeMap::new(),
        }
    }

    /// Compares and repairs everything once; after how long to do so again though nothing changes.
    async fn pass(&mut self) -> Result<Duration, Fault> {
        let names = Names::parse(&self.shared.names)?;
        let secret = self.secrets.get_opt(&self.shared.secret).await?;
        if secret.as_ref().is_some_and(|secret| !shared::is_ours(secret)) {
            return Err(Fault::Foreign(self.shared.secret.clone()));
        }
        let content = secret.as_ref().map(shared::content).unwrap_or_default();
        let mut found = Vec::new();
        for (webhook, api) in &self.configurations {
            found.push((*webhook, api.clone(), api.get_opt(&self.shared.webhook_config).await));
        }
        let present = || found.iter().filter_map(|(.., configuration)| configuration.as_ref().ok()?.as_ref());
        let held: Vec<String> = present().flat_map(bundles).collect();
        if found.iter().any(|(.., configuration)| configuration.is_err())
            || !present().all(|configuration| lacking(configuration, &content.bundle).is_empty())
        {
            self.in_force = None;
        }
        let rotate = secret.as_ref().is_some_and(asks_for_rotation);
        let settled = self.settling(&content.bundle).is_some_and(|left| left.is_zero());
        let wanted = Wanted { names: &names, rotate, settled, held: &held };
        let next = match self.unwritten.take() {
            Some((base, next)) if base.same(&content) => next,
            _ => rotation::next(&content, &wanted, unix_now())?,
        };
        self.say("the shared certificate", &next.steps);

        // The API server first: it is to trust a certificate before anybody serves it. A configuration that cannot be
        // read or written is no reason to leave the replicas without one.
        let mut configured = Ok(());
        for (webhook, api, configuration) in found {
            let outcome = match configuration {
                Ok(configuration) => self.configure(webhook, &api, configuration, &next.content.bundle).await,
                Err(error) => Err(error.into()),
            };
            self.metrics.tls.configured(webhook, matches!(outcome, Ok(true)));
            configured = configured.and(outcome.map(drop));
        }
        if next.changed
            && let Err(fault) = self.write(secret, &next).await
        {
            if next.content.bundle != content.bundle {
                self.unwritten = Some((content, next));
            }
            return Err(fault);
        }
        self.metrics.tls.ca_expires(next.ca_not_after);
        configured?;

        if self.in_force.as_ref().is_none_or(|(bundle, _)| *bundle != next.content.bundle) {
            self.in_force = Some((next.content.bundle.clone(), Instant::now()));
        }
        let left = self.settling(&next.content.bundle).filter(|left| !left.is_zero());
        Ok(left.unwrap_or(RECHECK).min(RECHECK))
    }

    /// How much longer a bundle has to be in force; `None`: it is not.
    fn settling(&self, bundle: &str) -> Option<Duration> {
        let (in_force, since) = self.in_force.as_ref()?;
        (in_force == bundle).then(|| self.settle.saturating_sub(since.elapsed()))
    }

    /// Puts the bundle into the webhooks that lack it; whether the configuration is there.
    async fn configure(
        &mut self,
        webhook: Webhook,
        api: &Api<DynamicObject>,
        configuration: Option<DynamicObject>,
        bundle: &str,
    ) -> Result<bool, Fault> {
        let what = webhook.as_str();
        let Some(configuration) = configuration else {
            if self.said.insert(what, "missing".to_owned()).is_none() {
                let name = &self.shared.webhook_config;
                tracing::warn!(
                    name,
                    webhook = what,
                    "the webhook's configuration is missing: nothing is judged"
                );
            }
            return Ok(false);
        };
        if self.said.remove(what).is_some() {
            tracing::info!(webhook = what, "the webhook's configuration is there");
        }
        let lacking = lacking(&configuration, bundle);
        if lacking.is_empty() {
            return Ok(true);
        }
        let encoded = STANDARD.encode(bundle);
        let webhooks: Vec<Value> =
            lacking.iter().map(|name| json!({"name": name, "clientConfig": {"caBundle": encoded}})).collect();
        // Webhooks are merged by their names; with the version as guard, one that has gone meanwhile does not come back.
        let patch = json!({
            "metadata": {"resourceVersion": configuration.metadata.resource_version},
            "webhooks": webhooks,
        });
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        api.patch(&self.shared.webhook_config, &parameters, &Patch::Strategic(patch)).await?;
        tracing::info!(webhook = what, webhooks = lacking.len(), "put the CA bundle into the configuration");
        Ok(true)
    }

    /// Writes the Secret, unless somebody else has meanwhile.
    async fn write(&self, found: Option<Secret>, next: &Next) -> Result<(), Fault> {
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let name = &self.shared.secret;
        let written = match found {
            None => self.secrets.create(&parameters, &self.fresh(next)).await,
            Some(mut secret) => {
                shared::put(&mut secret, &next.content);
                if next.rotated {
                    secret.annotations_mut().remove(ROTATE.0);
                }
                let found = secret.metadata.uid.clone();
                match self.secrets.replace(name, &parameters, &secret).await {
                    // Somebody made it immutable; then it can only be made anew.
                    Err(kube::Error::Api(status)) if status.code == 422 => {
                        let same = Preconditions { uid: found, ..Preconditions::default() };
                        self.secrets.delete(name, &DeleteParams::default().preconditions(same)).await?;
                        self.secrets.create(&parameters, &self.fresh(next)).await
                    }
                    written => written,
                }
            }
        };
        written?;
        for step in &next.steps {
            match step {
                Step::CaMade | Step::CaJoined => self.metrics.tls.issued(CertificateKind::Ca),
                Step::LeafIssued(_) => self.metrics.tls.issued(CertificateKind::Leaf),
                _ => {}
            }
        }
        Ok(())
    }

    fn fresh(&self, next: &Next) -> Secret {
        let mut secret = Secret {
            metadata: ObjectMeta { name: Some(self.shared.secret.clone()), ..ObjectMeta::default() },
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        };
        shared::put(&mut secret, &next.content);
        secret
    }

    /// Logs what happened, once: what cannot be written is planned again in every pass.
    fn say(&mut self, about: &'static str, steps: &[Step]) {
        let text = steps.iter().map(Step::to_string).collect::<Vec<_>>().join("; ");
        if self.said.get(about).map_or("", String::as_str) != text && !text.is_empty() {
            let secret = &self.shared.secret;
            if steps.iter().any(|step| matches!(step, Step::Damaged(_) | Step::Full)) {
                tracing::warn!(secret, "{about}: {text}");
            } else {
                tracing::info!(secret, "{about}: {text}");
            }
        }
        self.said.insert(about, text);
    }
}

fn asks_for_rotation(secret: &Secret) -> bool {
    secret.annotations().get(ROTATE.0).is_some_and(|value| value == ROTATE.1)
}

fn webhooks(configuration: &DynamicObject) -> &[Value] {
    configuration.data["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The names of the webhooks that do not carry exactly this bundle.
fn lacking(configuration: &DynamicObject, bundle: &str) -> Vec<String> {
    let encoded = STANDARD.encode(bundle);
    let lacks = |webhook: &&Value| webhook["clientConfig"]["caBundle"].as_str() != Some(&*encoded);
    let name = |webhook: &Value| webhook["name"].as_str().map(str::to_owned);
    webhooks(configuration).iter().filter(lacks).filter_map(name).collect()
}

/// The bundles that the webhooks carry.
fn bundles(configuration: &DynamicObject) -> Vec<String> {
    let decoded = |webhook: &Value| STANDARD.decode(webhook["clientConfig"]["caBundle"].as_str()?).ok();
    let texts = webhooks(configuration).iter().filter_map(decoded);
    texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
}
