//! pullgate decides, for every pod that enters a Kubernetes cluster, whether its images may be pulled there, and
//! gives the pod the credentials for it.
//!
//! ```text
//!  registries ──controllers──▶ ┌───────┐ ──watch──▶ state ──▶ decide() ──▶ webhooks, explain, check
//!  admins ─────────API───────▶ │ store │              │
//!  kubectl ──────────────────▶ └───────┘              └─────▶ controllers ──▶ Secrets, statuses, accounts
//! ```
//!
//! | where | what it owns |
//! |---|---|
//! | [`cli`] | the commands |
//! | [`app`] | builds the parts of a serving process and wires them |
//! | [`config`] | arguments and environment as one validated value |
//! | [`runtime`], [`listener`], [`room`], [`health`] | tasks and signals, connections, memory for requests, readiness |
//! | [`domain`] | what pullgate means, without I/O: references, records and their joins, the snapshot, the decision |
//! | [`types`] | what a record is on the wire: specs, statuses, definitions, conversion, conditions |
//! | [`store`] | where records live: a cluster's custom resources, or one file |
//! | [`state`] | the one read model: follows the store, and tells each reader what concerns it |
//! | [`admission`] | the webhooks: reviews, judgements, patches, answers |
//! | [`api`] | the management API |
//! | [`registry`] | how Harbor, Docker and Artifactory registries are talked to |
//! | [`controllers`] | what is written: registries' spaces and accounts, pull secrets, statuses, the webhooks' CA bundle |
//! | [`manifests`] | files of Kubernetes objects and of records, for the commands that need no cluster |
//! | [`cluster`], [`tls`], [`metrics`] | clients of the API server, the Lease, Events; certificates; what Prometheus scrapes |
//!
//! Four journeys: a review goes `listener → admission → domain`; a binding `api → store → state → controllers → Secret`; a
//! project `registry → controllers::registries → store → state`; a pull account `controllers::registries → registry`, and
//! its credential `store → credentials → controllers::pull_secrets`.

pub mod admission;
pub mod api;
pub mod app;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod controllers;
pub mod credentials;
pub mod domain;
pub mod health;
mod hex;
pub mod listener;
pub mod manifests;
pub mod metrics;
pub mod registry;
pub mod room;
pub mod runtime;
mod secret_file;
pub mod state;
pub mod store;
pub mod tls;
pub mod types;
