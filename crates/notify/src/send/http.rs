//! A POST, whose failures name no secret.

use std::time::Duration;

use backstop_sources::{
    Credentials, Endpoint, WebAddress,
    http::{chain, client, described},
};
use jiff::Timestamp;
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use serde_json::Value;

use super::{Failure, Reason};

/// The longest answer that is read, in bytes. Of longer ones only the beginning matters.
const LARGEST: usize = 1 << 14;
/// No channel is left alone for longer, whatever it asks for.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// Where to send, and with what.
pub(crate) struct Post {
    address: WebAddress,
    credentials: Credentials,
    /// Whether the address itself is a secret.
    is_secret: bool,
}

impl Post {
    pub(crate) fn new(address: WebAddress, credentials: Credentials, is_secret: bool) -> Self {
        Self {
            address,
            credentials,
            is_secret,
        }
    }

    /// Sends JSON, and returns the beginning of the answer.
    pub(super) async fn send(
        &self,
        body: &Value,
        headers: &[(&'static str, String)],
    ) -> Result<Vec<u8>, Failure> {
        let mut all = vec![("content-type", "application/json; charset=utf-8".to_owned())];
        all.extend_from_slice(headers);
        self.send_text(body.to_string(), &all).await
    }

    /// Sends a text.
    pub(super) async fn send_text(
        &self,
        body: String,
        headers: &[(&'static str, String)],
    ) -> Result<Vec<u8>, Failure> {
        self.attempt(body, headers)
            .await
            .map_err(|failure| Failure {
                why: self
                    .credentials
                    .scrub(format!("{}: {}", self.shown(), failure.why)),
                ..failure
            })
    }

    /// The address, as far as it may be shown.
    fn shown(&self) -> String {
        if self.is_secret {
            self.address.origin().to_string()
        } else {
            self.address.to_string()
        }
    }

    async fn attempt(
        &self,
        body: String,
        headers: &[(&'static str, String)],
    ) -> Result<Vec<u8>, Failure> {
        let client = client(&Endpoint {
            address: self.address.origin(),
            credentials: self.credentials.clone(),
        })
        .map_err(|why| Failure::new(Reason::Misconfigured, why))?;
        let mut sent = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(|_| {
                Failure::new(
                    Reason::Misconfigured,
                    format!("the header {name} cannot be sent"),
                )
            })?;
            sent.insert(HeaderName::from_static(name), value);
        }
        debug_assert!(sent.contains_key(CONTENT_TYPE));
        let request = client
            .post(self.address.url().clone())
            .headers(sent)
            .body(body);
        let response = request.send().await.map_err(|error| {
            let reason = if error.is_timeout() {
                Reason::Timeout
            } else {
                Reason::Unreachable
            };
            Failure::new(reason, format!("cannot be reached: {}", chain(&error)))
        })?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let answer = beginning(response).await;
        if status.is_success() {
            return Ok(answer);
        }
        Err(Failure {
            reason: reason(status),
            // The body is not repeated: it may be any page, and repeat what it was sent.
            why: described(status),
            retry_after,
        })
    }
}

/// The beginning of the answer, as far as it comes: the message has been taken or refused already.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < LARGEST
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(LARGEST);
    body
}

fn reason(status: StatusCode) -> Reason {
    match status.as_u16() {
        429 => Reason::RateLimited,
        408 | 500..600 => Reason::ServerError,
        _ => Reason::Refused,
    }
}

/// How long the server asks to wait: in seconds, or until a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        Duration::try_from(until.duration_since(Timestamp::now())).ok()?
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_in_seconds_or_until_a_date_and_never_too_long() {
        let said = |text: &str| {
            let value = HeaderValue::from_str(text).expect("a header");
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]))
        };
        assert_eq!(said("7"), Some(Duration::from_secs(7)));
        assert_eq!(said("999999"), Some(LONGEST_WAIT));
        assert_eq!(said("Fri, 31 Dec 2100 23:59:59 GMT"), Some(LONGEST_WAIT));
        assert_eq!(said("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert_eq!(said("soon"), None);
    }
}
