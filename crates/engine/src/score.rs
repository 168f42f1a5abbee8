//! The health score of the live release, 0 to 100, and where it goes.
//!
//! 100, less what each trigger takes away: a Critical one that fires 50, a Warning one 20, and half
//! of that while it is pending; and less up to 50 for the share of the wanted replicas that is not
//! available. What cannot be judged takes nothing away, is named, and leaves no score at all where
//! nothing can be judged.

use std::collections::VecDeque;

use backstop_api::policy::{ScoreAt, Severity, Trend, TriggerState};
use jiff::{SignedDuration, Timestamp};

use crate::{
    policy::{ValidPolicy, ValidTrigger},
    snapshot::Workload,
    state::{State, TriggerMemory},
};

/// What a Critical trigger takes away that fires.
const CRITICAL: f64 = 50.0;
/// What a Warning trigger takes away that fires.
const WARNING: f64 = 20.0;
/// What is taken away where no wanted replica is available.
const REPLICAS: f64 = 50.0;
/// The share of it that a trigger takes away which is pending.
const PENDING: f64 = 0.5;

/// So many changes of the score are kept.
pub const HISTORY_KEPT: usize = 60;
/// What the score is compared with is as long ago.
const TREND_OVER: SignedDuration = SignedDuration::from_mins(10);
/// A smaller difference is none.
const STEADY: i16 = 5;

/// The score, and what it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// From 0 to 100; `None` where nothing can be judged.
    pub value: Option<u8>,
    /// Where it goes.
    pub trend: Option<Trend>,
    /// What takes away from it, and what is not in it, for a person.
    pub message: String,
}

/// How the live release does, as a number.
#[must_use]
pub fn score(policy: &ValidPolicy, state: &State, workload: &Workload, now: Timestamp) -> Score {
    let (mut lost, mut why, mut unjudged) = (0.0, Vec::new(), Vec::new());
    for trigger in &policy.triggers {
        match state.triggers.get(&trigger.name).and_then(part) {
            None => unjudged.push(trigger.name.as_str()),
            Some(0.0) => {}
            Some(part) => {
                lost += part * weight(trigger);
                let what = if part < 1.0 { "pending" } else { "fires" };
                why.push(format!("{} {what}", trigger.name));
            }
        }
    }
    let missing = (workload.desired - workload.available).max(0);
    if missing > 0 {
        lost += REPLICAS * f64::from(missing) / f64::from(workload.desired);
        why.push(format!(
            "{missing} of {} replicas are not available",
            workload.desired
        ));
    }
    let blind = unjudged.len() == policy.triggers.len();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 100"
    )]
    let value = (!blind).then(|| (100.0 - lost).clamp(0.0, 100.0).round() as u8);
    let mut message = if blind {
        "no trigger can be judged".to_owned()
    } else if why.is_empty() {
        "nothing takes away from it".to_owned()
    } else {
        why.join("; ")
    };
    if !blind && !unjudged.is_empty() {
        message = format!(
            "{message}; not judged, so not in it: {}",
            unjudged.join(", ")
        );
    }
    Score {
        value,
        trend: value.map(|value| trend(&state.scores, value, now)),
        message,
    }
}

/// The share of its weight that a trigger takes away; `None` where it cannot be judged.
fn part(memory: &TriggerMemory) -> Option<f64> {
    match memory.state {
        TriggerState::Firing => Some(1.0),
        TriggerState::Pending => Some(PENDING),
        TriggerState::Inactive if memory.settled => Some(0.0),
        TriggerState::Inactive | TriggerState::NoData | TriggerState::Error => None,
    }
}

fn weight(trigger: &ValidTrigger) -> f64 {
    match trigger.severity {
        Severity::Critical => CRITICAL,
        Severity::Warning => WARNING,
    }
}

/// Takes the score in: each change once, one in a minute at most, and of a minute its lowest, so that
/// no dip is lost and few writes are made.
pub fn remember(history: &mut VecDeque<ScoreAt>, value: u8, now: Timestamp) {
    let minute = Timestamp::from_second(now.as_second().div_euclid(60) * 60).unwrap_or(now);
    match history.back_mut() {
        Some(last) if last.at >= minute => last.score = last.score.min(value),
        Some(last) if last.score == value => {}
        _ => history.push_back(ScoreAt {
            at: minute,
            score: value,
        }),
    }
    while history.len() > HISTORY_KEPT {
        history.pop_front();
    }
}

fn trend(history: &VecDeque<ScoreAt>, value: u8, now: Timestamp) -> Trend {
    let then = now.checked_sub(TREND_OVER).unwrap_or(Timestamp::MIN);
    let before = history
        .iter()
        .rev()
        .find(|s| s.at <= then)
        .or_else(|| history.front())
        .map_or(value, |s| s.score);
    match i16::from(value) - i16::from(before) {
        change if change >= STEADY => Trend::Better,
        change if change <= -STEADY => Trend::Worse,
        _ => Trend::Steady,
    }
}
