//! What a trigger's values are compared with, and whether that is any good.
//!
//! A baseline that was made of too few samples, is too old or is too wild says nothing: the trigger
//! is then NoData, in words, and never takes a release back.

use std::collections::{BTreeMap, VecDeque};

use backstop_api::{event::Sample, point::Distribution, policy::Tally};
use jiff::{SignedDuration, Timestamp};

use crate::{
    policy::{Against, ValidBaseline, ValidPolicy, ValidTrigger},
    reading::Reading,
    snapshot::{Beside, Measured, Observed, Point, Snapshot, Workload},
    state::{SAMPLES_KEPT, State, TriggerMemory},
    statistics::{proportion, summary},
    target,
    trigger::number,
};

/// So many samples of an earlier time or of the stable side must be there before it can be said that
/// they are too wild.
const WILD_FROM: usize = 5;

/// What is said where no point holds anything to compare with.
pub const NONE_YET: &str = "no baseline yet: no earlier release has proved itself";

/// What there is to compare with.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// The number, or why there is none.
    pub value: Result<f64, Lack>,
    /// The samples that it comes from.
    pub samples: Vec<f64>,
    /// The same number of the stable side.
    pub stable: Result<f64, Lack>,
}

/// Why there is nothing to compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What follows.
    pub kind: LackKind,
    /// For a person.
    pub why: String,
}

/// What follows from there being nothing to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LackKind {
    /// Nothing can be said: neither good nor bad.
    NoData,
    /// The source could not be asked.
    Error,
    /// The other side is gone, as it is to be: there is nothing to say any more.
    Over,
}

impl Lack {
    fn no_data(why: impl Into<String>) -> Self {
        Self {
            kind: LackKind::NoData,
            why: why.into(),
        }
    }
}

/// Which release is compared.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    /// Its identity.
    pub release: &'a str,
    /// Whether Backstop restored it.
    pub restored: bool,
}

impl Live<'static> {
    /// The next one: nothing is known of it but that it is another one.
    pub const NEXT: Self = Self {
        release: "",
        restored: false,
    };
}

/// Finds what the trigger's value is compared with.
#[must_use]
pub fn find(
    trigger: &ValidTrigger,
    memory: &TriggerMemory,
    seen: &Snapshot,
    workload: &Workload,
    live: Live<'_>,
    now: Timestamp,
) -> Compared {
    let observed = seen
        .readings
        .get(&trigger.name)
        .filter(|o| o.release == live.release);
    let nothing = Beside::default();
    let beside = observed.map_or(&nothing, |o| &o.beside);
    let stable = stable(trigger, beside, workload);
    let (value, samples) = match trigger.baseline.against {
        Against::Static(value) => (Ok(value), Vec::new()),
        Against::LastHealthy => last_healthy(trigger, seen, live, now),
        Against::Stable => (stable.clone(), values(&memory.beside)),
        Against::Offset(ago) => (
            earlier(beside.earlier.as_ref(), ago),
            values(&memory.beside),
        ),
    };
    let value = match trigger.baseline.against {
        Against::Offset(_) | Against::Stable if trigger.ratio().is_none() => {
            value.and_then(|value| tame(value, &samples, &trigger.baseline))
        }
        _ => value,
    };
    Compared {
        value,
        samples,
        stable,
    }
}

/// Remembers what was measured beside the release, to compare samples with.
pub fn remember(trigger: &ValidTrigger, memory: &mut TriggerMemory, observed: &Observed) {
    let reading = match trigger.baseline.against {
        Against::Offset(_) => observed.beside.earlier.as_ref(),
        Against::Stable => observed.beside.stable.as_ref(),
        Against::LastHealthy | Against::Static(_) => None,
    };
    let at = observed.asked_at;
    let Some(value) = reading.and_then(Reading::value) else {
        return;
    };
    if memory.beside.back().is_some_and(|last| last.at >= at) {
        return;
    }
    memory.beside.push_back(Sample { at, value });
    while memory.beside.len() > SAMPLES_KEPT {
        memory.beside.pop_front();
    }
}

fn last_healthy(
    trigger: &ValidTrigger,
    seen: &Snapshot,
    live: Live<'_>,
    now: Timestamp,
) -> (Result<f64, Lack>, Vec<f64>) {
    let Some(held) = held(trigger, seen, live, now) else {
        return (Err(Lack::no_data(NONE_YET)), Vec::new());
    };
    let distribution = held.measured.distribution.as_ref();
    let samples = || distribution.map_or_else(Vec::new, |d| d.samples.clone());
    match held.problem {
        None => (Ok(held.measured.value), samples()),
        Some(problem) => {
            let why = format!("the baseline of point {} {problem}", held.point.name);
            (Err(Lack::no_data(why)), Vec::new())
        }
    }
}

/// What a point holds for a trigger to compare with.
#[derive(Clone, Debug, PartialEq)]
pub struct Held<'a> {
    /// The point.
    pub point: &'a Point,
    /// What it holds.
    pub measured: &'a Measured,
    /// When that was measured.
    pub taken: Timestamp,
    /// Why nothing is compared with it, if so.
    pub problem: Option<String>,
}

/// What the trigger's values are compared with where that is what a point holds.
#[must_use]
pub fn held<'a>(
    trigger: &ValidTrigger,
    seen: &'a Snapshot,
    live: Live<'_>,
    now: Timestamp,
) -> Option<Held<'a>> {
    let (point, measured) = target::baseline(seen, live.release, live.restored, &trigger.name)?;
    let taken = taken(point, measured);
    Some(Held {
        point,
        measured,
        taken,
        problem: too_old(trigger, taken, now).or_else(|| unusable(trigger, measured)),
    })
}

/// When it was measured.
fn taken(point: &Point, measured: &Measured) -> Timestamp {
    let of_samples = measured.distribution.as_ref().and_then(|d| d.to);
    of_samples.unwrap_or(point.proved_at)
}

fn too_old(trigger: &ValidTrigger, taken: Timestamp, now: Timestamp) -> Option<String> {
    let age = now.duration_since(taken);
    let most = trigger.baseline.max_age.filter(|most| age > *most)?;
    let in_words = |age: SignedDuration| match age.as_hours() {
        0 => format!("{} s", age.as_secs()),
        hours => format!("{hours} h"),
    };
    Some(format!(
        "is {} old, and may be {} (baseline.maxAge)",
        in_words(age),
        in_words(most)
    ))
}

/// Why nothing can be compared with what a point holds, whatever its age.
#[must_use]
pub fn unusable(trigger: &ValidTrigger, measured: &Measured) -> Option<String> {
    // A ratio's own limit is the wider the fewer were counted, and what the cluster tells is not
    // sampled.
    if trigger.ratio().is_some() || !trigger.is_asked() {
        return None;
    }
    let Some(distribution) = measured.distribution.as_ref() else {
        return trigger.compare.as_ref().map(|compare| {
            let wanted = compare.parameters.samples;
            format!("is a number alone, and {wanted} samples are compared (compare.samples)")
        });
    };
    let baseline = &trigger.baseline;
    if distribution.count < baseline.minimum_samples {
        return Some(format!(
            "was made of too few samples: {}, of at least {} (baseline.minimumSamples)",
            distribution.count, baseline.minimum_samples
        ));
    }
    if let Some(compare) = &trigger.compare {
        let (there, wanted) = (
            distribution.samples.len(),
            compare.parameters.samples as usize,
        );
        if there < wanted {
            return Some(format!(
                "was made of too few samples to compare: {there} of {wanted} (compare.samples); points.soak decides how \
                 many there are"
            ));
        }
    }
    too_wild(distribution.mean, distribution.deviation, baseline)
}

/// The triggers that cannot compare with what a point holds, and why: `trigger: problem`.
#[must_use]
pub fn complaints(policy: &ValidPolicy, point: &Point, now: Timestamp) -> Vec<String> {
    policy
        .triggers
        .iter()
        .filter(|trigger| trigger.compares_with_a_point())
        .filter_map(|trigger| {
            let problem = match point.baselines.get(&trigger.name) {
                None => "was not measured".to_owned(),
                Some(measured) => too_old(trigger, taken(point, measured), now)
                    .or_else(|| unusable(trigger, measured))?,
            };
            Some(format!("{}: its baseline {problem}", trigger.name))
        })
        .collect()
}

/// When the next of the values that a point holds will be too old, if any will.
#[must_use]
pub fn too_old_at(policy: &ValidPolicy, point: &Point, now: Timestamp) -> Option<Timestamp> {
    let comparing = policy.triggers.iter().filter(|t| t.compares_with_a_point());
    comparing
        .filter_map(|trigger| {
            let measured = point.baselines.get(&trigger.name)?;
            let last = taken(point, measured).checked_add(trigger.baseline.max_age?);
            last.ok().filter(|last| *last >= now)
        })
        .min()
}

fn too_wild(mean: f64, deviation: f64, baseline: &ValidBaseline) -> Option<String> {
    let variation = summary::variation(mean, deviation);
    (variation > baseline.max_variation).then(|| {
        format!(
            "is too wild to compare with: its samples vary by {} times their mean of {}, and may by {} \
             (baseline.maxVariation)",
            number(variation),
            number(mean),
            number(baseline.max_variation)
        )
    })
}

/// What was measured at an earlier time.
fn earlier(reading: Option<&Reading>, ago: SignedDuration) -> Result<f64, Lack> {
    let hours = ago.as_secs_f64() / 3600.0;
    let what = format!("the baseline of {} h ago", number(hours));
    beside(reading, &what).unwrap_or_else(|| Err(Lack::no_data(format!("{what} is not asked yet"))))
}

/// What is measured of the side that is not released to.
fn stable(trigger: &ValidTrigger, seen: &Beside, workload: &Workload) -> Result<f64, Lack> {
    let what = "the stable side";
    let Some(value) = beside(seen.stable.as_ref(), what) else {
        if workload.tried {
            return Err(Lack::no_data(format!("{what} is not asked yet")));
        }
        let why = "no pods of another release serve beside it, so there is nothing to compare with";
        return Err(Lack {
            kind: LackKind::Over,
            why: why.into(),
        });
    };
    let Some(ratio) = trigger.ratio() else {
        return value;
    };
    let bad = match (&seen.stable, value) {
        // Counters of what never happened are not there.
        (Some(Reading::NoData { .. }), _) => 0.0,
        (_, value) => value?,
    };
    let total = beside(seen.stable_total.as_ref(), what)
        .unwrap_or_else(|| Err(Lack::no_data(format!("{what} is not asked yet"))))?;
    Ok(proportion::at_most(bad.min(total), total, ratio.error))
}

fn beside(reading: Option<&Reading>, what: &str) -> Option<Result<f64, Lack>> {
    Some(match reading? {
        Reading::Value { value, .. } if value.is_finite() => Ok(*value),
        Reading::Value { value, .. } => Err(Lack::no_data(format!("{what}: {value} is no number"))),
        Reading::NoData { why } | Reading::Inconclusive { why } => {
            Err(Lack::no_data(format!("{what}: {why}")))
        }
        Reading::Stale { at } => Err(Lack::no_data(format!(
            "{what}: the newest sample is from {at:.0}, too old"
        ))),
        Reading::Unavailable { why, .. } => Err(Lack {
            kind: LackKind::Error,
            why: format!("{what}: {why}"),
        }),
    })
}

fn tame(value: f64, samples: &[f64], baseline: &ValidBaseline) -> Result<f64, Lack> {
    let mean = summary::mean(samples).filter(|_| samples.len() >= WILD_FROM);
    let problem = mean.and_then(|mean| too_wild(mean, summary::deviation(samples), baseline));
    match problem {
        None => Ok(value),
        Some(problem) => Err(Lack::no_data(format!("the baseline {problem}"))),
    }
}

fn values(samples: &VecDeque<Sample>) -> Vec<f64> {
    samples.iter().map(|s| s.value).collect()
}

/// What each trigger measured while the live release proved itself.
#[must_use]
pub fn measured(policy: &ValidPolicy, state: &State) -> BTreeMap<String, Measured> {
    let since = state.release.as_ref().and_then(|r| r.healthy_since);
    policy
        .triggers
        .iter()
        .filter_map(|trigger| {
            let memory = state.triggers.get(&trigger.name)?;
            let measured = match trigger.ratio() {
                Some(ratio) => counted(memory, ratio.error)?,
                None => sampled(memory, since)?,
            };
            Some((trigger.name.clone(), measured))
        })
        .collect()
}

fn counted(memory: &TriggerMemory, error: f64) -> Option<Measured> {
    of_counts(memory.tally.as_ref()?, error, None, memory.asked_at)
}

/// What was measured since the release is healthy; where nothing was, what was measured last.
fn sampled(memory: &TriggerMemory, since: Option<Timestamp>) -> Option<Measured> {
    let newest = memory.samples.back()?;
    let healthy = memory.samples.iter().filter(|s| Some(s.at) >= since);
    let mut samples: Vec<Sample> = healthy.copied().collect();
    if samples.is_empty() {
        samples.push(*newest);
    }
    let values: Vec<f64> = samples.iter().map(|s| s.value).collect();
    let times = (samples.first().map(|s| s.at), samples.last().map(|s| s.at));
    of_samples(&values, times)
}

/// What a ratio is remembered as: what it is at most, the wider, the less was counted. `None` where
/// nothing was.
#[must_use]
pub fn of_counts(
    tally: &Tally,
    error: f64,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Option<Measured> {
    if tally.total <= 0.0 {
        return None;
    }
    let share = tally.bad / tally.total;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, above 0"
    )]
    let count = tally.total as u64;
    Some(Measured {
        value: proportion::at_most(tally.bad, tally.total, error),
        distribution: Some(Distribution {
            count,
            mean: share,
            deviation: (share * (1.0 - share)).sqrt(),
            p5: None,
            median: None,
            p95: None,
            samples: Vec::new(),
            from,
            to,
        }),
    })
}

/// What samples are remembered as, oldest first: the middle, how they are spread, and the newest of
/// them. The times are those of the oldest and the newest. `None` without samples.
#[must_use]
pub fn of_samples(
    samples: &[f64],
    (from, to): (Option<Timestamp>, Option<Timestamp>),
) -> Option<Measured> {
    let kept = samples.len().saturating_sub(SAMPLES_KEPT);
    Some(Measured {
        value: summary::median(samples)?,
        distribution: Some(Distribution {
            count: samples.len() as u64,
            mean: summary::mean(samples)?,
            deviation: summary::deviation(samples),
            p5: summary::quantile(samples, 0.05),
            median: summary::median(samples),
            p95: summary::quantile(samples, 0.95),
            samples: samples[kept..].to_vec(),
            from,
            to,
        }),
    })
}
