//! `pullgate registry leftovers` and `forget-leftovers`: accounts at registries that nobody needs any more.

use std::io::Write;

use anyhow::bail;
use reqwest::Method;
use serde_json::Value;

use super::Outcome;
use super::output::{self, Cell, Format};
use super::registry::{Server, plain, seconds, time};

/// Shows what is left, and where.
pub(super) async fn show(server: &Server, format: Format) -> anyhow::Result<Outcome> {
    let left = items(server).await?;
    match format {
        Format::Json => output::print_json(&left)?,
        Format::Text if left.is_empty() => output::print(|out| writeln!(out, "nothing is left anywhere"))?,
        Format::Text => output::print(|out| text(out, &left))?,
    }
    Ok(Outcome::refused_if(!left.is_empty()))
}

/// Forgets what is left at a registry, if that is what is wanted.
pub(super) async fn forget(server: &Server, name: &str, yes: bool) -> anyhow::Result<Outcome> {
    let mut left = items(server).await?;
    left.retain(|leftover| leftover["registry"] == name && leftover["current"] != true);
    if left.is_empty() {
        bail!("nothing is left at a registry {name} that is recorded no more, or at another address now");
    }
    if !yes {
        let places: Vec<_> =
            left.iter().map(|left| format!("{} until {}", plain(&left["url"]), end(left))).collect();
        bail!(
            "accounts that pullgate made may still be at {}, and whoever has their passwords pulls with them. Once they are \
             forgotten, pullgate removes none of them, and says no more that they are there. Do that for a registry that never \
             comes back, or after you removed them there; then give --yes",
            places.join(" and at ")
        );
    }
    server.call(Method::DELETE, &format!("leftovers/{name}")).await?;
    output::print(|out| {
        left.iter().try_for_each(|left| {
            writeln!(
                out,
                "forgot what was left at {}; accounts there pull until {}",
                plain(&left["url"]),
                end(left)
            )
        })
    })?;
    Ok(Outcome::Good)
}

async fn items(server: &Server) -> anyhow::Result<Vec<Value>> {
    match server.call(Method::GET, "leftovers").await?.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => bail!("the server answered with something else than what is left"),
    }
}

fn text(out: &mut dyn Write, left: &[Value]) -> std::io::Result<()> {
    let body = left.iter().map(|left| {
        let why = match (left["recorded"] == true, left["current"] == true) {
            (_, true) => "bound no more",
            (true, false) => "recorded at another address",
            (false, false) => "recorded no more",
        };
        let cells = [
            plain(&left["registry"]),
            plain(&left["url"]),
            why.to_owned(),
            plain(&left["places"]),
            end(left),
        ];
        cells.into_iter().map(Cell::new).collect()
    });
    output::table(out, &["REGISTRY", "URL", "WHY", "PLACES", "ACCOUNTS END"], body.collect())
}

fn end(left: &Value) -> String {
    time(&left["until"]).map_or_else(|| "for ever".to_owned(), |end| seconds(end).to_string())
}
