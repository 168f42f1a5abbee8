//! Counting the bad ones among all, over the life of a release.

use backstop_api::policy::{Tally, TallyStart};

use crate::statistics::proportion::{Evidence, at_least};

/// How many moments are kept from which on a release is judged as well. Each is older than the next one by a tenth to a
/// quarter, so that so many reach back further than any release is watched.
const STARTS_KEPT: usize = 64;
/// What 1/(n ln^2 n) from n = 2 on adds up to, rounded up.
const ALL_WEIGHTS: f64 = 2.11;

/// Counts what has come since the last answers. `from_zero`: the counters began with the release,
/// so the first answers count in full.
///
/// Counters of pods that are gone leave the sum. What came meanwhile cannot be told then, and is not
/// counted: fewer are, and never more.
pub fn count(tally: &mut Option<Tally>, bad: f64, total: f64, from_zero: bool) {
    let tally = tally.get_or_insert_with(|| Tally {
        seen_bad: if from_zero { 0.0 } else { bad },
        seen_total: if from_zero { 0.0 } else { total },
        ..Tally::default()
    });
    let came = total - tally.seen_total;
    if came > 0.0 {
        start(tally);
        tally.total += came;
        tally.bad += (bad - tally.seen_bad).clamp(0.0, came);
    }
    tally.seen_bad = bad;
    tally.seen_total = total;
}

/// Begins to count anew, from these answers on: what was counted is no evidence about the release.
pub fn forget(tally: &mut Option<Tally>, bad: f64, total: f64) {
    *tally = Some(Tally {
        seen_bad: bad,
        seen_total: total,
        ..Tally::default()
    });
}

/// Begins to judge from here as well.
fn start(tally: &mut Tally) {
    tally.starts.push(TallyStart {
        order: tally.started,
        bad: tally.bad,
        total: tally.total,
    });
    tally.started = tally.started.saturating_add(1);
    thin(&mut tally.starts, tally.started);
}

/// Leaves out what lies between two that are near enough to each other. Fewer moments claim less,
/// and never too much.
fn thin(starts: &mut Vec<TallyStart>, now: u32) {
    let age = |start: &TallyStart| now - start.order;
    let mut index = starts.len().saturating_sub(1);
    while index > 1 {
        index -= 1;
        if 4 * age(&starts[index - 1]) <= 5 * age(&starts[index + 1]) {
            starts.remove(index);
        }
    }
    while starts.len() > STARTS_KEPT {
        starts.remove(1);
    }
}

/// The share of all that is bad at least, from the beginning or from some later moment on, except
/// with probability `error` over all looks.
///
/// The evidence from each moment on has a weight, and the weights of all moments that ever come are 1 in all.
#[must_use]
pub fn bad_at_least(tally: &Tally, error: f64) -> f64 {
    let since = |start: &TallyStart| {
        let (bad, total) = (tally.bad - start.bad, tally.total - start.total);
        Evidence::new(bad, total, weight(start.order))
    };
    let evidence: Vec<_> = tally.starts.iter().map(since).collect();
    at_least(&evidence, error)
}

/// What the evidence from a moment on weighs: of the first one half, and then less and less, so slowly that what goes
/// wrong after hours has a chance too.
fn weight(order: u32) -> f64 {
    let n = f64::from(order) + 2.0;
    1.0 / (ALL_WEIGHTS * n * n.ln().powi(2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(answers: &[(u32, u32)]) -> Tally {
        let mut tally = None;
        for (bad, total) in answers {
            count(&mut tally, f64::from(*bad), f64::from(*total), true);
        }
        tally.unwrap()
    }

    fn is(tally: &Tally, bad: f64, total: f64) -> bool {
        (tally.bad - bad).abs() < 1e-9 && (tally.total - total).abs() < 1e-9
    }

    #[test]
    fn counters_that_began_with_the_release_count_in_full_and_others_from_now_on() {
        let mut tally = None;
        count(&mut tally, 3.0, 10.0, false);
        assert!(is(tally.as_ref().unwrap(), 0.0, 0.0));
        count(&mut tally, 4.0, 12.0, false);
        assert!(is(tally.as_ref().unwrap(), 1.0, 2.0));
        assert!(is(&counted(&[(3, 10), (4, 12)]), 4.0, 12.0));
    }

    #[test]
    fn what_leaves_the_sum_takes_nothing_away_and_adds_nothing() {
        let tally = counted(&[(2, 100), (1, 60), (2, 70)]);
        assert!(is(&tally, 3.0, 110.0), "{tally:?}");
    }

    /// Releases that fail exactly at the limit are looked at after each answer of ten requests, by all moments at once.
    #[test]
    fn all_moments_together_do_not_blame_more_than_was_promised() {
        let (limit, error, releases, answers) = (0.05, 0.05, 500, 100);
        // Marsaglia's xorshift: chance that is the same in every run.
        let mut dice = 88_172_645_463_325_252_u64;
        let mut fails = || {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            f64::from(u32::try_from(dice >> 32).unwrap()) < limit * f64::from(u32::MAX)
        };
        let mut blamed = 0;
        for _ in 0..releases {
            let (mut tally, mut bad, mut total) = (None, 0.0, 0.0);
            let blame = (0..answers).any(|_| {
                bad += f64::from(u8::try_from((0..10).filter(|_| fails()).count()).unwrap());
                total += 10.0;
                count(&mut tally, bad, total, true);
                bad_at_least(tally.as_ref().unwrap(), error) > limit
            });
            blamed += u32::from(blame);
        }
        assert!(f64::from(blamed) < error * f64::from(releases), "{blamed}");
        assert!(blamed > 0, "the promise is kept by saying nothing");
    }

    #[test]
    fn what_goes_wrong_late_is_not_drowned_in_what_went_well() {
        let mut answers: Vec<(u32, u32)> = (1..=500).map(|n| (0, 100 * n)).collect();
        answers.extend((1..=10).map(|n| (50 * n, 50_000 + 100 * n)));
        let tally = counted(&answers);
        assert!(tally.bad / tally.total < 0.02);
        assert!(
            bad_at_least(&tally, 0.001) > 0.2,
            "{}",
            bad_at_least(&tally, 0.001)
        );
        assert!(tally.starts.len() <= STARTS_KEPT, "{}", tally.starts.len());
    }

    proptest! {
        #[test]
        fn no_more_is_counted_than_came_whatever_the_counters_do(
            answers in proptest::collection::vec((0_u32..50, 0_u32..50), 1..80),
        ) {
            let mut tally = None;
            for (bad, total) in &answers {
                count(&mut tally, f64::from(*bad), f64::from(*total), true);
            }
            let tally = tally.unwrap();
            prop_assert!(tally.bad >= 0.0 && tally.bad <= tally.total);
            let came: u32 = std::iter::once(&(0, 0)).chain(&answers).zip(&answers)
                .map(|((_, before), (_, after))| after.saturating_sub(*before)).sum();
            prop_assert!(tally.total <= f64::from(came) + 1e-9);
            prop_assert!(bad_at_least(&tally, 0.001) <= 1.0);
            prop_assert!(tally.starts.len() <= STARTS_KEPT);
        }

        #[test]
        fn the_same_answer_again_changes_nothing(bad in 0_u32..50, more in 0_u32..50) {
            let once = counted(&[(bad, bad + more)]);
            let twice = counted(&[(bad, bad + more), (bad, bad + more)]);
            prop_assert_eq!(once, twice);
        }
    }
}
