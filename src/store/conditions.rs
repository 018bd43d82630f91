//! Conditions in the statuses of records, as Kubernetes has them.

use jiff::Timestamp;

use super::manifest::{Condition, ConditionStatus};
use crate::domain::record::{bounds, shortened};

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saying {
    pub status: ConditionStatus,
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people; empty where there is nothing to add.
    pub message: String,
}

impl Saying {
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
pub fn set(conditions: &mut Vec<Condition>, r#type: &str, saying: Saying, generation: i64) {
    let new = Condition {
        r#type: r#type.to_owned(),
        status: saying.status,
        reason: saying.reason.to_owned(),
        message: shortened(saying.message, bounds::CONDITION),
        observed_generation: (generation > 0).then_some(generation),
        last_transition_time: Timestamp::now(),
    };
    let Some(old) = conditions.iter_mut().find(|old| old.r#type == new.r#type) else {
        conditions.push(new);
        return;
    };
    let since = if old.status == new.status { old.last_transition_time } else { new.last_transition_time };
    *old = Condition { last_transition_time: since, ..new };
}

/// Forgets what a condition said.
pub fn clear(conditions: &mut Vec<Condition>, r#type: &str) {
    conditions.retain(|condition| condition.r#type != r#type);
}
