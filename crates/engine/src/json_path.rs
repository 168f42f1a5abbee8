//! Finding one number in a JSON document by JSONPath (RFC 9535).
//!
//! A path comes from a policy's author and a document from wherever the policy asks, and the operator
//! does the work. So what could take longer than the document is long is refused: several selectors
//! in one pair of brackets, more than one `..`, a query from the root inside of a filter, regular
//! expressions. None of them is needed to find one number.

use std::hash::{Hash, Hasher};

use jsonpath_rust::parser::model::{
    Comparable, Filter, FilterAtom, FnArg, JpQuery, Segment, Selector, Test, TestFunction,
};
use jsonpath_rust::{parser::parse_json_path, query::js_path_process};
use serde_json::Value;

/// The longest path that is accepted, in bytes.
pub const LONGEST_PATH: usize = 512;
/// So much of what was found is repeated to people.
const SHOWN: usize = 80;

/// A path, checked.
#[derive(Clone, Debug)]
pub struct JsonPath {
    text: String,
    query: JpQuery,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// One finite number.
    Number(f64),
    /// Nothing to judge: no match, null, or a string such as NaN. The text says which.
    Nothing(String),
    /// Several matches. The text says how many.
    Several(String),
    /// Something that is no number. The text says what.
    Other(String),
}

impl JsonPath {
    /// Parses and checks a path, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST_PATH {
            return Err(format!("is longer than {LONGEST_PATH} bytes"));
        }
        let query = parse_json_path(text).map_err(|_| {
            "is no JSONPath (RFC 9535); write for example $.errors.rate or \
             $.checks[?@.name == 'db'].latency"
                .to_owned()
        })?;
        let mut descents = 0;
        check_segments(&query.segments, &mut descents)?;
        if descents > 1 {
            return Err(
                "has more than one `..`; one number is meant, so name the way to it".into(),
            );
        }
        Ok(Self {
            text: text.to_owned(),
            query,
        })
    }

    /// The path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Looks for numbers, one or many, in the order of the document.
    pub fn find_all(&self, document: &Value) -> Result<Vec<f64>, String> {
        let path = &self.text;
        let found = self.matches(document);
        let found = found.ok_or_else(|| format!("{path} cannot be looked for in it"))?;
        if found.is_empty() {
            return Err(format!("nothing is at {path}"));
        }
        let numbers = found.into_iter().map(|value| match number(path, value) {
            Found::Number(number) => Ok(number),
            Found::Other(why) if value.is_array() => {
                Err(format!("{why}; for the numbers in it write {path}[*]"))
            }
            Found::Nothing(why) | Found::Several(why) | Found::Other(why) => Err(why),
        });
        numbers.collect()
    }

    fn matches<'a>(&self, document: &'a Value) -> Option<Vec<&'a Value>> {
        let found = js_path_process(&self.query, document).ok()?;
        let values = found.into_iter().map(jsonpath_rust::query::QueryRef::val);
        Some(values.collect())
    }

    /// Looks for the number.
    #[must_use]
    pub fn find(&self, document: &Value) -> Found {
        let path = &self.text;
        let Some(found) = self.matches(document) else {
            return Found::Other(format!("{path} cannot be looked for in it"));
        };
        match found.as_slice() {
            [] => Found::Nothing(format!("nothing is at {path}")),
            [one] => number(path, one),
            several => Found::Several(format!(
                "{} values are at {path} where one is meant",
                several.len()
            )),
        }
    }
}

impl PartialEq for JsonPath {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for JsonPath {}

impl Hash for JsonPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

fn number(path: &str, value: &Value) -> Found {
    let number = match value {
        Value::Null => return Found::Nothing(format!("null is at {path}")),
        Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Array(_) | Value::Object(_) => None,
    };
    match number {
        Some(number) if number.is_finite() => Found::Number(number),
        Some(_) => Found::Nothing(format!("{} is at {path}", shown(value))),
        None => Found::Other(format!("{} is at {path}, which is no number", shown(value))),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => {
            let text = other.to_string();
            if text.chars().count() > SHOWN {
                format!("{}…", text.chars().take(SHOWN).collect::<String>())
            } else {
                text
            }
        }
    }
}

fn check_segments(segments: &[Segment], descents: &mut usize) -> Result<(), String> {
    segments
        .iter()
        .try_for_each(|segment| check_segment(segment, descents))
}

fn check_segment(segment: &Segment, descents: &mut usize) -> Result<(), String> {
    match segment {
        Segment::Descendant(inner) => {
            *descents += 1;
            check_segment(inner, descents)
        }
        Segment::Selector(Selector::Filter(filter)) => check_filter(filter, descents),
        Segment::Selector(_) => Ok(()),
        Segment::Selectors(_) => {
            Err("has several selectors in one pair of brackets; one number is meant".into())
        }
    }
}

fn check_filter(filter: &Filter, descents: &mut usize) -> Result<(), String> {
    match filter {
        Filter::Or(parts) | Filter::And(parts) => parts
            .iter()
            .try_for_each(|part| check_filter(part, descents)),
        Filter::Atom(FilterAtom::Filter { expr, .. }) => check_filter(expr, descents),
        Filter::Atom(FilterAtom::Test { expr, .. }) => check_test(expr, descents),
        Filter::Atom(FilterAtom::Comparison(comparison)) => {
            let (left, right) = comparison.vals();
            check_comparable(left, descents)?;
            check_comparable(right, descents)
        }
    }
}

fn check_comparable(side: &Comparable, descents: &mut usize) -> Result<(), String> {
    match side {
        Comparable::Function(function) => check_function(function, descents),
        Comparable::Literal(_) | Comparable::SingularQuery(_) => Ok(()),
    }
}

fn check_test(test: &Test, descents: &mut usize) -> Result<(), String> {
    match test {
        Test::RelQuery(segments) => check_segments(segments, descents),
        Test::AbsQuery(_) => Err("has a `$` inside of a filter; use `@` there".into()),
        Test::Function(function) => check_function(function, descents),
    }
}

fn check_function(function: &TestFunction, descents: &mut usize) -> Result<(), String> {
    let argument = match function {
        TestFunction::Length(argument) => argument,
        TestFunction::Value(argument) | TestFunction::Count(argument) => argument,
        TestFunction::Search(..) | TestFunction::Match(..) | TestFunction::Custom(..) => {
            return Err(
                "has a function other than length, count and value, which are those possible"
                    .into(),
            );
        }
    };
    match argument {
        FnArg::Literal(_) => Ok(()),
        FnArg::Test(test) => check_test(test, descents),
        FnArg::Filter(filter) => check_filter(filter, descents),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(path: &str, document: &Value) -> Found {
        JsonPath::parse(path).expect(path).find(document)
    }

    #[test]
    fn one_number_is_found() {
        let document = json!({
            "rate": 0.25, "text": " 1e-3 ", "up": true, "down": false, "big": 18_446_744_073_709_551_615_u64,
            "checks": [{"name": "db", "latency": 3}, {"name": "web", "latency": 4}],
            "a key": {"deep": [[7]]},
        });
        for (path, number) in [
            ("$.rate", 0.25),
            ("$['rate']", 0.25),
            ("$.text", 0.001),
            ("$.up", 1.0),
            ("$.down", 0.0),
            ("$.big", 18_446_744_073_709_551_615.0),
            ("$.checks[?@.name == 'db'].latency", 3.0),
            ("$.checks[-1].latency", 4.0),
            ("$..rate", 0.25),
            ("$['a key'].deep[0][0]", 7.0),
        ] {
            assert_eq!(at(path, &document), Found::Number(number), "{path}");
        }
        assert_eq!(at("$", &json!(5)), Found::Number(5.0));
    }

    #[test]
    fn what_is_no_single_number_is_said_and_never_one() {
        let document = json!({
            "null": null, "nan": "NaN", "inf": "-inf", "word": "fine", "list": [1, 2], "object": {}, "empty": "",
            "long": "x".repeat(500),
        });
        for (path, found) in [
            (
                "$.missing",
                Found::Nothing("nothing is at $.missing".into()),
            ),
            ("$.null", Found::Nothing("null is at $.null".into())),
            ("$.nan", Found::Nothing("\"NaN\" is at $.nan".into())),
            ("$.inf", Found::Nothing("\"-inf\" is at $.inf".into())),
            (
                "$.list[*]",
                Found::Several("2 values are at $.list[*] where one is meant".into()),
            ),
            (
                "$.word",
                Found::Other("\"fine\" is at $.word, which is no number".into()),
            ),
            (
                "$.empty",
                Found::Other("\"\" is at $.empty, which is no number".into()),
            ),
            (
                "$.list",
                Found::Other("a list is at $.list, which is no number".into()),
            ),
            (
                "$.object",
                Found::Other("an object is at $.object, which is no number".into()),
            ),
        ] {
            assert_eq!(at(path, &document), found, "{path}");
        }
        let Found::Other(long) = at("$.long", &document) else {
            panic!("a long string is no number");
        };
        assert!(long.len() < 150, "{long}");
    }

    #[test]
    fn many_numbers_are_found_in_their_order_or_none() {
        let document = json!({"points": [{"v": 3}, {"v": 1.5}], "list": [1, 2], "bad": [1, "NaN"]});
        let all = |path| JsonPath::parse(path).expect(path).find_all(&document);
        assert_eq!(all("$.points[*].v"), Ok(vec![3.0, 1.5]));
        assert_eq!(all("$.list[0]"), Ok(vec![1.0]));
        for (path, problem) in [
            ("$.none", "nothing is at $.none"),
            ("$.bad[*]", "\"NaN\" is at $.bad[*]"),
            (
                "$.list",
                "a list is at $.list, which is no number; for the numbers in it write $.list[*]",
            ),
        ] {
            assert_eq!(all(path), Err(problem.to_owned()));
        }
    }

    #[test]
    fn a_path_that_could_take_long_is_refused() {
        for (path, problem) in [
            ("errors.rate", "is no JSONPath"),
            ("$.a[", "is no JSONPath"),
            ("{$.a}", "is no JSONPath"),
            ("$[*,*][*,*]", "several selectors"),
            ("$..a..b", "more than one `..`"),
            ("$..a[?count(@..*) > 1]", "more than one `..`"),
            ("$.a[?$..b]", "`$` inside of a filter"),
            ("$.a[?match(@.b, 'x{1000}')]", "other than length"),
            ("$.a[?!(search(@.b, 'x') || @.c)]", "other than length"),
        ] {
            let refused = JsonPath::parse(path).expect_err(path);
            assert!(refused.contains(problem), "{path}: {refused}");
        }
        let long = format!("$.{}", "a".repeat(LONGEST_PATH));
        assert!(JsonPath::parse(&long).is_err());
    }

    #[test]
    fn the_largest_document_is_searched_in_no_time() {
        // As deep as serde_json reads, and wide.
        let deep = (0..120).fold(json!(1), |inner, _| json!([inner, 2]));
        let document = Value::Array(vec![deep; 100]);
        let begun = std::time::Instant::now();
        for path in [
            "$..[?@[?@[?@.a]]]",
            "$[*][*][*][*][*]",
            "$..a",
            "$[?count(@..*) < 0]",
        ] {
            assert!(
                matches!(at(path, &document), Found::Nothing(_) | Found::Several(_)),
                "{path}"
            );
        }
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    }
}
