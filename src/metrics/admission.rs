//! The webhooks' metrics, counted on the way of every pod.

use std::sync::OnceLock;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

use super::add;
use crate::admission::review::Operation;
use crate::domain::decision::{Decision, Reason};
use crate::domain::record::Mode;

const WEBHOOKS: usize = 3;
const OPERATIONS: [&str; 4] = ["CREATE", "UPDATE", "DELETE", "CONNECT"];
const DECISIONS: [&str; 4] = ["allow", "deny", "warn", "audit"];
/// From a few microseconds, which the decision takes, to the API server's usual time-out.
const LATENCY_BUCKETS: [f64; 12] =
    [0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.25, 1.0, 10.0];

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

impl AdmissionMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
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
