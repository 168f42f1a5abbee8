//! Which backends, in which rule, and what share.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The two backends between which traffic is shifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selection {
    /// The side that everybody was on.
    pub stable: Backend,
    /// The side of the new release.
    pub canary: Backend,
    /// The one rule that is meant. Without it every rule that has both backends is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
}

impl Selection {
    /// Two backends by name, in every rule that has both.
    pub fn new(stable: impl Into<Backend>, canary: impl Into<Backend>) -> Self {
        Self {
            stable: stable.into(),
            canary: canary.into(),
            rule: None,
        }
    }

    /// The same, in one rule.
    #[must_use]
    pub fn in_rule(mut self, rule: Rule) -> Self {
        self.rule = Some(rule);
        self
    }
}

/// A backend, as the route names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    /// Its name in the route: that of a Service, mostly.
    pub name: String,
    /// Its subset. Without it any is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
}

impl Backend {
    /// A subset of a backend.
    pub fn subset(name: impl Into<String>, subset: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            subset: Some(subset.into()),
        }
    }
}

impl From<&str> for Backend {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            subset: None,
        }
    }
}

impl From<String> for Backend {
    fn from(name: String) -> Self {
        Self { name, subset: None }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subset {
            Some(subset) => write!(f, "{} (subset {subset})", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

/// One rule of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Rule {
    /// By its number among all rules, from 0.
    Number(usize),
    /// By its name.
    Name(String),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => write!(f, "{name}"),
        }
    }
}

/// A share in whole percent, from 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Percent(u8);

/// A number that is no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no share in percent; write a whole number from 0 to 100")]
pub struct PercentError(u8);

impl Percent {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(100);

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }

    /// What is left for the other side.
    #[must_use]
    pub fn rest(self) -> Self {
        Self(100 - self.0)
    }
}

impl TryFrom<u8> for Percent {
    type Error = PercentError;

    fn try_from(number: u8) -> Result<Self, PercentError> {
        if number <= 100 {
            Ok(Self(number))
        } else {
            Err(PercentError(number))
        }
    }
}

impl From<Percent> for u8 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}
