//! Demands on the labels of an alert, as Alertmanager knows them.

use std::{collections::BTreeMap, fmt};

use backstop_api::policy::{AlertMatcher, MatchType};
use regex::Regex;

/// The largest program that a regular expression may become, in bytes.
const LARGEST_PATTERN: usize = 1 << 18;

/// Demands on labels, all of which must be met.
#[derive(Clone, Debug)]
pub struct Matchers(Vec<Matcher>);

/// A demand on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    type_: MatchType,
    value: String,
    /// For a regular expression: it, anchored at both ends.
    pattern: Option<Regex>,
}

impl Matchers {
    /// Checks what stands in `field`; `refuse` is told what is wrong with it.
    pub(super) fn parse(
        field: &str,
        labels: &BTreeMap<String, String>,
        matchers: &[AlertMatcher],
        refuse: &mut impl FnMut(&str, String, String),
    ) -> Option<Self> {
        let mut all: Vec<Matcher> = labels
            .iter()
            .map(|(name, value)| Matcher {
                name: name.clone(),
                type_: MatchType::Equal,
                value: value.clone(),
                pattern: None,
            })
            .collect();
        let mut sound = true;
        for (index, written) in matchers.iter().enumerate() {
            match Matcher::parse(written) {
                Ok(matcher) => all.push(matcher),
                Err(problem) => {
                    let field = format!("{field}.matchers[{index}].value");
                    refuse(&field, written.value.clone(), problem);
                    sound = false;
                }
            }
        }
        let all = Self(all);
        if sound && all.match_all(&BTreeMap::new()) {
            let problem = "would match an alert without any labels, so it says too little about \
                           which alerts are meant; name one, such as alertname: HighErrorRate";
            refuse(
                &format!("{field}.matchLabels"),
                all.to_string(),
                problem.into(),
            );
            return None;
        }
        sound.then_some(all)
    }

    /// Whether these labels meet all of them.
    #[must_use]
    pub fn match_all(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|matcher| matcher.matches(labels))
    }
}

impl fmt::Display for Matchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "{{{}}}", all.join(","))
    }
}

impl Matcher {
    fn parse(written: &AlertMatcher) -> Result<Self, String> {
        let pattern = match written.match_type {
            MatchType::Equal | MatchType::NotEqual => None,
            MatchType::Regex | MatchType::NotRegex => {
                let anchored = format!("^(?:{})$", written.value);
                let pattern = regex::RegexBuilder::new(&anchored)
                    .size_limit(LARGEST_PATTERN)
                    .build();
                Some(pattern.map_err(|_| {
                    "is no regular expression that can be used; write for example \
                     critical|page"
                        .to_owned()
                })?)
            }
        };
        Ok(Self {
            name: written.name.clone(),
            type_: written.match_type,
            value: written.value.clone(),
            pattern,
        })
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        // As in Alertmanager a label that is not there is an empty one.
        let value = labels.get(&self.name).map_or("", String::as_str);
        let found = match &self.pattern {
            Some(pattern) => pattern.is_match(value),
            None => value == self.value,
        };
        found == matches!(self.type_, MatchType::Equal | MatchType::Regex)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.type_.as_str(), self.value)
    }
}
