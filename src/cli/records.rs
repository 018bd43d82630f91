//! The records that offline commands decide by.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::DecisionArgs;
use crate::domain::record::UnixSeconds;
use crate::domain::snapshot::Snapshot;
use crate::manifests::{self, Fault, Faults, Reading, records};

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

    /// The snapshot of the records, and what among them is none and was left out.
    ///
    /// # Errors
    /// The faults of the records: who decides by some of them decides something else.
    pub fn snapshot(&self) -> Result<(Snapshot, Vec<Fault>), Faults> {
        let Reading { manifests, mut faults, left_out, .. } = manifests::read(&self.records);
        let settings = self.decisions.settings();
        let records = records::collect(&manifests, &mut faults);
        faults.none_or((Snapshot::build(&records, &settings), left_out))
    }
}

/// The time by which offline commands decide.
pub fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixSeconds::try_from(since.as_secs()).unwrap_or(UnixSeconds::MAX)
}
