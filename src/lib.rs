//! pullgate decides, for every pod that enters a Kubernetes cluster, whether its images may be pulled there, and
//! gives the pod the credentials for it.

pub mod api;
pub mod domain;
pub mod pull_secret;
pub mod store;
