//! What Prometheus answers.

use backstop_engine::{
    reading::{Reading, Unavailable},
    snapshot::{Beside, Observed},
};

use super::{RANGE, at, hash, world::World};

/// How Prometheus is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// It says what is so.
    Honest,
    /// It has nothing.
    NoData,
    /// It answers NaN, which is no number.
    NotANumber,
    /// It cannot be reached.
    Unreachable,
    /// Several series where one is meant.
    Ambiguous,
    /// Its samples are old.
    Stale,
    /// The answer that comes is about another release, and bad.
    AboutAnother,
    /// No answer comes.
    Silent,
}

/// A value that is bad, for every policy here.
pub const BAD: f64 = 0.5;
/// A value that is good, for every policy here.
pub const GOOD: f64 = 0.01;

/// The answer now, to a question about the pods of `release` or, unscoped, about whatever serves.
pub fn answer(world: &World, release: &str, scoped: bool) -> Option<Observed> {
    let now = at(world.now);
    let mut about = release.to_owned();
    let reading = match world.answers {
        Answers::Honest => honest(world, release, scoped),
        Answers::NoData => Reading::NoData {
            why: "empty result".into(),
        },
        Answers::NotANumber => Reading::Inconclusive { why: "NaN".into() },
        Answers::Unreachable => Reading::Unavailable {
            reason: Unavailable::Unreachable,
            why: "connection refused".into(),
        },
        Answers::Ambiguous => Reading::Unavailable {
            reason: Unavailable::Ambiguous,
            why: "2 series where one is meant".into(),
        },
        Answers::Stale => Reading::Stale {
            at: at(world.now - 600),
        },
        Answers::AboutAnother => {
            about = hash(99);
            Reading::Value {
                value: BAD,
                at: now,
            }
        }
        Answers::Silent => return None,
    };
    Some(Observed {
        release: about,
        query: "errors".into(),
        reading,
        beside: Beside::default(),
        asked_at: now,
        details: Vec::new(),
    })
}

/// The answer now, to the same question about what was not released: it is bad only while what all
/// depend on is down.
pub fn of_peers(world: &World, release: &str) -> Option<Observed> {
    let now = world.now;
    let down = world.outages.range(now - RANGE + 1..=now).next().is_some();
    let answer = answer(world, release, false)?;
    let reading = match answer.reading {
        Reading::Value { at, .. } if world.answers == Answers::Honest => Reading::Value {
            value: if down { BAD } else { GOOD },
            at,
        },
        other => other,
    };
    Some(Observed { reading, ..answer })
}

/// Bad if anything in the range was: of the release's pods, or of all. Pods of an earlier life of
/// the same release have the same labels.
fn honest(world: &World, release: &str, scoped: bool) -> Reading {
    let mut seen = world
        .traffic
        .iter()
        .rev()
        .take_while(|(when, _, _)| *when > world.now - RANGE)
        .filter(|(_, serving, _)| !scoped || hash(*serving) == release)
        .peekable();
    if seen.peek().is_none() {
        return Reading::NoData {
            why: "empty result".into(),
        };
    }
    let value = if seen.any(|(_, _, bad)| *bad) {
        BAD
    } else {
        GOOD
    };
    Reading::Value {
        value,
        at: at(world.now),
    }
}
