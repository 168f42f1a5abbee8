//! Comparing whole sets of samples, where a single number is too noisy.
//!
//! The words and the thresholds are those of Kayenta's judge: Pass, High, Low and Nodata, a direction,
//! an effect that is allowed and one that is critical. A difference must be sure, and it must matter.

use backstop_api::policy::{Classification, Comparison, Direction};
use jiff::SignedDuration;

use crate::{
    statistics::{
        mann_whitney::{self, Test},
        summary::median,
    },
    trigger::number,
};

/// A comparison that can be made.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidComparison {
    /// As written.
    pub parameters: Comparison,
    /// How many samples share the same data, because the query looks back further than it is asked.
    pub overlap: f64,
}

/// What a comparison says.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// In a word.
    pub classification: Classification,
    /// Whether it is so far off that nothing is waited for.
    pub critical: bool,
    /// For a person: the figures.
    pub words: String,
}

impl ValidComparison {
    /// Or what is wrong with it: too few samples to ever be sure.
    pub fn new(
        parameters: &Comparison,
        range: SignedDuration,
        interval: SignedDuration,
    ) -> Result<Self, String> {
        let overlap = (range.as_secs_f64() / interval.as_secs_f64()).max(1.0);
        let it = Self {
            parameters: parameters.clone(),
            overlap,
        };
        let samples = parameters.samples;
        if mann_whitney::surest(samples, samples, overlap) > it.error() {
            return Err(format!(
                "can never say anything: of a query that looks back {} s and is asked every {} s, {} samples share \
                 the same data, and {samples} that are all higher than {samples} others may be chance; ask for more \
                 samples (60 at most), over a shorter range, less often or with less confidence",
                range.as_secs(),
                interval.as_secs(),
                number(overlap.ceil())
            ));
        }
        Ok(it)
    }

    /// How probable chance may be.
    fn error(&self) -> f64 {
        let error = 1.0 - self.parameters.confidence;
        match self.parameters.direction {
            Direction::Either => error / 2.0,
            Direction::Increase | Direction::Decrease => error,
        }
    }

    /// Compares the newest samples, oldest first, with those of the baseline.
    #[must_use]
    pub fn classify(&self, ours: &[f64], theirs: &[f64]) -> Verdict {
        let wanted = self.parameters.samples as usize;
        let nodata = |whose: &str, there: usize| Verdict {
            classification: Classification::Nodata,
            critical: false,
            words: format!("{whose} {there} of {wanted} samples"),
        };
        if theirs.len() < wanted {
            return nodata("the baseline has", theirs.len());
        }
        let Some(ours) = ours.len().checked_sub(wanted).map(|from| &ours[from..]) else {
            return nodata("the release has", ours.len());
        };
        let (Some(test), Some(typical)) = (
            mann_whitney::compare(ours, theirs, self.overlap),
            median(theirs),
        ) else {
            return nodata("the release has", ours.len());
        };
        let times = times(test.shift, typical);
        let (classification, critical) = self.weigh(&test, times);
        let sure = 1.0 - test.p_higher.min(test.p_lower);
        Verdict {
            classification,
            critical,
            words: format!(
                "{classification:?}: {} times the baseline of {}, {} % sure that they differ, by {} and {} samples",
                number(times),
                number(typical),
                number((1000.0 * sure).floor() / 10.0),
                ours.len(),
                theirs.len()
            ),
        }
    }

    fn weigh(&self, test: &Test, times: f64) -> (Classification, bool) {
        let it = &self.parameters;
        let (up, down) = match it.direction {
            Direction::Increase => (true, false),
            Direction::Decrease => (false, true),
            Direction::Either => (true, true),
        };
        if up && test.p_higher <= self.error() && times > it.allowed_increase {
            let critical = it.critical_increase.is_some_and(|limit| times >= limit);
            return (Classification::High, critical);
        }
        if down && test.p_lower <= self.error() && times < it.allowed_decrease {
            let critical = it.critical_decrease.is_some_and(|limit| times <= limit);
            return (Classification::Low, critical);
        }
        (Classification::Pass, false)
    }

    /// In words, for the evidence: what was asked.
    #[must_use]
    pub fn in_words(&self) -> String {
        let it = &self.parameters;
        let more = || format!("more than {} times", number(it.allowed_increase));
        let less = || format!("less than {} times", number(it.allowed_decrease));
        let what = match it.direction {
            Direction::Increase => more(),
            Direction::Decrease => less(),
            Direction::Either => format!("{} or {}", more(), less()),
        };
        format!(
            "{what} the baseline, {} % sure by {} samples",
            number(100.0 * it.confidence),
            it.samples
        )
    }
}

/// How many times the typical value of the baseline a typical value is.
fn times(shift: f64, typical: f64) -> f64 {
    if shift == 0.0 {
        1.0
    } else if typical == 0.0 {
        // From nothing to something is more than any number of times, and below it less.
        f64::INFINITY.copysign(shift)
    } else {
        1.0 + shift / typical.abs()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn comparison(fields: &Value) -> ValidComparison {
        let parameters = serde_json::from_value(fields.clone()).unwrap();
        let seconds = SignedDuration::from_secs;
        ValidComparison::new(&parameters, seconds(10), seconds(10)).unwrap()
    }

    /// Twenty samples around a value, a tenth up and down.
    fn around(middle: f64) -> Vec<f64> {
        (0..20)
            .map(|n| middle * (0.9 + 0.01 * f64::from(n)))
            .collect()
    }

    fn said(fields: &Value, ours: f64) -> (Classification, bool) {
        let verdict = comparison(fields).classify(&around(ours), &around(100.0));
        (verdict.classification, verdict.critical)
    }

    #[test]
    fn a_difference_that_is_sure_must_matter_too() {
        let default = json!({});
        assert_eq!(said(&default, 100.0), (Classification::Pass, false));
        // Sure, and within what is allowed.
        assert_eq!(said(&default, 120.0), (Classification::Pass, false));
        assert_eq!(said(&default, 130.0), (Classification::High, false));
        let strict = json!({"allowedIncrease": 1.1});
        assert_eq!(said(&strict, 120.0), (Classification::High, false));
    }

    #[test]
    fn only_the_way_that_is_bad_counts() {
        assert_eq!(said(&json!({}), 50.0), (Classification::Pass, false));
        let less = json!({"direction": "Decrease"});
        assert_eq!(said(&less, 50.0), (Classification::Low, false));
        assert_eq!(said(&less, 200.0), (Classification::Pass, false));
        let either = json!({"direction": "Either"});
        assert_eq!(said(&either, 50.0).0, Classification::Low);
        assert_eq!(said(&either, 200.0).0, Classification::High);
    }

    #[test]
    fn far_off_is_critical() {
        let limits =
            json!({"direction": "Either", "criticalIncrease": 3.0, "criticalDecrease": 0.2});
        assert_eq!(said(&limits, 250.0), (Classification::High, false));
        assert_eq!(said(&limits, 310.0), (Classification::High, true));
        assert_eq!(said(&limits, 50.0), (Classification::Low, false));
        assert_eq!(said(&limits, 10.0), (Classification::Low, true));
    }

    #[test]
    fn too_few_samples_on_either_side_are_no_data() {
        let it = comparison(&json!({"samples": 20}));
        let few = it.classify(&around(200.0)[1..], &around(100.0));
        assert_eq!(few.classification, Classification::Nodata);
        assert_eq!(few.words, "the release has 19 of 20 samples");
        let few = it.classify(&around(200.0), &around(100.0)[1..]);
        assert_eq!(few.words, "the baseline has 19 of 20 samples");
    }

    #[test]
    fn only_the_newest_samples_are_compared() {
        let mut ours = around(100.0);
        ours.extend(around(200.0));
        let verdict = comparison(&json!({})).classify(&ours, &around(100.0));
        assert_eq!(verdict.classification, Classification::High);
        assert_eq!(
            verdict.words,
            "High: 2 times the baseline of 99.5, 99.9 % sure that they differ, by 20 and 20 samples"
        );
    }

    #[test]
    fn from_nothing_to_something_is_more_than_any_number_of_times() {
        let verdict = comparison(&json!({})).classify(&around(1.0), &[0.0; 20]);
        assert_eq!(verdict.classification, Classification::High);
        let verdict = comparison(&json!({})).classify(&[0.0; 20], &[0.0; 20]);
        assert_eq!(verdict.classification, Classification::Pass);
    }

    #[test]
    fn one_that_could_never_say_anything_is_refused() {
        let seconds = SignedDuration::from_secs;
        let parameters: Comparison = serde_json::from_value(json!({})).unwrap();
        let refused = ValidComparison::new(&parameters, seconds(300), seconds(10)).unwrap_err();
        assert!(
            refused.starts_with("can never say anything: of a query that looks back 300 s"),
            "{refused}"
        );
        assert!(ValidComparison::new(&parameters, seconds(60), seconds(10)).is_ok());
    }

    proptest! {
        /// What both sides draw from the same hat is no difference, however wild it is: with so large
        /// an effect asked for, chance alone hardly ever makes one.
        #[test]
        fn an_order_of_the_samples_means_nothing(mut ours in proptest::collection::vec(1.0..9.0, 20)) {
            let it = comparison(&json!({}));
            let before = it.classify(&ours, &around(5.0));
            ours.reverse();
            prop_assert_eq!(before, it.classify(&ours, &around(5.0)));
        }
    }
}
