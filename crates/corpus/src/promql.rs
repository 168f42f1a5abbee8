//! What PromQL makes of scrapes: `increase` with counter resets and extrapolation, the newest sample with staleness,
//! and `histogram_quantile`.
//!
//! After Prometheus' documentation, "Query functions" and "Querying basics: Staleness".

use crate::trace::{BOUNDS, Pod, Scrape};

/// A sample older than this is no sample of now.
const LOOKBACK: i64 = 300;
/// A series that begins or ends further from the range's edge than so many scrapes is not drawn out to the edge.
const NEAR: f64 = 1.1;

/// An answer: empty, or a number, which may be NaN.
pub type Answer = Option<f64>;

/// By how much a counter of one pod grew in the `range` seconds before `at`.
pub fn increase(pod: &Pod, counter: impl Fn(&Scrape) -> f64, range: i64, at: i64) -> Answer {
    let from = pod.scrapes.partition_point(|s| s.at <= at - range);
    let to = pod.scrapes.partition_point(|s| s.at <= at);
    let within = pod.scrapes.get(from..to)?;
    let (first, last) = (within.first()?, within.last()?);
    if within.len() < 2 {
        return None;
    }
    let mut grown = counter(last) - counter(first);
    for pair in within.windows(2) {
        let (before, after) = (counter(&pair[0]), counter(&pair[1]));
        if after < before {
            grown += before;
        }
    }
    let sampled = seconds(last.at - first.at);
    let step = sampled / seconds(i64::try_from(within.len() - 1).unwrap_or(i64::MAX));
    let edge = |distance: f64| {
        if distance >= NEAR * step {
            step / 2.0
        } else {
            distance
        }
    };
    let mut before = edge(seconds(first.at - (at - range)));
    if grown > 0.0 {
        // A counter cannot have been below 0.
        before = before.min(sampled * counter(first) / grown);
    }
    let after = edge(seconds(at - last.at));
    Some(grown * (sampled + before + after) / sampled)
}

/// The sum over pods of what there is; empty where there is nothing.
pub fn sum(values: impl Iterator<Item = Answer>) -> Answer {
    values.flatten().reduce(|a, b| a + b)
}

/// A pod's newest sample, unless it is stale: too old, or the pod is gone.
pub fn newest(pod: &Pod, at: i64) -> Option<&Scrape> {
    let to = pod.scrapes.partition_point(|s| s.at <= at);
    let scrape = &pod.scrapes[..to].last()?;
    (at < pod.ends_at && at - scrape.at < LOOKBACK).then_some(scrape)
}

/// The sum of a counter over the pods that there are now.
pub fn total<'a>(
    pods: impl Iterator<Item = &'a Pod>,
    counter: impl Fn(&Scrape) -> f64,
    at: i64,
) -> Answer {
    sum(pods.map(|pod| newest(pod, at).map(&counter)))
}

/// The quantile of a histogram from the rates of its buckets and of all requests, by linear interpolation.
pub fn histogram_quantile(quantile: f64, buckets: &[f64; BOUNDS.len()], all: f64) -> f64 {
    if all <= 0.0 {
        return f64::NAN;
    }
    let rank = quantile * all;
    let Some(index) = buckets.iter().position(|count| *count >= rank) else {
        return BOUNDS[BOUNDS.len() - 1];
    };
    let (start, before) = match index {
        0 => (0.0, 0.0),
        _ => (BOUNDS[index - 1], buckets[index - 1]),
    };
    let within = buckets[index] - before;
    start + (BOUNDS[index] - start) * (rank - before) / within
}

#[expect(clippy::cast_precision_loss, reason = "traces are hours long")]
fn seconds(duration: i64) -> f64 {
    duration as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Side;

    fn pod(samples: &[(i64, f64)]) -> Pod {
        let scrape = |&(at, requests): &(i64, f64)| Scrape {
            at,
            requests,
            errors: 0.0,
            buckets: [0.0; BOUNDS.len()],
            seconds: 0.0,
            memory: 1.0,
        };
        Pod {
            side: Side::Release,
            ready_at: 0,
            ends_at: 1000,
            restarts: Vec::new(),
            scrapes: samples.iter().map(scrape).collect(),
        }
    }

    fn grown(samples: &[(i64, f64)], range: i64, at: i64) -> Answer {
        increase(&pod(samples), |s| s.requests, range, at)
    }

    fn is(answer: Answer, expected: f64) -> bool {
        answer.is_some_and(|a| (a - expected).abs() < 1e-9)
    }

    #[test]
    fn an_increase_is_drawn_out_to_the_edges_of_the_range() {
        let steady = [(100, 1000.0), (115, 1015.0), (130, 1030.0), (145, 1045.0)];
        assert!(is(grown(&steady, 60, 150), 60.0));
    }

    #[test]
    fn a_counter_that_begins_again_has_not_shrunk() {
        let reset = [(100, 1000.0), (115, 1015.0), (130, 15.0), (145, 30.0)];
        assert!(is(grown(&reset, 60, 150), 60.0));
    }

    #[test]
    fn a_series_that_begins_in_the_range_is_not_drawn_out_below_zero() {
        assert!(is(grown(&[(130, 0.0), (145, 15.0)], 60, 145), 15.0));
    }

    #[test]
    fn one_sample_is_no_increase() {
        assert_eq!(grown(&[(130, 5.0)], 60, 145), None);
        assert_eq!(grown(&[(85, 1.0), (130, 5.0)], 60, 145), None);
    }

    #[test]
    fn an_old_sample_and_one_of_a_pod_that_is_gone_are_stale() {
        let pod = pod(&[(100, 1.0)]);
        assert!(newest(&pod, 399).is_some());
        assert!(newest(&pod, 400).is_none());
        assert!(
            newest(
                &Pod {
                    ends_at: 200,
                    ..pod
                },
                200
            )
            .is_none()
        );
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let mut buckets = [100.0; BOUNDS.len()];
        buckets[..4].fill(0.0);
        let p95 = histogram_quantile(0.95, &buckets, 100.0);
        assert!((p95 - 0.0975).abs() < 1e-9, "{p95}");
        assert!(histogram_quantile(0.95, &[0.0; BOUNDS.len()], 0.0).is_nan());
        assert!((histogram_quantile(0.95, &[0.0; BOUNDS.len()], 1.0) - 10.0).abs() < 1e-9);
    }
}
