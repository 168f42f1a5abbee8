//! How long after a release it may be blamed.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::duration::{Duration, PATTERN};

/// How long a release may be blamed, counted from the completion of its rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// For so long; `10m` unless said otherwise.
    For(Duration),
    /// For as long as it is live.
    Always,
}

impl Default for Window {
    fn default() -> Self {
        Self::For(Duration::from_mins(10))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(duration) => duration.fmt(f),
            Self::Always => f.write_str("Always"),
        }
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "Always" => Ok(Self::Always),
            other => other
                .parse()
                .map(Self::For)
                .map_err(|e| format!("{e}, or Always")),
        }
    }
}

impl Serialize for Window {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Window {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Window".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let duration = PATTERN.trim_start_matches('^').trim_end_matches('$');
        schemars::json_schema!({
            "type": "string", "maxLength": 32, "pattern": format!("^(Always|{duration})$"),
        })
    }
}
