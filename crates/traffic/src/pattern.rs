//! Paths in the table: a JSON Pointer (RFC 6901) in which a `*` may stand for several things.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A JSON Pointer with wildcards: a segment `*` is every element of a list, and a segment that ends in `*` is every
/// field of an object whose name begins like it. Empty is the whole document.
///
/// JSON Pointer and not JSONPath, because what is found has to be named in a JSON Patch, which speaks JSON Pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// A field of this name, or the element of this number.
    Is(String),
    /// Every element.
    Every,
    /// Every field whose name begins so.
    Begins(String),
}

/// One place that a pattern leads to.
#[derive(Clone, Debug)]
pub(crate) struct Found<'a> {
    /// Where, as a JSON Pointer without wildcards.
    pub(crate) pointer: String,
    /// What stands there.
    pub(crate) value: &'a Value,
    /// What the last wildcard for names stood for.
    pub(crate) star: Option<String>,
}

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no path: write a JSON Pointer, such as /spec/rules/*/backendRefs; '*' may end a segment only"
)]
pub struct PatternError(String);

impl Pattern {
    /// Whether there is no wildcard in it.
    pub fn is_plain(&self) -> bool {
        self.0
            .iter()
            .all(|segment| matches!(segment, Segment::Is(_)))
    }

    /// The pointer up to its first wildcard.
    pub(crate) fn root(&self) -> String {
        self.0
            .iter()
            .map_while(|segment| match segment {
                Segment::Is(name) => Some(below("", name)),
                _ => None,
            })
            .collect()
    }

    /// Everything that it leads to, in the document's order.
    pub(crate) fn find<'a>(&self, root: &'a Value, any_case: bool) -> Vec<Found<'a>> {
        let mut found = vec![Found {
            pointer: String::new(),
            value: root,
            star: None,
        }];
        for segment in &self.0 {
            found = found
                .into_iter()
                .flat_map(|at| segment.step(&at, any_case))
                .collect();
        }
        found
    }

    /// What it leads to, if it leads to something. For patterns without wildcards.
    pub(crate) fn first<'a>(&self, root: &'a Value, any_case: bool) -> Option<Found<'a>> {
        self.find(root, any_case).into_iter().next()
    }
}

impl Segment {
    fn step<'a>(&self, at: &Found<'a>, any_case: bool) -> Vec<Found<'a>> {
        let to = |name: &str, value: &'a Value, star: Option<String>| Found {
            pointer: below(&at.pointer, name),
            value,
            star,
        };
        match (self, at.value) {
            (Self::Is(name), Value::Object(fields)) => field(fields, name, any_case)
                .map(|(name, value)| to(name, value, at.star.clone()))
                .into_iter()
                .collect(),
            (Self::Is(number), Value::Array(elements)) => number
                .parse::<usize>()
                .ok()
                .and_then(|number| elements.get(number))
                .map(|value| to(number, value, at.star.clone()))
                .into_iter()
                .collect(),
            (Self::Every, Value::Array(elements)) => elements
                .iter()
                .enumerate()
                .map(|(number, value)| to(&number.to_string(), value, at.star.clone()))
                .collect(),
            (Self::Begins(with), Value::Object(fields)) => fields
                .iter()
                .filter_map(|(name, value)| {
                    let rest = name.strip_prefix(with.as_str())?;
                    Some(to(name, value, Some(rest.to_owned())))
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// A field, by its own name before one that differs in case alone.
pub(crate) fn field<'a>(
    fields: &'a serde_json::Map<String, Value>,
    name: &str,
    any_case: bool,
) -> Option<(&'a String, &'a Value)> {
    fields.get_key_value(name).or_else(|| {
        fields
            .iter()
            .find(|(other, _)| any_case && other.eq_ignore_ascii_case(name))
    })
}

/// The pointer of a field or element below another pointer.
pub(crate) fn below(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PatternError(text));
        };
        let segments: Option<Vec<_>> = rest.split('/').map(segment).collect();
        segments.map(Self).ok_or(PatternError(text))
    }
}

fn segment(text: &str) -> Option<Segment> {
    let plain = |text: &str| text.replace("~1", "/").replace("~0", "~");
    match text.strip_suffix('*') {
        _ if text.is_empty() => None,
        Some("") => Some(Segment::Every),
        Some(begin) if !begin.contains('*') => Some(Segment::Begins(plain(begin))),
        None if !text.contains('*') => Some(Segment::Is(plain(text))),
        _ => None,
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            match segment {
                Segment::Is(name) => write!(f, "{}", below("", name))?,
                Segment::Every => write!(f, "/*")?,
                Segment::Begins(with) => write!(f, "{}*", below("", with))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pattern(text: &str) -> Pattern {
        Pattern::try_from(text.to_owned()).unwrap()
    }

    fn pointers(text: &str, root: &Value) -> Vec<String> {
        let found = pattern(text).find(root, false);
        found.into_iter().map(|found| found.pointer).collect()
    }

    #[test]
    fn a_star_is_every_element_and_the_pointers_have_none() {
        let root = json!({"spec": {"rules": [{"refs": []}, {"other": 1}, {"refs": []}]}});
        assert_eq!(
            pointers("/spec/rules/*/refs", &root),
            ["/spec/rules/0/refs", "/spec/rules/2/refs"]
        );
        assert_eq!(pointers("", &root), [""]);
    }

    #[test]
    fn a_name_that_ends_in_a_star_is_every_field_that_begins_so() {
        let root = json!({"a": {"x/actions.web": 1, "x/actions.api": 2, "x/other": 3}});
        let pattern = pattern("/a/x~1actions.*");
        let found = pattern.find(&root, false);
        let stars: Vec<_> = found.iter().filter_map(|f| f.star.as_deref()).collect();
        assert_eq!(stars, ["api", "web"]);
        for found in &found {
            assert_eq!(root.pointer(&found.pointer), Some(found.value));
        }
    }

    #[test]
    fn a_field_of_the_same_case_comes_first() {
        let root = json!({"Weight": 1, "weight": 2});
        let at = |text, any| pattern(text).first(&root, any).map(|f| f.pointer);
        assert_eq!(at("/weight", true).unwrap(), "/weight");
        assert_eq!(at("/WEIGHT", false), None);
        assert_eq!(at("/WEIGHT", true).unwrap(), "/Weight");
    }

    #[test]
    fn the_root_is_what_comes_before_the_first_star() {
        assert_eq!(pattern("/spec/a~1b/*/http").root(), "/spec/a~1b");
        assert_eq!(pattern("/a/b").root(), "/a/b");
        assert_eq!(pattern("/a*").root(), "");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["spec", "/spec//x", "/a*b", "/a**", "/spec/"] {
            assert!(Pattern::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_is_written_as_it_was_read() {
        for text in ["", "/spec/rules/*/refs", "/a/x~1actions.*", "/a~0b/0"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }
}
