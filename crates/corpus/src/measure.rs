//! The queries of `policy.yaml`, answered from a trace.

use crate::promql::{Answer, increase, newest, sum, total};
use crate::trace::{Scrape, Side, Trace};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The share of the requests of the last minute that failed.
    ErrorShare,
    /// How long the requests of the last minute took on average, in seconds.
    Latency,
    /// The highest memory of a pod, in bytes.
    Memory,
}

/// The triggers that count failed requests among all.
pub const COUNTING: [&str; 2] = ["failed-requests", "more-failed-requests"];

/// How many requests of a side's pods failed so far, and how many there were.
pub fn counts(trace: &Trace, side: Side, at: i64) -> (Answer, Answer) {
    let of = |counter: fn(&Scrape) -> f64| total(trace.side(side), counter, at);
    (of(|s| s.errors), of(|s| s.requests))
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ErrorShare, Self::Latency, Self::Memory];

    /// The trigger that asks for it.
    pub fn trigger(self) -> &'static str {
        match self {
            Self::ErrorShare => "error-rate",
            Self::Latency => "latency",
            Self::Memory => "memory",
        }
    }

    /// How far back it looks, in seconds.
    fn range(self) -> i64 {
        match self {
            Self::ErrorShare | Self::Latency => 60,
            Self::Memory => 0,
        }
    }

    /// The answer about the pods of a side.
    pub fn ask(self, trace: &Trace, side: Side, at: i64) -> Answer {
        let pods = || trace.side(side);
        let grown = |counter: &dyn Fn(&Scrape) -> f64| {
            sum(pods().map(|p| increase(p, counter, self.range(), at)))
        };
        match self {
            Self::ErrorShare => Some(grown(&|s| s.errors)? / grown(&|s| s.requests)?),
            Self::Latency => Some(grown(&|s| s.seconds)? / grown(&|s| s.requests)?),
            Self::Memory => {
                let newest = pods().filter_map(|p| newest(p, at));
                newest.map(|s| s.memory).reduce(f64::max)
            }
        }
    }

    /// How many requests were measured by it; `None` where that does not matter.
    pub fn samples(self, trace: &Trace, side: Side, at: i64) -> Option<Answer> {
        let pods = || trace.side(side);
        let requests = || sum(pods().map(|p| increase(p, |s| s.requests, self.range(), at)));
        (self != Self::Memory).then(requests)
    }
}
