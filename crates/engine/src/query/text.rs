//! Placeholders in a text that is no PromQL, such as a URL.

use super::QueryError;
use super::placeholder::{self, Part, Placeholder, QueryContext};

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextTemplate {
    text: String,
    parts: Vec<Part>,
}

impl TextTemplate {
    /// Cuts a text at its placeholders.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        Ok(Self {
            text: text.to_owned(),
            parts: placeholder::split(text)?,
        })
    }

    /// The text with every placeholder replaced; each value is written as `written` does it.
    pub fn render_with(
        &self,
        context: &QueryContext,
        written: impl Fn(&str) -> String,
    ) -> Result<String, QueryError> {
        placeholder::fill(&self.parts, |placeholder| {
            context.value(placeholder).map(|value| written(&value))
        })
    }

    /// Whether a placeholder in it stands for something that only one release has.
    #[must_use]
    pub fn names_the_release(&self) -> bool {
        self.parts.iter().any(|part| {
            matches!(
                part,
                Part::Value(Placeholder::Pods | Placeholder::Hash | Placeholder::Release)
            )
        })
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}
