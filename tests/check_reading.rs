//! What `pullgate check` reads, as kubectl does, and what it says of what it cannot read.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cli::{Run, run, run_with_input};

const RECORDS: &str = "tests/data/check/records";
const CASES: &str = "tests/data/check/cases";
/// Denied in namespace payments.
const DENIED: &str = "harbor.example.com/team-b/web:1";

fn check(path: &str) -> Run {
    run(&["check", "-f", path, "--records", RECORDS])
}

fn check_bytes(manifest: &[u8]) -> Run {
    run_with_input(&["check", "-f", "-", "-n", "payments", "--records", RECORDS], manifest)
}

fn case(name: &str) -> Run {
    check(&format!("{CASES}/{name}"))
}

fn pod(name: &str, image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: m, image: \"{image}\"}}]}}\n"
    )
}

/// Nothing was complained about, and so many images were denied.
#[track_caller]
fn denies(run: &Run, images: usize) {
    let Run { code, stdout, stderr } = run;
    assert_eq!((*code, stderr.as_str()), (1, ""), "{stdout}");
    assert!(stdout.contains(&format!("{images} denied")), "{stdout}");
}

#[test]
fn quoted_text_is_read_wherever_its_lines_begin() {
    for name in ["quoted-at-its-key.yaml", "quoted-bracket.yaml", "quoted-tab.yaml"] {
        denies(&case(name), 1);
    }
    // Many in one document, each of them under another key's indent.
    let texts: Vec<_> =
        (0..100).map(|n| format!("  k{n}: \"one\n\ttwo \\\n# three\n\n'\"\n  l{n}: 'it''s\n\"'\n")).collect();
    let many = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n{}", texts.concat());
    denies(&check_bytes(format!("{many}---\n{}", pod("a", DENIED)).as_bytes()), 1);
}

#[test]
fn json_values_may_follow_each_other_and_yaml_them() {
    let Run { code, stdout, stderr } = case("values-in-a-row.json");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("2 images in 2 objects"), "{stdout}");

    let json = |name: &str| {
        let containers = json!([{"name": "m", "image": DENIED}]);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers}})
    };
    let pretty = serde_json::to_string_pretty(&json("b")).unwrap();
    let text = format!("{}{pretty}\n---\n{}---\n{}\n", json("a"), pod("c", DENIED), json("d"));
    denies(&check_bytes(text.as_bytes()), 4);
    denies(&check_bytes(format!("{}\n{}", json("a"), pod("b", DENIED)).as_bytes()), 2);
    let broken = check_bytes(format!("{pretty}\n{{\"a\": }}\n").as_bytes());
    assert_eq!(broken.code, 2);
    assert!(broken.stdout.contains("1 denied"), "{}", broken.stdout);
}

#[test]
fn byte_order_marks_tell_utf_16_and_may_stand_before_any_document() {
    let text = format!("\u{feff}{}---\n{}", pod("a", DENIED), pod("b", "harbor.example.com/team-b/\u{fc}"));
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    denies(&check_bytes(&little), 2);
    denies(&check_bytes(&big), 2);
    let joined = format!("\u{feff}{}---\n\u{feff}{}\u{feff}---\n", pod("a", DENIED), pod("b", DENIED));
    denies(&check_bytes(joined.as_bytes()), 2);
    denies(&check_bytes(joined.replace('\n', "\r\n").as_bytes()), 2);
    let cut = check_bytes(&little[..little.len() - 1]);
    assert_eq!((cut.code, cut.stderr.as_str()), (2, "<stdin>:9: its last character is cut off\n"));
}

#[test]
fn null_entries_are_entries_without_content() {
    let list =
        "apiVersion: v1\nkind: List\nitems:\n-\n- null\n- apiVersion: v1\n  kind: List\n  items:\n  - ~\n  -";
    let inner = pod("a", DENIED).replace('\n', "\n    ");
    denies(&check_bytes(format!("{list} {inner}\n---\nnull\n---\n~\n").as_bytes()), 1);

    let spec = "{containers: [{name: m, image: nginx}], volumes: [null, {name: v}], imagePullSecrets: [~], tolerations: [~]}";
    let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {spec}\n");
    let Run { code, stderr, .. } = check_bytes(text.as_bytes());
    assert_eq!((code, stderr.as_str()), (0, ""));
    // What Go reads as a container without name and image.
    denies(&check_bytes(text.replace("}], vol", "}, null], vol").as_bytes()), 1);
}

#[test]
fn a_template_and_deep_nesting_are_called_what_they_are() {
    let Run { code, stderr, .. } = case("template.yaml");
    assert_eq!(code, 2);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with(&format!("{CASES}/template.yaml:1: {{{{: this is a template")), "{stderr}");
    assert!(stderr.contains("render it first: helm template … | pullgate check -f -"), "{stderr}");

    let parts =
        format!("{{{{ if .a }}}}\na: b\n---\n{}---\nb: {{{{ .x }}}}\n{{{{ end }}}}\n", pod("a", DENIED));
    let Run { code, stdout, stderr } = check_bytes(parts.as_bytes());
    assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
    assert!(stdout.contains("1 denied"), "{stdout}");

    for line in [
        "name: {{ .Values.name }}",
        "- {{ toYaml . | nindent 4 }}",
        "  {{- with .Values.a }}",
        "image: [{{ .a }}, b]",
        "{% if a %}",
        "? {{ .a }}",
    ] {
        let Run { code, stderr, .. } = check_bytes(format!("apiVersion: v1\nb:\n{line}\n").as_bytes());
        assert_eq!(code, 2, "{line}");
        assert!(stderr.starts_with("<stdin>:3: {") && stderr.contains("render it first"), "{line}: {stderr}");
    }
    // An alert's text is no template of ours, and the fault another one.
    let alert = "a: |\n  Instance {{ $labels.instance }} is down\nb: \"{{ $value }}\"\nc: d: e\n~: f\n";
    let Run { stderr, .. } = check_bytes(alert.as_bytes());
    assert_eq!(stderr, "<stdin>:4: mapping values are not allowed in this context\n");
    let Run { stderr, .. } = check_bytes(b"~: f\n");
    assert_eq!(stderr, "<stdin>:1: a key must be text, and this is none\n");

    let Run { code, stderr, .. } = case("deep.yaml");
    assert_eq!(code, 2);
    assert!(stderr.contains("65 levels deep") && stderr.contains("64 are the most"), "{stderr}");
    let allowed = format!("{}x: {}{}\n", pod("a", "nginx"), "[".repeat(63), "]".repeat(63));
    assert_eq!(check_bytes(allowed.as_bytes()).code, 0);
}

#[test]
fn what_is_unusable_hides_no_verdict() {
    let Run { code, stdout, stderr } = case("kustomized");
    assert_eq!((code, stderr.as_str()), (1, ""), "nothing is wrong with the others");
    assert!(stdout.contains("1 image in 1 object: 1 denied"), "{stdout}");
    for (file, what) in [
        ("kustomization", "a Kustomization"),
        ("ops", "a JSON 6902 patch"),
        ("values", "the values of a Helm chart"),
        ("patch", "a patch of "),
    ] {
        let lines = stdout.lines().filter(|line| line.contains(what) && line.starts_with("Left out: "));
        assert!(lines.into_iter().any(|line| line.contains(&format!("/{file}.yaml:1: "))), "{stdout}");
    }

    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| fs::write(directory.path().join(name), content).unwrap();
    write("a.yaml", b"a: b: c\n---\nkind: Pod\n");
    write("b.yaml", pod("p", DENIED).as_bytes());
    write("c.yaml", b"\xff\n");
    write("d.json", b"[1]");
    symlink("nowhere", directory.path().join("e.yaml")).unwrap();
    symlink("f.yaml", directory.path().join("f.yaml")).unwrap();
    let path = directory.path().to_str().unwrap();
    let Run { code, stdout, stderr } =
        run(&["check", "-f", path, "-n", "payments", "--records", RECORDS, "-o", "json"]);
    assert_eq!((code, stderr.lines().count()), (2, 6), "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["summary"]["deny"], 1);
    let faults = report["faults"].as_array().unwrap();
    assert_eq!((faults.len(), &faults[0]["line"]), (6, &json!(1)), "{stdout}");
}

#[test]
fn faults_without_number_are_not_all_told() {
    let Run { code, stderr, .. } = check_bytes("{}\n".repeat(100_000).as_bytes());
    assert_eq!((code, stderr.lines().count()), (2, 1003));
    let last = stderr.lines().last().unwrap();
    assert!(last.ends_with("it has more than 1000 faults up to here; the rest is not read"), "{last}");
}

#[test]
fn a_list_of_faults_is_left_as_early() {
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{}", "- {}\n".repeat(10_000));
    let Run { code, stderr, .. } = check_bytes(list.as_bytes());
    assert_eq!((code, stderr.lines().count()), (2, 1003));
}

#[test]
fn kustomize_is_told_by_its_own_files() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let patch = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 2\n";
    write("base/web.yaml", &pod("web", "nginx"));
    write("base/kustomization.yaml", "resources: [web.yaml]\n");
    write("overlays/prod/replicas.yaml", patch);
    write(
        "overlays/prod/memory.yaml",
        &format!("{patch}  template: {{spec: {{containers: [{{name: m}}]}}}}\n"),
    );
    write("overlays/shared/env.yaml", patch);
    write(
        "overlays/prod/kustomization.yml",
        "kind: Kustomization\nresources: [../../base]\npatchesStrategicMerge:\n- replicas.yaml\n- ../shared/./env.yaml\n\
         patches:\n- path: memory.yaml\n- patch: '[]'\n",
    );
    write("component/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n");
    write("loose/patch-env.yaml", patch);
    let Run { code, stdout, stderr } = check(directory.path().to_str().unwrap());
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert_eq!(stdout.matches("Left out: ").count(), 7, "{stdout}");
}

#[test]
fn kinds_of_others_are_named_with_their_group() {
    let Run { code, stdout, stderr } = case("custom-workloads.yaml");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(!stdout.contains("make no pods"), "{stdout}");
    for kind in ["Rollout.argoproj.io", "Service.serving.knative.dev", "StatefulSet.apps.kruise.io"] {
        let expected = format!("Not judged: 1 {kind}; pods come later from its controller");
        assert!(stdout.contains(&expected), "{stdout}");
    }
    let Run { stdout, .. } =
        run(&["check", "-f", &format!("{CASES}/custom-workloads.yaml"), "--records", RECORDS, "-o", "json"]);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["summary"]["notJudged"]["Job.batch.volcano.sh"], 1);
    assert_eq!(report["summary"]["skipped"], json!({}));
}

#[test]
fn what_is_wrong_with_an_image_is_seen_and_named() {
    let Run { code, stdout, stderr } = case("unseen-characters.yaml");
    assert_eq!((code, stderr.as_str()), (1, ""));
    let faults = [
        (r#""harbor.example.com/team-a/web:1 ""#, "leading or trailing white space"),
        (r#"" ""#, "it is white space alone"),
        ("", "it is empty"),
        (r#""harbor.example.com/team-a/web:1\u{200b}""#, "not seen, U+200B"),
        (r#""https://harbor.example.com/team-a/web:1""#, "begins with a scheme"),
        (r#""docker://nginx""#, "begins with a scheme"),
        (r#""${REGISTRY}/web:1""#, "a placeholder that was not filled in"),
        (r#""{{ .Values.image }}""#, "a placeholder that was not filled in"),
    ];
    for (number, (image, fault)) in faults.into_iter().enumerate() {
        let sentence = format!("image {image} (container c{number}): ");
        let line = stdout.lines().find(|line| line.contains(&sentence));
        assert!(line.is_some_and(|line| line.contains(fault)), "{sentence}{fault}: {stdout}");
    }
    let explained =
        run(&["explain", "-n", "payments", "--records", RECORDS, "nginx\u{200b}", "docker://nginx"]);
    assert!(explained.stdout.contains(r#""nginx\u{200b}""#), "{}", explained.stdout);
    assert!(explained.stdout.contains("begins with a scheme"), "{}", explained.stdout);
}

#[test]
fn an_image_of_a_harbor_without_a_project_is_called_that() {
    let Run { code, stdout, .. } = case("no-project.yaml");
    assert_eq!(code, 1);
    assert!(stdout.contains("write harbor.example.com/PROJECT/nginx, or"), "{stdout}");
    let explained = run(&["explain", "-n", "payments", "--records", RECORDS, "harbor.example.com/nginx"]);
    assert!(explained.stdout.contains("write harbor.example.com/PROJECT/nginx, or"), "{}", explained.stdout);
    assert!(!explained.stdout.contains("  space "), "{}", explained.stdout);
}

/// Makes links, each `(at, to)`, below a directory with one manifest.
fn tree(links: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("app.yaml"), pod("p", "nginx")).unwrap();
    for (at, to) in links {
        let at = directory.path().join(at);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(to, at).unwrap();
    }
    directory
}

#[test]
fn directories_are_walked_once_wherever_links_lead() {
    let names: Vec<String> = (0..24).map(|n| format!("d{n}")).collect();
    let mut every_to_every = Vec::new();
    for from in &names {
        for to in &names {
            every_to_every.push((format!("{from}/node_modules/{to}"), format!("../../{to}")));
        }
    }
    let every_to_every: Vec<(&str, &str)> =
        every_to_every.iter().map(|(at, to)| (at.as_str(), to.as_str())).collect();
    for links in [
        &[("a", "."), ("b", ".")][..],
        &[("x/a", ".."), ("x/b", ".."), ("y/a", "../x"), ("y/b", "../..")],
        &[("a/up", "/"), ("b", "a")],
        &every_to_every,
    ] {
        let tree = tree(links);
        let begun = Instant::now();
        let Run { code, stdout, stderr } = check(tree.path().to_str().unwrap());
        assert_eq!((code, stderr.as_str()), (0, ""), "{links:?}");
        assert!(stdout.contains("1 image in 1 object"), "{stdout}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_link_to_another_directory_is_followed_and_a_pipe_not_opened() {
    let other = tree(&[]);
    let tree = tree(&[("linked", other.path().to_str().unwrap()), ("again", other.path().to_str().unwrap())]);
    let pipe = tree.path().join("pipe.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let Run { code, stdout, stderr } = check(tree.path().to_str().unwrap());
    assert_eq!((code, stderr), (2, format!("{}: it is no regular file\n", shown(&pipe))));
    assert!(stdout.contains("2 images in 2 objects: 2 allowed"), "{stdout}");
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}
