//! A real `pullgate serve` in a directory of its own, ended with the test.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, Response, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use super::api::sha256;
use super::cli::pullgate;
use super::https_client::{client, trusting_with};

/// The token of the one Admin that [`Server::start`] makes, who may reveal passwords.
pub const TOKEN: &str = "token-of-the-test";

/// How long a small server may take to be ready.
pub const READY_WITHIN: Duration = Duration::from_secs(10);

pub struct Server {
    process: Child,
    client: Client,
    pub webhooks: String,
    pub api: String,
    pub metrics: String,
}

impl Server {
    /// Starts a server on free ports and waits until it is ready.
    pub async fn start(directory: &Path) -> Self {
        Self::start_with(directory, &[], READY_WITHIN).await
    }

    /// Starts one with further arguments, and another time to get ready. Its certificate is its own CA's, its log is in
    /// `directory/log`, and its own files in `directory/data`. It knows the tokens file also where records are in a
    /// cluster, unless the arguments say who else is to know the callers.
    pub async fn start_with(directory: &Path, arguments: &[&str], ready_within: Duration) -> Self {
        Self::start_in(directory, arguments, &[], ready_within).await
    }

    /// Starts one with an environment.
    pub async fn start_in(
        directory: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
        ready_within: Duration,
    ) -> Self {
        let own_ca = directory.join("data/tls/ca.crt");
        let ca = async || std::fs::read_to_string(own_ca).unwrap();
        Self::start_trusting(directory, arguments, environment, ready_within, ca).await
    }

    /// Starts one whose certificate is of a CA that is known once the process serves.
    pub async fn start_trusting(
        directory: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
        ready_within: Duration,
        ca: impl AsyncFnOnce() -> String,
    ) -> Self {
        let tokens = directory.join("tokens.yaml");
        let entry =
            format!("tokens:\n- {{name: test, role: Admin, reveal: true, sha256: {}}}\n", sha256(TOKEN));
        std::fs::write(&tokens, entry).unwrap();
        let data = directory.join("data");
        let by_file = vec!["--api-auth", "tokens", "--tokens", tokens.to_str().unwrap()];
        let any = "127.0.0.1:0";
        let mut process: Child = Command::new(pullgate(&[]).get_program())
            .args(["serve", "--log-json", "--webhook-addr", any, "--api-addr", any])
            .args(["--metrics-addr", any, "--data-dir"])
            .arg(&data)
            .args(arguments)
            .args(if arguments.contains(&"--api-auth") { Vec::new() } else { by_file })
            .env("PULLGATE_SETTLE", "0")
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = std::fs::File::create(directory.join("log")).unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap())
            .lines()
            .map(move |line| line.inspect(|line| writeln!(log, "{line}").unwrap()));
        let serving = loop {
            let line: Value = serde_json::from_str(&lines.next().expect("it ended").unwrap()).unwrap();
            if line["fields"]["message"] == "serving" {
                break line["fields"].clone();
            }
        };
        // Nobody may find the pipe full.
        std::thread::spawn(move || lines.for_each(drop));
        let address = |part: &str| serving[part].as_str().unwrap().to_owned();
        let server = Self {
            process,
            client: client(&ca().await, b"http/1.1"),
            webhooks: format!("https://{}", address("webhooks")),
            api: format!("https://{}/api/v1", address("api")),
            metrics: format!("http://{}", address("metrics")),
        };
        let start = Instant::now();
        while !server
            .client
            .get(format!("{}/readyz", server.metrics))
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
        {
            assert!(start.elapsed() < ready_within, "not ready in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    /// Has it called with a client's certificate from now on; `ca`: what signed the server's.
    pub fn call_as(&mut self, ca: &str, (certificate, key): (String, PrivateKeyDer<'static>)) {
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let config = trusting_with(ca, b"http/1.1", Some((chain, key)));
        self.client = Client::builder().tls_backend_preconfigured(config).no_proxy().build().unwrap();
    }

    pub async fn get(&self, url: String) -> Response {
        self.client.get(url).bearer_auth(TOKEN).send().await.unwrap()
    }

    /// A call of the management API that must succeed.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, text) = self.ask(method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// A call of the management API, whatever comes of it.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, String) {
        let request = self.client.request(method, format!("{}{path}", self.api)).bearer_auth(TOKEN);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// The whole answer of a call without a body.
    pub async fn answer(&self, method: Method, path: &str) -> Response {
        self.client.request(method, format!("{}{path}", self.api)).bearer_auth(TOKEN).send().await.unwrap()
    }

    /// Removes a record, whatever version it has.
    pub async fn remove(&self, path: &str) {
        let request = self.client.delete(format!("{}{path}", self.api)).bearer_auth(TOKEN);
        let response = request.header("if-match", "*").send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.text().await.unwrap());
    }

    /// The answer to a review.
    pub async fn review(&self, webhook: &str, review: &Value) -> Value {
        let url = format!("{}/{webhook}", self.webhooks);
        self.client.post(url).json(review).send().await.unwrap().json().await.unwrap()
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A line of the process's `/proc` status, in KiB.
    pub fn memory_kib(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let value = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')).unwrap();
        value.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Asks it to end, as a kubelet does.
    pub fn terminate(&mut self) -> ExitStatus {
        Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        self.process.wait().unwrap()
    }

    /// Ends it without a chance to say goodbye.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
