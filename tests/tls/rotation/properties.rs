//! Whatever happens in whatever order, and whatever is broken: nobody is refused, and it comes to rest.

use proptest::collection::vec;
use proptest::prelude::*;
use pullgate::tls::issue::{self, LEAF_LIFE, Names, Validity};
use pullgate::tls::rotation::{CAS_MAX, Content, Step, Wanted, next};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{SETTLE, START, WRECKS, accepted, cas, fresh, names, pass, rotated};
use crate::tls::{DAY, der};

/// What may happen between two passes of a leader.
#[derive(Debug, Clone)]
enum Happening {
    Passes(i64),
    Asked,
    OtherNames,
    /// Another leader does not know for how long the bundle has been in force.
    OtherLeader,
    /// Somebody puts the bundle that was before back into the configurations, while the new CA has not taken over.
    Reverted,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => prop_oneof![0..SETTLE * 2, 0..DAY, 0..40 * DAY, Just(LEAF_LIFE), Just(3600 * DAY)]
            .prop_map(Happening::Passes),
        3 => Just(Happening::Asked),
        1 => Just(Happening::OtherNames),
        1 => Just(Happening::OtherLeader),
        2 => Just(Happening::Reverted),
    ]
}

/// A leader, the configurations that it writes, and all that others may still have of either.
struct World {
    now: i64,
    content: Content,
    asked: bool,
    names: Names,
    /// As the leader knows it.
    since: i64,
    /// Every bundle that the configurations carried, and from when.
    bundles: Vec<(i64, String)>,
    leaves: Vec<String>,
}

impl World {
    fn carried(&self) -> &str {
        self.bundles.last().map_or("", |(_, bundle)| bundle)
    }

    fn pass(&mut self) {
        if self.carried() != self.content.bundle {
            self.since = self.now;
        }
        let settled = self.now - self.since >= SETTLE;
        let wanted = Wanted { names: &self.names, rotate: self.asked, settled, held: &[] };
        let next = next(&self.content, &wanted, self.now).unwrap();
        if next.steps.contains(&Step::CaMade) {
            // Everything had expired while no leader was about; nobody could be served.
            self.bundles.clear();
        }
        if next.content.bundle != self.carried() {
            self.bundles.push((self.now, next.content.bundle.clone()));
            self.since = self.now;
        }
        self.asked &= !next.rotated;
        if self.leaves.last() != Some(&next.content.leaf) {
            self.leaves.push(next.content.leaf.clone());
        }
        self.content = next.content;
        assert!(Validity::of(&der(&self.content.leaf)).unwrap().contains(self.now));
    }

    /// Every leaf that a replica may still serve, for every bundle that an API server may still hold.
    fn check(&self) {
        let replaced = self.bundles.iter().skip(1).map(|(at, _)| *at).chain([i64::MAX]);
        let held = self.bundles.iter().zip(replaced).filter(|(_, until)| *until > self.now - SETTLE);
        for ((_, bundle), _) in held {
            for leaf in &self.leaves {
                assert!(
                    !Validity::of(&der(leaf)).unwrap().contains(self.now) || accepted(leaf, bundle, self.now)
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_leaf_that_may_be_served_is_accepted_by_every_bundle_that_may_be_held(
        happenings in vec(happening(), 1..40)
    ) {
        let mut world = World {
            now: START, content: Content::default(), asked: false, names: names(&[]), since: START,
            bundles: Vec::new(), leaves: Vec::new(),
        };
        world.pass();
        world.check();
        for happening in happenings {
            match happening {
                Happening::Passes(seconds) => world.now += seconds,
                Happening::Asked => world.asked = true,
                Happening::OtherNames => world.names = names(&[&format!("n{}.example.com", world.now)]),
                Happening::OtherLeader => world.since = world.now,
                Happening::Reverted => {
                    if world.content.next_ca_key.is_some() && world.bundles.len() > 1 {
                        let before = world.bundles[world.bundles.len() - 2].clone();
                        // Only one that had been right.
                        if accepted(&world.content.leaf, &before.1, world.now) {
                            world.bundles.push((world.now, before.1));
                        }
                    }
                }
            }
            world.check();
            world.pass();
            world.check();
        }
        // It comes to rest.
        for _ in 0..3 {
            world.now += SETTLE;
            world.pass();
            world.check();
        }
        let rest = world.content.clone();
        world.now += SETTLE;
        world.pass();
        prop_assert!(world.content.same(&rest));
        prop_assert!(!world.asked || cas(&rest.bundle).len() >= CAS_MAX);
        prop_assert!(rest.next_ca_key.is_none());
    }

    #[test]
    fn whatever_is_broken_is_whole_after_two_passes(
        rotations in 0..3_i64,
        pending in any::<bool>(),
        wrecks in vec(0..WRECKS.len(), 1..5),
        noise in ".{0,80}",
    ) {
        let mut content = (0..rotations).fold(fresh(), |content, n| rotated(&content, START + n * 100));
        let now = START + 1000;
        if pending {
            content = pass(&content, true, true, now).content;
        }
        let mut wrecked = content.clone();
        for wreck in wrecks {
            WRECKS[wreck](&mut wrecked);
        }
        wrecked.bundle.push_str(&noise);
        let readable: Vec<_> = cas(&content.bundle)
            .into_iter()
            .filter(|ca| pass_reads(&wrecked.bundle, ca))
            .collect();
        let mended = pass(&wrecked, false, false, now).content;
        let known = cas(&mended.bundle);
        // A CA that was to issue next and whose key is lost has signed nothing, which only the record tells.
        let signed = |ca: &CertificateDer<'_>| issue::is_issued_by(&der(&content.leaf), ca).unwrap();
        prop_assert!(readable.iter().filter(|ca| signed(ca)).all(|ca| known.contains(ca)));
        prop_assert!(accepted(&mended.leaf, &mended.bundle, now));
        let settled = pass(&mended, false, true, now + SETTLE).content;
        prop_assert!(settled.ca_key.is_some() && settled.next_ca_key.is_none());
        prop_assert!(accepted(&settled.leaf, &settled.bundle, now + SETTLE));
        prop_assert!(!pass(&settled, false, true, now + SETTLE).changed);
    }
}

/// Whether a text holds a certificate whole.
fn pass_reads(text: &str, ca: &CertificateDer<'_>) -> bool {
    text.match_indices("-----BEGIN CERTIFICATE-----")
        .any(|(at, _)| CertificateDer::from_pem_slice(&text.as_bytes()[at..]).is_ok_and(|read| read == *ca))
}
