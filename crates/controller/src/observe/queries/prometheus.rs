//! Asking Prometheus: a trigger's question, and what has to be asked beside it.

use std::time::Duration;

use backstop_engine::{
    policy::{Minimum, Source, ValidTrigger},
    query::{QueryContext, QueryError, QueryTemplate},
    reading::Reading,
    snapshot::Beside,
    trigger::with_minimum,
};
use backstop_sources::{Endpoint, InstantQuery};
use jiff::{SignedDuration, Timestamp};

use super::{Question, misconfigured};
use crate::context::Context;

/// Whom to ask, and how long an answer may take.
pub(super) struct Asking<'a> {
    pub(super) context: &'a Context,
    pub(super) endpoint: &'a Endpoint,
    pub(super) limit: Duration,
}

/// About what a query is asked.
#[derive(Clone, Copy)]
enum About<'a> {
    /// This side, now.
    Side(&'a QueryContext),
    /// Whatever was live so long ago.
    Earlier(&'a QueryContext, SignedDuration),
}

impl Asking<'_> {
    /// Asks all that the trigger needs, at the same time.
    pub(super) async fn all(&self, trigger: &ValidTrigger, asked: &Question) -> (Reading, Beside) {
        let Source::Prometheus {
            query,
            ratio,
            minimum,
            ..
        } = &trigger.source
        else {
            unreachable!("only such triggers ask Prometheus")
        };
        let total = ratio.as_ref().map(|r| &r.total);
        let minimum = minimum.as_ref();
        let live = Some(About::Side(&asked.context));
        let offset = trigger.offset();
        let earlier = offset.map(|ago| About::Earlier(&asked.context, ago));
        let stable = asked.stable.as_ref().filter(|_| trigger.uses_stable());
        let stable = stable.map(About::Side);
        let (reading, total_of_live, earlier, stable, total_of_stable) = futures::join!(
            self.judged(query, minimum, live),
            self.maybe(total, live),
            self.judged(query, minimum, earlier),
            self.judged(query, minimum, stable),
            self.maybe(total, stable),
        );
        let beside = Beside {
            total: total_of_live,
            earlier,
            stable,
            stable_total: total_of_stable,
        };
        let nothing = || misconfigured("nothing was asked".into());
        (reading.unwrap_or_else(nothing), beside)
    }

    /// Asks one query about the live release, or about what its own matchers make of it: the query as
    /// it was asked, and the answer.
    pub(super) async fn query(&self, query: &QueryTemplate, asked: &Question) -> (String, Reading) {
        match query.render(&asked.context) {
            Err(error) => (query.to_string(), misconfigured(error.to_string())),
            Ok(shown) => (shown, self.one(query, About::Side(&asked.context)).await),
        }
    }

    /// Asks a query, and whether there is enough to judge by; where there is somebody to ask about.
    async fn judged(
        &self,
        query: &QueryTemplate,
        minimum: Option<&Minimum>,
        about: Option<About<'_>>,
    ) -> Option<Reading> {
        let of = minimum.map(|m| &m.query);
        let (reading, samples) = futures::join!(self.one(query, about?), self.maybe(of, about));
        Some(match (minimum, samples) {
            (Some(minimum), Some(samples)) => with_minimum(reading, &samples, minimum.at_least),
            _ => reading,
        })
    }

    async fn maybe(
        &self,
        query: Option<&QueryTemplate>,
        about: Option<About<'_>>,
    ) -> Option<Reading> {
        Some(self.one(query?, about?).await)
    }

    async fn one(&self, template: &QueryTemplate, about: About<'_>) -> Reading {
        match self.question(template, about) {
            Ok(question) => {
                let now = Timestamp::now();
                let querier = &self.context.querier;
                querier.query(self.endpoint, &question, now).await
            }
            Err(error) => misconfigured(error.to_string()),
        }
    }

    fn question(
        &self,
        template: &QueryTemplate,
        about: About<'_>,
    ) -> Result<InstantQuery, QueryError> {
        let (promql, at) = match about {
            About::Side(context) => (template.render(context)?, None),
            About::Earlier(context, ago) => (
                template.render_any_release(context)?,
                Timestamp::now().checked_sub(ago).ok(),
            ),
        };
        Ok(InstantQuery {
            at,
            timeout: self.limit,
            ..InstantQuery::new(promql)
        })
    }
}
