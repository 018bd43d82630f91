//! `pullgate check` and `explain`, run as users run them, and the policies that come along.

use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::process::Stdio;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::cli::{Run, pullgate, run, run_with_input};

const RECORDS: &str = "tests/data/check/records";
const PODS: &str = "tests/data/check/pods";
const POLICIES: [&str; 3] = ["baseline", "restricted", "audit"];

fn check(arguments: &[&str]) -> Run {
    run(&[&["check", "-f", PODS, "--records", RECORDS], arguments].concat())
}

/// Checks one manifest that is given on standard input.
fn check_text(manifest: &str) -> Run {
    run_with_input(&["check", "-f", "-", "--records", RECORDS], manifest.as_bytes())
}

/// The complaint about record manifests that are given on standard input.
fn record_faults(manifest: &str) -> String {
    let Run { code, stdout, stderr } =
        run_with_input(&["check", "-f", PODS, "--records", "-"], manifest.as_bytes());
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    stderr
}

fn pod(name: &str, image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  containers:\n  - name: main\n    \
         image: {image}\n"
    )
}

#[test]
fn each_policy_gives_the_verdicts_that_it_promises() {
    for (policy, code) in POLICIES.into_iter().zip([1, 1, 0]) {
        let file = format!("policies/{policy}.yaml");
        let table = check(&["--records", &file]);
        assert_eq!((table.code, table.stderr.as_str()), (code, ""));
        assert_snapshot!(format!("{policy}_table"), table.stdout);
        let json = check(&["--records", &file, "-o", "json"]);
        assert_eq!((json.code, json.stderr.as_str()), (code, ""));
        assert_snapshot!(format!("{policy}_json"), json.stdout);
    }
}

#[test]
fn without_any_policy_the_baseline_holds() {
    assert_eq!(check(&[]).stdout, check(&["--records", "policies/baseline.yaml"]).stdout);
}

#[test]
fn audit_counts_exactly_what_restricted_denies() {
    let verdicts = |policy| check(&["--records", policy, "-o", "json"]).stdout;
    let restricted = verdicts("policies/restricted.yaml");
    let as_audit = restricted.replace(r#""verdict": "deny""#, r#""verdict": "audit""#);
    let results = |text: &str| serde_json::from_str::<Value>(text).unwrap()["results"].clone();
    assert_eq!(results(&verdicts("policies/audit.yaml")), results(&as_audit));
}

#[test]
fn the_policies_replace_each_other_and_say_whom_they_are_for() {
    for policy in POLICIES {
        let text =
            fs::read_to_string(format!("{}/policies/{policy}.yaml", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(text.contains("\nmetadata:\n  name: default\n"), "{policy}");
        assert!(text.contains("# For whom:"), "{policy}");
    }
}

#[test]
fn only_a_denial_that_is_enforced_fails() {
    assert_eq!(check_text(&pod("a", "harbor.example.com/base/app:1")).code, 0);
    assert_eq!(check_text(&pod("a", "harbor.example.com/team-a/app:1")).code, 1);
    let warn =
        "apiVersion: pullgate.io/v1alpha1\nkind: PullPolicy\nmetadata: {name: w}\nspec: {mode: Warn}\n";
    let Run { code, stdout, .. } =
        run_with_input(&["check", "-f", PODS, "--records", RECORDS, "--records", "-"], warn.as_bytes());
    assert_eq!(code, 0);
    assert!(stdout.contains("5 admitted with a warning"), "{stdout}");
}

#[test]
fn the_namespace_option_is_for_manifests_that_name_none() {
    let arguments = ["check", "-f", "-", "--records", RECORDS, "-n", "payments"];
    let manifest = pod("a", "harbor.example.com/team-a/app:1");
    assert_eq!(run_with_input(&arguments, manifest.as_bytes()).code, 0);
    let elsewhere = manifest.replace("  name: a\n", "  name: a\n  namespace: shop\n");
    assert_eq!(run_with_input(&arguments, elsewhere.as_bytes()).code, 1);
    let exempt = run_with_input(
        &[&arguments[..], &["--exempt-namespace", "shop,other"]].concat(),
        elsewhere.as_bytes(),
    );
    assert_eq!(exempt.code, 0);
    assert!(exempt.stdout.contains("Exempt"), "{}", exempt.stdout);
}

#[test]
fn every_kind_that_makes_pods_is_judged() {
    let template = "{spec: {containers: [{name: main, image: harbor.example.com/team-a/app:1}]}}";
    let mut manifests = String::new();
    for (version, kinds) in [
        ("apps/v1", &["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"][..]),
        ("batch/v1", &["Job"]),
        ("v1", &["ReplicationController"]),
    ] {
        for kind in kinds {
            // A template where this kind has none is no place to hide another.
            let decoy = "template: {spec: {containers: [{name: decoy, image: nginx}]}}";
            let head = format!("---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n");
            writeln!(manifests, "{head}{decoy}\nspec:\n  jobTemplate: {{}}\n  template: {template}").unwrap();
        }
    }
    let spec = "---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: x}\nspec: {jobTemplate: {spec: {template: ";
    writeln!(manifests, "{spec}{template}}}}}}}").unwrap();
    let head = "---\napiVersion: v1\nkind: PodTemplate\nmetadata: {name: x}\ntemplate:";
    writeln!(manifests, "{head} {template}").unwrap();
    let Run { code, stdout, stderr } = check_text(&manifests);
    assert_eq!((code, stderr.as_str()), (1, ""));
    assert!(stdout.contains("8 images in 8 objects: 8 denied"), "{stdout}");
}

#[test]
fn lists_are_unrolled_and_kinds_without_pods_counted() {
    let items = "- metadata: {name: a}\n  spec: {containers: [{name: m, image: nginx}]}\n\
                 - metadata: {name: b}\n  spec:\n    containers:\n    - name: m\n      image: 7\n";
    let Run { code, stderr, .. } = check_text(&format!("apiVersion: v1\nkind: PodList\nitems:\n{items}"));
    let message = "<stdin>:10: spec.containers[0].image: expected a string, found a number\n";
    assert_eq!((code, stderr.as_str()), (2, message));

    let others = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret}\n---\n\
                  apiVersion: example.com/v1\nkind: Job\nspec: whatever\n";
    let Run { code, stdout, .. } = check_text(others);
    let expected = "Not judged, since they make no pods: 1 Secret\n\
                    Not judged: 1 Job.example.com; pods come later from its controller, if any\n";
    assert_eq!((code, stdout.as_str()), (0, expected));
}

#[test]
fn faults_name_the_line_within_the_file() {
    let good = pod("a", "nginx");
    for (bad, message) in [
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n", "12: spec: it must be there"),
        ("apiVersion: v1\nkind: Pod\nspec: {}\n", "12: metadata.name: it must be there, or generateName"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: 5\n",
            "15: spec: expected an object, found a number",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  containers: []\n",
            "16: spec.containers: there must be one at least",
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec:\n  template:\n    metadata: {}\n",
            "16: spec.template.spec: it must be there",
        ),
        (
            "apiVersion: extensions/v1beta1\nkind: Deployment\n",
            "12: apiVersion: clusters serve no Deployment as extensions/v1beta1; write apps/v1",
        ),
        ("kind: Pod\n", "12: apiVersion: it must be there, as a string"),
        ("- 1\n", "12: expected a manifest with apiVersion and kind"),
        ("a: 1\nb: 2\na: 3\n", "14: a: it is there twice"),
        ("a: b: c\n", "12: mapping values are not allowed in this context"),
        ("a: [1\n", "12: unclosed bracket '['"),
    ] {
        let Run { code, stdout, stderr } = check_text(&format!("{good}---\n# empty\n---\n{bad}"));
        let expected = format!("<stdin>:{message}\n");
        assert_eq!((code, stderr.as_str()), (2, expected.as_str()), "{bad}");
        assert!(stdout.contains("1 image in 1 object: 1 allowed"), "{stdout}");
    }
}

#[test]
fn nothing_at_all_is_a_fault() {
    for manifest in ["", "---\n# nothing\n---\n"] {
        let Run { code, stderr, .. } = check_text(manifest);
        assert_eq!((code, stderr.as_str()), (2, "<stdin>: there is no manifest in it\n"));
    }
    let Run { code, stderr, .. } = run(&["check", "-f", "no/such.yaml", "--records", RECORDS]);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("no/such.yaml: No such file"), "{stderr}");
    assert_eq!(run(&["check", "-f", PODS]).code, 2, "clap asks for --records");
    let twice = run(&["check", "-f", "-", "--records", "-"]);
    assert_eq!(twice.code, 2);
    assert!(twice.stderr.starts_with("error: standard input"), "{}", twice.stderr);
}

#[test]
fn text_that_is_not_utf8_is_a_fault_and_a_byte_order_mark_is_not() {
    let arguments = ["check", "-f", "-", "--records", RECORDS];
    let Run { code, stderr, .. } = run_with_input(&arguments, b"a: 1\nb: \xff\n");
    assert_eq!((code, stderr.as_str()), (2, "<stdin>:2: it is not UTF-8\n"));
    let windows = format!("\u{feff}{}", pod("a", "nginx").replace('\n', "\r\n"));
    assert_eq!(check_text(&windows).code, 0);
}

#[test]
fn json_is_read_with_its_escapes() {
    let text = "{\n\t\"apiVersion\": \"v1\", \"kind\": \"Pod\",\n\t\"metadata\": {\"name\": \"a\", \"annotations\": \
                {\"x\": \"\\ud83d\\ude00\"}},\n\t\"spec\": {\"containers\": [{\"name\": \"m\", \"image\": \
                \"docker.io\\/nginx\"}]}\n}";
    let Run { code, stdout, stderr } = check_text(text);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("docker.io/nginx"), "{stdout}");
}

#[test]
fn aliases_that_multiply_are_refused_at_once() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let list = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{list}]").unwrap();
    }
    let Run { code, stderr, .. } = check_text(&bomb);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("<stdin>:") && stderr.ends_with("do aliases multiply in it?\n"), "{stderr}");
    let own = check_text("a: &a [*a]\n");
    assert_eq!((own.code, own.stderr.as_str()), (2, "<stdin>:1: an alias stands within its own anchor\n"));
}

#[test]
fn a_file_of_ten_megabytes_is_read_and_one_over_the_limit_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.yaml");
    let line = "    a line of some length, as scripts in a ConfigMap have them by the thousand\n";
    let data = line.repeat(10 * 1024 * 1024 / line.len());
    let manifest =
        format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  script: |\n{data}---\n{}", pod("a", "x/Bad"));
    fs::write(&path, manifest).unwrap();
    let path = path.to_str().unwrap();
    let Run { code, stdout, .. } = run(&["check", "-f", path, "--records", RECORDS, "-o", "json"]);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let lines = 4 + data.lines().count() as u64 + 1;
    assert_eq!((code, &report["results"][0]["line"]), (1, &json!(lines + 1)));
    assert_eq!(report["results"][0]["images"][0]["line"], json!(lines + 8));

    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(64 * 1024 * 1024 + 1).unwrap();
    let Run { code, stderr, .. } = run(&["check", "-f", path, "--records", RECORDS]);
    assert_eq!((code, stderr), (2, format!("{path}: it is over 64 MiB, the most that is read\n")));
}

#[test]
fn a_directory_is_read_in_the_order_of_its_names() {
    let directory = tempfile::tempdir().unwrap();
    let files = ["b.yaml", "a/z.yml", "a/c/x.json", "c.yaml", "notes.txt", ".hidden.yaml", "..2026/b.yaml"];
    for (number, file) in files.iter().enumerate() {
        let path = directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, pod(&format!("p{number}"), "nginx")).unwrap();
    }
    let path = directory.path().to_str().unwrap();
    let Run { code, stdout, .. } = run(&["check", "-f", path, "--records", RECORDS, "-o", "json"]);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let names: Vec<_> =
        report["results"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!((code, names), (0, vec!["p2", "p1", "p0", "p3"]));
}

#[test]
fn all_faults_of_all_records_are_told_at_once() {
    let faults = record_faults(
        "apiVersion: pullgate.io/v1alpha1\nkind: Registry\nmetadata: {name: corp}\nspec:\n  type: Harbor\n  \
         url: ftp://x\n  paths: [a/]\n---\napiVersion: pullgate.io/v1alpha1\nkind: Workspace\nmetadata:\n  name: w\n\
         spec:\n  namespaces:\n  - fine\n  - Not_Fine\nextra: 1\n---\napiVersion: pullgate.io/v1alpha1\n\
         kind: PullPolicy\nmetadata: {name: p}\nspec: {mode: Sometimes}\n---\n\
         apiVersion: pullgate.io/v1alpha1\nkind: Registry\nmetadata: {name: t}\nspec:\n  type: Docker\n  \
         url: https://t.example.com\n  tls: 5\n",
    );
    assert_snapshot!(faults);
}

#[test]
fn what_is_no_record_is_refused_among_records() {
    let unknown = record_faults(&pod("a", "nginx"));
    assert!(unknown.starts_with("<stdin>:2: kind: v1 Pod is no record; "), "{unknown}");
    let version = record_faults("apiVersion: pullgate.io/v1\nkind: Registry\nmetadata: {name: a}\n");
    assert_eq!(
        version,
        "<stdin>:1: apiVersion: pullgate.io/v1 is not known here; write pullgate.io/v1alpha1\n"
    );
    let workspace = "apiVersion: pullgate.io/v1alpha1\nkind: Workspace\nmetadata: {name: w}\nspec: {}\n";
    let twice = record_faults(&format!("{workspace}---\n{workspace}"));
    assert_eq!(twice, "<stdin>:6: Workspace w is there already, at <stdin>:1\n");
}

#[test]
fn a_pinned_workspace_holds_for_the_namespace_that_was_seen_first() {
    let manifest = pod("a", "harbor.example.com/team-b/api:2");
    let shop = ["check", "-f", "-", "-n", "shop", "--records"];
    let with = |records| run_with_input(&[&shop[..], &[records]].concat(), manifest.as_bytes()).code;
    assert_eq!(with(RECORDS), 0);
    let directory = tempfile::tempdir().unwrap();
    for file in ["registries.yaml", "workspaces.yaml"] {
        let text = fs::read_to_string(format!("{}/{RECORDS}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let another = text.replace("    uid: 0b0c6a3e", "    uid: ffffffff");
        fs::write(directory.path().join(file), another).unwrap();
    }
    assert_eq!(with(directory.path().to_str().unwrap()), 1);
}

#[test]
fn an_older_record_keeps_its_host_from_one_that_was_never_stored() {
    let registry = |name: &str, metadata: &str, kind: &str| {
        format!(
            "apiVersion: pullgate.io/v1alpha1\nkind: Registry\nmetadata: {{name: {name}{metadata}}}\n\
             spec: {{type: {kind}, url: https://r.example.com}}\n---\n"
        )
    };
    let old = registry("z", ", creationTimestamp: 2026-01-01T00:00:00Z", "Docker");
    let new = registry("a", ", creationTimestamp: null", "Harbor");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pod.yaml");
    fs::write(&path, pod("a", "r.example.com/team/app:1")).unwrap();
    let arguments = ["check", "-f", path.to_str().unwrap(), "--records", "-"];
    let Run { code, stderr, .. } = run_with_input(&arguments, (new + &old).as_bytes());
    assert_eq!((code, stderr.as_str()), (0, ""), "the Harbor would deny");
}

#[test]
fn pipes_get_no_colours_and_terminals_that_ask_for_them_do() {
    assert!(!check(&[]).stdout.contains('\u{1b}'));
    let arguments = ["check", "-f", PODS, "--records", RECORDS];
    let forced = pullgate(&arguments).env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(forced.stdout.contains(&0x1b));
    let refused = pullgate(&arguments).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1").output().unwrap();
    assert!(!refused.stdout.contains(&0x1b), "NO_COLOR counts for more");
}

#[test]
fn a_reader_that_leaves_changes_no_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("many.yaml");
    // More than a pipe holds.
    let many: String =
        (0..1000).map(|n| pod(&format!("p{n}"), "harbor.example.com/team-a/web:1") + "---\n").collect();
    fs::write(&path, many).unwrap();
    let arguments = ["check", "-f", path.to_str().unwrap(), "--records", RECORDS];
    let mut child = pullgate(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]));
}

#[test]
fn explain_tells_registry_space_verdict_and_credentials() {
    let images = [
        "harbor.example.com/team-a/web:1.8.2",
        "harbor.example.com/team-b/api",
        "harbor.example.com/absent/api",
        "artifactory.example.net/shop-docker/api",
        "HARBOR.example.com/base/x",
        "nginx",
        "sha256:abc",
    ];
    let explain = |rest: &[&str]| run(&[&["explain", "-n", "payments", "--records", RECORDS], rest].concat());
    let text = explain(&images);
    assert_eq!((text.code, text.stderr.as_str()), (1, ""));
    assert_snapshot!("explain_text", text.stdout);
    let json = explain(&[&images[..], &["-o", "json"]].concat());
    assert_snapshot!("explain_json", json.stdout);
    assert_eq!(explain(&images[..1]).code, 0);
    assert_eq!(run(&["explain", "-n", "payments", "--records", "no/such", "nginx"]).code, 2);
}
