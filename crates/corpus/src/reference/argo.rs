//! Argo Rollouts: an AnalysisRun in the background, with a successCondition for each metric.
//!
//! After its documentation, "Analysis & Progressive Delivery" (`docs/features/analysis.md`): a measurement for which
//! the successCondition is not true has failed; more than `failureLimit` failed ones end the run as Failed. One that
//! cannot be evaluated, such as `result[0]` of an empty answer, is an error; more than `consecutiveErrorLimit` errors
//! in a row end the run as Error. Either aborts the rollout. NaN compares as false, so it has failed, unless the
//! condition says `isNaN`. Without a `count` the run goes on for as long as the rollout.

use std::collections::BTreeMap;

use super::Judge;
use crate::measure::Measure;
use crate::promql::Answer;

/// As in the documentation's example of a background analysis.
const FAILURE_LIMIT: u32 = 3;
/// The default.
const CONSECUTIVE_ERROR_LIMIT: u32 = 4;

/// An AnalysisRun.
#[derive(Debug, Default)]
pub struct ArgoRollouts {
    metrics: BTreeMap<&'static str, Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    failed: u32,
    errors_in_a_row: u32,
}

impl Judge for ArgoRollouts {
    const INTERVAL: i64 = 30;

    fn look(&mut self, answers: &[(Measure, f64, Answer)]) -> bool {
        let mut aborts = false;
        for (measure, limit, answer) in answers {
            let counts = self.metrics.entry(measure.trigger()).or_default();
            counts.errors_in_a_row = match answer {
                None => counts.errors_in_a_row + 1,
                Some(_) => 0,
            };
            let succeeded = answer.is_none_or(|value| value <= *limit);
            counts.failed += u32::from(!succeeded);
            aborts |=
                counts.failed > FAILURE_LIMIT || counts.errors_in_a_row > CONSECUTIVE_ERROR_LIMIT;
        }
        aborts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aborts_after(answers: &[Answer]) -> Option<usize> {
        let mut run = ArgoRollouts::default();
        let look = |answer: &Answer| run.look(&[(Measure::ErrorShare, 0.05, *answer)]);
        answers.iter().map(look).position(|aborts| aborts)
    }

    #[test]
    fn one_more_failed_measurement_than_the_limit_aborts_however_many_succeed_between() {
        let [good, bad] = [Some(0.01), Some(0.5)];
        assert_eq!(aborts_after(&[bad, good, bad, good, bad, good]), None);
        assert_eq!(
            aborts_after(&[bad, good, bad, good, bad, good, bad]),
            Some(6)
        );
    }

    #[test]
    fn nan_has_failed() {
        assert_eq!(aborts_after(&[Some(f64::NAN); 4]), Some(3));
    }

    #[test]
    fn only_errors_in_a_row_count() {
        let good = Some(0.01);
        assert_eq!(aborts_after(&[None, None, None, None, good, None]), None);
        assert_eq!(aborts_after(&[good, None, None, None, None, None]), Some(5));
    }
}
