//! Asking Prometheus what a trigger would have measured at each moment of a load test.

use std::{collections::BTreeMap, time::Duration};

use backstop_api::{event::Sample, policy::Tally};
use backstop_engine::{
    baseline::{of_counts, of_samples},
    policy::{Minimum, Source, ValidRatio, ValidTrigger},
    query::{QueryContext, QueryTemplate},
    reading::{Reading, Unavailable},
    snapshot::Measured,
    tally,
    trigger::number,
};
use backstop_sources::{MOST_TIMES, PrometheusClient, RangeQuery};
use jiff::Timestamp;

use super::window::Span;

/// No answer is waited for longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Whom to ask, about what.
pub struct Asking<'a> {
    pub client: &'a PrometheusClient,
    pub about: &'a QueryContext,
    pub over: Span,
    /// How far apart the samples are; without it as far as the operator's own.
    pub step: Option<Duration>,
}

/// What was asked of Prometheus, and the samples of the answer.
struct Answer {
    promql: String,
    samples: Vec<Sample>,
}

impl Asking<'_> {
    /// What the trigger measures, or why that cannot be told.
    pub async fn measure(&self, trigger: &ValidTrigger) -> Result<Measured, String> {
        let Source::Prometheus {
            query,
            ratio,
            minimum,
            ..
        } = &trigger.source
        else {
            return Err("has no query of Prometheus".to_owned());
        };
        let span = self.over.within(trigger.range())?;
        let step = match self.step {
            Some(step) => step,
            None => Duration::try_from(trigger.interval).unwrap_or(LIMIT),
        };
        let answer = self.range(query, span, step).await?;
        match ratio {
            Some(ratio) => self.share(answer, ratio, span, step).await,
            None => self.spread(answer, minimum.as_ref(), span, step).await,
        }
    }

    /// A number that was measured again and again.
    async fn spread(
        &self,
        answer: Answer,
        minimum: Option<&Minimum>,
        span: Span,
        step: Duration,
    ) -> Result<Measured, String> {
        let enough = match minimum {
            None => None,
            Some(minimum) => {
                let beside = self.range(&minimum.query, span, step).await?;
                Some((by_time(&beside.samples), minimum.at_least))
            }
        };
        let kept = Kept::of(&answer.samples, enough.as_ref());
        let values: Vec<f64> = kept.samples.iter().map(|s| s.value).collect();
        let times = (
            kept.samples.first().map(|s| s.at),
            kept.samples.last().map(|s| s.at),
        );
        let none = || kept.nothing(&answer, span);
        of_samples(&values, times).ok_or_else(none)
    }

    /// What was counted from the first moment to the last.
    async fn share(
        &self,
        bad: Answer,
        ratio: &ValidRatio,
        span: Span,
        step: Duration,
    ) -> Result<Measured, String> {
        let total = self.range(&ratio.total, span, step).await?;
        let tally = counted(&bad.samples, &total.samples).ok_or_else(|| {
            let kept = Kept::of(&total.samples, None);
            kept.nothing(&total, span)
        })?;
        of_counts(&tally, ratio.error, Some(span.from), Some(span.to)).ok_or_else(|| {
            format!(
                "nothing was counted from {:.0} to {:.0}: '{}' did not grow",
                span.from, span.to, total.promql
            )
        })
    }

    async fn range(
        &self,
        template: &QueryTemplate,
        span: Span,
        step: Duration,
    ) -> Result<Answer, String> {
        let promql = template.render(self.about).map_err(|e| e.to_string())?;
        let query = RangeQuery {
            promql,
            from: span.from,
            to: span.to,
            step,
            timeout: LIMIT,
        };
        if query.times() > MOST_TIMES {
            return Err(format!(
                "would be asked about {} moments, and Prometheus answers for {MOST_TIMES} at most; ask further apart, by \
                 --step, or over a shorter time",
                query.times()
            ));
        }
        let samples = self.client.range(&query).await.map_err(in_words)?;
        Ok(Answer {
            promql: query.promql,
            samples,
        })
    }
}

/// Why there is no answer.
pub fn in_words(reading: Reading) -> String {
    match reading {
        Reading::Unavailable {
            reason: Unavailable::Unauthorized,
            why,
        } => format!("{why} Sign in with --token-file, or --username and --password-file"),
        Reading::Unavailable { why, .. }
        | Reading::NoData { why }
        | Reading::Inconclusive { why } => why,
        Reading::Value { .. } | Reading::Stale { .. } => "the answer is no range".to_owned(),
    }
}

fn by_time(samples: &[Sample]) -> BTreeMap<Timestamp, f64> {
    samples.iter().map(|s| (s.at, s.value)).collect()
}

/// The samples that a trigger would have judged, and how many it would not have.
struct Kept {
    samples: Vec<Sample>,
    no_numbers: usize,
    too_few: usize,
    at_least: f64,
}

impl Kept {
    fn of(all: &[Sample], enough: Option<&(BTreeMap<Timestamp, f64>, f64)>) -> Self {
        let mut kept = Self {
            samples: Vec::new(),
            no_numbers: 0,
            too_few: 0,
            at_least: enough.map_or(0.0, |(_, at_least)| *at_least),
        };
        for sample in all {
            let is_enough = enough.is_none_or(|(beside, at_least)| {
                beside.get(&sample.at).is_some_and(|n| n >= at_least)
            });
            if !sample.value.is_finite() {
                kept.no_numbers += 1;
            } else if is_enough {
                kept.samples.push(*sample);
            } else {
                kept.too_few += 1;
            }
        }
        kept
    }

    /// Why nothing is left.
    fn nothing(&self, answer: &Answer, span: Span) -> String {
        let mut words = Vec::new();
        if self.no_numbers > 0 {
            let count = self.no_numbers;
            words.push(format!(
                "{count} answers are no number, such as NaN from 0 / 0: was there any traffic?"
            ));
        }
        if self.too_few > 0 {
            words.push(format!(
                "{} answers are made of less than {} (minimumSamples)",
                self.too_few,
                number(self.at_least)
            ));
        }
        if words.is_empty() {
            words.push("the query selects no series".to_owned());
        }
        format!(
            "was not measured from {:.0} to {:.0}: {}; it was asked: {}",
            span.from,
            span.to,
            words.join("; "),
            answer.promql.trim()
        )
    }
}

/// What came between the first answer and the last. `None` where nothing was answered.
fn counted(bad: &[Sample], total: &[Sample]) -> Option<Tally> {
    let bad = by_time(bad);
    let mut tally = None;
    for all in total.iter().filter(|s| s.value.is_finite()) {
        // Counters of what never happened are not there.
        let bad = bad.get(&all.at).copied().unwrap_or(0.0);
        if bad.is_finite() {
            tally::count(&mut tally, bad, all.value, false);
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    fn samples(values: &[f64]) -> Vec<Sample> {
        let at_each = |(value, second): (&f64, i64)| Sample {
            at: at(second),
            value: *value,
        };
        values.iter().zip(0..).map(at_each).collect()
    }

    #[test]
    fn what_a_trigger_would_not_have_judged_is_left_out() {
        let beside = (by_time(&samples(&[9.0, 200.0, 200.0])), 100.0);
        let all = samples(&[1.0, 2.0, f64::NAN, 4.0]);
        let kept = Kept::of(&all, Some(&beside));
        assert_eq!(kept.samples, [all[1]], "there is nothing beside the last");
        assert_eq!((kept.no_numbers, kept.too_few), (1, 2));
    }

    #[test]
    fn it_is_said_why_nothing_is_left() {
        let span = Span {
            from: at(0),
            to: at(60),
        };
        let words = |values: &[f64], enough: Option<f64>| {
            let answer = Answer {
                promql: "sum(x)\n".into(),
                samples: samples(values),
            };
            let enough = enough.map(|least| (by_time(&samples(&[1.0, 1.0])), least));
            Kept::of(&answer.samples, enough.as_ref()).nothing(&answer, span)
        };
        assert!(words(&[], None).contains("the query selects no series; it was asked: sum(x)"));
        assert!(words(&[f64::NAN, f64::INFINITY], None).contains("2 answers are no number"));
        assert!(
            words(&[1.0, 2.0], Some(100.0))
                .contains("2 answers are made of less than 100 (minimumSamples)")
        );
    }

    #[test]
    fn a_ratio_is_what_came_over_the_time() {
        let tally = counted(&samples(&[5.0, 6.0, 8.0]), &samples(&[100.0, 120.0, 150.0]));
        let tally = tally.expect("counts");
        assert!((tally.bad - 3.0).abs() < 1e-9 && (tally.total - 50.0).abs() < 1e-9);
        // The counter of failures is there from the first failure on.
        let mut late = samples(&[0.0, 0.0, 2.0]);
        late.drain(..2);
        let tally = counted(&late, &samples(&[100.0, 120.0, 150.0])).expect("counts");
        assert!((tally.bad - 2.0).abs() < 1e-9, "{tally:?}");
        assert_eq!(counted(&[], &[]), None);
    }
}
