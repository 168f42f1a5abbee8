//! Query templates: PromQL with placeholders for the release that is judged.
//!
//! A template is checked in full when a policy is read, so that a query which cannot work is said
//! then, not when a release goes bad. Beside the text to send it knows two things that decide which
//! evidence counts: whether every series it reads belongs to the release, and how far back it looks.
//!
//! ```
//! use backstop_engine::query::{QueryContext, QueryTemplate};
//!
//! let template = QueryTemplate::parse(r#"sum(rate(http_requests_total{pod=~"{{ pods }}"}[1m]))"#)?;
//! assert!(template.is_scoped());
//! assert_eq!(template.longest_range().as_secs(), 60);
//!
//! let context = QueryContext {
//!     workloads: vec!["web".into()],
//!     namespace: "shop".into(),
//!     template_hashes: vec!["7d9f8c5b6".into()],
//!     release: "r1".into(),
//! };
//! assert_eq!(
//!     template.render(&context)?,
//!     r#"sum(rate(http_requests_total{pod=~"web-7d9f8c5b6-[a-z0-9]+"}[1m]))"#
//! );
//! # Ok::<(), backstop_engine::query::QueryError>(())
//! ```

mod placeholder;
mod promql;
mod reach;
mod scope;
mod text;

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use thiserror::Error;

use placeholder::Part;
pub use placeholder::{Placeholder, QueryContext};
pub use text::TextTemplate;

/// The longest template that is accepted, in bytes.
///
/// It also bounds how deep a query can nest: parsing and reading it recurse.
pub const LONGEST_QUERY: usize = 4096;

/// A PromQL expression with placeholders, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryTemplate {
    text: String,
    parts: Vec<Part>,
    scoped: bool,
    reach: SignedDuration,
}

impl QueryTemplate {
    /// Parses and checks a template.
    ///
    /// Placeholders are plain names; there are no filters and no conditions, so that what a query
    /// reads can be told without knowing the values.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > LONGEST_QUERY {
            return Err(QueryError::TooLong { length: text.len() });
        }
        let parts = placeholder::split(text)?;
        let expr = promql::parse(&parts)?;
        scope::refuse_literal_patterns(&expr)?;
        Ok(Self {
            text: text.to_owned(),
            scoped: scope::is_scoped(&expr),
            reach: reach::longest_range(&expr)?,
            parts,
        })
    }

    /// The query to send, with every placeholder replaced.
    pub fn render(&self, context: &QueryContext) -> Result<String, QueryError> {
        placeholder::fill(&self.parts, |placeholder| context.value(placeholder))
    }

    /// The query about whatever release was live at another time.
    pub fn render_any_release(&self, context: &QueryContext) -> Result<String, QueryError> {
        placeholder::fill(&self.parts, |placeholder| context.value_of_any(placeholder))
    }

    /// Whether a placeholder stands in the query.
    pub fn uses(&self, placeholder: Placeholder) -> bool {
        self.parts.contains(&Part::Value(placeholder))
    }

    /// Whether every series that the query selects belongs to the release.
    ///
    /// True when each vector selector has a matcher, `=` or `=~`, that only values made from
    /// `{{ pods }}`, `{{ hash }}` or `{{ release }}` can satisfy. A query that selects nothing, such
    /// as `vector(1)`, says nothing about a release and is not scoped. `and on (job, instance) up == 1`
    /// is no matter here: it only takes away what was measured where Prometheus saw nobody.
    pub fn is_scoped(&self) -> bool {
        self.scoped
    }

    /// How far before its evaluation time the query looks: ranges, subqueries and offsets, where
    /// nested ones add up and the longest branch counts.
    ///
    /// A plain instant selector counts as zero: Prometheus' lookback (5 min unless configured
    /// otherwise) is not part of it. A negative offset shortens it, never below zero.
    pub fn longest_range(&self) -> SignedDuration {
        self.reach
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for QueryTemplate {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        Self::parse(text)
    }
}

impl fmt::Display for QueryTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is wrong with a template, or with the values for it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QueryError {
    /// The template is longer than [`LONGEST_QUERY`].
    #[error("the query is {length} bytes long; at most {LONGEST_QUERY} are possible")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A name that stands for nothing.
    #[error("unknown placeholder `{name}`; known: {}", Placeholder::known())]
    UnknownPlaceholder {
        /// The name as written.
        name: String,
    },
    /// Something other than a name between the braces.
    #[error(
        "`{text}` is not a placeholder: write one name, such as `{{{{ pods }}}}`; known: {}",
        Placeholder::known()
    )]
    MalformedPlaceholder {
        /// The text with its braces.
        text: String,
    },
    /// `{{` without `}}`.
    #[error("`{{{{` is not closed at `{text}`: write `{{{{ pods }}}}`")]
    UnclosedPlaceholder {
        /// The beginning of the text that follows.
        text: String,
    },
    /// A placeholder where a value would become code.
    #[error(
        "a placeholder stands outside of a quoted string; write it as a label's value, \
         such as `pod=~\"{{{{ pods }}}}\"`"
    )]
    OutsideString,
    /// The text is not PromQL.
    #[error("invalid PromQL: {message}")]
    InvalidPromQl {
        /// The parser's message.
        message: String,
    },
    /// The query answers with something that is no number at one time.
    #[error("the query gives a {kind}; a trigger needs an instant vector or a scalar")]
    NotAnInstant {
        /// `range of samples` or `string`.
        kind: &'static str,
    },
    /// A regular expression compared as plain text: it would never match.
    #[error(
        "`{label}` is compared literally with `{{{{ {placeholder} }}}}`, which is a regular \
         expression: use =~ or !~"
    )]
    LiteralPattern {
        /// The label of the matcher.
        label: String,
        /// The placeholder in it.
        placeholder: Placeholder,
    },
    /// `@` pins the evaluation to a fixed time.
    #[error("`@` pins the query to a fixed time; a trigger must ask about now")]
    PinnedTime,
    /// The context has no value for a placeholder that the template uses.
    #[error("no value for `{{{{ {placeholder} }}}}` yet")]
    MissingValue {
        /// The placeholder.
        placeholder: Placeholder,
    },
    /// A value that is no Kubernetes name, and so not safe to insert.
    #[error(
        "the value for `{{{{ {placeholder} }}}}` has characters other than a-z, 0-9, `-` and `.`"
    )]
    UnsafeValue {
        /// The placeholder.
        placeholder: Placeholder,
    },
    /// The workload's name is so long that its pods' names do not show the release.
    #[error(
        "the pods of `{workload}` have names cut to {} characters, which do not show their release: \
         use `{{{{ hash }}}}` with a label that holds pod-template-hash",
        placeholder::LONGEST_POD_PREFIX
    )]
    PodNamesCut {
        /// The workload.
        workload: String,
    },
}

#[cfg(test)]
mod tests;
