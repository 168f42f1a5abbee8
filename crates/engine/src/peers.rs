//! A bad day told from a bad release: what was not released is asked the same question.
//!
//! Where the peers are as bad as the release, and became so no later, the release is spared. That
//! ends when they have recovered for long enough that what is measured now is the release's own, and
//! at the latest after `holdFor`: a bad release may drag its peers along.

use backstop_api::{
    event::Sample,
    policy::{Signal, TriggerState},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    condition::Variables,
    policy::{Alike, HOLD_FOR, SHARE, Source, ValidPolicy, ValidTrigger},
    reading::Reading,
    snapshot::{Snapshot, Workload},
    state::{PeersMemory, State, TriggerMemory},
    target, track,
    trigger::{number, too_old},
};

/// The peers may be seen to be bad so many intervals after the release and still count as bad at the
/// same time: nobody is asked at the same moment.
const ABOUT_THE_SAME: i32 = 2;

/// The name under which a point keeps what the peers of a trigger were like.
#[must_use]
pub fn baseline_name(trigger: &str) -> String {
    format!("{trigger}/peers")
}

/// A value, and what it was when a release last proved itself.
#[derive(Clone, Copy)]
struct Measured {
    value: f64,
    baseline: Option<f64>,
}

/// Compares every trigger whose condition holds with what its peers answered.
pub fn judge(
    policy: &ValidPolicy,
    state: &mut State,
    seen: &Snapshot,
    workload: &Workload,
    now: Timestamp,
) {
    let restored = track::restorer(state, seen).is_some();
    for trigger in &policy.triggers {
        let Some(memory) = state.triggers.get_mut(&trigger.name) else {
            continue;
        };
        let found = if trigger.peers.is_some() {
            asked(trigger, memory, seen, workload, restored, now)
        } else if let Source::Workload { signals } = &trigger.source {
            beside(signals, workload)
        } else {
            continue;
        };
        remember(trigger, memory, found, now);
    }
}

/// What a comparison came to.
enum Found {
    /// Both are bad, in words.
    Alike(String),
    /// The peers are better, in words.
    Better(String),
    /// The release is not bad, so there is nothing to compare.
    Nothing,
    /// It cannot be told, and why: the release is judged alone.
    Unknown(String),
}

fn asked(
    trigger: &ValidTrigger,
    memory: &mut TriggerMemory,
    seen: &Snapshot,
    workload: &Workload,
    restored: bool,
    now: Timestamp,
) -> Found {
    let observed = seen
        .peers
        .get(&trigger.name)
        .filter(|o| o.release == workload.release);
    let Some(observed) = observed else {
        return Found::Unknown("no answer about them yet".into());
    };
    if now.duration_since(observed.asked_at) > too_old(trigger) {
        return Found::Unknown(format!(
            "the newest answer about them is from {:.0}",
            observed.asked_at
        ));
    }
    let own_is_silent = seen
        .readings
        .get(&trigger.name)
        .is_some_and(|o| matches!(o.reading, Reading::NoData { .. }));
    let sample = match &observed.reading {
        Reading::Value { value, at } if value.is_finite() => Sample {
            at: *at,
            value: *value,
        },
        Reading::Value { value, .. } => {
            return Found::Unknown(format!("{value} is no number to compare with"));
        }
        Reading::NoData { why } if own_is_silent && is_bad(memory) => {
            return Found::Alike(format!("there is no answer about them either ({why})"));
        }
        Reading::NoData { why }
        | Reading::Inconclusive { why }
        | Reading::Unavailable { why, .. } => return Found::Unknown(why.clone()),
        Reading::Stale { at } => {
            return Found::Unknown(format!("the newest sample of them is from {at:.0}"));
        }
    };
    memory.peers.remember(sample);
    let before = |name: &str| {
        target::baseline(seen, &workload.release, restored, name).map(|(_, it)| it.value)
    };
    let name = baseline_name(&trigger.name);
    let peers = Measured {
        value: sample.value,
        baseline: before(&name),
    };
    memory.peers.baseline = peers.baseline;
    if !is_bad(memory) {
        return Found::Nothing;
    }
    if own_is_silent {
        return Found::Better(format!(
            "there is an answer about them ({})",
            number(peers.value)
        ));
    }
    let Some(own) = memory.samples.back().map(|s| Measured {
        value: s.value,
        baseline: before(&trigger.name),
    }) else {
        return Found::Nothing;
    };
    match alike(trigger, own, peers, workload) {
        Ok(true) => Found::Alike(in_words(own, peers)),
        Ok(false) => Found::Better(in_words(own, peers)),
        Err(why) => Found::Unknown(why),
    }
}

fn is_bad(memory: &TriggerMemory) -> bool {
    matches!(memory.state, TriggerState::Pending | TriggerState::Firing)
}

/// Whether the peers got as bad as the release did.
fn alike(
    trigger: &ValidTrigger,
    own: Measured,
    peers: Measured,
    workload: &Workload,
) -> Result<bool, String> {
    let holds = |condition: &crate::condition::Condition| {
        // What only compares samples has no condition that could hold for others.
        let alone = !trigger.is_conditional() && condition.text() == trigger.condition.text();
        if alone || condition.uses_baseline() && peers.baseline.is_none() {
            return Err("it is not known what they were like before".to_owned());
        }
        condition.holds(&Variables {
            value: peers.value,
            baseline: peers.baseline,
            stable: None,
            workload: workload.numbers(),
        })
    };
    let share = match trigger.peers.as_ref().map(|p| &p.alike) {
        Some(Alike::Condition(condition)) => return holds(condition),
        Some(Alike::Share(share)) => *share,
        None => SHARE,
    };
    let (own_change, peers_change) = match (own.baseline, peers.baseline) {
        // What is compared with a baseline is compared in times: others may be slower by nature.
        (Some(before), Some(theirs)) if trigger.uses_baseline() => {
            if before == 0.0 || theirs == 0.0 {
                return holds(&trigger.condition);
            }
            (own.value / before - 1.0, peers.value / theirs - 1.0)
        }
        (Some(before), Some(theirs)) => (own.value - before, peers.value - theirs),
        _ => return holds(&trigger.condition),
    };
    if own_change == 0.0 {
        return holds(&trigger.condition);
    }
    Ok(peers_change * own_change.signum() >= share * own_change.abs())
}

fn in_words(own: Measured, peers: Measured) -> String {
    let before = |m: Measured| {
        m.baseline
            .map_or_else(String::new, |b| format!(" (before: {})", number(b)))
    };
    format!(
        "the release has {}{}, its peers have {}{}",
        number(own.value),
        before(own),
        number(peers.value),
        before(peers)
    )
}

/// The stable side beside a canary is watched anyhow, so it is compared without being asked for.
fn beside(signals: &[Signal], workload: &Workload) -> Found {
    let peers: Vec<&Workload> = workload
        .beside
        .iter()
        .filter(|w| workload.tried && w.desired > 0)
        .collect();
    if peers.is_empty() {
        return Found::Nothing;
    }
    let own = affected(signals, workload);
    if own <= 0.0 {
        return Found::Nothing;
    }
    let theirs = peers
        .iter()
        .map(|w| affected(signals, w))
        .fold(0.0, f64::max);
    let words = format!(
        "{} of the release's pods show it, and {} of the stable side's",
        share_in_words(own),
        share_in_words(theirs)
    );
    if theirs >= SHARE * own {
        Found::Alike(words)
    } else {
        Found::Better(words)
    }
}

/// The share of a workload's wanted pods that shows any of the signs; 1 where its rollout is stuck.
fn affected(signals: &[Signal], workload: &Workload) -> f64 {
    let of_pods = |found: &[String]| {
        f64::from(u32::try_from(found.len()).unwrap_or(u32::MAX))
            / f64::from(workload.desired.max(1))
    };
    let pods = &workload.pods;
    signals
        .iter()
        .map(|signal| match signal {
            Signal::ProgressDeadlineExceeded => {
                f64::from(u8::from(workload.progress_deadline_exceeded.is_some()))
            }
            Signal::CrashLoopBackOff => of_pods(&pods.crash_looping),
            Signal::ImagePullBackOff => of_pods(&pods.image_pull),
            Signal::CreateContainerConfigError => of_pods(&pods.config_error),
            Signal::OOMKilled => of_pods(&pods.oom_killed),
            Signal::Restarts => f64::from(pods.restarts),
            Signal::UnreadyShare => workload.unready_share(),
        })
        .sum()
}

fn share_in_words(share: f64) -> String {
    format!("{} %", number((share * 100.0).round()))
}

fn remember(trigger: &ValidTrigger, memory: &mut TriggerMemory, found: Found, now: Timestamp) {
    let at = memory.asked_at.unwrap_or(now);
    let began = memory.active_since;
    let peers = &mut memory.peers;
    if let Some(last) = peers.alike_at
        && at.duration_since(last) > calm(trigger)
    {
        (peers.alike_since, peers.alike_at) = (None, None);
    }
    peers.unknown = matches!(found, Found::Unknown(_));
    peers.message = match found {
        Found::Nothing => None,
        Found::Unknown(why) => Some(format!("judged without its peers: {why}")),
        Found::Better(words) => Some(words),
        Found::Alike(words) => {
            let since = *peers.alike_since.get_or_insert(at);
            let led = began.is_some_and(|began| since.duration_since(began) > head_start(trigger));
            if led {
                // It was bad alone first: it may well be what makes the others bad.
                peers.alike_since = None;
                Some(format!(
                    "the release was bad before its peers were: {words}"
                ))
            } else {
                peers.alike_at = Some(at);
                Some(words)
            }
        }
    };
}

/// A release that was bad alone for so long before its peers were is not spared for them.
fn head_start(trigger: &ValidTrigger) -> SignedDuration {
    trigger.range().max(trigger.interval * ABOUT_THE_SAME)
}

/// So long after its peers were last as bad, what is measured is the release's own, and has been for
/// as long as the condition must hold.
fn calm(trigger: &ValidTrigger) -> SignedDuration {
    trigger.range() + trigger.for_ + trigger.interval
}

/// That a release is spared because its peers are as bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spared {
    /// The figures, for a person.
    pub words: String,
    /// Since when both have been bad.
    pub since: Timestamp,
    /// Until when, if the peers are well from now on.
    pub until: Timestamp,
    /// Until when at the latest.
    pub at_most_until: Timestamp,
}

/// Whether a release is spared because its peers are as bad.
#[must_use]
pub fn spared(trigger: &ValidTrigger, memory: &TriggerMemory, now: Timestamp) -> Option<Spared> {
    let PeersMemory {
        alike_since,
        alike_at,
        message,
        ..
    } = &memory.peers;
    let (since, last) = ((*alike_since)?, (*alike_at)?);
    let hold_for = trigger.peers.as_ref().map_or(HOLD_FOR, |p| p.hold_for);
    let at_most_until = since.checked_add(hold_for).unwrap_or(Timestamp::MAX);
    // Where nothing has been measured since, nothing is known that speaks against it.
    let nothing_new = trigger.is_asked() && memory.asked_at.is_none_or(|asked| asked <= last);
    let calm = last
        .checked_add(calm(trigger))
        .ok()
        .filter(|_| !nothing_new);
    let until = calm.unwrap_or(Timestamp::MAX).min(at_most_until);
    (now < until).then(|| Spared {
        words: message.clone().unwrap_or_default(),
        since,
        until,
        at_most_until,
    })
}
