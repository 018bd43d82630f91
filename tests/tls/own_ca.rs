//! pullgate's own CA and leaf: issued, kept, renewed, mended.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use pullgate::tls::{
    Certificate, CertificateSource,
    issue::{self, LEAF_LIFE},
};
use tempfile::tempdir;

use super::{DAY, client, der, error, make, now, read, serve, shown};

fn self_signed(dir: &Path, names: &[&str]) -> CertificateSource {
    let names = names.iter().map(ToString::to_string).collect();
    CertificateSource::SelfSigned { dir: dir.to_path_buf(), names }
}

#[tokio::test]
async fn a_client_that_trusts_the_own_ca_verifies_the_leaf() {
    let dir = tempdir().unwrap();
    let certificate = Certificate::load(self_signed(dir.path(), &["localhost", "127.0.0.1"])).unwrap();
    let port = serve(&certificate).port();
    let ca = read(dir.path(), "ca.crt");
    assert_eq!(certificate.ca_pem().unwrap(), ca);
    for host in ["localhost", "127.0.0.1"] {
        shown(&client(&ca, b"h2"), &format!("https://{host}:{port}/")).await.unwrap();
    }
    assert!(shown(&client(&make().ca, b"h2"), &format!("https://localhost:{port}/")).await.is_err());
}

#[test]
fn own_keys_are_the_owners_alone() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("new/tls");
    Certificate::load(self_signed(&data, &["localhost"])).unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(data.join("ca.key")), mode(data.join("tls.key"))], [0o600; 2]);
    assert_eq!(mode(data.clone()), 0o700);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 4, "leftovers beside the four files");
}

#[test]
fn the_own_ca_survives_and_the_leaf_is_renewed_before_it_expires() {
    let dir = tempdir().unwrap();
    let source = || self_signed(dir.path(), &["localhost"]);
    let start = now();
    let first = Certificate::load_at(source(), start).unwrap();
    assert_eq!(first.not_after(), start + LEAF_LIFE);
    let (ca, leaf) = (read(dir.path(), "ca.crt"), read(dir.path(), "tls.crt"));

    let restarted = Certificate::load_at(source(), start + 59 * DAY).unwrap();
    assert_eq!((read(dir.path(), "ca.crt"), read(dir.path(), "tls.crt")), (ca.clone(), leaf.clone()));

    let due = start + 61 * DAY;
    assert!(restarted.refresh(due).unwrap());
    assert_eq!(restarted.not_after(), due + LEAF_LIFE);
    assert_ne!(read(dir.path(), "tls.crt"), leaf);
    assert_eq!(read(dir.path(), "ca.crt"), ca);
    // Another process on the same directory takes up what the first has renewed.
    assert!(first.refresh(due).unwrap());
    assert_eq!(first.not_after(), due + LEAF_LIFE);

    // The CA gives way, with a new key, while it can still outlive a leaf; the leaf follows it.
    let ca_key = read(dir.path(), "ca.key");
    let last = start + 3650 * DAY - LEAF_LIFE;
    restarted.refresh(last).unwrap();
    assert_eq!(restarted.ca_pem().unwrap(), ca);
    let leaf = read(dir.path(), "tls.crt");
    assert!(restarted.refresh(last + 1).unwrap());
    assert_ne!(restarted.ca_pem().unwrap(), ca);
    assert_ne!(read(dir.path(), "ca.key"), ca_key);
    assert_ne!(read(dir.path(), "tls.crt"), leaf);
    assert!(
        issue::is_issued_by(&der(&read(dir.path(), "tls.crt")), &der(&restarted.ca_pem().unwrap())).unwrap()
    );
}

#[test]
fn other_names_get_another_leaf_under_the_same_ca() {
    let dir = tempdir().unwrap();
    Certificate::load(self_signed(dir.path(), &["localhost", "::1"])).unwrap();
    let (ca, leaf) = (read(dir.path(), "ca.crt"), read(dir.path(), "tls.crt"));
    Certificate::load(self_signed(dir.path(), &["0:0:0:0:0:0:0:1", "LOCALHOST", "localhost."])).unwrap();
    assert_eq!(read(dir.path(), "tls.crt"), leaf, "the same names, spelled otherwise");
    Certificate::load(self_signed(dir.path(), &["localhost", "127.0.0.1", "*.example.com"])).unwrap();
    assert_ne!(read(dir.path(), "tls.crt"), leaf);
    assert_eq!(read(dir.path(), "ca.crt"), ca);

    assert!(error(self_signed(dir.path(), &["local host"])).contains("\"local host\" is neither"));
    assert!(error(self_signed(dir.path(), &[])).contains("at least one"));
}

#[test]
fn another_ca_gets_another_leaf() {
    let (dir, other) = (tempdir().unwrap(), tempdir().unwrap());
    let certificate = Certificate::load(self_signed(dir.path(), &["localhost"])).unwrap();
    Certificate::load(self_signed(other.path(), &["localhost"])).unwrap();
    for file in ["ca.crt", "ca.key"] {
        fs::copy(other.path().join(file), dir.path().join(file)).unwrap();
    }
    assert!(certificate.refresh(now()).unwrap());
    let ca = der(&read(other.path(), "ca.crt"));
    assert!(issue::is_issued_by(&der(&read(dir.path(), "tls.crt")), &ca).unwrap());
    assert_eq!(certificate.ca_pem().unwrap(), read(other.path(), "ca.crt"));
}

#[test]
fn damaged_own_files_are_named_and_left() {
    for damaged in ["ca.crt", "ca.key", "tls.crt", "tls.key"] {
        let dir = tempdir().unwrap();
        let source = || self_signed(dir.path(), &["localhost"]);
        let certificate = Certificate::load(source()).unwrap();
        let path = dir.path().join(damaged);
        fs::write(&path, "garbage").unwrap();
        assert!(error(source()).contains(path.to_str().unwrap()));
        certificate.refresh(now()).unwrap_err();
        assert_eq!(read(dir.path(), damaged), "garbage");
    }
    for missing in ["ca.crt", "ca.key"] {
        let dir = tempdir().unwrap();
        let source = || self_signed(dir.path(), &["localhost"]);
        Certificate::load(source()).unwrap();
        fs::remove_file(dir.path().join(missing)).unwrap();
        assert!(error(source()).contains(&format!("{missing} is missing")));
        assert!(!dir.path().join(missing).exists());
    }
}

#[test]
fn a_write_that_a_crash_interrupted_is_completed() {
    let (dir, newer) = (tempdir().unwrap(), tempdir().unwrap());
    for dir in [&dir, &newer] {
        Certificate::load(self_signed(dir.path(), &["localhost"])).unwrap();
    }
    // The new CA's key has taken its place, its certificate not yet.
    fs::copy(newer.path().join("ca.key"), dir.path().join("ca.key")).unwrap();
    assert!(error(self_signed(dir.path(), &["localhost"])).contains("does not belong"));
    fs::copy(newer.path().join("ca.crt"), dir.path().join(".ca.crt.next")).unwrap();
    let certificate = Certificate::load(self_signed(dir.path(), &["localhost"])).unwrap();
    assert_eq!(certificate.ca_pem().unwrap(), read(newer.path(), "ca.crt"));
    assert!(!dir.path().join(".ca.crt.next").exists());
}

#[test]
fn a_certificate_of_the_future_is_replaced() {
    // The clock was ahead when they were issued, and is right now.
    let dir = tempdir().unwrap();
    let source = || self_signed(dir.path(), &["localhost"]);
    let (start, ahead) = (now(), now() + 400 * DAY);
    Certificate::load_at(source(), ahead).unwrap();
    let certificate = Certificate::load_at(source(), start).unwrap();
    let valid = |pem: &str| issue::Validity::of(&der(pem)).unwrap().contains(start);
    assert!(valid(&read(dir.path(), "tls.crt")) && valid(&certificate.ca_pem().unwrap()));
    assert_eq!(certificate.not_after(), start + LEAF_LIFE);
    assert!(!certificate.refresh(start + 60).unwrap(), "and stays");

    // The leaf alone: the CA is older.
    let dir = tempdir().unwrap();
    let source = || self_signed(dir.path(), &["localhost"]);
    Certificate::load_at(source(), start).unwrap();
    let ca = read(dir.path(), "ca.crt");
    let certificate = Certificate::load_at(source(), start + 70 * DAY).unwrap();
    assert!(certificate.refresh(start).unwrap());
    assert_eq!((certificate.not_after(), read(dir.path(), "ca.crt")), (start + LEAF_LIFE, ca));
    // A clock that is off by less than a certificate is backdated is no reason.
    assert!(!certificate.refresh(start - issue::BACKDATE).unwrap());
    assert!(certificate.refresh(start - issue::BACKDATE - 1).unwrap());
}
