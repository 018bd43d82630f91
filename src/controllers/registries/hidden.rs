//! Recorded spaces that are not on a registry's list. Each is asked for by name, some at a time; one that the account may
//! not see is not asked for again before somebody asks for that (`sync`): each question is a login.

use std::collections::HashSet;

use crate::domain::record::Name;

/// Spaces that one pass asks for by name.
const ASKED_FOR: usize = 100;

/// The records of spaces that the registry said it does not show to the account.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    names: HashSet<Name>,
    /// So many were asked for.
    asked: usize,
}

impl Hidden {
    /// Which of the records (name and path) that are `missing` from the list are asked for now, and whether more are to be
    /// asked for. What is on the list again is forgotten.
    pub fn choose(&mut self, mut missing: Vec<(Name, Name)>) -> (Vec<(Name, Name)>, bool) {
        self.names.retain(|known| missing.iter().any(|(name, _)| name == known));
        missing.retain(|(name, _)| !self.names.contains(name));
        let more = missing.len() > ASKED_FOR;
        if more {
            // Others each time, whatever comes of it.
            let start = self.asked % missing.len();
            missing.rotate_left(start);
            missing.truncate(ASKED_FOR);
        }
        self.asked = self.asked.wrapping_add(missing.len());
        (missing, more)
    }

    /// The registry does not show it, and that is recorded.
    pub fn note(&mut self, name: &Name) {
        self.names.insert(name.clone());
    }

    /// Another account may see more.
    pub fn clear(&mut self) {
        self.names.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_asked_for_once_however_many_they_are() {
        let all =
            || (0..250).map(|n| (Name::from(format!("corp.{n:03}")), Name::from("p"))).collect::<Vec<_>>();
        let mut hidden = Hidden::default();
        let mut asked = Vec::new();
        for expected in [(100, true), (100, true), (50, false), (0, false)] {
            let (now, more) = hidden.choose(all());
            assert_eq!((now.len(), more), expected);
            for (name, _) in &now {
                hidden.note(name);
            }
            asked.extend(now);
        }
        asked.sort();
        assert_eq!(asked, all());
        // It was on the list, and is gone from it again.
        assert_eq!(hidden.choose(all()[1..].to_vec()).0.len(), 0);
        assert_eq!(hidden.choose(all()).0, all()[..1]);
    }
}
