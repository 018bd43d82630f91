//! What is known of each image host: the platform registry that holds it, or which workspaces' registries claim it.
//!
//! A registry counts once a host and once a path, never once for each pair of them: its record's size bounds what it
//! takes here.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::record::{Host, Name, PathPrefix};
use super::shared_hosts::SharedHosts;
use super::snapshot::RegistryId;

/// Hosts by their canonical form, and what registries of workspaces claim of them.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    known: HashMap<Name, HostEntry>,
    /// Registries that claim a path of their hosts, by the path; ascending.
    paths: HashMap<Name, SmallVec<[RegistryId; 2]>>,
    /// Segments of the longest claimed path; bounds the look-ups for one image.
    depth: usize,
}

/// What is known of one image host.
#[derive(Debug, Default)]
pub(super) struct HostEntry {
    pub platform: Option<RegistryId>,
    /// Of the whole host.
    whole: SmallVec<[Claim; 1]>,
    /// Of some paths, which [`Hosts`] has; by registry, ascending.
    partial: SmallVec<[Claim; 1]>,
}

/// A workspace's claim, seen from the host.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// `None`: the record is invalid or its workspace unknown; it counts for others, and admits nobody.
    pub workspace: Option<Name>,
    pub registry: RegistryId,
    /// Its registry answered and took the credential, so that it counts for others too.
    pub real: bool,
}

impl Hosts {
    pub fn get(&self, canonical: &str) -> Option<&HostEntry> {
        self.known.get(canonical)
    }

    /// Gives hosts to a platform registry and returns those it holds: one that another holds already stays there.
    pub fn integrate(&mut self, id: RegistryId, hosts: &[Host]) -> SmallVec<[Host; 1]> {
        let mut held = SmallVec::new();
        for host in hosts {
            if *self.known.entry(host.canonical()).or_default().platform.get_or_insert(id) == id {
                held.push(host.clone());
            }
        }
        held
    }

    /// Notes what a registry claims and returns the hosts where it does: those that the platform holds are not among
    /// them. No `paths`: the whole hosts. Call once a registry, in the order of their ids and after every
    /// [`Self::integrate`].
    pub fn claim(
        &mut self,
        claim: &Claim,
        hosts: &[Host],
        paths: &[PathPrefix],
        shared: &SharedHosts,
    ) -> SmallVec<[Host; 1]> {
        let mut held = SmallVec::new();
        for host in hosts {
            let entry = self.known.entry(host.canonical()).or_default();
            if entry.platform.is_some() {
                continue;
            }
            held.push(host.clone());
            let (claims, real) = if paths.is_empty() {
                // Of a host that everybody uses, nobody's claim of the whole is anything to others.
                (&mut entry.whole, claim.real && !shared.contains(host))
            } else {
                (&mut entry.partial, claim.real)
            };
            // Two spellings of one host are one claim.
            if claims.last().is_none_or(|last| last.registry != claim.registry) {
                claims.push(Claim { real, ..claim.clone() });
            }
        }
        if held.is_empty() {
            return held;
        }
        for path in paths {
            self.depth = self.depth.max(path.depth());
            let registries = self.paths.entry(path.as_str().into()).or_default();
            if registries.last() != Some(&claim.registry) {
                registries.push(claim.registry);
            }
        }
        held
    }

    /// The claims on a host that cover a repository path: those on the whole host, and those on every leading run of the
    /// path's segments, the whole path included: `acme` covers the repository `acme` as it covers `acme/app`. Docker Hub has
    /// no repository of one segment, since `acme` there is read as `library/acme`. A registry that claims several of the
    /// runs is among the claims more than once.
    pub fn claims<'a, 'p>(
        &'a self,
        host: &'a HostEntry,
        path: &'p str,
    ) -> impl Iterator<Item = &'a Claim> + use<'a, 'p> {
        host.whole.iter().chain(self.partial(host, path))
    }

    /// Those of [`Self::claims`] that are on a path.
    pub fn partial<'a, 'p>(
        &'a self,
        host: &'a HostEntry,
        path: &'p str,
    ) -> impl Iterator<Item = &'a Claim> + use<'a, 'p> {
        let depth = if host.partial.is_empty() { 0 } else { self.depth };
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]).take(depth);
        let claiming = ends.filter_map(|end| self.paths.get(&path[..end])).flatten();
        claiming.filter_map(|id| {
            let at = host.partial.binary_search_by_key(id, |claim| claim.registry).ok()?;
            host.partial.get(at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(range: std::ops::Range<usize>) -> Vec<Host> {
        range.map(|n| Host::parse(&format!("h{n}.example.com")).unwrap()).collect()
    }

    fn paths(range: std::ops::Range<usize>) -> Vec<PathPrefix> {
        range.map(|n| PathPrefix::parse(&format!("p{n}")).unwrap()).collect()
    }

    #[test]
    fn a_registry_counts_once_a_host_and_once_a_path() {
        let mut all = Hosts::default();
        let claim = Claim { workspace: Some("a".into()), registry: 7, real: true };
        assert_eq!(all.claim(&claim, &hosts(0..1000), &paths(0..1000), &SharedHosts::default()).len(), 1000);
        let noted: usize = all.known.values().map(|host| host.whole.len() + host.partial.len()).sum();
        assert_eq!((noted, all.paths.values().map(SmallVec::len).sum::<usize>()), (1000, 1000));
        let host = all.get("h999.example.com").unwrap();
        assert_eq!(all.claims(host, "p999/app").count(), 1, "and each pair of them is claimed all the same");
        assert_eq!(all.claims(host, "other/app").count(), 0);
    }

    #[test]
    fn a_path_that_another_host_is_claimed_with_claims_nothing_here() {
        let mut all = Hosts::default();
        all.claim(
            &Claim { workspace: Some("a".into()), registry: 0, real: true },
            &hosts(0..2),
            &paths(0..2),
            &SharedHosts::default(),
        );
        all.claim(
            &Claim { workspace: Some("b".into()), registry: 1, real: true },
            &hosts(1..3),
            &paths(1..3),
            &SharedHosts::default(),
        );
        all.claim(
            &Claim { workspace: Some("c".into()), registry: 2, real: true },
            &hosts(2..3),
            &[],
            &SharedHosts::default(),
        );
        let claimants = |host: &str, path: &str| {
            let host = all.get(host).unwrap();
            all.claims(host, path).map(|claim| claim.registry).collect::<Vec<_>>()
        };
        assert_eq!(claimants("h0.example.com", "p1/app"), [0]);
        assert_eq!(claimants("h0.example.com", "p2/app").len(), 0);
        assert_eq!(claimants("h1.example.com", "p1/app"), [0, 1]);
        assert_eq!(claimants("h2.example.com", "p2/app"), [2, 1]);
        assert_eq!(claimants("h2.example.com", "p0/app"), [2]);
    }
}
