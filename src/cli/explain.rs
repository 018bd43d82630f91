//! `pullgate explain`: why an image may be pulled in a namespace or not, with all that an administrator may know.

use std::io::{self, Write};

use serde::Serialize;

use super::image::Parts;
use super::output::{self, BOLD, Format};
use super::report::Verdict;
use super::{Outcome, records};
use crate::admission::review::{shown, shown_image};
use crate::domain::decision::{Request, decide};
use crate::domain::image::ImageRef;
use crate::domain::origin::{ImageOrigin, SpaceOrigin};
use crate::domain::record::{UnixSeconds, Visibility};
use crate::domain::snapshot::{Scope, Snapshot};

/// Explain why images may be pulled in a namespace or not
///
/// Shows for each image how it is read, which registry and space it comes from, what is decided and why, and which
/// entries of the namespace's pull secret cover it. Never shows a password. What it shows is for administrators:
/// it names other tenants.
#[derive(Debug, clap::Args)]
#[command(after_help = concat!(judging_exit_codes!(), "
Example:
  pullgate explain -n shop harbor.example.com/team-a/web:1.8.2 --records records/"))]
pub struct Arguments {
    /// Image references, as pods name them.
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Namespace in which they are to be pulled.
    #[arg(short, long)]
    namespace: String,
    #[command(flatten)]
    records: records::RecordSources,
    /// How to print the explanations.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

#[derive(Debug, Serialize)]
struct Explained<'r> {
    namespace: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<&'r str>,
    exempt: bool,
    images: Vec<ExplainedImage<'r>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExplainedImage<'r> {
    image: &'r str,
    /// Absent where it is no reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    reads_as: Option<Parts<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source<'r>>,
    verdict: Verdict,
    reason: &'static str,
    explanation: String,
    needs_always: bool,
    credentials: Vec<Credential>,
}

/// Which registry an image comes from.
#[derive(Debug, Serialize)]
#[serde(tag = "integratedBy")]
enum Source<'r> {
    Nobody,
    Platform {
        registry: &'r str,
        #[serde(skip_serializing_if = "Option::is_none")]
        space: Option<Space<'r>>,
    },
    Workspaces {
        claims: Vec<Claim<'r>>,
    },
}

#[derive(Debug, Serialize)]
struct Space<'r> {
    path: String,
    /// Absent where no record has the space.
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility: Option<Visibility>,
    workspaces: Vec<&'r str>,
}

#[derive(Debug, Serialize)]
struct Claim<'r> {
    /// Absent where the record is invalid or its workspace unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<&'r str>,
    registry: &'r str,
}

/// An entry of the namespace's pull secret.
#[derive(Debug, Serialize)]
struct Credential {
    key: String,
    of: String,
}

impl Arguments {
    /// Explains and prints.
    pub(super) fn run(&self) -> anyhow::Result<Outcome> {
        let (snapshot, left_out) = self.records.snapshot()?;
        output::remark(&left_out);
        let scope = snapshot.scope(&self.namespace);
        let now = records::now();
        let explained = Explained {
            namespace: &self.namespace,
            workspace: scope.workspace(),
            exempt: scope.exempt(),
            images: self.images.iter().map(|image| explain(&snapshot, &scope, image, now)).collect(),
        };
        match self.output {
            Format::Json => output::print_json(&explained)?,
            Format::Text => output::print(|out| text(out, &explained))?,
        }
        Ok(Outcome::refused_if(explained.images.iter().any(|image| image.verdict == Verdict::Deny)))
    }
}

fn explain<'r>(
    snapshot: &'r Snapshot,
    scope: &Scope<'r>,
    image: &'r str,
    now: UnixSeconds,
) -> ExplainedImage<'r> {
    let decision = decide(scope, &Request { image, always: None, now });
    let admissible = ImageRef::admissible(image).ok();
    ExplainedImage {
        image,
        reads_as: Parts::of(image).ok(),
        source: admissible.as_ref().map(|read| source(snapshot, read)),
        verdict: Verdict::of(&decision),
        reason: decision.reason.as_str(),
        explanation: decision.explanation().to_string(),
        needs_always: decision.needs_always,
        credentials: admissible.map(|read| credentials(scope, &read)).unwrap_or_default(),
    }
}

fn source<'r>(snapshot: &'r Snapshot, image: &ImageRef<'_>) -> Source<'r> {
    match snapshot.origin(image) {
        ImageOrigin::Unmanaged => Source::Nobody,
        ImageOrigin::Platform { registry, space } => {
            let path = image.path.split('/').next().unwrap_or_default().to_owned();
            let space =
                space.map(|SpaceOrigin { visibility, bound }| Space { path, visibility, workspaces: bound });
            Source::Platform { registry, space }
        }
        ImageOrigin::Workspaces(claims) => Source::Workspaces {
            claims: claims.into_iter().map(|(workspace, registry)| Claim { workspace, registry }).collect(),
        },
    }
}

/// The entries that the kubelet would offer for the image: it cuts the key's `/v2`, and compares beginnings.
fn credentials(scope: &Scope<'_>, image: &ImageRef<'_>) -> Vec<Credential> {
    let name = format!("{}/{}", image.domain, image.path);
    let covers = |key: &str| name.starts_with(&key.replacen("/v2/", "/", 1));
    let entries = scope.pull_entries().into_iter().filter(|(key, _)| covers(key));
    entries.map(|(key, id)| Credential { key, of: id.to_string() }).collect()
}

fn text(out: &mut dyn Write, explained: &Explained<'_>) -> io::Result<()> {
    let namespace = shown(explained.namespace);
    let standing = match explained.workspace {
        _ if explained.exempt => "is exempt from pull decisions".to_owned(),
        Some(workspace) => format!("belongs to workspace {workspace}"),
        None => "belongs to no workspace".to_owned(),
    };
    writeln!(out, "namespace {namespace} {standing}")?;
    explained.images.iter().try_for_each(|image| text_of_image(out, image))
}

fn text_of_image(out: &mut dyn Write, image: &ExplainedImage<'_>) -> io::Result<()> {
    writeln!(out, "\n{BOLD}{}{BOLD:#}", shown_image(image.image))?;
    let read: Vec<_> = image
        .reads_as
        .iter()
        .flat_map(Parts::named)
        .map(|(n, text)| format!("{n} {}", shown(text)))
        .collect();
    let read = if read.is_empty() { "no image reference".to_owned() } else { read.join(", ") };
    writeln!(out, "  reads as     {read}")?;
    match &image.source {
        None => {}
        Some(Source::Nobody) => writeln!(out, "  registry     integrated by nobody")?,
        Some(Source::Platform { registry, space }) => {
            writeln!(out, "  registry     {registry}, integrated by the platform")?;
            if let Some(space) = space {
                writeln!(out, "  space        {}", described(space))?;
            }
        }
        Some(Source::Workspaces { claims }) => {
            for Claim { workspace, registry } in claims {
                let owner =
                    workspace.map_or("nobody, as its record stands".to_owned(), |w| format!("workspace {w}"));
                writeln!(out, "  registry     {registry}, integrated for {owner}")?;
            }
        }
    }
    let (style, verdict) = (image.verdict.style(), image.verdict.as_str());
    let (reason, explanation) = (image.reason, &image.explanation);
    writeln!(out, "  verdict      {style}{verdict}{style:#} ({reason}): {explanation}")?;
    let policy = if image.needs_always { "Always, which admission sets" } else { "as the pod has it" };
    writeln!(out, "  pull policy  {policy}")?;
    if image.credentials.is_empty() {
        writeln!(out, "  credentials  none")?;
    }
    for Credential { key, of } in &image.credentials {
        writeln!(out, "  credentials  {key}: {of}")?;
    }
    Ok(())
}

fn described(space: &Space<'_>) -> String {
    let path = &space.path;
    match (space.visibility, space.workspaces.as_slice()) {
        (None, _) => format!("{path}, which no record has"),
        (Some(Visibility::Public), _) => format!("{path}, public"),
        (Some(Visibility::Private), []) => format!("{path}, private, bound to no workspace"),
        (Some(Visibility::Private), bound) => format!("{path}, private, bound to {}", bound.join(", ")),
    }
}
