//! Numbers out of the JSON that a load test wrote, such as k6's summary.

use std::{fmt, str::FromStr};

use backstop_api::policy::Tally;
use backstop_engine::{
    baseline::{of_counts, of_samples},
    json_path::{Found, JsonPath},
    snapshot::Measured,
};
use serde_json::Value;

/// Where the numbers of a trigger are.
#[derive(Clone, Debug)]
pub struct Place {
    pub trigger: String,
    path: JsonPath,
}

/// Where the numbers of a trigger are, and what they are in its unit.
#[derive(Clone, Debug)]
pub struct Take {
    pub place: Place,
    factor: f64,
}

impl Take {
    /// What is there: one number as it is, several as samples.
    pub fn of(&self, document: &Value) -> Result<Measured, String> {
        let numbers = self.place.path.find_all(document)?;
        let samples: Vec<f64> = numbers.iter().map(|n| n * self.factor).collect();
        match samples.as_slice() {
            [one] => Ok(Measured::from(*one)),
            // The file does not say when they were taken.
            several => of_samples(several, (None, None)).ok_or_else(|| "has no samples".to_owned()),
        }
    }
}

/// What a ratio was, by what was counted.
pub fn share(bad: &Place, total: &Place, document: &Value, error: f64) -> Result<Measured, String> {
    let (bad, total) = (bad.count(document)?, total.count(document)?);
    if bad > total {
        return Err(format!(
            "{bad} are bad of {total} in all, and cannot be more than all"
        ));
    }
    let tally = Tally {
        bad,
        total,
        ..Tally::default()
    };
    of_counts(&tally, error, None, None).ok_or_else(|| "nothing was counted: 0 in all".to_owned())
}

impl Place {
    fn count(&self, document: &Value) -> Result<f64, String> {
        match self.path.find(document) {
            Found::Number(count) if count >= 0.0 => Ok(count),
            Found::Number(count) => Err(format!(
                "{count} is at {}, and a count is 0 or more",
                self.path.as_str()
            )),
            Found::Nothing(why) | Found::Several(why) | Found::Other(why) => Err(why),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((trigger, path)) = text.split_once('=').filter(|(name, _)| !name.is_empty())
        else {
            return Err(format!("'{text}' is not as in latency=$.latency.p95"));
        };
        Ok(Self {
            trigger: trigger.to_owned(),
            path: JsonPath::parse(path).map_err(|problem| format!("'{path}' {problem}"))?,
        })
    }
}

impl FromStr for Take {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A path may have a * of its own: a factor is what is a number behind the last one.
        let behind = text.rsplit_once('*');
        let factor = behind.and_then(|(place, factor)| Some((place, factor.parse().ok()?)));
        let (place, factor) = factor.unwrap_or((text, 1.0));
        if !f64::is_finite(factor) || factor <= 0.0 {
            return Err(format!(
                "'{text}' has the factor {factor}, which must be above 0"
            ));
        }
        Ok(Self {
            place: place.parse()?,
            factor,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.trigger, self.path.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What `k6 run --summary-export` writes.
    fn k6() -> Value {
        let text = include_str!("../../../tests/fixtures/k6-summary.json");
        serde_json::from_str(text).expect("JSON")
    }

    fn taken(text: &str, document: &Value) -> Result<Measured, String> {
        text.parse::<Take>().expect(text).of(document)
    }

    #[test]
    fn a_summary_of_k6_gives_numbers_in_the_unit_that_is_asked_for() {
        let found = taken("latency=$.metrics.http_req_duration['p(95)']*0.001", &k6());
        let found = found.expect("a number");
        assert!((found.value - 0.024_317_6).abs() < 1e-9, "{found:?}");
        assert_eq!(found.distribution, None, "one number is taken as it is");
        let rate = taken("errors=$.metrics.http_req_failed.value", &k6()).expect("a number");
        assert!((rate.value - 0.002).abs() < 1e-9, "{rate:?}");
    }

    #[test]
    fn many_numbers_are_samples() {
        let document = json!({"runs": [{"p95": 10}, {"p95": 30}, {"p95": 20}]});
        let found = taken("latency=$.runs[*].p95*0.1", &document).expect("samples");
        let spread = found.distribution.expect("a distribution");
        assert_eq!((found.value, spread.count), (2.0, 3));
        assert_eq!(spread.samples, [1.0, 3.0, 2.0]);
        let without_factor = taken("latency=$.runs[*].p95", &document).expect("samples");
        assert!((without_factor.value - 20.0).abs() < 1e-9);
    }

    #[test]
    fn a_ratio_is_made_of_two_counts() {
        let place = |text: &str| text.parse::<Place>().expect(text);
        let bad = place("failed=$.metrics.http_req_failed.passes");
        let total = place("failed=$.metrics.http_reqs.count");
        let found = share(&bad, &total, &k6(), 0.001).expect("a share");
        let spread = found.distribution.expect("a distribution");
        assert_eq!(spread.count, 6000);
        assert!((spread.mean - 0.002).abs() < 1e-9);
        assert!(
            found.value > 0.002 && found.value < 0.006,
            "{}",
            found.value
        );
        let refused = share(&total, &bad, &k6(), 0.001).expect_err("more than all");
        assert_eq!(
            refused,
            "6000 are bad of 12 in all, and cannot be more than all"
        );
    }

    #[test]
    fn what_cannot_be_taken_is_refused_with_what_is_there() {
        for (text, problem) in [
            ("latency", "is not as in latency=$.latency.p95"),
            ("=$.a", "is not as in"),
            ("latency=metrics", "'metrics' is no JSONPath"),
            ("latency=$.a*0", "has the factor 0, which must be above 0"),
            ("latency=$.a*-1", "has the factor -1"),
        ] {
            let refused = text.parse::<Take>().expect_err(text);
            assert!(refused.contains(problem), "{refused}");
        }
        let nothing = taken("latency=$.metrics.nothing", &k6());
        assert_eq!(nothing, Err("nothing is at $.metrics.nothing".to_owned()));
        let thresholds = taken("latency=$.metrics.http_req_duration", &k6());
        let refused = thresholds.expect_err("an object");
        assert!(refused.contains("an object is at"), "{refused}");
    }
}
