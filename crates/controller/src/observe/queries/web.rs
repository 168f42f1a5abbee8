//! Asking a web service.

use std::time::Duration;

use backstop_engine::{
    reading::Reading,
    web::{WebQuestion, WebTemplate},
};
use backstop_sources::WebQuery;
use jiff::Timestamp;

use super::{Access, misconfigured};
use crate::{context::Context, observe::Observer};

/// Asks a web service.
pub(super) async fn fetch(
    observer: &Observer,
    context: &Context,
    web: &WebTemplate,
    question: &WebQuestion,
    limit: Duration,
    access: &mut Access,
) -> Reading {
    let address = match context.web_allowed.check_url(&question.url) {
        Ok(address) => address,
        Err(error) => return misconfigured(error.to_string()),
    };
    let secret = web.secret_name.as_deref();
    let credentials = match access
        .credentials(context, &observer.namespace, secret)
        .await
    {
        Ok(credentials) => credentials,
        Err(why) => return misconfigured(why),
    };
    let query = WebQuery {
        address,
        body: question.body.clone(),
        headers: web
            .headers
            .iter()
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
        path: web.path.clone(),
        timeout: limit,
    };
    context
        .querier
        .fetch(&credentials, &query, Timestamp::now())
        .await
}
