//! What one look says: a number on evidence, or why there is none.

use backstop_api::policy::{Signal, VulnerabilityLimits};
use jiff::Timestamp;

use super::{alerts, number, too_old};
use crate::{
    baseline, peers,
    policy::{Source, ValidTrigger},
    reading::Reading,
    snapshot::{Observed, Snapshot, Workload},
    state::{Release, TriggerMemory},
    tally, vulnerability,
};

/// What one look says.
pub(super) enum Look {
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

/// What decides whether a reading is evidence.
pub(super) struct Scope<'a> {
    /// The live release.
    pub(super) release: &'a Release,
    /// Backstop restored the release: only samples after its rollout count.
    pub(super) restored: bool,
    /// The release was live before: series of its pods may still be about that time.
    pub(super) known: bool,
}

impl Scope<'_> {
    /// From when on readings of this trigger are evidence; `None` while that cannot be said.
    pub(super) fn evidence_from(&self, trigger: &ValidTrigger) -> Option<Timestamp> {
        let scoped = match &trigger.source {
            Source::Workload { .. } | Source::Vulnerability(_) => {
                return Some(self.release.since);
            }
            _ => is_scoped(trigger),
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

    /// Whether what counters count began with the release.
    fn counts_from_zero(&self, trigger: &ValidTrigger) -> bool {
        is_scoped(trigger) && !self.known && !self.restored
    }

    /// Whether an empty answer is news. A release that has just begun has no samples yet, and that
    /// says nothing about it: its first pod must have been ready for as long as the query looks back.
    pub(super) fn silence_counts(&self, trigger: &ValidTrigger, asked_at: Timestamp) -> bool {
        let ready = self.release.first_ready_at;
        let from = ready.and_then(|ready| ready.checked_add(trigger.range()).ok());
        from.is_some_and(|from| asked_at >= from)
    }
}

/// Whether all that is asked is about the release alone.
fn is_scoped(trigger: &ValidTrigger) -> bool {
    match &trigger.source {
        // Pods are asked for what they use by their names.
        Source::Workload { .. } | Source::Vulnerability(_) | Source::Resource(_) => true,
        Source::Prometheus {
            query,
            ratio,
            minimum,
            ..
        } => {
            query.is_scoped()
                && ratio.as_ref().is_none_or(|r| r.total.is_scoped())
                && minimum.as_ref().is_none_or(|m| m.query.is_scoped())
        }
        Source::Web(web) => web.is_scoped(),
        Source::Probe(probe) => probe.is_scoped(),
        // An alert that names a pod has its own answer.
        Source::Alert(_) => false,
    }
}

/// Looks at the newest reading of a trigger.
pub(super) fn look(
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
    if let Source::Alert(alert) = &trigger.source {
        return alerts::look(alert, trigger, memory, seen, workload, scope, now);
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
    memory.details.clone_from(&observed.details);
    let asked_at = observed.asked_at;
    if now.duration_since(asked_at) > too_old(trigger) {
        let whom = match trigger.source {
            Source::Web(_) => "the web service",
            Source::Probe(_) => "what is probed",
            Source::Resource(_) => "metrics.k8s.io",
            Source::Prometheus { .. }
            | Source::Workload { .. }
            | Source::Vulnerability(_)
            | Source::Alert(_) => "Prometheus",
        };
        let why = format!("the newest answer is from {asked_at:.0}; is {whom} slow?");
        return (Look::Error(why), asked_at);
    }
    if scope
        .evidence_from(trigger)
        .is_some_and(|from| asked_at >= from)
    {
        baseline::remember(trigger, memory, observed);
    }
    let look = match &together(trigger, observed) {
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
                Reading::Value { value, at } => match trigger.ratio() {
                    None => Look::Value {
                        value: *value,
                        at: *at,
                    },
                    Some(ratio) => {
                        let total = observed.beside.total.as_ref().and_then(Reading::value);
                        let total = total.unwrap_or(0.0);
                        if peers::spared(trigger, memory, now).is_some() {
                            // What fails while everything does is not the release's.
                            tally::forget(&mut memory.tally, *value, total);
                        }
                        let from_zero = scope.counts_from_zero(trigger);
                        tally::count(&mut memory.tally, *value, total, from_zero);
                        match &memory.tally {
                            Some(tally) if tally.total > 0.0 => Look::Value {
                                value: tally::bad_at_least(tally, ratio.error),
                                at: *at,
                            },
                            _ => Look::Settling("nothing was counted of this release yet".into()),
                        }
                    }
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

/// The two counts of a ratio as one answer: the bad ones, where it can be judged what they are of.
fn together(trigger: &ValidTrigger, observed: &Observed) -> Reading {
    if trigger.ratio().is_none() {
        return observed.reading.clone();
    }
    let Some(total) = &observed.beside.total else {
        return Reading::NoData {
            why: "how many there are in all is not asked yet".into(),
        };
    };
    if total.value().is_some_and(|all| !all.is_finite()) {
        return total.clone();
    }
    match (&observed.reading, total) {
        // Counters of what never happened are not there.
        (Reading::NoData { .. }, Reading::Value { at, .. }) => Reading::Value {
            value: 0.0,
            at: *at,
        },
        (Reading::Value { value, .. }, Reading::Value { value: all, .. }) if value > all => {
            Reading::Inconclusive {
                why: format!(
                    "{} bad ones of {} in all: total must count the bad ones too",
                    number(*value),
                    number(*all)
                ),
            }
        }
        (bad @ Reading::Unavailable { .. }, _) | (bad, Reading::Value { .. }) => bad.clone(),
        (_, total) => total.clone(),
    }
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

pub(super) fn behind(workload: &Workload) -> String {
    format!(
        "the Deployment controller has seen generation {} of {}",
        workload.observed_generation, workload.generation
    )
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
