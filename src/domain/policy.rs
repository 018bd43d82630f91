//! Which pull policies hold for a namespace, and what they say.
//!
//! Policies that name the namespace replace those that name its workspace, and these replace those that select
//! everything. Among equals all must allow, and the strictest mode holds. Without any, the baseline holds:
//! unmanaged registries are allowed, denials deny.

use std::borrow::Cow;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::image::ImageRef;
use super::record::{Entry, Mode, Name, PullPolicy, Unmanaged};
use super::records::Records;

/// What holds for some namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EffectivePolicy {
    pub mode: Mode,
    unmanaged: SmallVec<[Unmanaged; 1]>,
    denied_tags: Vec<Name>,
    require_digest: bool,
}

impl EffectivePolicy {
    fn baseline() -> Self {
        Self {
            mode: Mode::Enforce,
            unmanaged: SmallVec::new(),
            denied_tags: Vec::new(),
            require_digest: false,
        }
    }

    fn all_of<'p>(policies: impl Iterator<Item = &'p PullPolicy>) -> Option<Self> {
        policies.fold(None, |so_far, policy| {
            let mut effective = so_far.unwrap_or(Self { mode: Mode::Audit, ..Self::baseline() });
            effective.mode = effective.mode.max(policy.mode);
            if policy.unmanaged != Unmanaged::Allow {
                effective.unmanaged.push(policy.unmanaged.clone());
            }
            effective.denied_tags.extend_from_slice(&policy.denied_tags);
            effective.require_digest |= policy.require_digest;
            Some(effective)
        })
    }

    /// Whether an image of a registry that nobody integrated may be pulled.
    pub fn allows_unmanaged(&self, image: &ImageRef<'_>) -> bool {
        self.unmanaged.iter().all(|rule| match rule {
            Unmanaged::Allow => true,
            Unmanaged::Deny => false,
            Unmanaged::AllowList(prefixes) => prefixes.iter().any(|p| p.covers(image.domain, &image.path)),
        })
    }

    /// What the tag and digest rules have against an image.
    pub fn objection(&self, image: &ImageRef<'_>) -> Option<Objection> {
        if self.require_digest && image.digest.is_none() {
            return Some(Objection::NoDigest);
        }
        // A digest decides what is pulled; the tag beside it is only a comment.
        let tag = if image.digest.is_some() { return None } else { image.tag.unwrap_or("latest") };
        self.denied_tags.iter().any(|denied| denied == tag).then_some(Objection::Tag)
    }
}

/// Which tag or digest rule an image breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objection {
    NoDigest,
    Tag,
}

/// The distinct effective policies of a snapshot.
#[derive(Debug, Clone)]
pub(super) struct Policies {
    /// The first is the one of namespaces that nothing names.
    effective: Vec<EffectivePolicy>,
    ids: HashMap<EffectivePolicy, u32>,
    count: usize,
}

/// The policies of a set of records, by whom they name.
#[derive(Default)]
pub(super) struct PolicyIndex<'r> {
    by_namespace: HashMap<&'r Name, SmallVec<[&'r PullPolicy; 1]>>,
    by_workspace: HashMap<&'r Name, SmallVec<[&'r PullPolicy; 1]>>,
}

impl Default for Policies {
    fn default() -> Self {
        Self::starting_with(EffectivePolicy::baseline(), 0)
    }
}

impl Policies {
    /// The policies that select everything.
    pub fn build(all: &[Cow<'_, PullPolicy>]) -> Self {
        let everything =
            EffectivePolicy::all_of(all.iter().map(AsRef::as_ref).filter(|p| p.selector.is_everything()));
        Self::starting_with(everything.unwrap_or_else(EffectivePolicy::baseline), all.len())
    }

    fn starting_with(default: EffectivePolicy, count: usize) -> Self {
        Self { ids: HashMap::from([(default.clone(), 0)]), effective: vec![default], count }
    }

    /// The policy of a namespace, by the number that [`Self::get`] takes.
    pub fn intern(&mut self, index: &PolicyIndex<'_>, namespace: &Name, workspace: Option<&Name>) -> u32 {
        let of = |policies: Option<&SmallVec<[&PullPolicy; 1]>>| {
            policies.and_then(|p| EffectivePolicy::all_of(p.iter().copied()))
        };
        let by_workspace = || of(index.by_workspace.get(workspace?));
        let Some(effective) = of(index.by_namespace.get(namespace)).or_else(by_workspace) else { return 0 };
        let next = u32::try_from(self.effective.len()).unwrap_or(u32::MAX);
        *self.ids.entry(effective).or_insert_with_key(|new| {
            self.effective.push(new.clone());
            next
        })
    }

    pub fn get(&self, id: u32) -> &EffectivePolicy {
        self.effective.get(id as usize).unwrap_or(&self.effective[0])
    }

    /// The policy of a namespace that nothing names.
    pub fn default(&self) -> &EffectivePolicy {
        &self.effective[0]
    }

    /// Number of policy records.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl<'r> PolicyIndex<'r> {
    pub fn new(all: &'r [Cow<'_, PullPolicy>]) -> Self {
        let mut index = Self::default();
        for policy in all {
            for namespace in &policy.selector.namespaces {
                index.by_namespace.entry(namespace).or_default().push(policy);
            }
            for workspace in &policy.selector.workspaces {
                index.by_workspace.entry(workspace).or_default().push(policy);
            }
        }
        index
    }

    /// Whether some policy names a namespace.
    pub fn names(&self, namespace: &Name) -> bool {
        self.by_namespace.contains_key(namespace)
    }

    /// Namespaces that some policy names.
    pub fn namespaces(&self) -> impl Iterator<Item = &'r Name> {
        self.by_namespace.keys().copied()
    }
}

/// Every policy record, the strictest one standing in for each that is invalid.
pub(super) fn in_force(records: &Records) -> Vec<Cow<'_, PullPolicy>> {
    records
        .policies()
        .values()
        .map(|stored| match &stored.entry {
            Entry::Valid(policy) => Cow::Borrowed(policy),
            Entry::Invalid(invalid) => Cow::Owned(PullPolicy::strictest(invalid.selector.clone())),
        })
        .collect()
}
