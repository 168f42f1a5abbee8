//! Flagger: metric checks with a thresholdRange, and a threshold of failed checks.
//!
//! After its documentation, "How it works" and "Metrics Analysis": at each `interval` all metrics are checked; one
//! outside of its `thresholdRange` fails the check, and so does one without values ("no values found ... probably not
//! receiving traffic"), as which NaN counts since pull request 1095. Failed checks are added up over the analysis and are not taken off by
//! good ones; when there are `threshold` of them, the next look rolls the canary back.

use super::Judge;
use crate::measure::Measure;
use crate::promql::Answer;

/// As in the documentation's examples.
const THRESHOLD: u32 = 5;

/// An analysis of a Canary.
#[derive(Debug, Default)]
pub struct Flagger {
    failed_checks: u32,
}

impl Judge for Flagger {
    const INTERVAL: i64 = 30;

    fn look(&mut self, answers: &[(Measure, f64, Answer)]) -> bool {
        if self.failed_checks >= THRESHOLD {
            return true;
        }
        let is_fine = |(_, limit, answer): &(Measure, f64, Answer)| {
            answer.is_some_and(|value| value <= *limit)
        };
        self.failed_checks += u32::from(!answers.iter().all(is_fine));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back_after(answers: &[Answer]) -> Option<usize> {
        let mut canary = Flagger::default();
        let look = |answer: &Answer| canary.look(&[(Measure::ErrorShare, 0.05, *answer)]);
        answers.iter().map(look).position(|back| back)
    }

    #[test]
    fn the_look_after_the_last_failed_check_that_is_allowed_rolls_back() {
        assert_eq!(back_after(&[Some(0.5); 5]), None);
        assert_eq!(back_after(&[Some(0.5); 6]), Some(5));
    }

    #[test]
    fn good_checks_take_no_failed_one_off() {
        let [good, bad] = [Some(0.01), Some(0.5)];
        let mixed = [bad, good, bad, good, bad, good, bad, good, bad, good];
        assert_eq!(back_after(&mixed), Some(9));
    }

    #[test]
    fn no_values_and_nan_are_failed_checks() {
        assert_eq!(back_after(&[None; 6]), Some(5));
        assert_eq!(back_after(&[Some(f64::NAN); 6]), Some(5));
    }
}
