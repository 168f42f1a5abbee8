//! What an answer of the query API means: a pure function of status and body.
//!
//! The shapes are those of Prometheus' HTTP API v1, `/api/v1/query` and `/api/v1/query_range`.

use std::collections::{BTreeMap, HashMap};

use backstop_api::event;
use backstop_engine::reading::{Reading, Unavailable};
use jiff::{SignedDuration, Timestamp, Unit};
use prometheus_http_query::response::{Data, InstantVector, PromqlResult, RangeVector, Sample};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::{Failure, InstantQuery};
use crate::http::{self, Answer};

/// A series' labels.
type Metric = HashMap<String, String>;

/// The frame around every answer of the API.
#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Frame {
    Success {
        data: Value,
    },
    Error {
        #[serde(rename = "errorType", default)]
        kind: String,
        #[serde(rename = "error", default)]
        message: String,
    },
}

/// Reads an answer to `query`, asked at `now`.
pub(super) fn read(
    answer: &Answer,
    query: &InstantQuery,
    now: Timestamp,
) -> Result<Reading, Failure> {
    number(data_of(answer)?, query, now)
}

/// Reads an answer to a range query: the samples of the one series that is meant.
pub(super) fn read_range(answer: &Answer) -> Result<Vec<event::Sample>, Failure> {
    let result = result_of(data_of(answer)?)?;
    let Data::Matrix(series) = result.data() else {
        let why = "the answer is no range of samples, which was asked for";
        return Err(Failure::new(Unavailable::Malformed, why));
    };
    let samples = match series.as_slice() {
        [] => [].as_slice(),
        [one] => one.samples(),
        several => {
            let metrics = several.iter().map(RangeVector::metric);
            return Err(several_series(several.len(), metrics));
        }
    };
    let parsed = samples.iter().map(|sample| {
        Ok(event::Sample {
            at: time_of(*sample)?,
            value: sample.value(),
        })
    });
    parsed.collect()
}

/// The data of an answer, or what the server says instead.
fn data_of(answer: &Answer) -> Result<Value, Failure> {
    let frame = serde_json::from_slice::<Frame>(&answer.body);
    if answer.status.is_success() {
        return match frame {
            Ok(Frame::Success { data }) => Ok(data),
            Ok(Frame::Error { kind, message }) => Err(refusal(reason_of(&kind), &kind, &message)),
            Err(error) => Err(malformed(answer, &error)),
        };
    }
    let (kind, message) = match frame {
        Ok(Frame::Error { kind, message }) => (kind, message),
        _ => (String::new(), String::new()),
    };
    let reason = reason_for(answer.status, &kind);
    let Failure { why, .. } = refusal(reason, &kind, &message);
    let why = match (reason, why.is_empty()) {
        (_, true) => http::described(answer.status),
        // Whatever a proxy calls it: this is what has to be looked at.
        (Unavailable::Unauthorized, false) => format!("{} ({why})", http::described(answer.status)),
        (_, false) => why,
    };
    Err(Failure::new(reason, why))
}

fn reason_for(status: StatusCode, kind: &str) -> Unavailable {
    match status.as_u16() {
        // Prometheus says 503 where its own time limit was reached.
        500..600 if kind == "timeout" => Unavailable::Timeout,
        _ => http::reason_for(status),
    }
}

/// For an error under a successful status, as some proxies make it.
fn reason_of(kind: &str) -> Unavailable {
    match kind {
        "timeout" => Unavailable::Timeout,
        "canceled" | "internal" | "unavailable" => Unavailable::ServerError,
        "bad_data" | "execution" | "not_found" | "not_acceptable" => Unavailable::Rejected,
        _ => Unavailable::Malformed,
    }
}

fn refusal(reason: Unavailable, kind: &str, message: &str) -> Failure {
    let separator = if kind.is_empty() || message.is_empty() {
        ""
    } else {
        ": "
    };
    Failure::new(reason, format!("{kind}{separator}{message}"))
}

fn malformed(answer: &Answer, error: &serde_json::Error) -> Failure {
    let why = if answer.body.is_empty() {
        "the answer is empty".to_owned()
    } else if answer.content_type.contains("json") {
        format!("the answer is not one of Prometheus' query API: {error}")
    } else {
        let kind = &answer.content_type;
        let kind = if kind.is_empty() {
            "of no known type"
        } else {
            kind
        };
        format!("the answer is {kind}, not JSON: is this address a Prometheus?")
    };
    Failure::new(Unavailable::Malformed, why)
}

/// The result in an answer's data, where numbers are in it.
fn result_of(data: Value) -> Result<PromqlResult, Failure> {
    let ambiguous = |why: &str| Err(Failure::new(Unavailable::Ambiguous, why));
    if data["resultType"] == "string" {
        return ambiguous("the answer is a string; one number is meant");
    }
    let has_histogram = |it: &Value| !it["histogram"].is_null() || !it["histograms"].is_null();
    let all = data["result"].as_array();
    if all.is_some_and(|all| all.iter().any(has_histogram)) {
        return ambiguous(
            "the answer is a native histogram; one number is meant, such as by histogram_quantile()",
        );
    }
    serde_json::from_value(data).map_err(|error| {
        Failure::new(
            Unavailable::Malformed,
            format!("the answer's data is not as expected: {error}"),
        )
    })
}

fn number(data: Value, query: &InstantQuery, now: Timestamp) -> Result<Reading, Failure> {
    let result = result_of(data)?;
    match result.data() {
        Data::Scalar(sample) => judge(*sample, query, now),
        Data::Vector(series) => match series.as_slice() {
            [] => Ok(Reading::NoData {
                why: "the query selects no series".to_owned(),
            }),
            [one] => judge(*one.sample(), query, now),
            several => {
                let metrics = several.iter().map(InstantVector::metric);
                Err(several_series(several.len(), metrics))
            }
        },
        Data::Matrix(_) => Err(Failure::new(
            Unavailable::Ambiguous,
            "the answer is a range of samples; one number is meant",
        )),
    }
}

fn several_series<'a>(count: usize, metrics: impl Iterator<Item = &'a Metric>) -> Failure {
    // The server's order changes from answer to answer.
    let first = metrics.map(labels).min().unwrap_or_default();
    Failure::new(
        Unavailable::Ambiguous,
        format!(
            "{count} series where one is meant, the first with {first}: aggregate them, such as by sum()"
        ),
    )
}

fn judge(sample: Sample, query: &InstantQuery, now: Timestamp) -> Result<Reading, Failure> {
    let inconclusive = |why: &str| {
        Ok(Reading::Inconclusive {
            why: why.to_owned(),
        })
    };
    let value = sample.value();
    if value.is_nan() {
        return inconclusive("the value is NaN, such as from 0 / 0");
    }
    if value.is_infinite() {
        let sign = if value > 0.0 { '+' } else { '-' };
        return inconclusive(&format!(
            "the value is {sign}Inf, such as from a division by 0"
        ));
    }
    let at = time_of(sample)?;
    let asked_for = query.at.unwrap_or(now);
    if asked_for.duration_since(at) > query.max_age {
        return Ok(Reading::Stale { at });
    }
    // The answer is made while the question waits.
    let latest = SignedDuration::try_from(query.timeout)
        .unwrap_or(SignedDuration::MAX)
        .saturating_add(query.max_age);
    if at.duration_since(asked_for) > latest {
        return Err(Failure::new(
            Unavailable::Malformed,
            format!("the sample is from the future ({at}): the clocks differ"),
        ));
    }
    Ok(Reading::Value { value, at })
}

/// The API counts in seconds, to the millisecond; a float's error is far below that.
fn time_of(sample: Sample) -> Result<Timestamp, Failure> {
    SignedDuration::try_from_secs_f64(sample.timestamp())
        .and_then(Timestamp::from_duration)
        .and_then(|at| at.round(Unit::Millisecond))
        .map_err(|error| {
            Failure::new(
                Unavailable::Malformed,
                format!("the sample's time: {error}"),
            )
        })
}

/// The labels in order, cut where they get long.
fn labels(metric: &Metric) -> String {
    const LONGEST: usize = 200;
    let sorted: BTreeMap<_, _> = metric.iter().collect();
    let all: Vec<String> = sorted
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    let all = all.join(", ");
    if all.chars().count() > LONGEST {
        format!("{{{}…}}", all.chars().take(LONGEST).collect::<String>())
    } else {
        format!("{{{all}}}")
    }
}

#[cfg(test)]
mod tests;
