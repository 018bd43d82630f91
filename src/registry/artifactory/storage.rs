//! How much an Artifactory stores, which it tells in a form for people.

use serde_json::Value;

use super::{Found, is_docker};

/// Bytes of its docker repositories; `None` where a row cannot be read, since a sum without it would be wrong.
pub(super) fn used(told: &Value, spaces: &[Found]) -> Option<i64> {
    let rows = told["repositoriesSummaryList"].as_array()?;
    let of_docker = |row: &&Value| {
        let key = row["repoKey"].as_str().unwrap_or_default();
        let listed = || spaces.iter().any(|space| space.path == key);
        key != "TOTAL" && row["packageType"].as_str().map_or_else(listed, is_docker)
    };
    let bytes = |row: &Value| {
        let exact = &row["usedSpaceInBytes"];
        exact
            .as_i64()
            .or_else(|| exact.as_str()?.parse().ok())
            .or_else(|| for_people(row["usedSpace"].as_str()?))
            .filter(|bytes| *bytes >= 0)
    };
    rows.iter().filter(of_docker).map(bytes).try_fold(0_i64, |sum, bytes| sum.checked_add(bytes?))
}

/// Bytes of `59.77 GB`: its units are powers of 1024.
fn for_people(text: &str) -> Option<i64> {
    const UNITS: [&str; 7] = ["bytes", "KB", "MB", "GB", "TB", "PB", "EB"];
    let (figure, unit) = text.trim().split_once(' ')?;
    let unit = unit.trim();
    let power =
        UNITS.iter().position(|known| unit.eq_ignore_ascii_case(known)).or((unit == "byte").then_some(0))?;
    let figure: f64 = figure.replace(',', "").parse().ok()?;
    let bytes = figure * 1024_f64.powi(i32::try_from(power).ok()?);
    // Beyond that a float has no whole numbers, and no registry so many bytes.
    #[allow(clippy::cast_possible_truncation)]
    (figure >= 0.0 && bytes < 9e18).then(|| bytes.round() as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_for_people_are_read() {
        for (text, bytes) in [
            ("0 bytes", 0),
            ("512 bytes", 512),
            ("1.50 KB", 1536),
            ("3.00 MB", 3 << 20),
            ("59.50 GB", 59 * (1 << 30) + (1 << 29)),
            ("1,024.00 GB", 1 << 40),
            ("2 TB", 2 << 40),
        ] {
            assert_eq!(for_people(text), Some(bytes), "{text}");
        }
        for none in ["", "59", "GB", "-1 GB", "NaN GB", "inf GB", "9999999 EB", "1 GiB", "1 GB (2%)"] {
            assert_eq!(for_people(none), None, "{none}");
        }
    }

    #[test]
    fn rows_of_docker_are_summed_and_one_that_cannot_be_read_leaves_the_sum_unknown() {
        let row = |key: &str, package: &str, used: &str| json!({"repoKey": key, "packageType": package, "usedSpace": used});
        let mut told = json!({"repositoriesSummaryList": [
            row("a", "Docker", "1.00 KB"),
            row("jars", "Maven", "1.00 GB"),
            {"repoKey": "b", "packageType": "docker", "usedSpace": "1 KB", "usedSpaceInBytes": 1000},
            {"repoKey": "TOTAL", "repoType": "NA", "usedSpace": "1.00 GB"},
        ]});
        assert_eq!(used(&told, &[]), Some(2024));
        told["repositoriesSummaryList"][0]["usedSpace"] = json!("many");
        assert_eq!(used(&told, &[]), None);
        assert_eq!(used(&json!({}), &[]), None);
    }
}
