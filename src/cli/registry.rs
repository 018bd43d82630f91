//! `pullgate registry`: asks a running pullgate about a registry, and has it read at once.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use jiff::Timestamp;
use reqwest::{Certificate, Client, Method};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::Outcome;
use super::leftovers;
use super::output::{self, Cell, Format, GREEN, Printable, RED, YELLOW};

/// How often progress is asked for.
const POLL: Duration = Duration::from_millis(250);
/// What stands for what is not known, which is not 0.
const UNKNOWN: &str = "unknown";
/// Spaces that are named for a right which the account lacks.
const NAMED: usize = 5;
/// How long a call may take.
const ANSWER: Duration = Duration::from_secs(15);

/// Ask a running pullgate about a registry, or have it read at once
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a registry and read its spaces now, and wait for the end
    ///
    /// Exit codes: 0 it was read, 1 something is wrong with it, 2 pullgate cannot be asked.
    Sync(SyncArguments),
    /// Show how a registry is, and what it holds
    ///
    /// Exit codes: 0 all is well, 1 something is wrong with it, 2 pullgate cannot be asked.
    Overview(OverviewArguments),
    /// Show where accounts may be left that pullgate made and nobody needs any more
    ///
    /// At registries that are recorded no more, or at another address now; and at others where they could not be removed
    /// with their bindings, as while the registry is down.
    ///
    /// Exit codes: 0 nothing is left, 1 something is left, 2 pullgate cannot be asked.
    Leftovers(LeftoversArguments),
    /// Forget accounts that are left at a registry which never comes back
    ///
    /// They are not removed: whoever has their passwords pulls with them until they end. Without --yes nothing is
    /// forgotten.
    ///
    /// Exit codes: 0 forgotten, 2 not.
    ForgetLeftovers(ForgetArguments),
}

#[derive(Debug, Args)]
struct SyncArguments {
    /// Name of the registry's record
    name: String,
    /// Seconds to wait for the end
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    server: ServerArguments,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

#[derive(Debug, Args)]
struct OverviewArguments {
    /// Name of the registry's record
    name: String,
    #[command(flatten)]
    server: ServerArguments,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

#[derive(Debug, Args)]
struct LeftoversArguments {
    #[command(flatten)]
    server: ServerArguments,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

#[derive(Debug, Args)]
struct ForgetArguments {
    /// Name that the registry's record had
    name: String,
    /// Forget them, though they may still be there
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArguments,
}

/// Where pullgate's management API is.
#[derive(Debug, Args)]
struct ServerArguments {
    /// Address of the management API
    #[arg(long, env = "PULLGATE_SERVER", default_value = "https://localhost:8444", value_name = "URL")]
    server: String,
    /// CA certificate of that address in PEM, as `DIR/tls/ca.crt` of a data directory; without it the system's are
    /// trusted
    #[arg(long, env = "PULLGATE_SERVER_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// File with a token of the management API, as `DIR/admin-token` of a data directory, or of the cluster
    #[arg(long, env = "PULLGATE_TOKEN_FILE", value_name = "FILE")]
    token_file: PathBuf,
}

impl Arguments {
    pub fn run(self) -> anyhow::Result<Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match self.command {
                Command::Sync(arguments) => arguments.run().await,
                Command::Overview(OverviewArguments { name, server, output }) => {
                    show(&Server::new(server)?.overview(&name).await?, output)
                }
                Command::Leftovers(LeftoversArguments { server, output }) => {
                    leftovers::show(&Server::new(server)?, output).await
                }
                Command::ForgetLeftovers(ForgetArguments { name, yes, server }) => {
                    leftovers::forget(&Server::new(server)?, &name, yes).await
                }
            }
        })
    }
}

impl SyncArguments {
    async fn run(self) -> anyhow::Result<Outcome> {
        let Self { name, timeout, server, output } = self;
        let server = Server::new(server)?;
        let asked = server.call(Method::POST, &format!("registries/{name}/sync")).await?;
        let asked = time(&asked["requestedAt"]).context("the answer does not say when it was asked")?;
        let bar = Bar::new(&name);
        let wait = async {
            loop {
                let overview = server.overview(&name).await?;
                if time(&overview["syncDone"]).is_some_and(|done| done >= asked) {
                    return anyhow::Ok(overview);
                }
                bar.show(&overview["progress"]);
                tokio::time::sleep(POLL).await;
            }
        };
        let Ok(overview) = tokio::time::timeout(Duration::from_secs(timeout), wait).await else {
            bail!(
                "the registry was not read within {timeout} s; it goes on, see: pullgate registry overview {name}"
            );
        };
        bar.clear();
        show(&overview?, output)
    }
}

/// A bar on a terminal; elsewhere nothing, since it may be a script that reads.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(name: &str) -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_message(format!("asking {name}"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        }))
    }

    fn show(&self, progress: &Value) {
        let (Some(bar), Some(done), Some(total)) =
            (&self.0, progress["done"].as_u64(), progress["total"].as_u64())
        else {
            return;
        };
        if bar.length().is_none() {
            // A constant that is well formed.
            if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} spaces  {elapsed}") {
                bar.set_style(style);
            }
        }
        bar.set_length(total);
        bar.set_position(done);
    }

    fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// A management API and who asks it.
pub(super) struct Server {
    client: Client,
    base: String,
    token: SecretString,
}

impl Server {
    fn new(arguments: ServerArguments) -> anyhow::Result<Self> {
        let ServerArguments { server, ca, token_file } = arguments;
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut client =
            Client::builder().timeout(ANSWER).no_proxy().redirect(reqwest::redirect::Policy::none());
        if let Some(file) = ca {
            let pem = std::fs::read(&file).with_context(|| format!("--ca {}", file.display()))?;
            client = client.tls_certs_only(Certificate::from_pem_bundle(&pem).context("--ca")?);
        }
        let token = std::fs::read_to_string(&token_file);
        let token = token.with_context(|| format!("--token-file {}", token_file.display()))?;
        let token = SecretString::from(token.trim().to_owned());
        let base = format!("{}/api/v1", server.trim_end_matches('/'));
        Ok(Self {
            client: client.build().context("no certificates are trusted here; give --ca")?,
            base,
            token,
        })
    }

    async fn overview(&self, name: &str) -> anyhow::Result<Value> {
        let overview = self.call(Method::GET, &format!("registries/{name}/overview")).await?;
        let told = overview["name"].is_string() && overview["health"]["state"].is_string();
        anyhow::ensure!(told, "--server {} answered with something else than an overview", self.base);
        Ok(overview)
    }

    pub(super) async fn call(&self, method: Method, path: &str) -> anyhow::Result<Value> {
        let request = self.client.request(method, format!("{}/{path}", self.base));
        let answer = request.bearer_auth(self.token.expose_secret()).send().await;
        // Without the cause, "error sending request" is all that is said.
        let answer = answer.with_context(|| format!("--server {} cannot be asked", self.base))?;
        let status = answer.status();
        let body: Result<Value, _> = answer.json().await;
        if !status.is_success() {
            let body = body.unwrap_or_default();
            bail!("{} ({status})", body["detail"].as_str().unwrap_or("the server refuses"));
        }
        let no_api =
            || format!("--server {} answered {status}, but no JSON; is it a management API?", self.base);
        body.with_context(no_api)
    }
}

pub(super) fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn show(overview: &Value, format: Format) -> anyhow::Result<Outcome> {
    match format {
        Format::Json => output::print_json(overview)?,
        Format::Text => output::print(|out| text(out, overview))?,
    }
    Ok(Outcome::refused_if(overview["health"]["state"] == "Unhealthy"))
}

fn text(out: &mut dyn Write, overview: &Value) -> std::io::Result<()> {
    let mut rows = vec![
        ("registry", Cell::new(plain(&overview["name"]))),
        ("type", Cell::new(plain(&overview["type"]))),
        ("url", Cell::new(plain(&overview["url"]))),
        ("health", health(&overview["health"])),
    ];
    if let Some(message) = overview["health"]["message"].as_str().filter(|message| !message.is_empty()) {
        rows.push(("", Cell::new(plain(&message.into()))));
    }
    // A Docker registry has neither spaces nor accounts made for it.
    let has_spaces = overview["type"] != "Docker";
    if has_spaces {
        rows.push(("version", Cell::new(plain(&overview["version"]))));
        rows.push(("spaces", Cell::new(spaces(&overview["spaces"]))));
        rows.extend(access(&overview["access"]));
    }
    let storage =
        overview["storage"]["bytes"].as_u64().map(|bytes| indicatif::BinaryBytes(bytes).to_string());
    rows.push(("repositories", Cell::new(plain(&overview["repositories"]))));
    rows.push(("storage", Cell::new(storage.unwrap_or_else(|| UNKNOWN.to_owned()))));
    if has_spaces {
        rows.push(("robots", Cell::new(robots(&overview["robots"]))));
        if let Some(life) = overview["tokenLife"].as_u64() {
            let text = format!("good for {} after an unbinding", HumanDuration(Duration::from_secs(life)));
            rows.push(("tokens", Cell::new(text)));
        }
    }
    rows.push(("last success", Cell::new(moment(&overview["lastSuccess"]))));
    if has_spaces {
        rows.push(("last discovery", Cell::new(moment(&overview["lastDiscovery"]))));
    }
    let rows: Vec<Vec<Cell>> = rows.into_iter().map(|(name, cell)| vec![Cell::new(name), cell]).collect();
    output::rows(out, &rows)
}

pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => UNKNOWN.to_owned(),
        // A row is one line.
        Value::String(text) => Printable(text).to_string().replace('\n', " "),
        other => other.to_string(),
    }
}

fn health(health: &Value) -> Cell {
    let style = match health["state"].as_str() {
        Some("Healthy") => GREEN,
        Some("Unhealthy") => RED,
        _ => YELLOW,
    };
    let since = time(&health["since"]).map(|_| format!(", since {}", moment(&health["since"])));
    let text = format!("{} ({})", plain(&health["state"]), plain(&health["reason"]));
    Cell::styled(text + &since.unwrap_or_default(), style)
}

fn spaces(spaces: &Value) -> String {
    let [total, public, private, bound, unbound] =
        ["total", "public", "private", "bound", "unbound"].map(|name| plain(&spaces[name]));
    format!("{total}: {public} public, {private} private; {bound} bound, {unbound} not")
}

/// In how many spaces the account may do what is needed, and what it may not in which others.
fn access(access: &Value) -> Vec<(&'static str, Cell)> {
    if access.is_null() {
        return Vec::new();
    }
    let of = format!("{} of {} spaces: project roles only", plain(&access["full"]), plain(&access["total"]));
    let lacking = access["lacking"].as_array().map(Vec::as_slice).unwrap_or_default();
    let lacks = lacking.iter().map(|lack| {
        let spaces = lack["spaces"].as_array().map(Vec::as_slice).unwrap_or_default();
        let named: Vec<String> = spaces.iter().take(NAMED).map(plain).collect();
        let more = if spaces.len() > NAMED { ", … (all: -o json)" } else { "" };
        let (right, count) = (plain(&lack["right"]), plain(&lack["count"]));
        ("", Cell::new(format!("may not {right} in {count}: {}{more}", named.join(", "))))
    });
    [("account", Cell::styled(of, YELLOW))].into_iter().chain(lacks).collect()
}

fn robots(robots: &Value) -> String {
    let robots = robots.as_array().map(Vec::as_slice).unwrap_or_default();
    let first = robots.iter().filter_map(|robot| time(&robot["expiresAt"])).min();
    let expiry = first.map(|end| format!("; the first expires {}", seconds(end)));
    format!("{}{}", robots.len(), expiry.unwrap_or_default())
}

/// A time, and how long ago that is.
fn moment(value: &Value) -> String {
    let Some(at) = time(value) else { return UNKNOWN.to_owned() };
    let ago = Duration::try_from(Timestamp::now().duration_since(at)).unwrap_or_default();
    format!("{} ({} ago)", seconds(at), HumanDuration(ago))
}

pub(super) fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
