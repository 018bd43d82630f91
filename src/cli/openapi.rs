//! `pullgate openapi`: the management API's description.

use std::io::Write;

use clap::Args;

use super::Outcome;

/// Print the OpenAPI 3.1 document of the management API
#[derive(Debug, Args)]
pub struct Arguments {}

impl Arguments {
    #[expect(clippy::unused_self, reason = "as every command")]
    pub fn run(self) -> anyhow::Result<Outcome> {
        let text = crate::api::openapi().to_pretty_json()?;
        match writeln!(std::io::stdout(), "{text}") {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Outcome::Good),
            other => Ok(other.map(|()| Outcome::Good)?),
        }
    }
}
