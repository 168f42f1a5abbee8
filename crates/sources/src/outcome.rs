//! What became of a question, for metrics.

use std::fmt;
use std::time::Duration;

use backstop_engine::reading::{Reading, Unavailable};

/// The kind of a reading: a closed set, so that it can label a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A number.
    Value,
    /// An answer with nothing to judge.
    NoData,
    /// A sample from another time.
    Stale,
    /// No usable answer.
    Unavailable(Unavailable),
}

impl Outcome {
    /// The word for it in a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::NoData => "no_data",
            Self::Stale => "stale",
            Self::Unavailable(reason) => reason.as_str(),
        }
    }
}

impl From<&Reading> for Outcome {
    fn from(reading: &Reading) -> Self {
        match reading {
            Reading::Value { .. } => Self::Value,
            Reading::NoData { .. } | Reading::Inconclusive { .. } => Self::NoData,
            Reading::Stale { .. } => Self::Stale,
            Reading::Unavailable { reason, .. } => Self::Unavailable(*reason),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Is told of each question that was sent, once, however many had asked it.
pub trait Observer: Send + Sync + 'static {
    /// `took` runs from the question to the reading, with waiting for a free slot and retries.
    fn observe(&self, took: Duration, outcome: Outcome);
}

impl<F: Fn(Duration, Outcome) + Send + Sync + 'static> Observer for F {
    fn observe(&self, took: Duration, outcome: Outcome) {
        self(took, outcome);
    }
}
