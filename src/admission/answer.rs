//! Writing the `AdmissionReview` that answers a review.

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use super::images::ImageUse;
use super::judge::{Verdict, VerdictKind};
use super::patch::Patch;
use super::review::{API_VERSION, shown, shown_image, shown_to};
use crate::domain::decision::{Decision, Reason};
use crate::domain::record::{Mode, Problem};
use crate::store::rules::in_plain_words;

/// Images that a message names; a pod with thousands of denied ones stays readable.
const NAMED_MAX: usize = 8;
/// Characters of one warning: over 4,096 in all, the API server cuts each to 256 itself.
const WARNING_MAX: usize = 256;
/// Characters of one fault of a record, and bytes of them all: a record may have thousands.
const FAULT_MAX: usize = 640;
const FAULTS_MAX: usize = 4096;
/// Bytes that most answers fit into.
const USUAL_LENGTH: usize = 1024;

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_annotations: Option<AuditAnnotations>,
}

/// A `metav1.Status`, as far as a denial needs it.
#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'a str,
    message: &'a str,
}

/// The API server prefixes the keys with the webhook's name.
#[derive(Serialize)]
struct AuditAnnotations {
    decision: &'static str,
    reasons: Cow<'static, str>,
}

/// The answer of the mutating webhook: always allowed, with a patch where there is something to change.
pub fn mutated(uid: &str, patch: Patch) -> Vec<u8> {
    let changed = !patch.is_empty();
    write(&Response {
        uid,
        allowed: true,
        patch_type: changed.then_some("JSONPatch"),
        patch: changed.then(|| BASE64_STANDARD.encode(patch.into_json())),
        ..Response::default()
    })
}

/// The answer of the validating webhook.
pub fn judged(uid: &str, verdict: &Verdict<'_>) -> Vec<u8> {
    let denied = || verdict.images.iter().filter(|(_, decision)| !decision.allowed());
    let refuses = verdict.kind == VerdictKind::Pod && denied().any(|(_, decision)| decision.refuses());
    let message = refuses.then(|| sentences(denied().filter(|(_, decision)| decision.refuses())));
    let warnings = if refuses { Vec::new() } else { warnings(verdict) };
    write(&Response {
        uid,
        allowed: !refuses,
        status: message.as_deref().map(|message| Status { code: 403, reason: "Forbidden", message }),
        warnings,
        audit_annotations: audit(verdict, refuses),
        ..Response::default()
    })
}

/// The answer of the webhook that guards records: denied with every problem, or allowed with warnings.
pub fn guarded(uid: &str, problems: &[Problem], warnings: Vec<String>) -> Vec<u8> {
    let message = (!problems.is_empty()).then(|| faults(problems));
    write(&Response {
        uid,
        allowed: message.is_none(),
        status: message.as_deref().map(|message| Status { code: 422, reason: "Invalid", message }),
        warnings: if message.is_none() { warnings } else { Vec::new() },
        ..Response::default()
    })
}

/// The answer to a review that cannot be judged: denied, with the reason.
pub fn refused(uid: &str, message: &str) -> Vec<u8> {
    let status = Status { code: 400, reason: "BadRequest", message };
    write(&Response { uid, allowed: false, status: Some(status), ..Response::default() })
}

/// A whole sentence about one denied image.
pub fn sentence(image: &ImageUse<'_>, decision: &Decision<'_>) -> String {
    format!(
        "image {} ({} {}): {}",
        shown_image(image.image),
        image.place.as_str(),
        shown(image.name),
        decision.explanation()
    )
}

fn sentences<'r>(denied: impl Iterator<Item = &'r (ImageUse<'r>, Decision<'r>)>) -> String {
    let mut text = String::new();
    let mut count = 0;
    for (image, decision) in denied {
        count += 1;
        if count <= NAMED_MAX {
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = write!(text, "{separator}{}", sentence(image, decision));
        }
    }
    if count > NAMED_MAX {
        let _ = write!(text, "; and {} more images", count - NAMED_MAX);
    }
    text
}

/// The first problems, and the number of the rest.
fn faults(problems: &[Problem]) -> String {
    let mut text = String::new();
    for (i, problem) in problems.iter().enumerate() {
        let problem = in_plain_words(problem.clone()).to_string();
        let problem = shown_to(FAULT_MAX, &problem).to_string();
        if i > 0 && text.len() + problem.len() > FAULTS_MAX {
            let _ = write!(text, "; and {} more", problems.len() - i);
            break;
        }
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}{problem}");
    }
    text
}

/// Warnings for templates, and for pods where denials only warn.
fn warnings(verdict: &Verdict<'_>) -> Vec<String> {
    let warns = |decision: &Decision<'_>| {
        let binds = verdict.kind == VerdictKind::Template || decision.mode == Mode::Warn;
        !decision.allowed() && binds && decision.mode != Mode::Audit
    };
    let prefix = match verdict.kind {
        VerdictKind::Pod => "",
        VerdictKind::Template => "its pods will be denied: ",
    };
    let mut warnings = Vec::new();
    for (image, decision) in verdict.images.iter().filter(|(_, decision)| warns(decision)) {
        if warnings.len() == NAMED_MAX {
            warnings.push("and more images".to_owned());
            break;
        }
        let prefix = if decision.refuses() { prefix } else { "" };
        let text = format!("{prefix}{}", sentence(image, decision));
        warnings.push(text.chars().filter(|c| !c.is_control()).take(WARNING_MAX).collect());
    }
    warnings
}

fn audit(verdict: &Verdict<'_>, refuses: bool) -> Option<AuditAnnotations> {
    if verdict.images.is_empty() {
        return None;
    }
    let mut given = [false; Reason::ALL.len()];
    for (_, decision) in &verdict.images {
        given[decision.reason as usize] = true;
    }
    let mut reasons = Cow::Borrowed("");
    for (reason, _) in Reason::ALL.into_iter().zip(given).filter(|(_, given)| *given) {
        reasons = match &*reasons {
            "" => Cow::Borrowed(reason.as_str()),
            others => Cow::Owned(format!("{others},{}", reason.as_str())),
        };
    }
    Some(AuditAnnotations { decision: if refuses { "deny" } else { "allow" }, reasons })
}

/// Writes the review around the response as it is: escaping what never changes took longer than all the rest.
fn write(response: &Response<'_>) -> Vec<u8> {
    let mut text = Vec::with_capacity(USUAL_LENGTH);
    for part in [r#"{"apiVersion":""#, API_VERSION, r#"","kind":"AdmissionReview","response":"#] {
        text.extend_from_slice(part.as_bytes());
    }
    // Strings and booleans always serialise, and a vector takes them all.
    if serde_json::to_writer(&mut text, response).is_err() {
        return Vec::new();
    }
    text.push(b'}');
    text
}
