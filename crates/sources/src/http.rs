//! What everything over HTTP has in common: a client for one endpoint, reading an answer up to a limit,
//! and errors without an address in them.

use std::error::Error as _;

use backstop_engine::reading::Unavailable;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Response, StatusCode, redirect};

use crate::prometheus::{Endpoint, Failure};

/// An answer as it was received.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

/// A client that signs in to the endpoint and trusts whom its credentials say.
///
/// The first call makes ring the TLS provider of the process, unless there is one.
pub fn client(endpoint: &Endpoint) -> Result<reqwest::Client, String> {
    install_tls();
    let Endpoint {
        address,
        credentials,
    } = endpoint;
    let mut headers = HeaderMap::new();
    if let Some(authorization) = credentials.authorization() {
        headers.insert(AUTHORIZATION, authorization);
    }
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("backstop/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        // A redirect would lead out of the allow-list.
        .redirect(redirect::Policy::none());
    if let Some(roots) = credentials.roots() {
        builder = builder.tls_certs_only(roots);
    } else if !address.is_encrypted() {
        // An image without system certificates can do without them here.
        builder = builder.tls_certs_only([]);
    }
    if let Some(identity) = credentials.identity() {
        builder = builder.identity(identity);
    }
    builder
        .build()
        .map_err(|error| credentials.scrub(chain(&error)))
}

/// Makes ring the TLS provider of the process, unless there is one.
pub(crate) fn install_tls() {
    // An error says that a provider is installed, which is all that is needed.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Reads an answer of at most `largest` bytes.
pub(crate) async fn receive(mut response: Response, largest: usize) -> Result<Answer, Failure> {
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type
        .and_then(|it| it.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => {
                return Ok(Answer {
                    status,
                    content_type,
                    body,
                });
            }
            Ok(Some(chunk)) if body.len() + chunk.len() <= largest => {
                body.extend_from_slice(&chunk);
            }
            // What an error page says in so many words does not matter, only its status does.
            Ok(Some(_)) if !status.is_success() => {
                return Ok(Answer {
                    status,
                    content_type,
                    body: Vec::new(),
                });
            }
            Ok(Some(_)) => {
                return Err(Failure::new(
                    Unavailable::Ambiguous,
                    format!("the answer is longer than {largest} bytes; one number is meant"),
                ));
            }
            Err(error) => {
                return Err(Failure::new(
                    Unavailable::Malformed,
                    format!(
                        "the answer broke off after {} bytes: {}",
                        body.len(),
                        chain(&error)
                    ),
                ));
            }
        }
    }
}

/// What a status other than success means.
pub(crate) fn reason_for(status: StatusCode) -> Unavailable {
    match status.as_u16() {
        300..=399 => Unavailable::Misconfigured,
        401 | 403 => Unavailable::Unauthorized,
        429 | 500..600 => Unavailable::ServerError,
        400..500 => Unavailable::Rejected,
        _ => Unavailable::Malformed,
    }
}

/// The status and what to do about it. The body is not repeated: it may be any page.
pub fn described(status: StatusCode) -> String {
    let hint = match status.as_u16() {
        300..=399 => ", a redirect, which is not followed: use the address that it leads to",
        401 | 403 => ": are the credentials right, and is there a Secret with them?",
        404 => ": is the path of the address right?",
        _ => "",
    };
    format!("HTTP {status}{hint}")
}

/// The causes of an error. The outermost text is left out: it repeats the URL, which may be secret,
/// and adds nothing.
pub fn chain(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        source = cause.source();
    }
    if texts.is_empty() {
        "unknown error".to_owned()
    } else {
        texts.join(": ")
    }
}
