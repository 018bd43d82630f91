//! pullgate decides, for every pod that enters a Kubernetes cluster, whether its images may be pulled there, and
//! gives the pod the credentials for it.

pub mod admission;
pub mod api;
pub mod app;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod controllers;
pub mod domain;
pub mod health;
mod hex;
pub mod listener;
pub mod manifests;
pub mod metrics;
pub mod pull_secret;
pub mod registry;
pub mod room;
pub mod runtime;
mod secret_file;
pub mod store;
pub mod tls;
