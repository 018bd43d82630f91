//! The arguments of decisions, and of what may be recorded.

use clap::Args;

use crate::domain::record::{Name, WorkspaceQuota};
use crate::domain::shared_hosts::{self, SharedHosts};
use crate::domain::snapshot::Settings;

/// What holds for every decision, in a server and offline.
#[derive(Debug, Args)]
pub struct DecisionArgs {
    /// Namespace that is never judged; repeat for more
    #[arg(
        long,
        env = "PULLGATE_EXEMPT_NAMESPACES",
        value_delimiter = ',',
        default_values = ["kube-system", "pullgate-system"],
        value_name = "NAMESPACE"
    )]
    exempt_namespace: Vec<String>,
    /// Hours after which a registry's "public" is no longer believed; no limit by default
    #[arg(long, env = "PULLGATE_PUBLIC_MAX_AGE", value_name = "HOURS")]
    public_max_age: Option<u32>,
    /// Image host of which a workspace may claim paths only, since everybody uses it; repeat for more
    #[arg(
        long,
        env = "PULLGATE_SHARED_HOSTS",
        value_delimiter = ',',
        default_values = shared_hosts::DEFAULT,
        value_name = "HOST"
    )]
    shared_host: Vec<String>,
    /// Registries that one workspace may have; those that it has already stay
    #[arg(
        long,
        env = "PULLGATE_WORKSPACE_REGISTRIES",
        default_value_t = WorkspaceQuota::default().0,
        value_name = "NUMBER"
    )]
    workspace_registries: usize,
}

impl DecisionArgs {
    /// The settings that snapshots are built with.
    pub fn settings(&self) -> Settings {
        let Self { exempt_namespace, public_max_age, shared_host, workspace_registries } = self;
        Settings {
            exempt_namespaces: exempt_namespace.iter().map(Name::from).collect(),
            public_max_age: public_max_age.map(|hours| i64::from(hours) * 3600),
            shared_hosts: SharedHosts::new(shared_host),
            workspace_quota: WorkspaceQuota(*workspace_registries),
        }
    }
}
