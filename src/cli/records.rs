//! The records that offline commands decide by.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::DecisionArgs;
use crate::domain::record::UnixSeconds;
use crate::domain::snapshot::Snapshot;
use crate::manifests::{self, Faults, records};

/// Where the records come from.
#[derive(Debug, clap::Args)]
pub struct RecordSources {
    /// Record manifests: a file, a directory (its *.yaml, *.yml and *.json, subdirectories too) or - for standard
    /// input; may be repeated. Without any PullPolicy among them the baseline holds: unmanaged registries are
    /// allowed, denials deny.
    #[arg(long, value_name = "DIR", required = true)]
    records: Vec<PathBuf>,
    #[command(flatten)]
    decisions: DecisionArgs,
}

impl RecordSources {
    /// Whether the records come from standard input.
    pub fn read_stdin(&self) -> bool {
        self.records.iter().any(|path| path == Path::new("-"))
    }

    /// The snapshot of the records; their faults are added to `faults`.
    pub fn snapshot(&self, faults: &mut Faults) -> Snapshot {
        let (manifests, mut found) = manifests::read(&self.records);
        let records = records::collect(&manifests, &mut found);
        faults.0.append(&mut found.0);
        Snapshot::build(&records, &self.decisions.settings())
    }
}

/// The time by which offline commands decide.
pub fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixSeconds::try_from(since.as_secs()).unwrap_or(UnixSeconds::MAX)
}
