//! Durations as people write them in Kubernetes: `30s`, `10m`, `1h30m`.

use std::{fmt, str::FromStr, time};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// A length of time, written as Go and Kubernetes write it: `500ms`, `30s`, `10m`, `1h30m`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(time::Duration);

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(time::Duration::ZERO);

    /// So many whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }

    /// So many whole minutes.
    #[must_use]
    pub const fn from_mins(minutes: u64) -> Self {
        Self(time::Duration::from_secs(minutes * 60))
    }

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(time::Duration::from_millis(millis))
    }

    /// The same length, for timers.
    #[must_use]
    pub const fn as_std(self) -> time::Duration {
        self.0
    }

    /// The same length, for reckoning with timestamps. What is longer than 292 years is cut.
    #[must_use]
    pub fn as_signed(self) -> jiff::SignedDuration {
        jiff::SignedDuration::try_from(self.0).unwrap_or(jiff::SignedDuration::MAX)
    }

    /// Whether this is no time at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<time::Duration> for Duration {
    fn from(value: time::Duration) -> Self {
        Self(value)
    }
}

impl fmt::Display for Duration {
    /// As Go's `time.Duration` prints: `0s`, `1.5s`, `2m0s`, `1h0m0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.as_secs();
        if self.is_zero() {
            return f.write_str("0s");
        }
        if total < 60 {
            return write!(f, "{:?}", self.0);
        }
        let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        let rest = time::Duration::from_secs(seconds)
            + time::Duration::from_nanos(u64::from(self.0.subsec_nanos()));
        write!(f, "{minutes}m{}s", rest.as_secs_f64())
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed: kube::core::Duration = text.parse().map_err(|e| {
            format!("'{text}' is no duration ({e}); write it like 30s, 10m or 1h30m")
        })?;
        if parsed.is_negative() {
            return Err(format!(
                "'{text}' is negative; a duration here is 0s or more"
            ));
        }
        Ok(Self(parsed.into()))
    }
}

impl Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The pattern of a non-negative duration in the schema.
pub(crate) const PATTERN: &str = r"^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$";

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": "string", "maxLength": 32, "pattern": PATTERN})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, printed) in [
            ("0s", "0s"),
            ("500ms", "500ms"),
            ("30s", "30s"),
            ("60s", "1m0s"),
            ("10m", "10m0s"),
            ("1h30m", "1h30m0s"),
            ("90.5s", "1m30.5s"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.to_string(), printed, "{text}");
            assert_eq!(duration.to_string().parse::<Duration>().unwrap(), duration);
        }
    }

    #[test]
    fn a_wrong_duration_is_named_with_what_would_be_right() {
        let error = "10 minutes".parse::<Duration>().unwrap_err();
        assert!(
            error.contains("'10 minutes'") && error.contains("30s, 10m or 1h30m"),
            "{error}"
        );
        assert!("-5s".parse::<Duration>().unwrap_err().contains("negative"));
    }
}
