//! The state machine of a trigger: Inactive, Pending, Firing, NoData, Error, as of an alert in
//! Prometheus.
//!
//! A trigger fires only on an unbroken run of readings that are evidence about the live release.
//! Whatever cannot be judged (no data, an unreachable source, a reading that reaches back before
//! the release) breaks the run.

use backstop_api::{
    event::Sample,
    policy::{NoDataPolicy, Signal, TriggerState, VulnerabilityLimits},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    condition::Variables,
    policy::{Source, ValidPolicy, ValidTrigger},
    reading::Reading,
    snapshot::{Snapshot, Workload},
    state::{Release, SAMPLES_KEPT, State, TriggerMemory},
    target, track, vulnerability,
};

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

/// What one look says.
enum Look {
    /// A number, on evidence.
    Value { value: f64, at: Timestamp },
    /// Nothing was found.
    NoData(String),
    /// What was found cannot be judged: NaN, infinity, too few samples.
    Inconclusive(String),
    /// The readings still reach back before this release, or none is there yet.
    Settling(String),
    /// The Deployment controller has not seen the newest spec: nothing is news, and nothing breaks
    /// the run. An autoscaler changes the spec all the time.
    Behind(String),
    /// An answer that is too old to speak for now, whatever the policy makes of no data.
    Stale(String),
    /// The source could not be asked.
    Error(String),
}

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
        let baseline = target::baseline(seen, &release.hash, restored, &trigger.name);
        step(trigger, memory, look, asked_at, baseline, workload, now);
    }
}

/// What decides whether a reading is evidence.
struct Scope<'a> {
    release: &'a Release,
    /// Backstop restored the release: only samples after its rollout count.
    restored: bool,
    /// The release was live before: series of its pods may still be about that time.
    known: bool,
}

impl Scope<'_> {
    /// From when on readings of this trigger are evidence; `None` while that cannot be said.
    fn evidence_from(&self, trigger: &ValidTrigger) -> Option<Timestamp> {
        let scoped = match &trigger.source {
            Source::Workload { .. } | Source::Vulnerability(_) => {
                return Some(self.release.since);
            }
            Source::Prometheus { query, minimum, .. } => {
                query.is_scoped() && minimum.as_ref().is_none_or(|m| m.query.is_scoped())
            }
            Source::Web(web) => web.is_scoped(),
        };
        let start = if self.restored {
            self.release.completed_at?
        } else if scoped && !self.known {
            return Some(self.release.since);
        } else {
            self.release.first_ready_at?
        };
        start.checked_add(trigger.range()).ok()
    }

    /// Whether an empty answer is news. A release that has just begun has no samples yet, and that
    /// says nothing about it: its first pod must have been ready for as long as the query looks back.
    fn silence_counts(&self, trigger: &ValidTrigger, asked_at: Timestamp) -> bool {
        let ready = self.release.first_ready_at;
        let from = ready.and_then(|ready| ready.checked_add(trigger.range()).ok());
        from.is_some_and(|from| asked_at >= from)
    }
}

fn look(
    trigger: &ValidTrigger,
    memory: &mut TriggerMemory,
    seen: &Snapshot,
    workload: &Workload,
    scope: &Scope<'_>,
    now: Timestamp,
) -> (Look, Timestamp) {
    if let Source::Workload { signals } = &trigger.source {
        return (look_at_workload(signals, memory, workload, now), now);
    }
    if let Source::Vulnerability(limits) = &trigger.source {
        return (look_at_reports(limits, memory, seen, scope, now), now);
    }
    let Some(observed) = seen
        .readings
        .get(&trigger.name)
        .filter(|o| o.release == scope.release.hash)
    else {
        return (
            Look::Settling("waiting for the first answer about this release".into()),
            now,
        );
    };
    memory.query = Some(observed.query.clone());
    let asked_at = observed.asked_at;
    if now.duration_since(asked_at) > too_old(trigger) {
        let whom = match trigger.source {
            Source::Web(_) => "the web service",
            Source::Prometheus { .. } | Source::Workload { .. } | Source::Vulnerability(_) => {
                "Prometheus"
            }
        };
        let why = format!("the newest answer is from {asked_at:.0}; is {whom} slow?");
        return (Look::Error(why), asked_at);
    }
    let look = match &observed.reading {
        Reading::Unavailable { why, .. } => Look::Error(why.clone()),
        Reading::Stale { at } => Look::Stale(format!("the newest sample is from {at:.0}, too old")),
        _ if !workload.is_current() => Look::Behind(behind(workload)),
        reading => match scope.evidence_from(trigger) {
            None => Look::Settling("waiting for this release's first ready pod".into()),
            Some(from) if asked_at < from => Look::Settling(format!(
                "samples still reach back before this release; judged from {from:.0} on"
            )),
            Some(_) => match reading {
                Reading::Value { value, .. } if !value.is_finite() => {
                    Look::Inconclusive(format!("{value} is no number to compare with"))
                }
                Reading::Value { value, at } => Look::Value {
                    value: *value,
                    at: *at,
                },
                Reading::NoData { why } if scope.silence_counts(trigger, asked_at) => {
                    Look::NoData(why.clone())
                }
                Reading::Inconclusive { why } if scope.silence_counts(trigger, asked_at) => {
                    Look::Inconclusive(why.clone())
                }
                Reading::NoData { why } | Reading::Inconclusive { why } => {
                    Look::Settling(format!("{why}, as is to be expected of so new a release"))
                }
                Reading::Stale { .. } | Reading::Unavailable { .. } => {
                    unreachable!("matched above")
                }
            },
        },
    };
    (look, asked_at)
}

fn look_at_workload(
    signals: &[Signal],
    memory: &mut TriggerMemory,
    workload: &Workload,
    now: Timestamp,
) -> Look {
    memory.details.clear();
    if !workload.is_current() {
        return Look::Behind(behind(workload));
    }
    let mut value = 0.0;
    for signal in signals {
        let (number, words): (f64, &[String]) = match signal {
            Signal::ProgressDeadlineExceeded => match &workload.progress_deadline_exceeded {
                Some(said) => (1.0, std::slice::from_ref(said)),
                None => (0.0, &[]),
            },
            Signal::CrashLoopBackOff => pods(&workload.pods.crash_looping),
            Signal::ImagePullBackOff => pods(&workload.pods.image_pull),
            Signal::CreateContainerConfigError => pods(&workload.pods.config_error),
            Signal::OOMKilled => pods(&workload.pods.oom_killed),
            Signal::Restarts => (f64::from(workload.pods.restarts), &[]),
            Signal::UnreadyShare => (workload.unready_share(), &[]),
        };
        value += number;
        memory.details.extend(words.iter().cloned());
    }
    Look::Value { value, at: now }
}

fn look_at_reports(
    limits: &VulnerabilityLimits,
    memory: &mut TriggerMemory,
    seen: &Snapshot,
    scope: &Scope<'_>,
    now: Timestamp,
) -> Look {
    let found = vulnerability::look(limits, &seen.reports, scope.release, now);
    memory.details = found.details;
    match found.reading {
        Reading::Value { value, at } => Look::Value { value, at },
        Reading::NoData { why } if found.settling => Look::Settling(format!(
            "{why}; a scan takes some minutes, so that is to be expected of so new a release"
        )),
        Reading::NoData { why } => Look::NoData(why),
        Reading::Inconclusive { why } => Look::Inconclusive(why),
        Reading::Stale { at } => Look::Stale(format!("the newest report is from {at:.0}, too old")),
        Reading::Unavailable { why, .. } => Look::Error(why),
    }
}

fn pods(found: &[String]) -> (f64, &[String]) {
    (
        f64::from(u32::try_from(found.len()).unwrap_or(u32::MAX)),
        found,
    )
}

fn step(
    trigger: &ValidTrigger,
    memory: &mut TriggerMemory,
    look: Look,
    asked_at: Timestamp,
    baseline: Option<f64>,
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
    memory.baseline = baseline;
    memory.lacks_baseline = false;
    let (bad, message) = match look {
        Look::Value { value, at } => {
            remember(memory, Sample { at, value });
            if trigger.condition.uses_baseline() && baseline.is_none() {
                memory.lacks_baseline = true;
                let message = "no baseline yet: no earlier release has proved itself".to_owned();
                return rest(memory, TriggerState::NoData, message, now);
            }
            let variables = Variables {
                value,
                baseline,
                workload: workload.numbers(),
            };
            match trigger.condition.holds(&variables) {
                Ok(bad) => (bad, in_words(trigger, value, baseline, bad, memory)),
                Err(problem) => {
                    let message = format!("condition '{}' {problem}", trigger.condition.text());
                    return rest(memory, TriggerState::Error, message, now);
                }
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
        return rest(memory, TriggerState::Inactive, message, now);
    }
    let active_since = *memory.active_since.get_or_insert(asked_at);
    // Counted by readings and not by the clock: one bad reading, however long ago, is one.
    let held = asked_at.duration_since(active_since);
    let fires =
        held >= trigger.for_ || !held.is_zero() && held + punctuality(trigger) >= trigger.for_;
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

fn behind(workload: &Workload) -> String {
    format!(
        "the Deployment controller has seen generation {} of {}",
        workload.observed_generation, workload.generation
    )
}

/// How much too early a reading may come and still count as on time. Nobody is asked on the
/// nanosecond: without it every second `for` of two intervals would last three.
fn punctuality(trigger: &ValidTrigger) -> SignedDuration {
    match trigger.source {
        Source::Prometheus { .. } | Source::Web(_) => {
            (trigger.interval / JITTER_SHARE).min(JITTER_AT_MOST)
        }
        // The cluster tells by itself, and the end of `for` is waited for exactly.
        Source::Workload { .. } | Source::Vulnerability(_) => SignedDuration::ZERO,
    }
}

/// How old a reading may be and still speak for now.
pub(crate) fn too_old(trigger: &ValidTrigger) -> SignedDuration {
    (trigger.interval * STALE_AFTER_INTERVALS).max(STALE_AFTER_AT_LEAST)
}

/// The condition does not hold, or cannot be judged: the run is broken.
fn rest(memory: &mut TriggerMemory, state: TriggerState, message: String, now: Timestamp) {
    memory.active_since = None;
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

fn in_words(
    trigger: &ValidTrigger,
    value: f64,
    baseline: Option<f64>,
    bad: bool,
    memory: &TriggerMemory,
) -> String {
    let against = match baseline.filter(|_| trigger.condition.uses_baseline()) {
        Some(baseline) => format!(", baseline = {}", number(baseline)),
        None => String::new(),
    };
    let holds = if bad { "holds" } else { "does not hold" };
    let mut words = format!(
        "value = {}{against}: '{}' {holds}",
        number(value),
        trigger.condition.text()
    );
    if bad && let Some(first) = memory.details.first() {
        words.push_str("; ");
        words.push_str(first);
        if memory.details.len() > 1 {
            use std::fmt::Write as _;
            let _ = write!(words, " (and {} more)", memory.details.len() - 1);
        }
    }
    words
}

/// A number for people: four significant digits, no noise.
#[must_use]
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a logarithm of an f64 fits"
    )]
    let magnitude = value.abs().log10().floor() as i32;
    if !(-4..=9).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let decimals = usize::try_from(3 - magnitude).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A reading, unless there was too little to judge by.
#[must_use]
pub fn with_minimum(reading: Reading, samples: &Reading, at_least: f64) -> Reading {
    match samples {
        Reading::Value { value, .. } if *value >= at_least => reading,
        Reading::Value { value, .. } => Reading::Inconclusive {
            why: format!(
                "only {} of at least {} samples",
                number(*value),
                number(at_least)
            ),
        },
        Reading::NoData { why } | Reading::Inconclusive { why } => Reading::Inconclusive {
            why: format!("minimumSamples: {why}"),
        },
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.071_234, "0.07123"),
            (1.0, "1"),
            (12.5, "12.5"),
            (1234.56, "1235"),
            (123_456.0, "123456"),
            (1.0e12, "1.000e12"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn too_few_samples_are_inconclusive() {
        let at = Timestamp::UNIX_EPOCH;
        let bad = Reading::Value { value: 1.0, at };
        let few = Reading::Value { value: 12.0, at };
        assert_eq!(
            with_minimum(bad.clone(), &few, 100.0),
            Reading::Inconclusive {
                why: "only 12 of at least 100 samples".into()
            }
        );
        assert_eq!(with_minimum(bad.clone(), &few, 10.0), bad);
    }
}
