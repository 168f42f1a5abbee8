//! Asking Prometheus.

use std::time::Duration;

use backstop_engine::{policy::Minimum, query::QueryTemplate, reading::Reading, trigger};
use backstop_sources::{Endpoint, InstantQuery};
use jiff::Timestamp;

use super::{Question, misconfigured};
use crate::context::Context;

/// Asks a query, and whether there is enough to judge by.
pub(super) async fn answer(
    context: &Context,
    endpoint: &Endpoint,
    query: &QueryTemplate,
    minimum: Option<&Minimum>,
    asked: &Question,
    limit: Duration,
) -> Reading {
    let one = async |template: &QueryTemplate| match template.render(&asked.context) {
        Ok(promql) => {
            let question = InstantQuery {
                timeout: limit,
                ..InstantQuery::new(promql)
            };
            context
                .querier
                .query(endpoint, &question, Timestamp::now())
                .await
        }
        Err(error) => misconfigured(error.to_string()),
    };
    match minimum {
        None => one(query).await,
        Some(minimum) => {
            let (reading, samples) = futures::join!(one(query), one(&minimum.query));
            trigger::with_minimum(reading, &samples, minimum.at_least)
        }
    }
}
