//! The words of a message: templates that cannot reach anything but the message, and cannot run on.

mod filters;
mod sample;

use backstop_api::policy::MessageTemplate;
use minijinja::{
    AutoEscape, Environment, Error, Output, State, UndefinedBehavior, escape_formatter,
    syntax::SyntaxConfig,
    value::{Serde, Value},
};

use crate::Message;

const TITLE: &str = include_str!("templates/title.txt");
const TEXT: &str = include_str!("templates/text.txt");
/// So much work and so many bytes may a template cost: a thousand times what the default ones do.
const FUEL: u64 = 1_000_000;
/// The names under which minijinja knows the formats that it has no rules of its own for.
const SLACK: &str = "slack";

/// In which markup a text is written, and so what has to be escaped in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// None.
    Plain,
    /// Slack's mrkdwn.
    Slack,
    /// HTML, as a fragment.
    Html,
}

/// A message in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// One line.
    pub title: String,
    /// Some paragraphs.
    pub text: String,
}

/// The templates of a channel: its own, or the default ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Templates {
    title: Option<String>,
    text: Option<String>,
}

impl Templates {
    /// Checks the templates that a person wrote on a message that says everything, and on one that
    /// says as little as can be. Where that fails: which field, and what is wrong with it.
    pub fn parse(template: Option<&MessageTemplate>) -> Result<Self, (&'static str, String)> {
        let MessageTemplate { title, text } = template.cloned().unwrap_or_default();
        for (field, source) in [("title", &title), ("text", &text)] {
            for message in source.iter().flat_map(|_| sample::messages()) {
                let source = source.as_deref().unwrap_or_default();
                render(source, Format::Plain, &message)
                    .map_err(|error| (field, in_words(&error, &message)))?;
            }
        }
        Ok(Self { title, text })
    }

    /// The words for a message. A template that fails on it is left for the default one: a message
    /// in other words is better than none.
    #[must_use]
    pub fn words(&self, format: Format, message: &Message) -> Words {
        let or_default = |own: &Option<String>, default: &str, format| {
            let own = own
                .as_ref()
                .and_then(|own| render(own, format, message).ok());
            own.unwrap_or_else(|| {
                render(default, format, message).unwrap_or_else(|_| message.what.clone())
            })
        };
        let title = or_default(&self.title, TITLE, Format::Plain);
        let text = or_default(&self.text, TEXT, format);
        Words {
            title: title.split_whitespace().collect::<Vec<_>>().join(" "),
            text: text.trim().to_owned(),
        }
    }
}

fn in_words(error: &Error, message: &Message) -> String {
    let line = error
        .line()
        .map_or_else(String::new, |line| format!("line {line}: "));
    let detail = error
        .detail()
        .map_or_else(String::new, |detail| format!(": {detail}"));
    let guard = if message.figures.is_none() && error.kind() == minijinja::ErrorKind::UndefinedError
    {
        "; some messages have no why, figures, from, to, category or severity: guard them, as with \
         {% if figures %}"
    } else {
        ""
    };
    format!("{line}{}{detail}{guard}", error.kind())
}

fn render(source: &str, format: Format, message: &Message) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_auto_escape_callback(move |_| match format {
        Format::Plain => AutoEscape::None,
        Format::Slack => AutoEscape::Custom(SLACK.into()),
        Format::Html => AutoEscape::Html,
    });
    environment.set_formatter(write);
    filters::add(&mut environment, format);
    environment.render_str(source, Value::from(Serde(message)))
}

/// Writes a value, escaped as its format needs it.
fn write(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if value.is_none() {
        return Ok(());
    }
    match state.auto_escape() {
        AutoEscape::Custom(_) if !value.is_safe() => {
            let text = value.to_string();
            out.write_str(&escape_slack(&text)).map_err(Error::from)
        }
        AutoEscape::Custom(_) => out.write_str(&value.to_string()).map_err(Error::from),
        _ => escape_formatter(out, state, value),
    }
}

/// Escapes what Slack would take for a link, a mention or an entity.
pub(crate) fn escape_slack(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
