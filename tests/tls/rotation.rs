//! What the shared Secret holds next: renewed in time, rotated so that nobody is refused, mended.

mod properties;

use std::sync::Arc;
use std::time::Duration;

use pullgate::tls::issue::{BACKDATE, LEAF_LIFE, Names, Validity};
use pullgate::tls::rotation::{CAS_MAX, Content, Next, Step, Wanted, next};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use secrecy::{ExposeSecret, SecretString};

use super::{DAY, der};

/// 2026-01-01.
const START: i64 = 1_767_225_600;
const NAME: &str = "pullgate.pullgate-system.svc";
const SETTLE: i64 = 30;

fn names(more: &[&str]) -> Names {
    Names::parse(&[&[NAME], more].concat().iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}

fn pass(present: &Content, rotate: bool, settled: bool, now: i64) -> Next {
    next(present, &Wanted { names: &names(&[]), rotate, settled, held: &[] }, now).unwrap()
}

fn fresh() -> Content {
    pass(&Content::default(), false, false, START).content
}

/// What clients would be given, in two steps after a rotation was asked for.
fn rotated(content: &Content, now: i64) -> Content {
    let joined = pass(content, true, true, now).content;
    pass(&joined, true, true, now + SETTLE).content
}

fn cas(bundle: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(bundle.as_bytes()).map(Result::unwrap).collect()
}

/// As the API server would say: rustls looks at the chain, and Go at the CA's validity too.
fn accepted(leaf: &str, bundle: &str, now: i64) -> bool {
    let mut roots = RootCertStore::empty();
    for ca in cas(bundle) {
        let validity = Validity::of(&ca).unwrap();
        if validity.contains(now) {
            roots.add(ca).unwrap();
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() else {
        return false;
    };
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now.try_into().unwrap()));
    verifier.verify_server_cert(&der(leaf), &[], &ServerName::try_from(NAME).unwrap(), &[], at).is_ok()
}

fn not_after(leaf: &str) -> i64 {
    Validity::of(&der(leaf)).unwrap().not_after
}

#[test]
fn the_first_content_is_whole_and_stays() {
    let first = pass(&Content::default(), false, false, START);
    assert!(first.changed && first.rotated);
    assert_eq!(first.steps, [Step::CaMade, Step::LeafIssued("there is none that clients accept")]);
    let content = first.content;
    assert!(accepted(&content.leaf, &content.bundle, START));
    for (settled, later) in [(false, 0), (true, 60), (true, 59 * DAY)] {
        let again = pass(&content, false, settled, START + later);
        assert!(!again.changed && again.steps.is_empty(), "{:?}", again.steps);
        assert!(again.content.same(&content));
    }
}

#[test]
fn the_leaf_is_renewed_under_the_same_ca() {
    let content = fresh();
    let due = START + LEAF_LIFE - LEAF_LIFE / 3 + DAY;
    let renewed = pass(&content, false, false, due).content;
    assert_eq!(not_after(&renewed.leaf), due + LEAF_LIFE);
    assert_eq!(renewed.bundle, content.bundle);

    let wanted = Wanted { names: &names(&["10.0.0.1"]), rotate: false, settled: false, held: &[] };
    let named = next(&content, &wanted, START).unwrap();
    assert_eq!(named.steps, [Step::LeafIssued("the present one is for other names")]);
    assert_eq!(named.content.bundle, content.bundle);
}

#[test]
fn a_rotation_that_is_asked_for_takes_two_steps() {
    let content = fresh();
    let joined = pass(&content, true, true, START);
    assert!(!joined.rotated);
    assert_eq!(joined.steps, [Step::CaJoined]);
    let joined = joined.content;
    assert_eq!(cas(&joined.bundle).len(), 2);
    assert_eq!((&joined.leaf, &joined.bundle[..content.bundle.len()]), (&content.leaf, &*content.bundle));
    // Until clients trust the new CA the old one goes on, however long that takes.
    assert!(!pass(&joined, true, false, START + DAY).changed);
    let due = pass(&joined, true, false, START + 70 * DAY).content;
    assert_eq!(due.bundle, joined.bundle);
    assert!(accepted(&due.leaf, &content.bundle, START + 70 * DAY));

    let done = pass(&joined, true, true, START + SETTLE);
    assert!(done.rotated);
    let done = done.content;
    assert_eq!(done.bundle, joined.bundle);
    assert!(done.next_ca_key.is_none());
    assert!(!accepted(&done.leaf, &content.bundle, START + SETTLE), "the old CA signed it");
    assert!(accepted(&done.leaf, &done.bundle, START + SETTLE));

    // The old CA leaves when the last leaf that it signed has expired for every clock.
    let last = START + LEAF_LIFE + BACKDATE;
    let renewed = pass(&done, false, true, last - DAY).content;
    assert_eq!(cas(&renewed.bundle).len(), 2);
    let gone = pass(&renewed, false, true, last + 1);
    assert_eq!(gone.steps, [Step::CasDropped(1)]);
    assert_eq!(cas(&gone.content.bundle).len(), 1);
    assert!(accepted(&gone.content.leaf, &gone.content.bundle, last + 1));
}

#[test]
fn a_ca_is_replaced_before_it_cannot_outlive_a_leaf() {
    let content = fresh();
    let end = not_after(&content.bundle);
    let before = pass(&content, false, true, end - LEAF_LIFE).content;
    assert_eq!(before.bundle, content.bundle);
    let joined = pass(&before, false, true, end - LEAF_LIFE + 1);
    assert_eq!(joined.steps, [Step::CaJoined]);
    let late = pass(&joined.content, false, false, end - DAY).content;
    assert_eq!(not_after(&late.leaf), end, "no leaf outlives its CA");
    let done = pass(&late, false, true, end - DAY + SETTLE).content;
    assert_eq!(not_after(&done.leaf), end - DAY + SETTLE + LEAF_LIFE);
}

#[test]
fn a_bundle_does_not_grow_without_end() {
    let mut content = fresh();
    for round in 1..CAS_MAX {
        content = rotated(&content, START + i64::try_from(round).unwrap() * 100);
    }
    assert_eq!(cas(&content.bundle).len(), CAS_MAX);
    let full = pass(&content, true, true, START + 10_000);
    assert_eq!((full.changed, &full.steps[..]), (false, &[Step::Full][..]));
    let later = START + LEAF_LIFE + DAY;
    let renewed = pass(&content, false, true, later).content;
    assert_eq!(cas(&renewed.bundle).len(), 1);
    assert_eq!(pass(&renewed, true, true, later).steps, [Step::CaJoined]);
}

/// Ways to damage a content, each of which leaves the rest as it was.
const WRECKS: [fn(&mut Content); 11] = [
    |content| content.bundle.clear(),
    |content| content.bundle = String::from("garbage"),
    |content| content.bundle = content.bundle.replacen("MII", "???", 1),
    |content| content.bundle.insert_str(0, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    |content| content.ca_key = None,
    |content| content.ca_key = content.leaf_key.clone(),
    |content| content.next_ca_key = Some(SecretString::from("garbage")),
    |content| content.leaf = content.leaf.replacen("MII", "AAA", 1),
    |content| content.leaf_key = content.ca_key.clone(),
    |content| content.leaves_until = String::from("\u{fffd} x\n1 2 3"),
    |content| *content = Content::default(),
];

#[test]
fn damage_is_mended_and_the_readable_cas_stay() {
    let content = rotated(&fresh(), START + DAY);
    let now = START + 2 * DAY;
    for (number, wreck) in WRECKS.iter().enumerate() {
        let mut wrecked = content.clone();
        wreck(&mut wrecked);
        let held = [content.bundle.clone()];
        let wanted = Wanted { names: &names(&[]), rotate: false, settled: false, held: &held };
        let mended = next(&wrecked, &wanted, now).unwrap();
        assert!(mended.changed && !mended.steps.is_empty() || number == 9, "{number}: {:?}", mended.steps);
        let mended = mended.content;
        let known = cas(&mended.bundle);
        // What the API server holds is still accepted, and what replicas may still serve too.
        let (all_held, leaf) = (cas(&content.bundle), &content.leaf);
        assert!(all_held.iter().skip(usize::from(number == 2)).all(|ca| known.contains(ca)), "{number}");
        assert!(number == 2 || accepted(leaf, &mended.bundle, now), "{number}");
        assert!(accepted(&mended.leaf, &mended.bundle, now), "{number}");
        let again = pass(&mended, false, false, now);
        assert!(!again.changed, "{number}: {:?}", again.steps);
        let done = pass(&mended, false, true, now).content;
        assert!(done.ca_key.is_some() && done.next_ca_key.is_none(), "{number}");
        assert!(!pass(&done, false, true, now).changed, "{number}");
    }
}

#[test]
fn a_lost_ca_key_costs_no_handshake() {
    let content = fresh();
    let mut lost = content.clone();
    lost.ca_key = Some(SecretString::from("garbage"));
    let joined = pass(&lost, false, true, START + 1);
    assert!(joined.steps.contains(&Step::CaJoined) && matches!(joined.steps[0], Step::Damaged(_)));
    let joined = joined.content;
    assert_eq!(joined.leaf, content.leaf);
    assert!(!pass(&joined, false, false, START + 2).changed);
    let done = pass(&joined, false, true, START + 2).content;
    assert!(accepted(&done.leaf, &joined.bundle, START + 2) && done.leaf != content.leaf);
}

#[test]
fn a_bundle_that_clients_still_hold_mends_the_secret_completely() {
    let content = fresh();
    let mut lost = content.clone();
    lost.bundle.clear();
    let stranger = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap().cert.pem();
    let held = [stranger.clone(), content.bundle.clone(), content.bundle.clone()];
    let wanted = Wanted { names: &names(&[]), rotate: false, settled: false, held: &held };
    assert!(next(&lost, &wanted, START + 1).unwrap().content.same(&content));

    // Only the CAs that are pullgate's, and only where they are needed.
    let mended = next(&Content::default(), &wanted, START + 1).unwrap().content;
    assert_eq!(cas(&mended.bundle).len(), 2);
    assert!(!cas(&mended.bundle).contains(&der(&stranger)));
    assert!(!next(&mended, &wanted, START + 2).unwrap().changed);
}

#[test]
fn a_bundle_written_otherwise_is_put_right_once() {
    let content = fresh();
    let mut other = content.clone();
    other.bundle = format!("# ours\r\n{}", content.bundle.replace('\n', "\r\n"));
    let right = pass(&other, false, true, START + 1);
    assert!(right.changed && right.content.same(&content));
}

#[test]
fn no_key_is_shown() {
    let content = rotated(&fresh(), START);
    let shown = format!("{content:?} {:?}", pass(&content, true, true, START));
    for key in [&content.ca_key, &content.leaf_key] {
        let key = key.as_ref().unwrap().expose_secret();
        assert!(!shown.contains(key.lines().nth(1).unwrap()), "{shown}");
    }
}

#[test]
fn what_begins_in_the_future_is_replaced() {
    // All of it: the clock was ahead when it was made.
    let ahead = pass(&Content::default(), false, false, START + 400 * DAY).content;
    let mended = pass(&ahead, false, false, START);
    assert!(accepted(&mended.content.leaf, &mended.content.bundle, START), "{:?}", mended.steps);
    assert!(!pass(&mended.content, false, true, START + 60).changed);
    // The leaf alone.
    let content = fresh();
    let renewed = pass(&content, false, true, START + 70 * DAY).content;
    let mended = pass(&renewed, false, true, START);
    assert_eq!(mended.steps, [Step::LeafIssued("there is none that clients accept")]);
    assert_eq!(mended.content.bundle, content.bundle);
    assert!(accepted(&mended.content.leaf, &content.bundle, START));
}
