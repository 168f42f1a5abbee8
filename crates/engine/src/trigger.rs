//! The state machine of a trigger: Inactive, Pending, Firing, NoData, Error, as of an alert in
//! Prometheus.
//!
//! A trigger fires only on an unbroken run of readings that are evidence about the live release.
//! Whatever cannot be judged (no data, an unreachable source, a reading that reaches back before
//! the release) breaks the run.

use backstop_api::{
    event::Sample,
    policy::{NoDataPolicy, TriggerState},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    baseline::{self, Compared, Live},
    condition::Variables,
    hysteresis,
    policy::{Source, ValidPolicy, ValidTrigger},
    snapshot::{Snapshot, Workload},
    state::{SAMPLES_KEPT, State, TriggerMemory},
    track,
};

mod alerts;
mod look;
mod weigh;
mod words;

pub use look::with_minimum;
use look::{Look, Scope, look};
use weigh::{Weighed, weigh};
pub use words::number;

/// A reading is too old to speak for now after so many intervals.
const STALE_AFTER_INTERVALS: i32 = 3;
/// A reading that took longer than its interval is still good for so long.
const STALE_AFTER_AT_LEAST: SignedDuration = SignedDuration::from_secs(10);

/// A reading may come so small a share of its interval too early: a tenth.
const JITTER_SHARE: i32 = 10;
/// And never more than this: jitter does not grow with the interval.
const JITTER_AT_MOST: SignedDuration = SignedDuration::from_millis(500);

/// Equal values closer together than this are one sample.
const CROWDED: SignedDuration = SignedDuration::from_secs(2);

/// Judges every trigger on the newest readings.
pub fn judge(
    policy: &ValidPolicy,
    state: &mut State,
    seen: &Snapshot,
    workload: &Workload,
    now: Timestamp,
) {
    let Some(release) = state.release.clone() else {
        return;
    };
    let restored = track::restorer(state, seen).is_some();
    let known = restored
        || seen
            .points
            .iter()
            .any(|p| p.release.as_ref() == Some(&release.hash));
    state
        .triggers
        .retain(|name, _| policy.triggers.iter().any(|t| &t.name == name));
    for trigger in &policy.triggers {
        let memory = state
            .triggers
            .entry(trigger.name.clone())
            .or_insert_with(|| TriggerMemory::new(now));
        let scope = Scope {
            release: &release,
            restored,
            known,
        };
        let (look, asked_at) = look(trigger, memory, seen, workload, &scope, now);
        let live = Live {
            release: &release.hash,
            restored,
        };
        let compared = baseline::find(trigger, memory, seen, workload, live, now);
        step(trigger, memory, look, asked_at, &compared, workload, now);
    }
}

fn step(
    trigger: &ValidTrigger,
    memory: &mut TriggerMemory,
    look: Look,
    asked_at: Timestamp,
    compared: &Compared,
    workload: &Workload,
    now: Timestamp,
) {
    memory.settled = !matches!(look, Look::Settling(_) | Look::Behind(_));
    if let Look::Behind(why) = look {
        if memory.state == TriggerState::Firing {
            enter(memory, TriggerState::Pending, why, now);
        } else {
            memory.message = why;
        }
        return;
    }
    if was_interrupted(trigger, memory, asked_at) {
        memory.active_since = None;
    }
    memory.asked_at = Some(asked_at);
    memory.baseline = compared.value.clone().ok();
    memory.stable = compared.stable.clone().ok();
    memory.lacks_baseline = false;
    memory.classification = None;
    let mut at_once = false;
    let mut on = None;
    let (bad, message) = match look {
        Look::Value { value, at } => {
            remember(memory, Sample { at, value });
            on = Some(Variables {
                value,
                baseline: memory.baseline,
                stable: memory.stable,
                workload: workload.numbers(),
            });
            match weigh(trigger, memory, value, compared, workload) {
                Weighed::Bad { words, critical } => {
                    at_once = critical;
                    (true, words)
                }
                Weighed::Good(words) => (false, words),
                Weighed::Unsettled(why) => {
                    memory.settled = false;
                    return rest(memory, TriggerState::Inactive, why, now);
                }
                Weighed::LacksBaseline(why) => {
                    memory.lacks_baseline = true;
                    return rest(memory, TriggerState::NoData, why, now);
                }
                Weighed::Error(why) => return rest(memory, TriggerState::Error, why, now),
            }
        }
        Look::NoData(why) => match trigger.no_data {
            NoDataPolicy::Hold => return rest(memory, TriggerState::NoData, why, now),
            NoDataPolicy::Ignore => (false, format!("{why} (noData: Ignore)")),
            NoDataPolicy::Fire => (true, format!("{why} (noData: Fire)")),
        },
        // Never bad, even where silence is: a ratio without traffic is NaN.
        Look::Inconclusive(why) if trigger.no_data == NoDataPolicy::Ignore => {
            (false, format!("{why} (noData: Ignore)"))
        }
        Look::Inconclusive(why) | Look::Stale(why) => {
            return rest(memory, TriggerState::NoData, why, now);
        }
        Look::Settling(why) | Look::Behind(why) => {
            return rest(memory, TriggerState::Inactive, why, now);
        }
        Look::Error(why) => return rest(memory, TriggerState::Error, why, now),
    };
    if !bad {
        if let Some(why) = hysteresis::stays(trigger, memory, on.as_ref(), asked_at) {
            return enter(memory, memory.state, format!("{message}; {why}"), now);
        }
        return rest(memory, TriggerState::Inactive, message, now);
    }
    (memory.recovering_since, memory.well_since) = (None, None);
    let active_since = *memory.active_since.get_or_insert(asked_at);
    // Counted by readings and not by the clock: one bad reading, however long ago, is one.
    let held = asked_at.duration_since(active_since);
    let fires = at_once
        || held >= trigger.for_
        || !held.is_zero() && held + punctuality(trigger) >= trigger.for_;
    let next = if fires {
        TriggerState::Firing
    } else {
        TriggerState::Pending
    };
    enter(memory, next, message, now);
}

/// Whether so long passed without a reading, such as while no operator ran, that what the condition
/// did meanwhile is not known. The workload's own status is told and not asked: no news is none.
fn was_interrupted(trigger: &ValidTrigger, memory: &TriggerMemory, asked_at: Timestamp) -> bool {
    // After a restart the last reading is known by its sample, or by the run that it began.
    let last = memory
        .asked_at
        .or_else(|| memory.samples.back().map(|s| s.at).max(memory.active_since));
    trigger.is_asked() && last.is_some_and(|last| asked_at.duration_since(last) > too_old(trigger))
}

/// How much too early a reading may come and still count as on time. Nobody is asked on the
/// nanosecond: without it every second `for` of two intervals would last three.
fn punctuality(trigger: &ValidTrigger) -> SignedDuration {
    match trigger.source {
        // The cluster and Alertmanager tell by themselves, and the end of `for` is waited for exactly.
        Source::Workload { .. } | Source::Vulnerability(_) | Source::Alert(_) => {
            SignedDuration::ZERO
        }
        _ => (trigger.interval / JITTER_SHARE).min(JITTER_AT_MOST),
    }
}

/// How old a reading may be and still speak for now.
pub(crate) fn too_old(trigger: &ValidTrigger) -> SignedDuration {
    (trigger.interval * STALE_AFTER_INTERVALS).max(STALE_AFTER_AT_LEAST)
}

/// The condition does not hold, or cannot be judged: the run is broken.
fn rest(memory: &mut TriggerMemory, state: TriggerState, message: String, now: Timestamp) {
    memory.active_since = None;
    (memory.recovering_since, memory.well_since) = (None, None);
    enter(memory, state, message, now);
}

fn enter(memory: &mut TriggerMemory, state: TriggerState, message: String, now: Timestamp) {
    if memory.state != state {
        memory.state = state;
        memory.since = now;
    }
    memory.message = message;
}

fn remember(memory: &mut TriggerMemory, sample: Sample) {
    let same = |old: &Sample| old.value.to_bits() == sample.value.to_bits();
    if memory
        .samples
        .back()
        .is_some_and(|last| same(last) && last.at == sample.at)
    {
        return;
    }
    // Looks at the workload come with every change of it: while the value stays, its first and its
    // last look within a while are enough.
    let crowded = memory.samples.len() > 1
        && memory
            .samples
            .iter()
            .rev()
            .take(2)
            .all(|old| same(old) && sample.at.duration_since(old.at) < CROWDED);
    if crowded {
        memory.samples.pop_back();
    }
    memory.samples.push_back(sample);
    while memory.samples.len() > SAMPLES_KEPT {
        memory.samples.pop_front();
    }
}
