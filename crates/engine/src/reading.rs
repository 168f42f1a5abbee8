//! What a source answers: a number, or the reason why there is none.
//!
//! A query that returns a bare `f64` invites a rollback by accident: an empty answer becomes 0, a
//! NaN compares as false. A [`Reading`] keeps the ways of not knowing apart.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One answer of a source to one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reading {
    /// A single finite number.
    Value {
        /// The number, in the unit of the query.
        value: f64,
        /// The time of the sample, by the source's clock.
        at: Timestamp,
    },
    /// The source answered that there is nothing: an empty result.
    NoData {
        /// For a person: what came back.
        why: String,
    },
    /// The source answered with what cannot be judged: NaN, infinity, too few samples. That is no
    /// sign of trouble, whatever the policy makes of silence.
    Inconclusive {
        /// For a person: what came back.
        why: String,
    },
    /// The source answered with a sample that is too old to speak for now.
    Stale {
        /// The time of the sample.
        at: Timestamp,
    },
    /// The source could not be asked, or its answer is not one that can be used.
    Unavailable {
        /// Which kind of failure, for metrics: a closed set.
        reason: Unavailable,
        /// For a person: the error, without secrets.
        why: String,
    },
}

/// Why a source gave no usable answer: a closed set, so that it can label a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Unavailable {
    /// No connection, a TLS error, a name that does not resolve.
    Unreachable,
    /// No answer within the time limit.
    Timeout,
    /// 401 or 403: the credentials are missing or wrong.
    Unauthorized,
    /// The source refused the question (other 4xx): a bad query.
    Rejected,
    /// The source failed or is overloaded (5xx, 429).
    ServerError,
    /// An answer that is not what the protocol says.
    Malformed,
    /// Several series where one is meant, or a range where an instant is meant.
    Ambiguous,
    /// The address is not on the operator's allow-list, or redirects elsewhere; the Secret is
    /// missing or unusable.
    Misconfigured,
}

impl Reading {
    /// The number, where there is one.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Value { value, .. } => Some(*value),
            _ => None,
        }
    }
}

impl Unavailable {
    /// The word for it in a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Unauthorized => "unauthorized",
            Self::Rejected => "rejected",
            Self::ServerError => "server_error",
            Self::Malformed => "malformed",
            Self::Ambiguous => "ambiguous",
            Self::Misconfigured => "misconfigured",
        }
    }
}
