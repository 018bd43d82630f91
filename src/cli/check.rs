//! `pullgate check`: manifests against records, without a cluster.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::output::{self, BOLD, Cell, DIM, Format, Printable};
use super::report::{ObjectReport, Report, Verdict};
use super::{Outcome, records};
use crate::admission::review::{shown, shown_image};
use crate::manifests;

/// Judge manifests against records, without a cluster
///
/// Runs Pods and workloads through the engine that the webhooks run, and shows for every image what admission would
/// decide and change. Takes Pod, Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob, PodTemplate,
/// ReplicationController and lists of them. Kinds that make no pods are only counted, and so are those of other API
/// groups, whose pods come later from their controllers. What cannot be read is told, and the rest judged.
#[derive(Debug, clap::Args)]
#[command(after_help = concat!(judging_exit_codes!(), "
Examples:
  pullgate check -f deploy/ --records records/
  helm template shop | pullgate check -f - -n shop --records records/ -o json
  pullgate check -f deploy/ --records records/ --records policies/restricted.yaml"))]
pub struct Arguments {
    /// Manifests to judge: a file, a directory (its *.yaml, *.yml and *.json, subdirectories too) or - for standard
    /// input; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required = true)]
    manifests: Vec<PathBuf>,
    #[command(flatten)]
    records: records::RecordSources,
    /// Namespace of manifests that name none.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// How to print the verdicts.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

impl Arguments {
    /// Judges and prints.
    pub(super) fn run(&self) -> anyhow::Result<Outcome> {
        let stdins = self.manifests.iter().filter(|path| *path == Path::new("-")).count();
        if stdins + usize::from(self.records.read_stdin()) > 1 {
            bail!("standard input can be read once only; give - to one option");
        }
        let mut reading = manifests::read(&self.manifests);
        let (snapshot, left_out) = self.records.snapshot().map_err(|mut faults| {
            faults.0.append(&mut reading.faults.0);
            faults
        })?;
        reading.left_out.splice(..0, left_out);
        let report = Report::of(reading, &self.namespace, &snapshot, records::now());
        match self.output {
            Format::Json => output::print_json(&report)?,
            Format::Text => output::print(|out| table(out, &report))?,
        }
        // What was judged is told all the same; who asks for the exit code must know that it was not all.
        report.faults.none_or(Outcome::refused_if(report.summary.deny > 0)).map_err(Into::into)
    }
}

const HEAD: [&str; 7] = ["NAMESPACE", "OBJECT", "PLACE", "IMAGE", "VERDICT", "REASON", "ADDED"];

fn table(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let rows: Vec<_> = report.results.iter().flat_map(rows).collect();
    if !rows.is_empty() {
        output::table(out, &HEAD, rows)?;
    }
    sentences(out, report)?;
    footer(out, report)
}

/// A row an image, each complete in itself, so that `grep` finds whole answers.
fn rows(object: &ObjectReport) -> impl Iterator<Item = Vec<Cell>> {
    object.images.iter().map(|image| {
        let added = match (object.injects_pull_secret, image.sets_always) {
            (true, true) => "pull secret, Always",
            (true, false) => "pull secret",
            (false, true) => "Always",
            (false, false) => "",
        };
        vec![
            Cell::new(shown(&object.namespace)),
            Cell::new(format_args!("{}/{}", object.kind, shown(&object.name))),
            Cell::new(format_args!("{} {}", image.place, shown(&image.name))),
            Cell::new(shown_image(&image.image)),
            Cell::styled(image.verdict.as_str(), image.verdict.style()),
            Cell::new(image.reason),
            Cell::styled(added, DIM),
        ]
    })
}

fn sentences(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    for object in &report.results {
        let mut first = true;
        for image in &object.images {
            let Some(sentence) = &image.sentence else { continue };
            if first {
                first = false;
                let (kind, name, namespace) = (&object.kind, shown(&object.name), shown(&object.namespace));
                writeln!(out, "\n{BOLD}{kind}/{name}{BOLD:#} in namespace {namespace}")?;
            }
            let style = image.verdict.style();
            let (file, line, verdict) = (&object.file, image.line, image.verdict.as_str());
            writeln!(out, "  {style}{verdict}{style:#} {}:{line}: {sentence}", shown(file))?;
        }
    }
    Ok(())
}

fn footer(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let summary = &report.summary;
    let counts = [
        (Verdict::Allow, summary.allow, "allowed"),
        (Verdict::Deny, summary.deny, "denied"),
        (Verdict::Warn, summary.warn, "admitted with a warning"),
        (Verdict::Audit, summary.audit, "admitted and counted as denied"),
    ];
    if summary.objects > 0 {
        let (images, objects) = (plural(summary.images, "image"), plural(summary.objects, "object"));
        write!(out, "\n{images} in {objects}: ")?;
        let mut separator = "";
        for (verdict, count, words) in counts.into_iter().filter(|(_, count, _)| *count > 0) {
            let style = verdict.style();
            write!(out, "{separator}{style}{count} {words}{style:#}")?;
            separator = ", ";
        }
        writeln!(out)?;
    }
    if !summary.skipped.is_empty() {
        let kinds: Vec<_> = summary.skipped.iter().map(|(k, n)| format!("{n} {}", shown(k))).collect();
        writeln!(out, "Not judged, since they make no pods: {}", kinds.join(", "))?;
    }
    for (kind, number) in &summary.not_judged {
        writeln!(out, "Not judged: {number} {}; pods come later from its controller, if any", shown(kind))?;
    }
    report.left_out.iter().try_for_each(|part| writeln!(out, "Left out: {}", Printable(&part.to_string())))
}

fn plural(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}
