//! What comes of watching a release for its window: said once, when the window ends, with figures.

use backstop_api::policy::{Figures, Monitored, ReleaseVerdict, TriggerState};
use jiff::{SignedDuration, Timestamp};

use crate::{
    policy::{ValidPolicy, ValidTrigger},
    state::{State, TriggerMemory},
    trigger::number,
};

/// Follows what each trigger measures of the live release, and gives the verdict at the end of the
/// window: once, when it comes to that.
pub fn follow(policy: &ValidPolicy, state: &mut State, now: Timestamp) -> Option<ReleaseVerdict> {
    for trigger in &policy.triggers {
        if let Some(memory) = state.triggers.get_mut(&trigger.name) {
            measure(memory);
        }
    }
    let window = policy.window?;
    let release = state.release.as_ref()?;
    let ends = release.completed_at?.checked_add(window).ok()?;
    if release.verdict.is_some() || now < ends {
        return None;
    }
    // What was over before it was first seen was watched by nobody.
    let unseen = ends <= release.since;
    let verdict = if unseen {
        ReleaseVerdict {
            result: Monitored::NotJudged,
            at: now,
            message: "its window was over before this policy first saw it".into(),
        }
    } else {
        verdict(policy, state, window, now)
    };
    if let Some(release) = &mut state.release {
        release.verdict = Some(verdict.clone());
    }
    (!unseen).then_some(verdict)
}

fn measure(memory: &mut TriggerMemory) {
    if !memory.settled {
        return;
    }
    let figures = &mut memory.figures;
    figures.judged |= matches!(
        memory.state,
        TriggerState::Inactive | TriggerState::Pending | TriggerState::Firing
    );
    figures.fired |= memory.state == TriggerState::Firing;
    let Some(newest) = memory.samples.back() else {
        return;
    };
    if figures.newest.is_some_and(|at| newest.at <= at) {
        return;
    }
    figures.samples = figures.samples.saturating_add(1);
    figures.lowest = Some(figures.lowest.map_or(newest.value, |v| v.min(newest.value)));
    figures.highest = Some(
        figures
            .highest
            .map_or(newest.value, |v| v.max(newest.value)),
    );
    figures.newest = Some(newest.at);
}

fn verdict(
    policy: &ValidPolicy,
    state: &State,
    window: SignedDuration,
    now: Timestamp,
) -> ReleaseVerdict {
    let of = |t: &ValidTrigger| state.triggers.get(&t.name);
    let judged = |t: &&ValidTrigger| of(t).is_some_and(|m| m.figures.judged);
    let firing = |t: &&ValidTrigger| of(t).is_some_and(|m| m.state == TriggerState::Firing);
    let names = |triggers: Vec<&ValidTrigger>| {
        let names: Vec<&str> = triggers.iter().map(|t| t.name.as_str()).collect();
        names.join(", ")
    };
    let all = || policy.triggers.iter();
    let (seen, unseen): (Vec<_>, Vec<_>) = all().partition(judged);
    let still: Vec<_> = all().filter(firing).collect();
    let length = backstop_api::Duration::from_secs(window.as_secs().unsigned_abs());
    let figures: Vec<String> = seen
        .iter()
        .filter_map(|t| Some(in_words(t, &of(t)?.figures)))
        .collect();
    let (result, message) = if !still.is_empty() {
        (Monitored::Failing, format!("still bad by {}", names(still)))
    } else if seen.is_empty() {
        let why = if policy.triggers.is_empty() {
            "the policy has no trigger"
        } else {
            "no trigger had data"
        };
        (Monitored::NotJudged, format!("not judged: {why}"))
    } else if unseen.is_empty() {
        (Monitored::Passed, "passed".to_owned())
    } else {
        let words = format!(
            "passed, but not judged for want of data by {}",
            names(unseen)
        );
        (Monitored::PartlyJudged, words)
    };
    let mut words = format!("monitored for {length} after its rollout, {message}");
    if !figures.is_empty() {
        words.push_str(": ");
        words.push_str(&figures.join("; "));
    }
    ReleaseVerdict {
        result,
        at: now,
        message: words,
    }
}

fn in_words(trigger: &ValidTrigger, figures: &Figures) -> String {
    let values = match (figures.lowest, figures.highest) {
        (Some(low), Some(high)) if low.to_bits() == high.to_bits() => number(low),
        (Some(low), Some(high)) => format!("{} to {}", number(low), number(high)),
        _ => "nothing to report".into(),
    };
    let fired = if figures.fired { ", fired" } else { "" };
    format!("{} {values}{fired}", trigger.name)
}
