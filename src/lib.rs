//! pullgate decides, for every pod that enters a Kubernetes cluster, whether its images may be pulled there, and
//! gives the pod the credentials for it.

pub mod admission;
pub mod cli;
pub mod domain;
pub mod manifests;
pub mod metrics;
pub mod store;
pub mod tls;
