//! A real Prometheus with the shipped alerts, whose patience is shortened to that of a test.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::plane::until;
use crate::replica::Fleet;

pub struct Prometheus {
    process: Child,
    url: String,
    directory: TempDir,
}

impl Prometheus {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let alerts = include_str!("../../deploy/chart/files/alerts.yaml");
        let hurried: Vec<_> = alerts
            .lines()
            .map(|line| if line.trim_start().starts_with("for: ") { "        for: 1s" } else { line })
            .collect();
        std::fs::write(directory.path().join("alerts.yaml"), hurried.join("\n")).unwrap();
        write_targets(directory.path(), &[]);
        let configuration = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [{"job_name": "pullgate", "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "1s"}]}],
        });
        std::fs::write(directory.path().join("prometheus.yaml"), configuration.to_string()).unwrap();
        let process = Command::new("prometheus")
            .current_dir(directory.path())
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--log.level=warn"])
            .stdout(Stdio::null())
            .spawn()
            .expect("Debian's package prometheus has it");
        let prometheus = Self { process, url: format!("http://127.0.0.1:{port}"), directory };
        until("Prometheus is ready", Duration::from_secs(20), async || {
            reqwest::get(format!("{}/-/ready", prometheus.url)).await.is_ok_and(|a| a.status().is_success())
        })
        .await;
        prometheus
    }

    /// Scrapes the replicas that there are.
    pub async fn watch(&self, fleet: &Fleet) {
        let targets: Vec<_> = fleet.targets().await.iter().map(ToString::to_string).collect();
        write_targets(self.directory.path(), &targets);
    }

    /// How many replicas it reaches.
    pub async fn reaches(&self) -> usize {
        let targets = self.ask("targets?state=active").await;
        targets["activeTargets"].as_array().unwrap().iter().filter(|t| t["health"] == "up").count()
    }

    /// The alerts that fire.
    pub async fn firing(&self) -> BTreeSet<String> {
        let alerts = self.ask("alerts").await;
        let firing = alerts["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }

    pub async fn until_firing(&self, names: &[&str]) {
        let what = format!("{names:?} fire");
        until(&what, Duration::from_secs(30), async || {
            let firing = self.firing().await;
            names.iter().all(|name| firing.contains(*name))
        })
        .await;
    }

    pub async fn until_quiet(&self, names: &[&str]) {
        let what = format!("{names:?} end");
        until(&what, Duration::from_mins(1), async || {
            let firing = self.firing().await;
            names.iter().all(|name| !firing.contains(*name))
        })
        .await;
    }

    async fn ask(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("{}/api/v1/{path}", self.url)).await.unwrap();
        answer.json::<Value>().await.unwrap()["data"].take()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write_targets(directory: &Path, targets: &[String]) {
    // By a rename: Prometheus may read at any moment.
    let next = directory.join("targets.next");
    std::fs::write(&next, json!([{ "targets": targets }]).to_string()).unwrap();
    std::fs::rename(next, directory.join("targets.json")).unwrap();
}
