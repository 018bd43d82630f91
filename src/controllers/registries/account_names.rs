//! The names of robot accounts. Each tells which installation made it, for which registry and workspace, and when; it ends
//! in a check of all that, so that no name that somebody else chose passes for one. What people write into an account's
//! description changes nothing of it.

use aws_lc_rs::rand;

use crate::domain::pull_secret::RobotId;
use crate::domain::record::{Name, UnixSeconds};
use crate::hex::{hex, short_digest};

/// Bytes of the digests that stand for names, which may hold what Harbor's grammar does not.
const DIGEST: usize = 8;
/// Bytes that tell accounts of one second apart.
const RANDOM: usize = 4;
/// Bytes of the check at the end.
const CHECK: usize = 6;

/// The names of one registry's accounts.
#[derive(Debug)]
pub(super) struct AccountNames {
    installation: String,
    /// What all of them begin with, after Harbor's prefix.
    tag: String,
}

/// What a name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Stands for the workspace, and the space where there is one; see [`owner`].
    pub owner: String,
    /// When it was made; `None` in names that version 0.1.0 gave.
    pub since: Option<UnixSeconds>,
}

impl AccountNames {
    pub fn new(installation: &str, registry: &Name) -> Self {
        let tag = format!("pullgate-{}", short_digest(&[installation, registry], DIGEST));
        Self { installation: installation.to_owned(), tag }
    }

    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Another name for an account of this workspace, never the same again.
    pub fn mint(&self, id: &RobotId, now: UnixSeconds) -> String {
        let mut random = [0; RANDOM];
        // Without random numbers two of one second have one name, of which Harbor refuses the second.
        let _ = rand::fill(&mut random);
        let name = format!("{}-{}-{now:x}-{}", self.tag, owner(id), hex(&random));
        format!("{name}-{}", self.check(&name))
    }

    /// What a name in Harbor tells, whatever its prefix; `None`: it is not one of ours.
    pub fn read(&self, name: &str) -> Option<Told> {
        let own = self.own(name)?;
        let mut parts = own.strip_prefix(&self.tag)?.strip_prefix('-')?.split('-');
        let owner = parts.next().filter(|owner| owner.len() == 2 * DIGEST)?.to_owned();
        let Some((made, random, check)) = parts
            .next()
            .zip(parts.next())
            .zip(parts.next())
            .map(|((made, random), check)| (made, random, check))
        else {
            // `-1` to `-9`, and whoever likes may choose such a name: who made it is told elsewhere.
            let number = own.get(self.tag.len() + owner.len() + 2..)?;
            let old = matches!(number.as_bytes(), [b'1'..=b'9']);
            return old.then_some(Told { owner, since: None });
        };
        let named = own.strip_suffix(check)?.strip_suffix('-')?;
        let ours = parts.next().is_none() && random.len() == 2 * RANDOM && check == self.check(named);
        let since = UnixSeconds::from_str_radix(made, 16).ok()?;
        ours.then_some(Told { owner, since: Some(since) })
    }

    /// The part of a name that pullgate gave: without Harbor's prefix, which an administrator may change, and without the
    /// project that Harbor puts before the names of its accounts.
    pub fn own<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.rfind(&self.tag).and_then(|at| name.get(at..))
    }

    /// Letters alone, so that a number at the end of a name is never a part of it.
    fn check(&self, name: &str) -> String {
        let sum = short_digest(&[&self.installation, name], CHECK);
        let letter =
            |digit: char| digit.to_digit(16).and_then(|d| char::from_digit(d + 10, 26)).unwrap_or('a');
        sum.chars().map(letter).collect()
    }
}

/// Stands for the workspace of an account, and for the space that it covers where it is one.
pub(super) fn owner(id: &RobotId) -> String {
    short_digest(&[&id.workspace, id.space.as_deref().unwrap_or_default()], DIGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(workspace: &str, space: Option<&str>) -> RobotId {
        RobotId { registry: "corp".into(), workspace: workspace.into(), space: space.map(Into::into) }
    }

    #[test]
    fn a_name_tells_whose_it_is_whatever_stands_before_it() {
        let names = AccountNames::new("one", &"corp".into());
        for id in [id("a", None), id("a", Some("team"))] {
            let name = names.mint(&id, 1_800_000_000);
            let told = Told { owner: owner(&id), since: Some(1_800_000_000) };
            for prefix in ["", "robot$", "bot+", "robot", "robot$team+", "robot$pullgate-"] {
                assert_eq!(names.read(&format!("{prefix}{name}")), Some(told.clone()), "{prefix}");
            }
            assert!(
                name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'),
                "{name}"
            );
            assert!(name.len() < 128, "{name}");
            assert!(!name.ends_with(|c: char| c.is_ascii_digit()), "{name}");
        }
        assert_ne!(names.mint(&id("a", None), 7), names.mint(&id("a", None), 7));
    }

    #[test]
    fn a_name_that_somebody_else_chose_is_not_taken_for_ours() {
        let names = AccountNames::new("one", &"corp".into());
        let name = names.mint(&id("a", None), 1_800_000_000);
        let changed = name.replacen("6b49d200", "6b49d201", 1);
        assert_ne!(changed, name);
        for wrong in [&format!("{name}1"), &format!("{name}-b"), &changed, names.tag(), "robot$reader", ""] {
            assert_eq!(names.read(wrong), None, "{wrong}");
        }
        for other in [AccountNames::new("two", &"corp".into()), AccountNames::new("one", &"other".into())] {
            assert_eq!(other.read(&name), None);
        }
        // What 0.1.0 gave.
        let old = format!("robot${}-{}-3", names.tag(), owner(&id("a", None)));
        assert_eq!(names.read(&old), Some(Told { owner: owner(&id("a", None)), since: None }));
        for wrong in [format!("{old}4"), format!("{old}-5"), old.replace("-3", "-0")] {
            assert_eq!(names.read(&wrong), None, "{wrong}");
        }
    }
}
