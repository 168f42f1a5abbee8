//! What came back.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, SystemTime};

/// One answer, or the lack of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// When it came, counted from the start of the load.
    pub at: Duration,
    /// How long it took.
    pub latency: Duration,
    /// What came.
    pub outcome: Outcome,
    /// Which version answered, if one did.
    pub version: Option<String>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status.
    Status(u16),
    /// No answer.
    Failed(Failure),
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection.
    Connect,
    /// Nothing came in time.
    Timeout,
    /// The connection broke off, or what came was no HTTP.
    Broken,
}

impl Response {
    /// When it was asked for, counted from the start of the load.
    pub fn asked(&self) -> Duration {
        self.at.saturating_sub(self.latency)
    }

    /// Whether whoever asked got what they asked for. A 404 is none: the load asks for what is there.
    pub fn succeeded(&self) -> bool {
        matches!(self.outcome, Outcome::Status(200..=399))
    }
}

/// Answers in the order in which they came.
#[derive(Debug, Clone)]
pub struct Responses {
    started: SystemTime,
    all: Vec<Response>,
}

impl Responses {
    pub(super) fn since(started: SystemTime) -> Self {
        Self {
            started,
            all: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, response: Response) {
        self.all.push(response);
    }

    /// A time of the clock, such as one in a RollbackEvent, as the record counts it. Zero before the start.
    pub fn moment(&self, time: SystemTime) -> Duration {
        time.duration_since(self.started).unwrap_or_default()
    }

    /// Each answer.
    pub fn iter(&self) -> std::slice::Iter<'_, Response> {
        self.all.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that came within a span of time.
    #[must_use]
    pub fn within(&self, span: Range<Duration>) -> Self {
        self.only(|response| span.contains(&response.at))
    }

    /// Those that were asked for from then on. What was asked for before tells of how things were before, also where it
    /// was not answered for so long that it failed only now.
    #[must_use]
    pub fn after(&self, start: Duration) -> Self {
        self.only(|response| response.asked() >= start)
    }

    fn only(&self, wanted: impl Fn(&Response) -> bool) -> Self {
        Self {
            started: self.started,
            all: self.all.iter().filter(|r| wanted(r)).cloned().collect(),
        }
    }

    /// The share of each version among all, from 0 to 1. Answers that name none are those of the empty version.
    pub fn shares(&self) -> BTreeMap<String, f64> {
        let mut counts = BTreeMap::new();
        for response in &self.all {
            let version = response.version.clone().unwrap_or_default();
            *counts.entry(version).or_insert(0_usize) += 1;
        }
        let shares = counts.into_iter();
        shares
            .map(|(version, count)| (version, self.share_of(count)))
            .collect()
    }

    /// The share of one version.
    pub fn share(&self, version: &str) -> f64 {
        self.shares().get(version).copied().unwrap_or_default()
    }

    /// The share of those that did not succeed.
    pub fn failed_share(&self) -> f64 {
        let failed = self.all.iter().filter(|response| !response.succeeded());
        self.share_of(failed.count())
    }

    /// Those that did not succeed.
    pub fn failed(&self) -> impl Iterator<Item = &Response> {
        self.all.iter().filter(|response| !response.succeeded())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a test stay far below 2^52"
    )]
    fn share_of(&self, count: usize) -> f64 {
        if self.all.is_empty() {
            0.0
        } else {
            count as f64 / self.all.len() as f64
        }
    }
}

impl<'a> IntoIterator for &'a Responses {
    type Item = &'a Response;
    type IntoIter = std::slice::Iter<'a, Response>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::load) fn responses(answers: &[(u64, &str, u16)]) -> Responses {
        let mut responses = Responses::since(SystemTime::UNIX_EPOCH);
        for (second, version, status) in answers {
            responses.push(Response {
                at: Duration::from_secs(*second),
                latency: Duration::from_millis(1),
                outcome: Outcome::Status(*status),
                version: Some((*version).to_owned()),
            });
        }
        responses
    }

    fn is(share: f64, wanted: f64) -> bool {
        (share - wanted).abs() < 1e-9
    }

    #[test]
    fn shares_are_those_of_the_window() {
        let all = responses(&[(1, "a", 200), (2, "a", 200), (3, "b", 200), (4, "b", 500)]);
        assert!(is(all.share("a"), 0.5));
        let seconds = Duration::from_secs;
        let window = all.within(seconds(2)..seconds(4));
        assert_eq!(window.len(), 2);
        assert!(is(window.share("b"), 0.5));
        assert!(is(window.failed_share(), 0.0));
        assert!(is(all.share("c"), 0.0));
    }

    #[test]
    fn what_was_asked_for_before_is_not_counted_after() {
        let mut all = responses(&[(3, "a", 200), (5, "a", 200)]);
        all.push(Response {
            at: Duration::from_secs(4),
            latency: Duration::from_secs(2),
            outcome: Outcome::Failed(Failure::Timeout),
            version: None,
        });
        let after = all.after(Duration::from_secs(3));
        assert_eq!(after.len(), 1, "{after:?}");
        assert!(is(after.failed_share(), 0.0));
        assert!(is(
            all.after(Duration::from_secs(2)).failed_share(),
            1.0 / 3.0
        ));
    }

    #[test]
    fn a_time_of_the_clock_is_counted_from_the_start() {
        let all = responses(&[]);
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        assert_eq!(all.moment(later), Duration::from_secs(5));
        assert!(all.is_empty());
        assert!(is(all.failed_share(), 0.0));
    }

    #[test]
    fn only_an_answer_below_400_is_a_success() {
        let all = responses(&[(1, "a", 200), (1, "a", 404), (1, "a", 503), (1, "a", 302)]);
        assert_eq!(all.failed().count(), 2);
    }
}
