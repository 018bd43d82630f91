//! `pullgate harbor-account`: the robot account that a Harbor is best integrated with.

use clap::Args;

use super::{Outcome, output};
use crate::registry::harbor::rights;

/// Print the request that makes the robot account to integrate a Harbor with
///
/// Harbor 2.12 and later let a robot account do all that pullgate needs, and nothing else: better than an administrator's
/// password, and cheaper, since Harbor spends 0.2 to 0.3 s of CPU on each login of a person. The output is the body of
/// POST /api/v2.0/robots, to be sent by a system administrator:
///
///   pullgate harbor-account | curl -u admin -H 'Content-Type: application/json' -d @- https://HARBOR/api/v2.0/robots
///
/// The answer holds the name and, this once, the secret: the user name and password of the registry's record. An older
/// Harbor refuses the request; integrate that with a system administrator's account.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Name of the account; Harbor puts its prefix, robot$, before it
    #[arg(long, default_value = "pullgate")]
    name: String,
}

impl Arguments {
    pub fn run(self) -> anyhow::Result<Outcome> {
        output::print_json(&rights::account(&self.name))?;
        Ok(Outcome::Good)
    }
}
