//! What Prometheus sees. Labels are bounded by the program: never an image, a namespace or a pod.

use std::sync::OnceLock;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::admission::review::Operation;
use crate::domain::decision::{Decision, Reason};
use crate::domain::record::Mode;
use crate::domain::snapshot::Size;

/// Every metric, and the registry that renders them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub admission: AdmissionMetrics,
    pub snapshot: SnapshotMetrics,
    pub store: StoreMetrics,
    pub tls: TlsMetrics,
    pub api: ApiMetrics,
    pub leader: LeaderMetrics,
}

/// One of the webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Webhook {
    Mutate,
    Validate,
    /// Guards records, decides no image.
    Guard,
}

impl Webhook {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
            Self::Guard => "guard",
        }
    }
}

/// What is asked of a record store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreOperation {
    Watch,
    Read,
    Write,
}

impl StoreOperation {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// The webhooks.
#[derive(Debug)]
pub struct AdmissionMetrics {
    /// Decided images by webhook, operation, decision and reason.
    decisions: IntCounterVec,
    /// The children of `decisions`, each looked up by its labels once and then by its position.
    cells: Box<[OnceLock<IntCounter>]>,
    /// Seconds from the request's head to its answer, by webhook.
    latency: [Histogram; WEBHOOKS],
    /// Requests that could not be judged, by webhook and cause.
    faults: IntCounterVec,
    /// Pods that got a patch.
    pub patched: IntCounter,
}

/// The index that decisions come from.
#[derive(Debug)]
pub struct SnapshotMetrics {
    /// Records in the snapshot, by kind.
    records: IntGaugeVec,
    /// Records that are invalid and therefore grant nothing.
    pub invalid: IntGauge,
    /// When the snapshot was built, in seconds since the epoch.
    built_at: Gauge,
    /// When the store was last known to be in step with the snapshot, in seconds since the epoch.
    pub synced_at: Gauge,
    /// Seconds that the last build took.
    build: Gauge,
}

/// The record store.
#[derive(Debug)]
pub struct StoreMetrics {
    /// Store operations that failed, by operation.
    errors: IntCounterVec,
}

/// The management API.
#[derive(Debug)]
pub struct ApiMetrics {
    /// Answered requests, by method and status.
    requests: IntCounterVec,
}

/// What the leader does.
#[derive(Debug)]
pub struct LeaderMetrics {
    /// 1 on the leader, 0 elsewhere.
    pub leading: IntGauge,
    /// Pull secrets by state.
    secrets: IntGaugeVec,
}

/// Served certificates.
#[derive(Debug)]
pub struct TlsMetrics {
    /// When the served certificate expires, in seconds since the epoch.
    pub expiry: IntGauge,
    /// Certificates that pullgate issued for all replicas, by kind.
    issued: IntCounterVec,
    /// When the CA expires that issues for all replicas, in seconds since the epoch. Told by the leader alone, as the
    /// next one, so without labels but absent elsewhere.
    ca_expiry: IntGaugeVec,
    /// Whether a webhook's configuration is there and trusts the served certificate.
    configured: IntGaugeVec,
}

/// A certificate that is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateKind {
    Ca,
    Leaf,
}

impl CertificateKind {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Leaf => "leaf",
        }
    }
}

const WEBHOOKS: usize = 3;
const OPERATIONS: [&str; 4] = ["CREATE", "UPDATE", "DELETE", "CONNECT"];
const DECISIONS: [&str; 4] = ["allow", "deny", "warn", "audit"];
/// From a few microseconds, which the decision takes, to the API server's usual time-out.
const LATENCY_BUCKETS: [f64; 12] =
    [0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.25, 1.0, 10.0];

impl Metrics {
    /// All metrics at zero.
    ///
    /// # Errors
    /// Only a mistake in this file: a malformed or doubled name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        Ok(Self {
            admission: AdmissionMetrics::new(&registry)?,
            snapshot: SnapshotMetrics::new(&registry)?,
            store: StoreMetrics::new(&registry)?,
            tls: TlsMetrics::new(&registry)?,
            api: ApiMetrics::new(&registry)?,
            leader: LeaderMetrics::new(&registry)?,
            registry,
        })
    }

    /// The text exposition format.
    ///
    /// # Errors
    /// The metrics contradict each other; a mistake in this file.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl AdmissionMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let latency = |webhook: Webhook| {
            let options = HistogramOpts::new(
                "pullgate_admission_duration_seconds",
                "Time from reading a request's head to its answer.",
            );
            let labelled = options.const_label("webhook", webhook.as_str()).buckets(LATENCY_BUCKETS.to_vec());
            add(registry, Histogram::with_opts(labelled)?)
        };
        Ok(Self {
            decisions: add(
                registry,
                IntCounterVec::new(
                    Opts::new("pullgate_decisions_total", "Images decided."),
                    &["webhook", "operation", "decision", "reason"],
                )?,
            )?,
            cells: (0..WEBHOOKS * OPERATIONS.len() * DECISIONS.len() * Reason::ALL.len())
                .map(|_| OnceLock::new())
                .collect(),
            latency: [latency(Webhook::Mutate)?, latency(Webhook::Validate)?, latency(Webhook::Guard)?],
            faults: add(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "pullgate_admission_faults_total",
                        "Requests that could not be judged, and so were not allowed.",
                    ),
                    &["webhook", "cause"],
                )?,
            )?,
            patched: add(
                registry,
                IntCounter::new("pullgate_patched_pods_total", "Pods that the mutating webhook changed.")?,
            )?,
        })
    }

    /// Counts the decision of one image.
    pub fn decided(&self, webhook: Webhook, operation: Operation, decision: &Decision<'_>) {
        let outcome = match (decision.allowed(), decision.mode) {
            (true, _) => 0,
            (false, Mode::Enforce) => 1,
            (false, Mode::Warn) => 2,
            (false, Mode::Audit) => 3,
        };
        let (operation, reason) = (operation as usize, decision.reason as usize);
        let row = (webhook as usize * OPERATIONS.len() + operation) * DECISIONS.len() + outcome;
        let labels = [webhook.as_str(), OPERATIONS[operation], DECISIONS[outcome], decision.reason.as_str()];
        self.cells[row * Reason::ALL.len() + reason]
            .get_or_init(|| self.decisions.with_label_values(&labels))
            .inc();
    }

    /// Notes how long a request took, in seconds.
    pub fn took(&self, webhook: Webhook, seconds: f64) {
        self.latency[webhook as usize].observe(seconds);
    }

    /// Counts a request that was not judged.
    pub fn fault(&self, webhook: Webhook, cause: &'static str) {
        self.faults.with_label_values(&[webhook.as_str(), cause]).inc();
    }
}

impl SnapshotMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let seconds = |name: &str, help: &str| add(registry, Gauge::new(name, help)?);
        Ok(Self {
            records: add(
                registry,
                IntGaugeVec::new(
                    Opts::new("pullgate_snapshot_records", "Records that decisions rest on."),
                    &["kind"],
                )?,
            )?,
            invalid: add(
                registry,
                IntGauge::new(
                    "pullgate_invalid_records",
                    "Records that are invalid and therefore grant nothing.",
                )?,
            )?,
            built_at: seconds("pullgate_snapshot_built_timestamp_seconds", "When the snapshot was built.")?,
            synced_at: seconds(
                "pullgate_snapshot_synced_timestamp_seconds",
                "When the snapshot was last known to hold all that the store holds.",
            )?,
            build: seconds(
                "pullgate_snapshot_build_duration_seconds",
                "How long the last build of the snapshot took.",
            )?,
        })
    }

    /// Notes a new snapshot.
    pub fn built(&self, size: Size, seconds: f64, now: f64) {
        let kinds = [
            ("registry", size.registries),
            ("space", size.spaces),
            ("workspace", size.workspaces),
            ("namespace", size.namespaces),
            ("policy", size.policies),
        ];
        for (kind, count) in kinds {
            self.records.with_label_values(&[kind]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.build.set(seconds);
        self.built_at.set(now);
    }
}

impl StoreMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let errors = IntCounterVec::new(
            Opts::new("pullgate_store_errors_total", "Store operations that failed."),
            &["operation"],
        )?;
        for operation in [StoreOperation::Watch, StoreOperation::Read, StoreOperation::Write] {
            errors.with_label_values(&[operation.as_str()]);
        }
        Ok(Self { errors: add(registry, errors)? })
    }

    /// Counts a failed operation.
    pub fn failed(&self, operation: StoreOperation) {
        self.errors.with_label_values(&[operation.as_str()]).inc();
    }
}

impl ApiMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new("pullgate_api_requests_total", "Requests that the management API answered."),
            &["method", "code"],
        )?;
        Ok(Self { requests: add(registry, requests)? })
    }

    /// Counts an answer. Methods that HTTP does not name are one, or a client could make labels without end.
    pub fn answered(&self, method: &str, code: &str) {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&method);
        self.requests.with_label_values(&[if known { method } else { "other" }, code]).inc();
    }
}

impl LeaderMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let leading = IntGauge::new(
            "pullgate_leader",
            "Whether this replica leads: it alone writes pull secrets, statuses and the webhooks' CA bundle.",
        )?;
        let secrets = IntGaugeVec::new(
            Opts::new(
                "pullgate_pull_secrets",
                "Pull secrets that namespaces should have, on the leader: current, foreign (somebody else made a \
                 Secret of that name) or failed (it could not be written).",
            ),
            &["state"],
        )?;
        let metrics = Self { leading: add(registry, leading)?, secrets: add(registry, secrets)? };
        metrics.pull_secrets(0, 0, 0);
        Ok(metrics)
    }

    /// Notes how many pull secrets are in which state.
    pub fn pull_secrets(&self, current: usize, foreign: usize, failed: usize) {
        for (state, count) in [("current", current), ("foreign", foreign), ("failed", failed)] {
            self.secrets.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

impl TlsMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let expiry = IntGauge::new(
            "pullgate_certificate_expiry_timestamp_seconds",
            "When the certificate expires that the listeners serve.",
        )?;
        let issued = IntCounterVec::new(
            Opts::new("pullgate_certificates_issued_total", "Certificates issued for all replicas."),
            &["kind"],
        )?;
        for kind in [CertificateKind::Ca, CertificateKind::Leaf] {
            issued.with_label_values(&[kind.as_str()]);
        }
        let ca_expiry = IntGaugeVec::new(
            Opts::new(
                "pullgate_ca_expiry_timestamp_seconds",
                "When the CA expires that issues for all replicas; told by the leader.",
            ),
            &[],
        )?;
        let configured = IntGaugeVec::new(
            Opts::new(
                "pullgate_webhook_configured",
                "Whether a webhook's configuration is there and trusts the certificate; told by the leader.",
            ),
            &["webhook"],
        )?;
        Ok(Self {
            expiry: add(registry, expiry)?,
            issued: add(registry, issued)?,
            ca_expiry: add(registry, ca_expiry)?,
            configured: add(registry, configured)?,
        })
    }

    /// Counts a certificate that all replicas share.
    pub fn issued(&self, kind: CertificateKind) {
        self.issued.with_label_values(&[kind.as_str()]).inc();
    }

    /// Notes when the CA expires, in Unix seconds.
    pub fn ca_expires(&self, not_after: Option<i64>) {
        match not_after {
            Some(not_after) => self.ca_expiry.with_label_values::<&str>(&[]).set(not_after),
            None => self.ca_expiry.reset(),
        }
    }

    /// Notes whether a webhook's configuration is as it should be.
    pub fn configured(&self, webhook: Webhook, configured: bool) {
        self.configured.with_label_values(&[webhook.as_str()]).set(configured.into());
    }

    /// Tells nothing any more that another replica tells as leader.
    pub fn no_longer_leading(&self) {
        self.ca_expiry.reset();
        self.configured.reset();
    }
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
