//! The results of many rounds, and the one number that they make.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use backstop_api::policy::ProbeMeasure;
use jiff::Timestamp;

use super::{Answer, Probe};
use crate::{
    aggregate::{count, one_of},
    reading::{Reading, Unavailable},
};

/// Results kept of one pod, at most: a day of one a minute.
const RESULTS_KEPT: usize = 1500;

/// Who was asked in a round, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The pod; or the address.
    pub name: String,
    /// When the pod's containers started, as far as is known.
    pub started_at: Option<Timestamp>,
    /// Whether its kubelet says that its containers are ready; true of an address.
    pub ready: bool,
    /// What came of asking.
    pub answer: Answer,
}

/// The results of many rounds, about one release.
#[derive(Clone, Debug, Default)]
pub struct History {
    pods: BTreeMap<String, Pod>,
    /// Who was asked in the newest round.
    newest: BTreeSet<String>,
    /// In words, what was wrong in the newest round.
    details: Vec<String>,
    /// Why nothing is known of those of whom nothing is.
    unknown: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Pod {
    /// Whether it has ever been well: from then on it is not starting any more.
    been_well: bool,
    results: VecDeque<Kept>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    at: Timestamp,
    result: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Well(Duration),
    /// With the time to its answer, where there was one.
    Failed(Option<Duration>),
    Unknown,
}

impl History {
    /// Takes a round in. `beside` says whether a pod of another release could be connected to in it.
    pub fn take(&mut self, probe: &Probe, round: Vec<Answered>, beside: bool, now: Timestamp) {
        let connected = beside || round.iter().any(|one| one.answer.is_connected());
        self.newest = round.iter().map(|one| one.name.clone()).collect();
        self.details.clear();
        self.unknown = None;
        for one in round {
            let pod = self.pods.entry(one.name.clone()).or_default();
            let speaks = match &one.answer {
                Answer::Well { .. } | Answer::Ill { .. } => true,
                Answer::Refused => connected || !one.ready,
                Answer::NotReached { .. } => !one.ready,
            };
            let (words, result) = match one.answer {
                Answer::Well { took } => {
                    pod.been_well = true;
                    (None, Outcome::Well(took))
                }
                Answer::Ill { took, why } => (Some(why), Outcome::Failed(took)),
                Answer::Refused => (Some("refuses connections".into()), Outcome::Failed(None)),
                Answer::NotReached { why } => (Some(why), Outcome::Failed(None)),
            };
            let starting = !pod.been_well
                && one
                    .started_at
                    .is_some_and(|since| now.duration_since(since) < probe.startup);
            if words.is_some() && starting {
                continue;
            }
            let words = words.map(|words| format!("{}: {words}", one.name));
            let result = if speaks {
                self.details.extend(words);
                result
            } else {
                self.unknown = self.unknown.take().or(words);
                Outcome::Unknown
            };
            pod.results.push_back(Kept { at: now, result });
            if pod.results.len() > RESULTS_KEPT {
                pod.results.pop_front();
            }
        }
        let (newest, from) = (&self.newest, now.checked_sub(probe.window).ok());
        self.pods.retain(|name, pod| {
            pod.results
                .retain(|kept| from.is_none_or(|from| kept.at >= from));
            newest.contains(name) || !pod.results.is_empty()
        });
    }

    /// In words, what was wrong in the newest round.
    #[must_use]
    pub fn details(&self) -> &[String] {
        &self.details
    }

    /// What the results of the window say at the time of the newest round.
    #[must_use]
    pub fn reading(&self, probe: &Probe, now: Timestamp) -> Reading {
        let newest = || {
            self.newest
                .iter()
                .filter_map(|name| self.pods.get(name))
                .filter(|pod| pod.results.back().is_some_and(|kept| kept.at == now))
        };
        if newest().next().is_none() {
            return Reading::Inconclusive {
                why: match self.newest.len() {
                    0 => "no pod of the release runs yet".into(),
                    some => format!(
                        "{some} pods have not been well yet, and may be starting for {:#}",
                        probe.startup
                    ),
                },
            };
        }
        let known = || newest().filter(|pod| pod.last() != Some(Outcome::Unknown));
        if known().next().is_none() {
            let first = self.unknown.as_deref().unwrap_or("no connection");
            return Reading::Unavailable {
                reason: Unavailable::Unreachable,
                why: format!(
                    "nothing can be connected to, which says nothing about the release ({first}); may \
                     the operator reach it, or does a NetworkPolicy keep it away?"
                ),
            };
        }
        let value = match probe.measure {
            ProbeMeasure::ConsecutiveFailures => {
                one_of(probe.aggregate, known().map(Pod::failures_in_a_row))
            }
            ProbeMeasure::ResponseTime => {
                one_of(probe.aggregate, known().filter_map(Pod::newest_millis))
            }
            ProbeMeasure::FailureRate => match self.failure_rate(probe) {
                Ok(rate) => Some(rate),
                Err(why) => return Reading::Inconclusive { why },
            },
        };
        match value {
            Some(value) => Reading::Value { value, at: now },
            None => Reading::Inconclusive {
                why: "nobody answered, so there is no time to an answer".into(),
            },
        }
    }

    fn failure_rate(&self, probe: &Probe) -> Result<f64, String> {
        let results = || self.pods.values().flat_map(|pod| &pod.results);
        let failed = results()
            .filter(|kept| matches!(kept.result, Outcome::Failed(_)))
            .count();
        let all = results()
            .filter(|kept| kept.result != Outcome::Unknown)
            .count();
        if all < probe.minimum_results {
            return Err(format!(
                "only {all} of at least {} results in {:#}",
                probe.minimum_results, probe.window
            ));
        }
        Ok(count(failed) / count(all))
    }
}

impl Pod {
    fn last(&self) -> Option<Outcome> {
        self.results.back().map(|kept| kept.result)
    }

    /// How long its newest answer took, in milliseconds.
    fn newest_millis(&self) -> Option<f64> {
        match self.last()? {
            Outcome::Well(took) | Outcome::Failed(Some(took)) => Some(took.as_secs_f64() * 1000.0),
            Outcome::Failed(None) | Outcome::Unknown => None,
        }
    }

    fn failures_in_a_row(&self) -> f64 {
        let run = self.results.iter().rev();
        let run = run.take_while(|kept| matches!(kept.result, Outcome::Failed(_)));
        count(run.count())
    }
}

#[cfg(test)]
mod tests;
