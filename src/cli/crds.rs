//! `pullgate crds`: the custom resource definitions.

use super::{Outcome, output};
use crate::types::crd;

/// Print the custom resource definitions, for `kubectl apply -f -`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How to print them.
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Yaml,
    /// One list.
    Json,
}

impl Arguments {
    /// Prints them.
    pub(super) fn run(&self) -> anyhow::Result<Outcome> {
        let definitions = crd::definitions();
        match self.output {
            Format::Json => {
                let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": definitions});
                output::print_json(&list)?;
            }
            Format::Yaml => {
                let documents: Vec<_> =
                    definitions.iter().map(serde_saphyr::to_string).collect::<Result<_, _>>()?;
                output::print_plain(|out| {
                    documents.iter().try_for_each(|text| writeln!(out, "---\n{}", text.trim_end()))
                })?;
            }
        }
        Ok(Outcome::Good)
    }
}
