use backstop_engine::reading::{Reading, Unavailable};
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;

use super::{Answer, Failure, InstantQuery, read, read_range};

const JSON: &str = "application/json";

fn now() -> Timestamp {
    "2015-07-01T20:10:51.781Z".parse().expect("a time")
}

fn answered(status: u16, content_type: &str, body: &str) -> Result<Reading, Failure> {
    let answer = Answer {
        status: StatusCode::from_u16(status).expect("a status"),
        content_type: content_type.to_owned(),
        body: body.as_bytes().to_vec(),
    };
    read(&answer, &InstantQuery::new("up"), now())
}

fn success(kind: &str, result: &str) -> Result<Reading, Failure> {
    let body = format!(
        r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}},"infos":["i"]}}"#
    );
    answered(200, JSON, &body)
}

fn vector(value: &str) -> Result<Reading, Failure> {
    success(
        "vector",
        &format!(r#"[{{"metric":{{"job":"api"}},"value":[1435781451.781,"{value}"]}}]"#),
    )
}

fn unavailable(reading: Result<Reading, Failure>) -> (Unavailable, String) {
    let failure = reading.expect_err("no usable answer");
    (failure.reason, failure.why)
}

#[test]
fn one_sample_is_a_value() {
    let expected = Ok(Reading::Value {
        value: 0.25,
        at: now(),
    });
    assert_eq!(vector("0.25"), expected);
    assert_eq!(success("scalar", r#"[1435781451.781,"0.25"]"#), expected);
}

#[test]
fn whole_seconds_and_exponents_are_read() {
    let reading = success("scalar", r#"[1435781451,"1e-3"]"#).expect("a reading");
    assert_eq!(reading.value(), Some(0.001));
}

#[test]
fn an_empty_answer_is_no_data() {
    assert_eq!(
        success("vector", "[]"),
        Ok(Reading::NoData {
            why: "the query selects no series".to_owned()
        })
    );
}

#[test]
fn what_is_no_finite_number_is_inconclusive() {
    for (reading, why) in [
        (vector("NaN"), "the value is NaN, such as from 0 / 0"),
        (
            vector("+Inf"),
            "the value is +Inf, such as from a division by 0",
        ),
        (
            vector("-Inf"),
            "the value is -Inf, such as from a division by 0",
        ),
    ] {
        assert_eq!(
            reading,
            Ok(Reading::Inconclusive {
                why: why.to_owned()
            })
        );
    }
}

#[test]
fn several_series_are_ambiguous_and_counted() {
    let result = r#"[{"metric":{"code":"500","__name__":"x"},"value":[1435781451.781,"1"]},
        {"metric":{"code":"200"},"value":[1435781451.781,"1"]}]"#;
    assert_eq!(
        unavailable(success("vector", result)),
        (
            Unavailable::Ambiguous,
            r#"2 series where one is meant, the first with {__name__="x", code="500"}: aggregate them, such as by sum()"#
                .to_owned()
        )
    );
}

#[test]
fn long_labels_are_cut() {
    let label = "é".repeat(1000);
    let result = format!(
        r#"[{{"metric":{{"a":"{label}"}},"value":[1,"1"]}},{{"metric":{{}},"value":[1,"1"]}}]"#
    );
    let (_, why) = unavailable(success("vector", &result));
    assert!(why.chars().count() < 300, "{why}");
}

#[test]
fn other_types_of_result_are_ambiguous() {
    let range =
        r#"[{"metric":{"job":"api"},"values":[[1435781430.781,"1"],[1435781445.781,"1"]]}]"#;
    let histogram = r#"[{"metric":{},"histogram":[1435781451.781,
        {"count":"60","sum":"33","buckets":[[0,"0.5","1","10"]]}]}]"#;
    for (reading, word) in [
        (success("matrix", range), "range"),
        (success("string", r#"[1435781451.781,"text"]"#), "string"),
        (success("vector", histogram), "native histogram"),
    ] {
        let (reason, why) = unavailable(reading);
        assert_eq!(reason, Unavailable::Ambiguous, "{why}");
        assert!(why.contains(word), "{why}");
    }
}

#[test]
fn a_refused_query_is_said_in_prometheus_own_words() {
    let bad = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unexpected end of input"}"#;
    assert_eq!(
        unavailable(answered(400, JSON, bad)),
        (
            Unavailable::Rejected,
            r#"bad_data: invalid parameter "query": 1:5: parse error: unexpected end of input"#
                .to_owned()
        )
    );
    let execution = r#"{"status":"error","errorType":"execution","error":"multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"}"#;
    let (reason, why) = unavailable(answered(422, JSON, execution));
    assert_eq!(reason, Unavailable::Rejected);
    assert!(
        why.starts_with("execution: multiple matches for labels"),
        "{why}"
    );
    // Some proxies answer 200 whatever it is.
    assert_eq!(
        unavailable(answered(200, JSON, bad)).0,
        Unavailable::Rejected
    );
}

#[test]
fn each_status_has_its_reason() {
    for (status, reason, why) in [
        (
            302,
            Unavailable::Misconfigured,
            "HTTP 302 Found, a redirect, which is not followed: use the address that it leads to",
        ),
        (
            401,
            Unavailable::Unauthorized,
            "HTTP 401 Unauthorized: are the credentials right, and is there a Secret with them?",
        ),
        (
            403,
            Unavailable::Unauthorized,
            "HTTP 403 Forbidden: are the credentials right, and is there a Secret with them?",
        ),
        (
            404,
            Unavailable::Rejected,
            "HTTP 404 Not Found: is the path of the address right?",
        ),
        (405, Unavailable::Rejected, "HTTP 405 Method Not Allowed"),
        (429, Unavailable::ServerError, "HTTP 429 Too Many Requests"),
        (
            500,
            Unavailable::ServerError,
            "HTTP 500 Internal Server Error",
        ),
        (502, Unavailable::ServerError, "HTTP 502 Bad Gateway"),
        (
            503,
            Unavailable::ServerError,
            "HTTP 503 Service Unavailable",
        ),
    ] {
        assert_eq!(
            unavailable(answered(status, "text/html", "<html>secret page</html>")),
            (reason, why.to_owned()),
        );
    }
}

#[test]
fn a_timeout_of_prometheus_itself_is_a_timeout() {
    let body = r#"{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}"#;
    assert_eq!(
        unavailable(answered(503, JSON, body)),
        (
            Unavailable::Timeout,
            "timeout: query timed out in expression evaluation".to_owned()
        )
    );
    let internal = r#"{"status":"error","errorType":"internal","error":"expanding series: EOF"}"#;
    assert_eq!(
        unavailable(answered(500, JSON, internal)).0,
        Unavailable::ServerError
    );
}

#[test]
fn what_is_not_the_api_is_malformed() {
    for (content_type, body, why) in [
        (JSON, "", "the answer is empty"),
        (
            "text/html",
            "<html>",
            "the answer is text/html, not JSON: is this address a Prometheus?",
        ),
        (
            "",
            "PONG",
            "the answer is of no known type, not JSON: is this address a Prometheus?",
        ),
    ] {
        assert_eq!(
            unavailable(answered(200, content_type, body)),
            (Unavailable::Malformed, why.to_owned())
        );
    }
    for body in [
        "{",
        "null",
        "[]",
        "{}",
        r#"{"status":"success"}"#,
        r#"{"status":"success","data":null}"#,
        r#"{"status":"success","data":[]}"#,
        r#"{"status":"success","data":{"resultType":"vector"}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":{}}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[{}]}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,1]}]}}"#,
        r#"{"status":"success","data":{"resultType":"scalar","result":[]}}"#,
        r#"{"status":"success","data":{"resultType":"scalar","result":[1e300,"1"]}}"#,
        r#"{"status":"success","data":{"resultType":"streams","result":[]}}"#,
        r#"{"status":"partial","data":{"resultType":"vector","result":[]}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":["#,
    ] {
        assert_eq!(
            unavailable(answered(200, JSON, body)).0,
            Unavailable::Malformed,
            "{body}"
        );
    }
}

#[test]
fn a_sample_from_another_time_is_not_a_value() {
    const WEEK: i64 = 7 * 24 * 60 * 60;
    let at_offset = |seconds: i64, query: &InstantQuery| {
        let at = now() + SignedDuration::from_secs(seconds);
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"scalar","result":[{},"1"]}}}}"#,
            at.as_duration().as_secs_f64()
        );
        let answer = Answer {
            status: StatusCode::OK,
            content_type: JSON.to_owned(),
            body: body.into_bytes(),
        };
        read(&answer, query, now())
    };
    let query = InstantQuery::new("up");
    assert!(matches!(at_offset(-60, &query), Ok(Reading::Value { .. })));
    assert!(matches!(at_offset(-62, &query), Ok(Reading::Stale { .. })));
    assert!(matches!(at_offset(69, &query), Ok(Reading::Value { .. })));
    let (reason, why) = unavailable(at_offset(72, &query));
    assert_eq!(reason, Unavailable::Malformed);
    assert!(why.contains("from the future"), "{why}");

    let at = Some(now() - SignedDuration::from_secs(WEEK));
    let last_week = InstantQuery { at, ..query };
    assert!(matches!(
        at_offset(-WEEK, &last_week),
        Ok(Reading::Value { .. })
    ));
    assert!(at_offset(0, &last_week).is_err());
}

fn range(result: &str) -> Result<Vec<(i64, f64)>, Failure> {
    let body =
        format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":{result}}}}}"#);
    let answer = Answer {
        status: StatusCode::OK,
        content_type: JSON.to_owned(),
        body: body.into_bytes(),
    };
    let samples = read_range(&answer)?;
    Ok(samples
        .into_iter()
        .map(|sample| (sample.at.as_millisecond(), sample.value))
        .collect())
}

#[test]
fn the_samples_of_one_series_are_read_and_of_none_there_are_none() {
    let one = r#"[{"metric":{"job":"api"},"values":[[1435781430.781,"1"],[1435781445,"NaN"]]}]"#;
    let samples = range(one).expect("samples");
    assert_eq!(samples[0], (1_435_781_430_781, 1.0));
    assert_eq!(samples[1].0, 1_435_781_445_000);
    assert!(
        samples[1].1.is_nan(),
        "what is no number is for others to judge"
    );
    assert_eq!(range("[]"), Ok(Vec::new()));
}

#[test]
fn of_several_series_no_sample_is_read() {
    let two =
        r#"[{"metric":{"a":"2"},"values":[[1,"1"]]},{"metric":{"a":"1"},"values":[[1,"1"]]}]"#;
    let failure = range(two).expect_err("ambiguous");
    assert_eq!(failure.reason, Unavailable::Ambiguous);
    assert_eq!(
        failure.why,
        "2 series where one is meant, the first with {a=\"1\"}: aggregate them, such as by sum()"
    );
    let histogram = r#"[{"metric":{},"histograms":[[1,{"count":"1","sum":"1","buckets":[]}]]}]"#;
    let failure = range(histogram).expect_err("no numbers");
    assert!(failure.why.contains("a native histogram"), "{failure:?}");
}
