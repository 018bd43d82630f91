//! Files with secrets that pullgate makes: whole, its own, and nobody else's to read; what an operator gives is read as it
//! lies.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use pullgate::api::tokens_file::TokensFile;
use pullgate::store::RecordStore;
use pullgate::store::embedded::EmbeddedStore;
use pullgate::tls::issue::LEAF_LIFE;
use pullgate::tls::{Certificate, CertificateSource};
use tempfile::{TempDir, tempdir};

use crate::store_contract::{create, workspace};
use crate::support::log::Log;
use crate::support::server::Server;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A file of somebody else's, outside of the directory that is looked at.
fn precious() -> TempDir {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("file"), "precious").unwrap();
    set_mode(&dir.path().join("file"), 0o644);
    dir
}

fn untouched(precious: &TempDir) {
    let file = precious.path().join("file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(mode(&file), 0o644);
    assert_eq!(fs::read_dir(precious.path()).unwrap().count(), 1);
}

fn own_certificate(dir: &Path) -> CertificateSource {
    CertificateSource::SelfSigned { dir: dir.to_owned(), names: vec!["localhost".to_owned()] }
}

#[test]
fn a_token_is_written_over_what_lies_there_and_never_into_it() {
    let (dir, precious) = (tempdir().unwrap(), precious());
    let token = dir.path().join("admin-token");
    // A file that others can read, perhaps held open by them.
    fs::write(&token, "x").unwrap();
    set_mode(&token, 0o644);
    TokensFile::load_or_make(dir.path()).unwrap();
    let written = fs::read_to_string(&token).unwrap();
    assert_eq!((mode(&token), written.trim().len()), (0o600, 64));

    for target in [precious.path().join("file"), precious.path().join("absent")] {
        fs::remove_file(dir.path().join("tokens.json")).unwrap();
        fs::remove_file(&token).unwrap();
        symlink(&target, &token).unwrap();
        TokensFile::load_or_make(dir.path()).unwrap();
        assert!(fs::symlink_metadata(&token).unwrap().is_file());
        assert_eq!((mode(&token), fs::read_to_string(&token).unwrap().trim().len()), (0o600, 64));
        untouched(&precious);
    }
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn nothing_is_made_where_a_link_leads_to() {
    let (dir, precious) = (tempdir().unwrap(), precious());
    let absent = precious.path().join("absent");
    let says = |error: String, name: &str| {
        assert!(
            error.contains(name) && error.contains("a symbolic link to a file that is not there"),
            "{error}"
        );
        untouched(&precious);
    };
    let at = |name: &str| dir.path().join(name);
    symlink(&absent, at("tokens.json")).unwrap();
    says(TokensFile::load_or_make(dir.path()).unwrap_err().to_string(), "tokens.json");
    let open =
        |database: &str, key: &str| EmbeddedStore::open(&at(database), &at(key)).unwrap_err().to_string();
    symlink(&absent, at("linked.db")).unwrap();
    says(open("linked.db", "store.key"), "linked.db");
    symlink(&absent, at("linked.key")).unwrap();
    says(open("records.db", "linked.key"), "linked.key");
    // A link to something that is no store is refused like any other file that is none.
    symlink(precious.path().join("file"), at("other.db")).unwrap();
    assert!(open("other.db", "store.key").contains("is not a SQLite database"));
    untouched(&precious);
}

#[test]
fn keys_are_renewed_in_the_place_of_a_link() {
    let (dir, precious) = (tempdir().unwrap(), tempdir().unwrap());
    let start = jiff::Timestamp::now().as_second();
    Certificate::load_at(own_certificate(dir.path()), start).unwrap();
    let (key, moved) = (dir.path().join("tls.key"), precious.path().join("tls.key"));
    fs::rename(&key, &moved).unwrap();
    symlink(&moved, &key).unwrap();
    let before = fs::read(&moved).unwrap();
    Certificate::load_at(own_certificate(dir.path()), start + LEAF_LIFE).unwrap();
    assert_eq!(fs::read(&moved).unwrap(), before);
    assert!(fs::symlink_metadata(&key).unwrap().is_file() && mode(&key) == 0o600);
}

#[tokio::test]
async fn what_was_open_to_others_is_closed_and_said() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let store = EmbeddedStore::open(&at("records.db"), &at("store.key")).unwrap();
    create(&store, workspace("w", &[])).await;
    store.close().await;
    TokensFile::load_or_make(dir.path()).unwrap();
    Certificate::load(own_certificate(&at("tls"))).unwrap();
    let secrets = ["records.db", "admin-token", "tokens.json", "tls/ca.key", "tls/tls.key"];
    for open in [0o644, 0o660, 0o602] {
        for name in secrets {
            set_mode(&at(name), open);
        }
        set_mode(&at("tls"), 0o755);
        let log = Log::default();
        let guard = log.capture();
        let store = EmbeddedStore::open(&at("records.db"), &at("store.key")).unwrap();
        assert!(store.get(pullgate::domain::record::Kind::Workspace, "w").await.unwrap().is_some());
        store.close().await;
        TokensFile::load_or_make(dir.path()).unwrap();
        let certificate = Certificate::load(own_certificate(&at("tls"))).unwrap();
        certificate.refresh(jiff::Timestamp::now().as_second()).unwrap();
        drop(guard);
        for name in secrets {
            assert_eq!(mode(&at(name)), 0o600, "{name}");
            let path = at(name).display().to_string();
            let said = log.text().lines().filter(|l| l.contains(&path) && l.contains("WARN")).count();
            assert_eq!(said, 1, "{name}: {}", log.text());
        }
        assert_eq!(mode(&at("tls")), 0o700);
    }
}

#[tokio::test]
async fn a_data_directory_is_closed_where_nobody_else_uses_it() {
    let directory = tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    set_mode(&data, 0o755);
    let mut server = Server::start(directory.path()).await;
    assert_eq!(mode(&data), 0o700);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert!(core.trim().starts_with("0 "), "a core could be written: {core}");
    server.kill();
    assert!(fs::read_to_string(directory.path().join("log")).unwrap().contains("its mode is 0700 now"));

    // Somebody's home, or a system's directory: others may need it.
    fs::write(data.join("notes.txt"), "").unwrap();
    set_mode(&data, 0o755);
    let mut server = Server::start(directory.path()).await;
    server.kill();
    assert_eq!(mode(&data), 0o755);
    assert!(
        fs::read_to_string(directory.path().join("log")).unwrap().contains("holds what is not pullgate's")
    );
}

#[test]
fn a_mounted_secret_is_read_as_the_kubelet_makes_it() {
    let (dir, made) = (tempdir().unwrap(), tempdir().unwrap());
    TokensFile::load_or_make(made.path()).unwrap();
    let text = fs::read(made.path().join("tokens.json")).unwrap();
    let data = dir.path().join("..2026_01_01_00_00_00.000000001");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("tokens.yaml"), text).unwrap();
    symlink(data.file_name().unwrap(), dir.path().join("..data")).unwrap();
    symlink("..data/tokens.yaml", dir.path().join("tokens.yaml")).unwrap();
    for given in [0o644, 0o440] {
        set_mode(&data.join("tokens.yaml"), given);
        let loaded = TokensFile::load(dir.path().join("tokens.yaml")).unwrap();
        assert_eq!(loaded.tokens.load().len(), 1);
        assert_eq!(mode(&data.join("tokens.yaml")), given);
    }
}
