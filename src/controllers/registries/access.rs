//! In how many of the recorded spaces the integrating account may do all that pullgate needs, and which right it lacks in
//! which. No I/O.
//!
//! A Harbor tells nobody but a system admin how many projects it has (`/statistics` has zeros for others), so the whole is
//! what is recorded and what is listed.

use std::collections::BTreeMap;

use super::plan::Recorded;
use crate::domain::record::Name;
use crate::domain::record::bounds::LACKING;
use crate::registry::{AccountRole, Found};
use crate::types::v1alpha1::{AccountAccess, LackingRight};

/// How far the rights go; with `None` in it they are the same in every space.
#[derive(Debug)]
pub(super) struct Access(pub Option<AccountAccess>);

/// What the account does not even see; and what it sees, as everybody does or with a lower role.
const SEE: &str = "see the project (any role)";
const KEEP: &str = "make pull accounts and set the visibility (project admin)";

/// `None` where the account may do everything everywhere, or its rights are not told by project, as those of a robot, whose
/// rights say more. `is_admin`: whether it is an admin of the project of this number.
pub(super) fn of(
    tier: AccountRole,
    found: &[Found],
    recorded: &[Recorded],
    is_admin: impl Fn(i64) -> bool,
) -> Option<AccountAccess> {
    if tier != AccountRole::User {
        return None;
    }
    let mut lacks: BTreeMap<&Name, &str> = BTreeMap::new();
    let spaces = recorded.iter().filter_map(|(_, entry)| entry.valid());
    // One that was never made is nobody's, and of one that is gone nothing is lacked.
    for space in spaces.filter(|space| space.project.get().is_some() && !space.missing) {
        lacks.insert(&space.path, SEE);
    }
    let total = |lacks: &BTreeMap<&Name, &str>| i64::try_from(lacks.len()).unwrap_or(i64::MAX);
    for found in found {
        lacks.insert(&found.path, KEEP);
    }
    let all = total(&lacks);
    for found in found {
        if found.id.is_some_and(&is_admin) {
            lacks.remove(&found.path);
        }
    }
    let lacking = [SEE, KEEP].into_iter().filter_map(|right| {
        let of = lacks.iter().filter(|(_, lacked)| **lacked == right).map(|(path, _)| path.to_string());
        let mut spaces: Vec<String> = of.collect();
        let count = i64::try_from(spaces.len()).unwrap_or(i64::MAX);
        spaces.truncate(LACKING);
        (count > 0).then(|| LackingRight { right: right.to_owned(), count, spaces })
    });
    let lacking: Vec<LackingRight> = lacking.collect();
    Some(AccountAccess { full: all - total(&lacks), total: all, lacking })
}

/// What to say of it beside the account.
pub(super) fn told(access: &AccountAccess) -> String {
    let AccountAccess { full, total, lacking } = access;
    let rights = lacking.iter().map(|lack| {
        let rest = lack.count - i64::try_from(lack.spaces.len().min(NAMED)).unwrap_or(lack.count);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let named: Vec<&str> = lack.spaces.iter().take(NAMED).map(String::as_str).collect();
        format!("; it may not {} in {}{more}", lack.right, named.join(", "))
    });
    format!("{full} of {total} spaces: project roles only{}", rights.collect::<String>())
}

/// Spaces that a message names for each right.
const NAMED: usize = 5;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::domain::record::{Entry, Kind, Record, Visibility};
    use crate::domain::records::Stored;
    use crate::registry::harbor::rights::Rights;
    use crate::types::{Document, convert};

    fn found(path: &str, id: i64) -> Found {
        let visibility = Some(Visibility::Private);
        Found { path: path.into(), id: Some(id), visibility, repositories: None, proxy_cache: false }
    }

    fn recorded(path: &str, id: Option<i64>, missing: bool) -> Recorded {
        let spec = json!({"registry": "corp", "path": path});
        let status = json!({"projectId": id, "missing": missing});
        let document = Document { status, ..Document::new(Kind::RegistrySpace, path, spec) };
        let Record::Space(Entry::Valid(space)) = convert::record(&document) else { panic!("{path}") };
        let stored = Stored { name: path.into(), revision: 1, entry: Entry::Valid(space) };
        (path.into(), Arc::new(stored))
    }

    #[test]
    fn what_is_lacked_is_named_by_the_right() {
        let found = [found("admin", 1), found("guest", 2)];
        let recorded = [
            recorded("admin", Some(1), false),
            recorded("hidden", Some(3), false),
            recorded("gone", Some(4), true),
            recorded("never-made", None, false),
        ];
        let access = of(AccountRole::User, &found, &recorded, |id| id == 1).unwrap();
        assert_eq!((access.full, access.total), (1, 3));
        let lacking: Vec<_> = access
            .lacking
            .iter()
            .map(|lack| (lack.right.as_str(), lack.count, lack.spaces.join(",")))
            .collect();
        assert_eq!(lacking, [(SEE, 1, "hidden".to_owned()), (KEEP, 1, "guest".to_owned())]);
        assert_eq!(
            told(&access),
            "1 of 3 spaces: project roles only; it may not see the project (any role) in hidden; it may not make pull \
             accounts and set the visibility (project admin) in guest"
        );
        for tier in [AccountRole::SystemAdmin, AccountRole::Robot(Rights::default())] {
            assert_eq!(of(tier, &found, &recorded, |_| false), None);
        }
        let all = of(AccountRole::User, &found, &[], |_| true).unwrap();
        assert_eq!((told(&all).as_str(), all.lacking.len()), ("2 of 2 spaces: project roles only", 0));
    }

    #[test]
    fn a_record_names_some_of_many() {
        let found: Vec<_> = (0..2000).map(|n| found(&format!("p{n}"), n)).collect();
        let access = of(AccountRole::User, &found, &[], |id| id < 82).unwrap();
        assert_eq!(
            (access.full, access.lacking[0].count, access.lacking[0].spaces.len()),
            (82, 1918, LACKING)
        );
        assert!(told(&access).ends_with(" and 1913 more") && told(&access).len() < 300);
    }
}
