//! Samples in a few numbers.

/// The value below which a share of the samples is, by linear interpolation between the two nearest
/// (the method that R calls 7); `None` without samples.
#[must_use]
pub fn quantile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * count(last);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last index"
    )]
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - count(below)))
}

/// The one in the middle; of an even number, half-way between the two.
#[must_use]
pub fn median(samples: &[f64]) -> Option<f64> {
    quantile(samples, 0.5)
}

/// The mean; `None` without samples.
#[must_use]
pub fn mean(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / count(samples.len()))
}

/// The standard deviation of what the samples were drawn from: with Bessel's correction, and 0 of a
/// single one.
#[must_use]
pub fn deviation(samples: &[f64]) -> f64 {
    let Some(mean) = mean(samples).filter(|_| samples.len() > 1) else {
        return 0.0;
    };
    let squares: f64 = samples.iter().map(|s| (s - mean).powi(2)).sum();
    (squares / (count(samples.len()) - 1.0)).sqrt()
}

/// The coefficient of variation: the standard deviation in times of the mean. What does not vary at
/// all has 0, also where its mean is 0.
#[must_use]
pub fn variation(mean: f64, deviation: f64) -> f64 {
    if deviation == 0.0 {
        0.0
    } else {
        deviation / mean.abs()
    }
}

/// A number of samples.
#[expect(clippy::cast_precision_loss, reason = "so many samples are never kept")]
pub(crate) fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(answer: Option<f64>, expected: f64) -> bool {
        answer.is_some_and(|a| (a - expected).abs() < 1e-12)
    }

    #[test]
    fn the_middle_is_not_moved_by_one_odd_sample() {
        assert!(is(median(&[3.0, 1.0, 1000.0]), 3.0));
        assert!(is(median(&[1.0, 2.0, 4.0, 1000.0]), 3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_quantile_lies_between_the_two_nearest_samples() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        assert!(is(quantile(&samples, 0.25), 1.75));
        assert!(is(quantile(&samples, 0.0), 1.0));
        assert!(is(quantile(&samples, 1.0), 4.0));
        assert!(is(quantile(&[7.0], 0.95), 7.0));
    }

    #[test]
    fn variation_is_relative_and_what_never_changes_has_none() {
        let samples = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert!(is(mean(&samples), 5.0));
        let deviation = deviation(&samples);
        assert!((deviation - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
        assert!((variation(5.0, deviation) - deviation / 5.0).abs() < 1e-12);
        assert!(variation(0.0, 0.0).abs() < 1e-12);
        assert!(variation(0.0, 1.0).is_infinite());
    }
}
