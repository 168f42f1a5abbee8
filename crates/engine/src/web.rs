//! What a `web` trigger asks: a URL and a body with placeholders, and where the number is in the
//! answer.
//!
//! Everything is checked when a policy is read, but for the address, which only the operator's
//! configuration can allow.
//!
//! ```
//! use backstop_engine::json_path::{Found, JsonPath};
//!
//! let path = JsonPath::parse("$.errors.rate")?;
//! let answer = serde_json::json!({"errors": {"rate": 0.02}});
//! assert_eq!(path.find(&answer), Found::Number(0.02));
//! # Ok::<(), String>(())
//! ```

mod header;

use std::fmt::Write as _;

use backstop_api::policy::{WebHeader, WebSource};
use jiff::SignedDuration;

use crate::{
    json_path::JsonPath,
    query::{QueryContext, QueryError, TextTemplate},
};

/// A question to a web service, checked.
#[derive(Clone, Debug)]
pub struct WebTemplate {
    url: TextTemplate,
    body: Option<TextTemplate>,
    /// What is sent with it.
    pub headers: Vec<WebHeader>,
    /// Where the number is in the answer.
    pub path: JsonPath,
    /// How far back in time the number looks.
    pub range: SignedDuration,
    /// The Secret with the credentials.
    pub secret_name: Option<String>,
}

/// What to send about one release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebQuestion {
    /// Where to ask.
    pub url: String,
    /// What to send; without it the question is a GET.
    pub body: Option<String>,
}

impl WebQuestion {
    /// The question for people, on one line: method, URL and body.
    #[must_use]
    pub fn in_words(&self) -> String {
        match &self.body {
            None => format!("GET {}", self.url),
            Some(body) => format!("POST {} {body}", self.url),
        }
    }
}

impl WebTemplate {
    /// Checks a source; `refuse` is told what is wrong with which field.
    pub(crate) fn parse(
        source: &WebSource,
        refuse: &mut impl FnMut(&str, String, String),
    ) -> Option<Self> {
        let url = TextTemplate::parse(&source.url).map_err(|e| e.to_string());
        let url = url.and_then(|url| plain(&source.url).map(|()| url));
        let url = url.map_err(|problem| refuse("web.url", redacted(&source.url), problem));
        let body = source.body.as_deref().map(TextTemplate::parse).transpose();
        let body = body.map_err(|e| refuse("web.body", "…".into(), e.to_string()));
        let path = JsonPath::parse(&source.json_path)
            .map_err(|problem| refuse("web.jsonPath", source.json_path.clone(), problem));
        let mut headers = Ok(());
        for (index, header) in source.headers.iter().enumerate() {
            headers = headers.and(header::check(header).map_err(|problem| {
                // A value may be a secret that somebody put there, so it is not repeated.
                refuse(
                    &format!("web.headers[{index}]"),
                    header.name.clone(),
                    problem,
                );
            }));
        }
        let range = source.range.as_signed();
        let near = if range > crate::policy::LONGEST_REACH {
            let problem = format!(
                "must be at most {}h: a release is judged only by what is measured after it began",
                crate::policy::LONGEST_REACH.as_hours()
            );
            refuse("web.range", source.range.to_string(), problem);
            Err(())
        } else {
            Ok(range)
        };
        let (Ok(url), Ok(body), Ok(path), Ok(()), Ok(range)) = (url, body, path, headers, near)
        else {
            return None;
        };
        Some(Self {
            url,
            body,
            headers: source.headers.clone(),
            path,
            range,
            secret_name: source.secret_name.clone(),
        })
    }

    /// What to send about this release.
    pub fn render(&self, context: &QueryContext) -> Result<WebQuestion, QueryError> {
        Ok(WebQuestion {
            url: self.url.render_with(context, escaped)?,
            body: self
                .body
                .as_ref()
                .map(|body| body.render_with(context, str::to_owned))
                .transpose()?,
        })
    }

    /// The URL as it was written.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Whether what stands before a `?` has no placeholders in it.
    #[must_use]
    pub fn address_is_known(&self) -> bool {
        let url = self.url();
        let address = url.split_once('?').map_or(url, |(address, _)| address);
        !address.contains("{{")
    }

    /// Whether the question names the release: with `{{ pods }}`, `{{ hash }}` or `{{ release }}` in
    /// the URL or in the body.
    #[must_use]
    pub fn is_scoped(&self) -> bool {
        self.url.names_the_release()
            || self
                .body
                .as_ref()
                .is_some_and(TextTemplate::names_the_release)
    }
}

/// What can be said of a URL before its placeholders are filled in and the allow-list is known.
fn plain(url: &str) -> Result<(), String> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("must begin with http:// or https://".into());
    }
    if url.chars().any(char::is_control) {
        return Err("must not have line breaks or other control characters in it".into());
    }
    if url.contains('#') {
        return Err("must not have a `#` in it: what stands behind it is never sent".into());
    }
    let before = url.split_once('?').map_or(url, |(before, _)| before);
    if before.contains('@') {
        return Err("has a user name or password in it: credentials belong in a Secret".into());
    }
    Ok(())
}

/// The URL without what may be a password.
fn redacted(url: &str) -> String {
    let before = url.split_once(['?', '#']).map_or(url, |(before, _)| before);
    match before.rsplit_once('@') {
        Some((_, behind)) => format!("***@{behind}"),
        None => before.to_owned(),
    }
}

/// A value as it stands in a URL: everything but the unreserved characters of RFC 3986 is escaped.
fn escaped(value: &str) -> String {
    value.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests;
