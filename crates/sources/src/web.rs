//! A web service that answers in JSON, with one number somewhere in it.

use std::time::Duration;

use backstop_engine::json_path::{Found, JsonPath};
use backstop_engine::reading::{Reading, Unavailable};
use jiff::Timestamp;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::http::{self, Answer, chain};
use crate::prometheus::{Endpoint, Failure};
use crate::{AddressError, AllowList, WebAddress};

/// The longest answer of a web service that is read, in bytes.
pub const LARGEST_WEB_ANSWER: usize = 1 << 18;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A question to a web service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WebQuery {
    /// Where to ask, allowed.
    pub address: WebAddress,
    /// What to send; with it the question is a POST, without it a GET.
    pub body: Option<String>,
    /// Names and values of headers to send with it.
    pub headers: Vec<(String, String)>,
    /// Where the number is in the answer.
    pub path: JsonPath,
    /// How long an answer may take in all, with retries.
    pub timeout: Duration,
}

impl WebQuery {
    /// A GET of a URL that the list allows, with a timeout of 10 s.
    pub fn get(allowed: &AllowList, url: &str, path: JsonPath) -> Result<Self, AddressError> {
        Ok(Self {
            address: allowed.check_url(url)?,
            body: None,
            headers: Vec::new(),
            path,
            timeout: Duration::from_secs(10),
        })
    }
}

/// Asks once, without a limit of time of its own. Every message names the address.
pub(crate) async fn ask(
    client: &reqwest::Client,
    endpoint: &Endpoint,
    query: &WebQuery,
    now: Timestamp,
) -> Result<Reading, Failure> {
    let named = |why: String| {
        endpoint
            .credentials
            .scrub(format!("{}: {why}", query.address))
    };
    let answer = match send(client, query).await {
        Ok(answer) => read(&answer, &query.path, now),
        Err(failure) => Err(failure),
    };
    match answer {
        Ok(Reading::NoData { why }) => Ok(Reading::NoData { why: named(why) }),
        Ok(reading) => Ok(reading),
        Err(Failure { reason, why }) => Err(Failure {
            reason,
            why: named(why),
        }),
    }
}

async fn send(client: &reqwest::Client, query: &WebQuery) -> Result<Answer, Failure> {
    let mut headers = HeaderMap::from_iter([(ACCEPT, JSON)]);
    if query.body.is_some() {
        headers.insert(CONTENT_TYPE, JSON);
    }
    for (name, value) in &query.headers {
        let header = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        );
        let (Ok(name), Ok(value)) = header else {
            let why = format!("the header `{name}` cannot be sent");
            return Err(Failure::new(Unavailable::Misconfigured, why));
        };
        headers.insert(name, value);
    }
    let url = query.address.url().clone();
    let request = match &query.body {
        None => client.get(url),
        Some(body) => client.post(url).body(body.clone()),
    };
    match request.headers(headers).send().await {
        Ok(response) => http::receive(response, LARGEST_WEB_ANSWER).await,
        Err(error) => Err(Failure::new(
            Unavailable::Unreachable,
            format!("cannot be asked: {}", chain(&error)),
        )),
    }
}

fn read(answer: &Answer, path: &JsonPath, now: Timestamp) -> Result<Reading, Failure> {
    if !answer.status.is_success() {
        return Err(Failure::new(
            http::reason_for(answer.status),
            http::described(answer.status),
        ));
    }
    let document: Value = serde_json::from_slice(&answer.body).map_err(|error| {
        let kind = match answer.content_type.as_str() {
            "" => "no type",
            kind => kind,
        };
        let why = format!(
            "the answer ({kind}, {} bytes) is not JSON: {error}",
            answer.body.len()
        );
        Failure::new(Unavailable::Malformed, why)
    })?;
    match path.find(&document) {
        Found::Number(value) => Ok(Reading::Value { value, at: now }),
        Found::Nothing(why) => Ok(Reading::NoData { why }),
        Found::Several(why) => Err(Failure::new(Unavailable::Ambiguous, why)),
        Found::Other(why) => Err(Failure::new(Unavailable::Malformed, why)),
    }
}
