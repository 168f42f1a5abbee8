//! What Prometheus would have scraped around one release.
//!
//! Times are seconds since the beginning of the trace. From there on the release before is live.

use crate::class::Class;

/// Upper bounds of the latency histogram's buckets, in seconds; after the last comes +Inf.
pub const BOUNDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// One release with what was measured around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// What it is about.
    pub class: Class,
    /// Since when the release is bad; `None` for a good one.
    pub bad_since: Option<i64>,
    /// Since when a bad release is beyond what is fine, where that is later: a leak is bad from its first moment, and
    /// takes too much only after a while.
    pub shows_since: Option<i64>,
    /// When the release before has been watched for long enough. Nothing is measured from here until shortly before
    /// the release, which may be hours.
    pub watched_until: i64,
    /// From when on things are measured again.
    pub watched_again: i64,
    /// When the new template was written.
    pub released_at: i64,
    /// When the last of its pods was ready.
    pub ready_at: i64,
    /// When the trace ends.
    pub ends_at: i64,
    /// The pods of all sides.
    pub pods: Vec<Pod>,
}

impl Trace {
    /// The pods of a side.
    pub fn side(&self, side: Side) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(move |p| p.side == side)
    }
}

/// Whose pod it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The release before, which beside a canary is the stable side.
    Earlier,
    /// The release.
    Release,
    /// Another workload.
    Other,
}

/// A pod, and what was scraped of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Whose it is.
    pub side: Side,
    /// Since when it is ready.
    pub ready_at: i64,
    /// Until when it runs.
    pub ends_at: i64,
    /// When its container was restarted.
    pub restarts: Vec<i64>,
    /// What was scraped, oldest first.
    pub scrapes: Vec<Scrape>,
}

/// What one scrape of a pod told. All but `memory` are counters since the container's start.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    /// When.
    pub at: i64,
    /// Requests.
    pub requests: f64,
    /// Requests that failed.
    pub errors: f64,
    /// Requests that took no longer than each of [`BOUNDS`].
    pub buckets: [f64; BOUNDS.len()],
    /// How long all requests took together, in seconds.
    pub seconds: f64,
    /// Memory now, in bytes.
    pub memory: f64,
}
