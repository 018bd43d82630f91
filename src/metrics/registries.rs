//! What the leader tells of the registries. The label is the name of a record of the platform's, so there are as many as
//! administrators wrote records. What workspaces integrated is told in sums: tenants make no series.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use crate::domain::record::Owner;

use super::add;

/// The integrated registries.
#[derive(Debug)]
pub struct RegistryMetrics {
    /// 1 where the last pass succeeded.
    up: IntGaugeVec,
    /// When a pass last succeeded, in seconds since the epoch.
    success: IntGaugeVec,
    /// Robot accounts in use.
    robots: IntGaugeVec,
    /// When the first of them expires, in seconds since the epoch.
    expiry: IntGaugeVec,
    /// Places with robot accounts that nobody needs and that could not be removed.
    left: IntGaugeVec,
    workspaces: Mutex<BTreeMap<String, Counted>>,
    workspace_registries: IntGauge,
    workspace_registries_up: IntGauge,
    workspace_tokens: IntGauge,
}

/// What goes into the sums of a workspace's registry.
#[derive(Debug, Default)]
struct Counted {
    up: bool,
    tokens: i64,
}

impl RegistryMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge =
            |name: &str, help: &str| add(registry, IntGaugeVec::new(Opts::new(name, help), &["registry"])?);
        let sum = |name: &str, help: &str| add(registry, IntGauge::new(name, help)?);
        Ok(Self {
            workspaces: Mutex::default(),
            workspace_registries: sum(
                "pullgate_workspace_registries",
                "Registries of workspaces that were asked; told by the leader.",
            )?,
            workspace_registries_up: sum(
                "pullgate_workspace_registries_up",
                "Registries of workspaces that did all that was last asked of them; told by the leader.",
            )?,
            workspace_tokens: sum(
                "pullgate_workspace_tokens",
                "Tokens that pullgate made at registries of workspaces; told by the leader.",
            )?,
            up: gauge(
                "pullgate_registry_up",
                "Whether the registry did all that was last asked of it; told by the leader.",
            )?,
            success: gauge(
                "pullgate_registry_last_success_timestamp_seconds",
                "When the registry last did all that was asked of it; told by the leader.",
            )?,
            robots: gauge(
                "pullgate_robots",
                "Robot accounts that namespaces pull with; told by the leader.",
            )?,
            expiry: gauge(
                "pullgate_robot_expiry_timestamp_seconds",
                "When the first robot account expires that namespaces pull with; told by the leader.",
            )?,
            left: gauge(
                "pullgate_robots_left",
                "Places at the registry, itself and projects, with robot accounts of pullgate that nobody needs and that could not be removed yet; told by the leader, also of registries that are recorded no more.",
            )?,
        })
    }

    /// Notes how a pass ended, at `now` in Unix seconds.
    pub fn asked(&self, registry: &str, owner: &Owner, succeeded: bool, now: i64) {
        if *owner != Owner::Platform {
            return self.count(|all| all.entry(registry.to_owned()).or_default().up = succeeded);
        }
        self.up.with_label_values(&[registry]).set(succeeded.into());
        if succeeded {
            self.success.with_label_values(&[registry]).set(now);
        }
    }

    /// Notes how many robot accounts there are, and when the first expires in Unix seconds.
    pub fn robots(&self, registry: &str, owner: &Owner, count: usize, expiry: Option<i64>) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if *owner != Owner::Platform {
            return self.count(|all| all.entry(registry.to_owned()).or_default().tokens = count);
        }
        self.robots.with_label_values(&[registry]).set(count);
        match expiry {
            Some(expiry) => self.expiry.with_label_values(&[registry]).set(expiry),
            // That there was none is no fault.
            None => drop(self.expiry.remove_label_values(&[registry])),
        }
    }

    /// Notes in how many places accounts are left that could not be removed.
    pub fn left(&self, registry: &str, places: usize) {
        match i64::try_from(places).unwrap_or(i64::MAX) {
            // That there were none is no fault.
            0 => drop(self.left.remove_label_values(&[registry])),
            places => self.left.with_label_values(&[registry]).set(places),
        }
    }

    /// Changes what is counted of workspaces' registries, and tells the sums.
    fn count(&self, change: impl FnOnce(&mut BTreeMap<String, Counted>)) {
        let mut all = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut all);
        self.workspace_registries.set(i64::try_from(all.len()).unwrap_or(i64::MAX));
        let up = all.values().filter(|counted| counted.up).count();
        self.workspace_registries_up.set(i64::try_from(up).unwrap_or(i64::MAX));
        self.workspace_tokens.set(all.values().map(|counted| counted.tokens).sum());
    }

    /// Tells nothing any more of a registry that is recorded no more.
    pub fn forget(&self, registry: &str) {
        for gauge in [&self.up, &self.success, &self.robots, &self.expiry] {
            let _ = gauge.remove_label_values(&[registry]);
        }
        self.count(|all| {
            all.remove(registry);
        });
    }

    /// Tells nothing any more that another replica tells as leader.
    pub fn no_longer_leading(&self) {
        for gauge in [&self.up, &self.success, &self.robots, &self.expiry, &self.left] {
            gauge.reset();
        }
        self.count(BTreeMap::clear);
    }
}
