//! The admission webhooks: `AdmissionReview` in, decision by the snapshot, `AdmissionReview` out.
//!
//! No registry call, no Kubernetes call, no lock on the way of a request.

pub mod answer;
pub mod handlers;
pub mod images;
pub mod json;
pub mod judge;
pub mod patch;
pub mod pinning;
pub mod preview;
pub mod record_webhook;
pub mod review;
