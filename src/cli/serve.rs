//! `pullgate serve`: the webhooks, the management API, metrics and health, from one data directory.

use std::io::IsTerminal;

use clap::Args;
use rustix::process::{Resource, Rlimit, setrlimit};
use tracing_subscriber::EnvFilter;

use super::Outcome;
use crate::app::App;
use crate::config::{Config, ServeArgs};
use crate::runtime::raise_file_limit;

/// Serve the admission webhooks, the management API, and metrics and health
#[derive(Debug, Args)]
#[command(after_help = "\
Each option can be given as an environment variable instead.

Examples:
  pullgate serve --data-dir ./data
      Self-signed TLS; the CA is in ./data/tls/ca.crt, the API's Admin token in ./data/admin-token.
  pullgate serve --data-dir ./data --tls-cert tls.crt --tls-key tls.key --tokens tokens.yaml")]
pub struct Arguments {
    #[command(flatten)]
    serve: ServeArgs,
}

impl Arguments {
    pub fn run(self) -> anyhow::Result<Outcome> {
        let config = Config::try_from(self.serve)?;
        start_log(&config.log, config.log_json)?;
        leave_no_core();
        raise_file_limit();
        let runtime = tokio::runtime::Runtime::new()?;
        let outcome = runtime.block_on(async {
            let app = App::start(config).await?;
            let [webhooks, api, metrics] = app.addresses;
            tracing::info!(%webhooks, %api, %metrics, version = env!("CARGO_PKG_VERSION"), "serving");
            app.run().await
        });
        // Nothing that is left may hold up the end: what was acknowledged is on disk.
        runtime.shutdown_background();
        outcome.map(|()| Outcome::Good)
    }
}

/// A core would hold every password. Where the limit cannot be lowered, the system's own stays.
fn leave_no_core() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::debug!(%error, "core dumps cannot be turned off");
    }
}

/// Sends log lines to standard error.
pub fn start_log(filter: &str, json: bool) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|error| anyhow::anyhow!("--log {filter}: {error}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Where it is a terminal, `NO_COLOR` is heeded.
    let log = if std::io::stderr().is_terminal() { log } else { log.with_ansi(false) };
    if json {
        log.json().init();
    } else {
        log.init();
    }
    Ok(())
}
