//! The same measurements, judged by the rules of others.
//!
//! Written after what their documentation says, and with no code of theirs. Both are given what they do not measure by
//! themselves, as a person would write it down: limits made from what the release before was like.

mod argo;
mod flagger;

pub use argo::ArgoRollouts;
pub use flagger::Flagger;

use crate::measure::Measure;
use crate::promql::Answer;
use crate::replay::Verdict;
use crate::trace::{Side, Trace};

/// The highest share of failed requests that is fine.
const ERRORS: f64 = 0.05;
/// How many times what it was before a value may be.
const TIMES: f64 = 1.5;
/// Seconds after the rollout before the first look, so that the queries' ranges are about the release.
const FIRST_LOOK: i64 = 60;
/// Seconds between two looks of the release before, from which limits are made.
const LOOKS: usize = 30;

/// One who judges, look by look.
pub trait Judge: Default {
    /// Seconds between two looks.
    const INTERVAL: i64;

    /// One look: what was asked about, the highest value that is fine, and the answer. Whether the release is taken
    /// back.
    fn look(&mut self, answers: &[(Measure, f64, Answer)]) -> bool;
}

/// Lets one of them judge a trace.
pub fn judge<J: Judge>(trace: &Trace) -> Verdict {
    let limits: Vec<(Measure, f64)> = Measure::ALL
        .into_iter()
        .filter_map(|measure| Some((measure, limit(measure, trace)?)))
        .collect();
    let mut judge = J::default();
    let step = usize::try_from(J::INTERVAL).unwrap_or(1);
    for at in (trace.ready_at + FIRST_LOOK..trace.ends_at).step_by(step) {
        let ask = |&(measure, limit): &(Measure, f64)| {
            (measure, limit, measure.ask(trace, Side::Release, at))
        };
        let answers: Vec<_> = limits.iter().map(ask).collect();
        if judge.look(&answers) {
            return Verdict {
                taken_back_at: Some(at),
                held_for: 0,
                interval: J::INTERVAL,
                reason: None,
            };
        }
    }
    Verdict::default()
}

/// The highest value that is fine; `None` where nothing was measured before.
fn limit(measure: Measure, trace: &Trace) -> Option<f64> {
    if measure == Measure::ErrorShare {
        return Some(ERRORS);
    }
    let times = (trace.watched_until / 2..trace.watched_until).step_by(LOOKS);
    let mut before: Vec<f64> = times
        .filter_map(|at| measure.ask(trace, Side::Earlier, at))
        .filter(|value| value.is_finite())
        .collect();
    before.sort_by(f64::total_cmp);
    before.get(before.len() / 2).map(|middle| TIMES * middle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Class;
    use crate::generate::trace;
    use crate::shape::Shape;

    #[test]
    fn both_take_a_bad_release_back_and_leave_a_good_one() {
        let shape = Shape::tuning();
        let [good, bad] = [false, true].map(|bad| trace(Class::StepError, bad, &shape, 3));
        assert!(judge::<ArgoRollouts>(&bad).taken_back_at >= bad.bad_since);
        assert!(judge::<Flagger>(&bad).taken_back_at >= bad.bad_since);
        assert_eq!(judge::<ArgoRollouts>(&good).taken_back_at, None);
        assert_eq!(judge::<Flagger>(&good).taken_back_at, None);
    }
}
