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

/// A backend, as the route names it. Written as its name alone, or with its subset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Backend {
    /// Its name in the route: that of a Service, mostly.
    pub name: String,
    /// Its subset. Without it any is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
}

/// The two ways to write a backend.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Written {
    Name(String),
    Whole {
        name: String,
        subset: Option<String>,
    },
}

impl From<Written> for Backend {
    fn from(written: Written) -> Self {
        match written {
            Written::Name(name) => name.into(),
            Written::Whole { name, subset } => Self { name, subset },
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_backend_is_written_by_its_name_or_with_its_subset() {
        let read = |value| serde_json::from_value::<Backend>(value);
        assert_eq!(read(json!("web")).unwrap(), "web".into());
        assert_eq!(read(json!({"name": "web"})).unwrap(), "web".into());
        let whole = json!({"name": "web", "subset": "v2"});
        assert_eq!(read(whole).unwrap(), Backend::subset("web", "v2"));
        assert!(read(json!({"name": "web", "subsets": "v2"})).is_err());
    }

    #[test]
    fn a_share_is_between_nothing_and_everything() {
        assert_eq!(Percent::try_from(100).unwrap(), Percent::ALL);
        assert_eq!(Percent::ALL.rest(), Percent::NONE);
        let said = Percent::try_from(101).unwrap_err().to_string();
        assert!(said.starts_with("101 is no share"), "{said}");
        assert!(serde_json::from_value::<Percent>(json!(101)).is_err());
    }

    #[test]
    fn a_rule_is_a_number_or_a_name() {
        let read = |value| serde_json::from_value::<Rule>(value).unwrap();
        assert_eq!(read(json!(1)), Rule::Number(1));
        assert_eq!(read(json!("1")), Rule::Name("1".to_owned()));
    }
}
