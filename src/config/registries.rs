//! The arguments of the work with registries.

use std::time::Duration;

use clap::Args;
use ipnet::IpNet;

use crate::controllers::registries::Settings;

/// How registries are asked what they have, and what is made there.
#[derive(Debug, Args)]
pub(super) struct RegistryArgs {
    /// Seconds between two looks at what a registry has
    #[arg(
        long,
        env = "PULLGATE_REGISTRY_INTERVAL",
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "SECONDS"
    )]
    registry_interval: u32,
    /// Addresses beside the public ones that a workspace's registry may have, as 10.20.0.0/16; repeat for more. The
    /// platform's own registries may have any
    #[arg(long, env = "PULLGATE_ALLOW_REGISTRY_RANGES", value_delimiter = ',', value_name = "RANGE")]
    allow_registry_range: Vec<IpNet>,
    /// Days that a robot account lives; it is replaced in the last third
    #[arg(
        long,
        env = "PULLGATE_ROBOT_DAYS",
        default_value_t = 90,
        value_parser = clap::value_parser!(u32).range(1..=3650),
        value_name = "DAYS"
    )]
    robot_days: u32,
    /// Seconds for which the robot account that another one took the place of is still good
    #[arg(long, env = "PULLGATE_ROBOT_OVERLAP", default_value_t = 120, value_name = "SECONDS")]
    robot_overlap: u32,
}

impl RegistryArgs {
    /// What the work with registries is told.
    pub fn settings(self) -> Settings {
        let Self { registry_interval, allow_registry_range, robot_days, robot_overlap } = self;
        Settings {
            interval: Duration::from_secs(registry_interval.into()),
            robot_days: robot_days.into(),
            overlap: Duration::from_secs(robot_overlap.into()),
            allowed: allow_registry_range.into(),
            ..Settings::default()
        }
    }
}
