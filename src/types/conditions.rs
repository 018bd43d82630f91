//! Conditions in the statuses of records, as Kubernetes has them.

use jiff::Timestamp;

use super::v1alpha1::{Condition, ConditionStatus};
use crate::domain::record::{bounds, shortened};

/// The condition that sums up the others.
pub const READY: &str = "Ready";

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionUpdate {
    pub status: ConditionStatus,
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people; empty where there is nothing to add.
    pub message: String,
}

impl ConditionUpdate {
    pub fn yes(reason: &'static str) -> Self {
        Self { status: ConditionStatus::True, reason, message: String::new() }
    }

    pub fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::False, reason, message: message.into() }
    }

    pub fn unknown(reason: &'static str) -> Self {
        Self { status: ConditionStatus::Unknown, reason, message: String::new() }
    }

    /// The same with a sentence.
    #[must_use]
    pub fn because(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
    }
}

/// Puts a condition in the place of the one of its type. The time of the last transition is that of its status.
/// `generation`: of the spec that it speaks of; 0 where the store does not count.
pub fn set(conditions: &mut Vec<Condition>, r#type: &str, saying: ConditionUpdate, generation: i64) {
    let new = Condition {
        r#type: r#type.to_owned(),
        status: saying.status,
        reason: saying.reason.to_owned(),
        message: shortened(saying.message, bounds::CONDITION),
        observed_generation: (generation > 0).then_some(generation),
        last_transition_time: Timestamp::now(),
    };
    put(conditions, new);
    summarise(conditions);
}

/// Forgets what a condition said.
pub fn clear(conditions: &mut Vec<Condition>, r#type: &str) {
    conditions.retain(|condition| condition.r#type != r#type);
    summarise(conditions);
}

fn put(conditions: &mut Vec<Condition>, new: Condition) {
    let Some(old) = conditions.iter_mut().find(|old| old.r#type == new.r#type) else {
        conditions.push(new);
        return;
    };
    let since = if old.status == new.status { old.last_transition_time } else { new.last_transition_time };
    *old = Condition { last_transition_time: since, ..new };
}

/// Says in one condition whether all is well, as `kubectl wait --for=condition=Ready` and kstatus look for it: what is wrong
/// first, then what is not known. Where nothing else is said there is none, which kstatus takes for well.
fn summarise(conditions: &mut Vec<Condition>) {
    let others = || conditions.iter().filter(|condition| condition.r#type != READY);
    let of = |status| others().find(|condition| condition.status == status);
    let wrong = of(ConditionStatus::False).or_else(|| of(ConditionStatus::Unknown));
    let Some(decides) = wrong.or_else(|| others().next()) else {
        conditions.clear();
        return;
    };
    let (reason, message) = match decides.status {
        ConditionStatus::True => ("AllIsWell".to_owned(), String::new()),
        _ if decides.message.is_empty() => (decides.reason.clone(), decides.r#type.clone()),
        _ => (
            decides.reason.clone(),
            shortened(format!("{}: {}", decides.r#type, decides.message), bounds::CONDITION),
        ),
    };
    let summary = Condition {
        r#type: READY.to_owned(),
        status: decides.status,
        reason,
        message,
        observed_generation: others().filter_map(|c| c.observed_generation).max(),
        last_transition_time: Timestamp::now(),
    };
    put(conditions, summary);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(conditions: &[Condition]) -> Option<(ConditionStatus, &str, &str)> {
        let ready = conditions.iter().find(|condition| condition.r#type == READY)?;
        Some((ready.status, &ready.reason, &ready.message))
    }

    #[test]
    fn ready_sums_up_the_others() {
        let mut all = Vec::new();
        set(&mut all, "Valid", ConditionUpdate::yes("InForce"), 3);
        assert_eq!(ready(&all), Some((ConditionStatus::True, "AllIsWell", "")));
        set(&mut all, "Reachable", ConditionUpdate::unknown("NotAskedYet"), 3);
        assert_eq!(ready(&all), Some((ConditionStatus::Unknown, "NotAskedYet", "Reachable")));
        // What is wrong comes before what is not known.
        set(
            &mut all,
            "CredentialsValid",
            ConditionUpdate::no("CredentialsRejected", "store the right ones"),
            4,
        );
        let wrong = "CredentialsValid: store the right ones";
        assert_eq!(ready(&all), Some((ConditionStatus::False, "CredentialsRejected", wrong)));
        assert_eq!(all.iter().find(|c| c.r#type == READY).unwrap().observed_generation, Some(4));
        clear(&mut all, "CredentialsValid");
        set(&mut all, "Reachable", ConditionUpdate::yes("Answers"), 4);
        assert_eq!(ready(&all), Some((ConditionStatus::True, "AllIsWell", "")));
        clear(&mut all, "Valid");
        clear(&mut all, "Reachable");
        assert!(all.is_empty(), "nothing is left to sum up");
    }
}
