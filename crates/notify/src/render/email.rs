//! E-mail: a part in plain text, a part in HTML, and which messages belong together.

use serde::Serialize;

use super::cut;
use crate::{Message, template::Words};

const SUBJECT: usize = 200;

/// An e-mail, without from whom and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mail {
    /// The subject.
    pub subject: String,
    /// The plain part.
    pub text: String,
    /// The HTML part.
    pub html: String,
    /// Its ID, the same at every attempt.
    pub id: String,
    /// The ID to which all mails of one rollback refer, so that they are shown together.
    pub thread: String,
}

pub(super) fn mail(message: &Message, words: Words, html: &str) -> Mail {
    let title = minijinja::HtmlEscape(&words.title);
    Mail {
        html: format!(
            "<!doctype html>\n<html><body style=\"font-family: sans-serif\">\n<h2>{title}</h2>\n\
             <div style=\"white-space: pre-wrap\">{html}</div>\n</body></html>\n"
        ),
        subject: cut(&words.title, SUBJECT),
        text: words.text,
        id: id(&message.id),
        thread: id(&message.incident),
    }
}

/// An identifier as the ID of an e-mail.
fn id(of: &str) -> String {
    let plain = of.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', ".");
    format!("<{plain}@backstop.dev>")
}
