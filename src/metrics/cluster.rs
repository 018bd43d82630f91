//! What a replica of a cluster tells: its certificate, and what it does as the leader.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{Webhook, add};

/// What the leader does.
#[derive(Debug)]
pub struct LeaderMetrics {
    /// 1 on the leader, 0 elsewhere.
    pub leading: IntGauge,
    /// Pull secrets by state.
    secrets: IntGaugeVec,
    /// Harbors of the cluster by state.
    managed: IntGaugeVec,
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

impl LeaderMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
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
        let managed = IntGaugeVec::new(
            Opts::new(
                "pullgate_managed_harbors",
                "Harbors found in the cluster, on the leader: instep with their records, unhealthy (or without address \
                 or password), or in conflict with a record that somebody else made.",
            ),
            &["state"],
        )?;
        let metrics = Self {
            leading: add(registry, leading)?,
            secrets: add(registry, secrets)?,
            managed: add(registry, managed)?,
        };
        metrics.pull_secrets(0, 0, 0);
        metrics.managed_harbors(0, 0, 0);
        Ok(metrics)
    }

    /// Notes how many Harbors of the cluster are in which state.
    pub fn managed_harbors(&self, in_step: usize, unhealthy: usize, conflict: usize) {
        for (state, count) in [("instep", in_step), ("unhealthy", unhealthy), ("conflict", conflict)] {
            self.managed.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Notes how many pull secrets are in which state.
    pub fn pull_secrets(&self, current: usize, foreign: usize, failed: usize) {
        for (state, count) in [("current", current), ("foreign", foreign), ("failed", failed)] {
            self.secrets.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

impl TlsMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
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
