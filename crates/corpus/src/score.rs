//! How often somebody was right.

use std::cmp::Ordering;

use crate::replay::Verdict;
use crate::trace::Trace;

/// What somebody made of the traces of one class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Good releases.
    pub good: usize,
    /// Bad releases.
    pub bad: usize,
    /// Bad ones that were taken back once they were bad.
    pub caught: usize,
    /// Releases that were taken back without being bad, or before they were.
    pub false_rollbacks: usize,
    /// From the moment at which a release is beyond what is fine to its being taken back, less the condition's `for`:
    /// intervals.
    pub delays: Vec<f64>,
    /// The same in seconds, with the `for`.
    pub seconds: Vec<i64>,
}

impl Score {
    /// Adds the verdict on one trace.
    pub fn add(&mut self, trace: &Trace, verdict: &Verdict) {
        match trace.bad_since {
            None => self.good += 1,
            Some(_) => self.bad += 1,
        }
        let Some(at) = verdict.taken_back_at else {
            return;
        };
        match trace.bad_since {
            Some(since) if since <= at => {
                self.caught += 1;
                let shows = trace.shows_since.unwrap_or(since);
                self.seconds.push(at - shows);
                self.delays
                    .push(ratio(at - shows - verdict.held_for, verdict.interval));
            }
            _ => self.false_rollbacks += 1,
        }
    }

    /// Adds what was made of other traces.
    pub fn merge(&mut self, other: Self) {
        let Self {
            good,
            bad,
            caught,
            false_rollbacks,
            delays,
            seconds,
        } = other;
        self.good += good;
        self.bad += bad;
        self.caught += caught;
        self.false_rollbacks += false_rollbacks;
        self.delays.extend(delays);
        self.seconds.extend(seconds);
    }

    /// Whether this is better than what somebody else made of the same traces: no worse by what was caught and by what was
    /// taken back wrongly, and better by one of them, or sooner. Where nothing is bad, nothing can be caught, and it is
    /// enough that no more is taken back wrongly.
    pub fn is_better_than(&self, other: &Self) -> bool {
        let (caught, wrong) = (
            self.caught.cmp(&other.caught),
            other.false_rollbacks.cmp(&self.false_rollbacks),
        );
        match (caught, wrong) {
            (Ordering::Less, _) | (_, Ordering::Less) => false,
            (Ordering::Equal, Ordering::Equal) => self.bad == 0 || self.time() < other.time(),
            _ => true,
        }
    }

    /// The median delay in intervals.
    pub fn delay(&self) -> Option<f64> {
        let mut delays = self.delays.clone();
        delays.sort_by(f64::total_cmp);
        delays.get(delays.len().checked_sub(1)? / 2).copied()
    }

    /// The median time in seconds.
    pub fn time(&self) -> Option<i64> {
        let mut seconds = self.seconds.clone();
        seconds.sort_unstable();
        seconds.get(seconds.len().checked_sub(1)? / 2).copied()
    }
}

#[expect(clippy::cast_precision_loss, reason = "traces are hours long")]
fn ratio(of: i64, to: i64) -> f64 {
    of as f64 / to.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Class;
    use crate::generate::trace;
    use crate::shape::Shape;

    fn taken_back(at: Option<i64>) -> Verdict {
        Verdict {
            taken_back_at: at,
            held_for: 30,
            interval: 10,
            reason: None,
        }
    }

    #[test]
    fn a_rollback_counts_by_whether_the_release_was_bad_by_then() {
        let shape = Shape::tuning();
        let [good, bad] = [false, true].map(|bad| trace(Class::StepError, bad, &shape, 1));
        let since = bad.bad_since.unwrap();
        let mut score = Score::default();
        score.add(&good, &taken_back(None));
        score.add(&good, &taken_back(Some(since)));
        score.add(&bad, &taken_back(Some(since - 1)));
        score.add(&bad, &taken_back(Some(since + 50)));
        score.add(&bad, &taken_back(None));
        assert_eq!((score.good, score.bad), (2, 3));
        assert_eq!((score.caught, score.false_rollbacks), (1, 2));
        assert_eq!((score.delay(), score.time()), (Some(2.0), Some(50)));
    }

    #[test]
    fn who_is_better_catches_more_or_less_wrongly_or_is_sooner() {
        let score = |caught, false_rollbacks, seconds| Score {
            good: 10,
            bad: 10,
            caught,
            false_rollbacks,
            seconds: vec![seconds],
            ..Score::default()
        };
        let theirs = score(9, 1, 60);
        for better in [score(10, 1, 90), score(9, 0, 90), score(9, 1, 59)] {
            assert!(better.is_better_than(&theirs), "{better:?}");
        }
        for not in [
            score(8, 0, 1),
            score(10, 2, 1),
            score(9, 1, 60),
            theirs.clone(),
        ] {
            assert!(!not.is_better_than(&theirs), "{not:?}");
        }
        // Among good releases there is nothing to be sooner with.
        let spared = Score {
            good: 10,
            ..Score::default()
        };
        assert!(spared.is_better_than(&spared));
    }

    #[test]
    fn without_a_rollback_there_is_no_delay() {
        assert_eq!(Score::default().delay(), None);
    }
}
