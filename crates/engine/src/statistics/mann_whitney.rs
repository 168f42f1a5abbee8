//! The Mann-Whitney U test: whether the values of one set tend to be higher than those of another,
//! whatever shape they have.
//!
//! Formulas after Mann and Whitney, "On a test of whether one of two random variables is
//! stochastically larger than the other" (1947), with the correction for ties and for continuity as
//! Hollander, Wolfe and Chicken give them ("Nonparametric Statistical Methods", chapter 4). The size
//! of the shift is the estimator of Hodges and Lehmann (1963).
//!
//! Samples of a query that looks back further than it is asked share data, so that many of them say
//! no more than few. The variance is therefore multiplied by `overlap`, how many of them share the
//! same data: the design effect of averages over a sliding window.

use super::summary::{count, median};

/// What the test says of two sets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Test {
    /// How many of all pairs have the higher value in the first set, a tie being half a pair: 0 to
    /// 1. Half is what chance makes of it.
    pub superiority: f64,
    /// The probability that chance alone makes the first set so much higher.
    pub p_higher: f64,
    /// The same of lower.
    pub p_lower: f64,
    /// By how much the first set is shifted: the middle of all differences.
    pub shift: f64,
}

/// Compares `ours` with `theirs`; `None` where one is empty.
///
/// By the normal approximation, which holds from about eight samples each on.
#[must_use]
pub fn compare(ours: &[f64], theirs: &[f64], overlap: f64) -> Option<Test> {
    let differences: Vec<f64> = ours
        .iter()
        .flat_map(|a| theirs.iter().map(move |b| a - b))
        .collect();
    let shift = median(&differences)?;
    let (n, m) = (count(ours.len()), count(theirs.len()));
    let half_pairs = |d: &f64| match d.partial_cmp(&0.0) {
        Some(std::cmp::Ordering::Greater) => 1.0,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0.0,
    };
    let higher: f64 = differences.iter().map(half_pairs).sum();
    let deviation = (variance(ours, theirs) * overlap.max(1.0)).sqrt();
    let p = |u: f64| {
        let above = u - n * m / 2.0 - 0.5;
        // Where all values are the same there is nothing to be sure of.
        if deviation == 0.0 {
            1.0
        } else {
            beyond(above / deviation)
        }
    };
    Some(Test {
        superiority: higher / (n * m),
        p_higher: p(higher),
        p_lower: p(n * m - higher),
        shift,
    })
}

/// The smallest probability that sets of these sizes can reach: when all of ours are higher.
#[must_use]
pub fn surest(ours: u32, theirs: u32, overlap: f64) -> f64 {
    let (n, m) = (f64::from(ours), f64::from(theirs));
    let deviation = (n * m * (n + m + 1.0) / 12.0 * overlap.max(1.0)).sqrt();
    beyond((n * m / 2.0 - 0.5) / deviation)
}

/// The variance of U where chance alone rules, less what ties take from it.
fn variance(ours: &[f64], theirs: &[f64]) -> f64 {
    let (n, m) = (count(ours.len()), count(theirs.len()));
    let mut all: Vec<f64> = ours.iter().chain(theirs).copied().collect();
    all.sort_by(f64::total_cmp);
    let ties: f64 = all
        .chunk_by(|a, b| a.partial_cmp(b).is_some_and(std::cmp::Ordering::is_eq))
        .map(|group| count(group.len()).powi(3) - count(group.len()))
        .sum();
    let both = n + m;
    (n * m / 12.0 * (both + 1.0 - ties / (both * (both - 1.0)))).max(0.0)
}

/// The share of the normal distribution beyond so many standard deviations.
fn beyond(z: f64) -> f64 {
    libm::erfc(z / std::f64::consts::SQRT_2) / 2.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use statrs::stats_tests::{
        Alternative,
        mannwhitneyu::{MannWhitneyUMethod, mannwhitneyu},
    };

    use super::*;

    /// Whole numbers, so that there are ties.
    fn samples() -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::vec((0..40_i32).prop_map(f64::from), 8..40)
    }

    proptest! {
        #[test]
        fn it_says_what_another_implementation_says(a in samples(), b in samples()) {
            let ours = compare(&a, &b, 1.0).unwrap();
            for (way, p) in [(Alternative::Greater, ours.p_higher), (Alternative::Less, ours.p_lower)] {
                let method = MannWhitneyUMethod::AsymptoticInclContinuityCorrection;
                let (u, theirs) = mannwhitneyu(&a, &b, method, way).unwrap();
                prop_assert!((p - theirs).abs() < 1e-9, "{p} and {theirs}");
                prop_assert!((ours.superiority * count(a.len() * b.len()) - u).abs() < 1e-9);
            }
        }

        #[test]
        fn swapping_the_sets_turns_the_answer_round(a in samples(), b in samples()) {
            let (one, other) = (compare(&a, &b, 1.0).unwrap(), compare(&b, &a, 1.0).unwrap());
            prop_assert!((one.p_higher - other.p_lower).abs() < 1e-12);
            prop_assert!((one.superiority + other.superiority - 1.0).abs() < 1e-12);
            prop_assert!((one.shift + other.shift).abs() < 1e-12);
        }

        #[test]
        fn samples_that_share_data_never_make_it_surer(a in samples(), b in samples(), overlap in 1.0..20.0_f64) {
            let (alone, shared) = (compare(&a, &b, 1.0).unwrap(), compare(&a, &b, overlap).unwrap());
            let of = |test: &Test| test.p_higher.min(test.p_lower).min(0.5);
            prop_assert!(of(&shared) >= of(&alone) - 1e-12);
        }
    }

    #[test]
    fn sets_apart_are_told_apart_and_equal_ones_are_not() {
        let low: Vec<f64> = (0..20).map(f64::from).collect();
        let high: Vec<f64> = low.iter().map(|v| v + 100.0).collect();
        let apart = compare(&high, &low, 1.0).unwrap();
        assert!(apart.p_higher < 1e-6 && apart.p_lower > 0.99, "{apart:?}");
        assert!((apart.p_higher - surest(20, 20, 1.0)).abs() < 1e-12);
        assert!((apart.shift - 100.0).abs() < 1e-9);
        let same = compare(&[1.0; 20], &[1.0; 20], 1.0).unwrap();
        assert!(same.p_higher >= 1.0 && same.p_lower >= 1.0, "{same:?}");
        assert_eq!(compare(&[], &low, 1.0), None);
    }
}
