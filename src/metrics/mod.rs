//! What Prometheus sees. Labels are bounded by the program: never an image, a namespace or a pod.

mod admission;
mod cluster;
mod registries;

use prometheus::core::Collector;
use prometheus::{Encoder, Gauge, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

pub use admission::{AdmissionMetrics, Webhook};
pub use cluster::{CertificateKind, LeaderMetrics, TlsMetrics};
pub use registries::RegistryMetrics;

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
    pub registries: RegistryMetrics,
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
            registries: RegistryMetrics::new(&registry)?,
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

fn add<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
