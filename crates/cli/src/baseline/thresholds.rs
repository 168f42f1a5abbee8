//! What a team asks of a baseline for itself.

use std::{fmt, str::FromStr};

use backstop_engine::{snapshot::Measured, trigger::number};

/// A bound for a number that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Of which trigger.
    pub trigger: String,
    of: Statistic,
    bound: f64,
}

/// Which number of those that are known of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Statistic {
    Value,
    Mean,
    P5,
    Median,
    P95,
    Deviation,
}

impl Statistic {
    const ALL: [Self; 6] = [
        Self::Value,
        Self::Mean,
        Self::P5,
        Self::Median,
        Self::P95,
        Self::Deviation,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Mean => "mean",
            Self::P5 => "p5",
            Self::Median => "median",
            Self::P95 => "p95",
            Self::Deviation => "deviation",
        }
    }

    fn of(self, measured: &Measured) -> Option<f64> {
        let spread = measured.distribution.as_ref();
        match self {
            Self::Value => Some(measured.value),
            Self::Mean => Some(spread?.mean),
            Self::P5 => spread?.p5,
            Self::Median => spread?.median,
            Self::P95 => spread?.p95,
            Self::Deviation => Some(spread?.deviation),
        }
    }
}

impl Threshold {
    /// What is wrong where this is the most that may be.
    pub fn exceeded(&self, measured: &Measured) -> Option<String> {
        self.broken(measured, "--max", "at most", |is, bound| is <= bound)
    }

    /// What is wrong where this is the least that may be.
    pub fn missed(&self, measured: &Measured) -> Option<String> {
        self.broken(measured, "--min", "at least", |is, bound| is >= bound)
    }

    fn broken(
        &self,
        measured: &Measured,
        flag: &str,
        words: &str,
        holds: impl Fn(f64, f64) -> bool,
    ) -> Option<String> {
        let what = self.of.name();
        let Some(is) = self.of.of(measured) else {
            return Some(format!(
                "has no {what}, since it is a number alone or a ratio ({flag} {self}); value can be asked for"
            ));
        };
        (!holds(is, self.bound)).then(|| {
            format!(
                "its {what} is {}, and has to be {words} {} ({flag} {self})",
                number(is),
                number(self.bound)
            )
        })
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |problem: &str| {
            format!("'{text}' {problem}; write it like latency=0.5 or latency.p95=0.5")
        };
        let Some((name, bound)) = text.split_once('=') else {
            return Err(refused("has no '='"));
        };
        let (trigger, of) = match name.split_once('.') {
            None => (name, Statistic::Value),
            Some((trigger, of)) => {
                let known = Statistic::ALL.into_iter().find(|it| it.name() == of);
                let names = || Statistic::ALL.map(Statistic::name).join(", ");
                let unknown = || refused(&format!("asks for '{of}', and known are {}", names()));
                (trigger, known.ok_or_else(unknown)?)
            }
        };
        if trigger.is_empty() {
            return Err(refused("names no trigger"));
        }
        match bound.trim().parse() {
            Ok(bound) if f64::is_finite(bound) => Ok(Self {
                trigger: trigger.to_owned(),
                of,
                bound,
            }),
            _ => Err(refused(&format!("has '{bound}' where a number is meant"))),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.trigger)?;
        if self.of != Statistic::Value {
            write!(f, ".{}", self.of.name())?;
        }
        write!(f, "={}", self.bound)
    }
}

#[cfg(test)]
mod tests {
    use backstop_engine::baseline::of_samples;

    use super::*;

    fn threshold(text: &str) -> Threshold {
        text.parse().expect(text)
    }

    #[test]
    fn what_is_no_threshold_is_refused_with_what_would_be_one() {
        for (text, problem) in [
            ("latency", "'latency' has no '='"),
            ("=1", "'=1' names no trigger"),
            ("latency=fast", "has 'fast' where a number is meant"),
            ("latency=NaN", "has 'NaN' where a number is meant"),
            (
                "latency.p99=1",
                "asks for 'p99', and known are value, mean, p5, median, p95, deviation",
            ),
        ] {
            let refused = text.parse::<Threshold>().expect_err(text);
            assert!(refused.contains(problem), "{refused}");
            assert!(refused.ends_with("latency.p95=0.5"), "{refused}");
        }
    }

    #[test]
    fn each_number_is_held_against_its_own_bound() {
        let samples: Vec<f64> = (0..=100).map(f64::from).collect();
        let measured = of_samples(&samples, (None, None)).expect("samples");
        for (text, fits) in [
            ("t=50", true),
            ("t=49.9", false),
            ("t.mean=50", true),
            ("t.p95=95", true),
            ("t.p95=94.9", false),
            ("t.p5=4.9", false),
            ("t.median=49", false),
            ("t.deviation=20", false),
        ] {
            let found = threshold(text).exceeded(&measured);
            assert_eq!(found.is_none(), fits, "{text}: {found:?}");
        }
        assert_eq!(threshold("t=50").missed(&measured), None);
        assert_eq!(
            threshold("t.mean=50.5").missed(&measured).as_deref(),
            Some("its mean is 50, and has to be at least 50.5 (--min t.mean=50.5)")
        );
    }

    #[test]
    fn what_a_number_alone_does_not_have_is_not_met() {
        let alone = Measured::from(0.2);
        assert_eq!(threshold("t=0.2").exceeded(&alone), None);
        let found = threshold("t.p95=9").exceeded(&alone).expect("not met");
        assert!(found.contains("has no p95"), "{found}");
    }
}
