//! Parsing a template as PromQL before its values are known.

use std::panic::catch_unwind;

use promql_parser::parser::{self, Expr, value::ValueType};

use super::placeholder::{Part, Placeholder, fill};
use super::{QueryError, scope};

/// Parses with marks in the placeholders' places, which [`scope`] finds again.
pub(super) fn parse(parts: &[Part]) -> Result<Expr, QueryError> {
    let expr = parse_text(&fill(parts, |it| Ok(scope::mark(it).to_owned()))?).or_else(|_| {
        // Marks are valid in strings only. Plain words tell whether that was the problem, and keep
        // the marks out of the message.
        match parse_text(&fill(parts, |it| Ok(sample(it).to_owned()))?) {
            Ok(_) => Err(QueryError::OutsideString),
            Err(message) => Err(QueryError::InvalidPromQl { message }),
        }
    })?;
    match expr.value_type() {
        ValueType::Vector | ValueType::Scalar => Ok(expr),
        ValueType::Matrix => Err(QueryError::NotAnInstant {
            kind: "range of samples",
        }),
        ValueType::String => Err(QueryError::NotAnInstant { kind: "string" }),
    }
}

/// The parser panics on durations beyond what a `Duration` holds (`x[1e30]`), and the text comes
/// from users.
fn parse_text(text: &str) -> Result<Expr, String> {
    catch_unwind(|| parser::parse(text))
        .unwrap_or_else(|_| Err("a number in it is out of bounds".to_owned()))
}

fn sample(placeholder: Placeholder) -> &'static str {
    match placeholder {
        Placeholder::Workload => "web",
        Placeholder::Namespace => "default",
        Placeholder::Pods => "web_pods",
        Placeholder::Hash => "hash",
        Placeholder::Release => "release",
    }
}
