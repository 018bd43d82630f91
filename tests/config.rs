//! What arguments mean together.

use std::path::Path;

use clap::Parser;
use pullgate::config::{Config, ServeArgs, StoreSource};
use pullgate::tls::CertificateSource;

#[derive(Debug, Parser)]
struct Serve {
    #[command(flatten)]
    arguments: ServeArgs,
}

fn config(arguments: &[&str]) -> Result<Config, String> {
    let parsed = Serve::try_parse_from([&["serve"], arguments].concat());
    let arguments = parsed.map_err(|error| error.to_string())?.arguments;
    Config::try_from(arguments).map_err(|error| error.to_string())
}

#[test]
fn the_certificate_comes_from_where_records_do() {
    let CertificateSource::SelfSigned { dir, names } = config(&["--data-dir", "/d"]).unwrap().certificate
    else {
        panic!("embedded");
    };
    assert_eq!((&*dir, names[0].as_str()), (Path::new("/d/tls"), "localhost"));

    let arguments = ["--store", "kubernetes", "--namespace", "ns", "--tls-name", "pull.example.com"];
    let CertificateSource::Secret(shared) = config(&arguments).unwrap().certificate else {
        panic!("kubernetes");
    };
    assert_eq!(
        (&*shared.namespace, &*shared.secret, &*shared.webhook_config),
        ("ns", "pullgate-tls", "pullgate")
    );
    let mut names = shared.names;
    names.sort();
    assert_eq!(
        names,
        [
            "pull.example.com",
            "pullgate-api.ns.svc",
            "pullgate-api.ns.svc.cluster.local",
            "pullgate.ns.svc",
            "pullgate.ns.svc.cluster.local"
        ]
    );

    let files = [&arguments[..], &["--tls-cert", "c", "--tls-key", "k"]].concat();
    assert!(matches!(config(&files).unwrap().certificate, CertificateSource::Files { .. }));
}

#[test]
fn clients_are_narrowed_by_a_ca_and_by_names_of_it() {
    assert!(config(&[]).unwrap().clients.is_none());
    let clients = config(&["--client-ca", "ca", "--client-name", "a,b"]).unwrap().clients.unwrap();
    assert_eq!((&*clients.ca, clients.names), (Path::new("ca"), vec!["a".to_owned(), "b".to_owned()]));
    assert!(config(&["--client-name", "a"]).unwrap_err().contains("--client-ca"));
    assert!(config(&["--client-ca", "ca", "--client-name", ""]).is_err());
}

#[test]
fn harbors_are_looked_for_nowhere_unless_somebody_says_where() {
    let looked_into = |arguments: &[&str]| {
        let arguments = [&["--store", "kubernetes"], arguments].concat();
        match config(&arguments).unwrap().store {
            StoreSource::Kubernetes { managed_harbors, .. } => Vec::from_iter(managed_harbors),
            StoreSource::Embedded { .. } => panic!("embedded"),
        }
    };
    assert!(looked_into(&[]).is_empty());
    assert!(looked_into(&["--managed-harbor-namespace", ""]).is_empty());
    let given = ["--managed-harbor-namespace", "b,a", "--managed-harbor-namespace", "c"];
    assert_eq!(looked_into(&given), ["a", "b", "c"]);
    assert!(config(&["--managed-harbor-namespace", "a"]).unwrap_err().contains("--store kubernetes"));
}
