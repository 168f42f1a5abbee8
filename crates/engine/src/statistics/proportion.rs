//! What share of all is bad, at least: an answer that stays right however often it is looked at.
//!
//! A confidence interval for one look (Wilson's, Clopper and Pearson's) is wrong in one of a hundred
//! looks, and so nearly surely wrong in one of a thousand. Here the error probability is that of all
//! looks together.
//!
//! After `s` bad and `f` good ones, the evidence that the share is higher than `p` is
//!
//! ```text
//! M(p) = 1/ln(1/p) * integral over q from p to 1 of (q/p)^s ((1-q)/(1-p))^f dq/q
//! ```
//!
//! the likelihood of every higher share against that of `p`, averaged (Robbins, "Statistical methods
//! related to the law of the iterated logarithm", 1970). What is twice as bad weighs as much as what is
//! four times as bad: shares are averaged by their logarithm, since limits are small and what breaks
//! them is mostly near. Whatever the true share is, as long as it is no more than `p`, M is a
//! supermartingale that begins with 1. So by Ville's inequality (1939) the probability that it ever
//! reaches 1/a is at most a.
//!
//! The integral is at least half of the one from 0 to 1, which is the beta function B(s, f+1), for
//! all `p` up to (s-1)/(s+f), since half of that distribution lies above. Taking that half keeps the
//! promise, costs 0.7 of a natural logarithm, and needs no incomplete beta function, which loses its
//! digits at large counts.
//!
//! Several such averages, each with a weight and no more than 1 in all, are one again: so a release is
//! judged from many moments on at once.

/// How many steps the search for the limit takes: each halves the error.
const STEPS: u32 = 40;

/// What was counted from one moment on, and how much it weighs among all.
pub struct Evidence {
    bad: f64,
    good: f64,
    /// Up to which share the half is at hand; above it nothing is claimed.
    end: f64,
    /// The logarithm of the weight and of all that does not depend on the share.
    constant: f64,
}

impl Evidence {
    /// Of these counts. The weights of all that are put together are 1 at most.
    #[must_use]
    pub fn new(bad: f64, total: f64, weight: f64) -> Self {
        let good = (total - bad).max(0.0);
        let beta = libm::lgamma(bad) + libm::lgamma(good + 1.0) - libm::lgamma(bad + good + 1.0);
        Self {
            bad,
            good,
            end: (bad - 1.0) / (bad + good),
            constant: weight.ln() + beta - std::f64::consts::LN_2,
        }
    }

    /// That more than a share of all is bad.
    fn above(&self, share: f64) -> f64 {
        if share > self.end {
            return 0.0;
        }
        (self.constant - self.bad * share.ln() - self.good * (-share).ln_1p() - (-share.ln()).ln())
            .exp()
    }
}

/// The share of all that is bad at least, except with probability `error` over all looks together.
#[must_use]
pub fn at_least(evidence: &[Evidence], error: f64) -> f64 {
    let end = evidence.iter().map(|e| e.end).fold(0.0, f64::max);
    // Each part gets less with a higher share, and so does their sum.
    let beats = |share| evidence.iter().map(|e| e.above(share)).sum::<f64>() >= 1.0 / error;
    if end > 0.0 && beats(end) {
        return end;
    }
    let (mut low, mut high) = (0.0, end);
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if beats(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// The share of all that is bad at most, except with probability `error` over all looks together.
#[must_use]
pub fn at_most(bad: f64, total: f64, error: f64) -> f64 {
    let good = (total - bad).max(0.0);
    1.0 - at_least(&[Evidence::new(good, total, 1.0)], error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use statrs::function::beta::{beta_reg, ln_beta};

    use super::*;

    /// The evidence as it is defined.
    fn exact(bad: f64, total: f64, share: f64) -> f64 {
        let (a, b) = (bad, total - bad + 1.0);
        let above = 1.0 - beta_reg(a, b, share);
        let likelihood = bad * share.ln() + (total - bad) * (1.0 - share).ln();
        ln_beta(a, b) + above.ln() - likelihood - (-share.ln()).ln()
    }

    fn alone(bad: f64, total: f64, error: f64) -> f64 {
        at_least(&[Evidence::new(bad, total, 1.0)], error)
    }

    proptest! {
        #[test]
        fn no_more_is_claimed_than_the_definition_allows(
            total in 1_u32..500, part in 0.0..1.0_f64, error in 0.0001..0.2_f64,
        ) {
            let total = f64::from(total);
            let bad = (total * part).floor();
            let share = alone(bad, total, error);
            prop_assert!(share <= bad / total, "{share}");
            if share > 1e-9 {
                prop_assert!(exact(bad, total, share) >= -error.ln() - 1e-6);
            }
        }

        #[test]
        fn more_bad_ones_are_never_less_bad(total in 1_u32..300, bad in 0_u32..300) {
            let (total, bad) = (f64::from(total), f64::from(bad.min(total - 1)));
            prop_assert!(alone(bad + 1.0, total, 0.001) >= alone(bad, total, 0.001) - 1e-9);
            prop_assert!(alone(bad, total + 1.0, 0.001) <= alone(bad, total, 0.001) + 1e-9);
        }

        #[test]
        fn together_no_less_is_claimed_than_by_each_alone_and_no_more_than_by_the_one_that_says_most(
            counts in proptest::collection::vec((1_u32..300, 0.0..1.0_f64), 1..5), error in 0.0001..0.2_f64,
        ) {
            let weight = 1.0 / f64::from(u32::try_from(counts.len()).unwrap());
            let of = |weight: f64| counts.iter().map(move |(total, part)| {
                let total = f64::from(*total);
                Evidence::new((total * part).floor(), total, weight)
            });
            let together = at_least(&of(weight).collect::<Vec<_>>(), error);
            let most = of(1.0).map(|e| at_least(&[e], error)).fold(0.0, f64::max);
            prop_assert!(together <= most + 1e-9, "{together} {most}");
            for part in of(weight) {
                prop_assert!(together >= at_least(&[part], error) - 1e-9);
            }
        }
    }

    #[test]
    fn one_of_three_says_little_and_ten_of_thirty_enough() {
        let share = |bad, total| alone(bad, total, 0.001);
        assert!(share(1.0, 3.0) < 0.05, "{}", share(1.0, 3.0));
        assert!(share(3.0, 3.0) < 0.07, "{}", share(3.0, 3.0));
        assert!(share(10.0, 30.0) > 0.05, "{}", share(10.0, 30.0));
        assert!(share(8.0, 100.0) < 0.05, "{}", share(8.0, 100.0));
        assert!(share(8_000.0, 100_000.0) > 0.075);
        assert!(share(0.0, 1000.0).abs() < 1e-12);
        assert!((at_most(0.0, 0.0, 0.001) - 1.0).abs() < 1e-12);
        assert!(at_most(0.0, 1000.0, 0.001) < 0.02);
    }

    /// Releases that fail exactly at the limit are looked at after every request. A test for one
    /// look would blame many of them.
    #[test]
    fn looking_after_every_request_does_not_blame_more_than_was_promised() {
        let (limit, error, releases, requests) = (0.05, 0.05, 1000, 1000);
        let mut dice = Dice(88_172_645_463_325_252);
        let mut blamed = 0;
        for _ in 0..releases {
            let mut bad = 0.0;
            for total in 1..=requests {
                if dice.roll() < limit {
                    bad += 1.0;
                    if alone(bad, f64::from(total), error) > limit {
                        blamed += 1;
                        break;
                    }
                }
            }
        }
        assert!(f64::from(blamed) < error * f64::from(releases), "{blamed}");
        assert!(blamed > 0, "the promise is kept by saying nothing");
    }

    /// Marsaglia's xorshift: chance that is the same in every run.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            f64::from(u32::try_from(self.0 >> 32).unwrap_or(0)) / f64::from(u32::MAX)
        }
    }
}
