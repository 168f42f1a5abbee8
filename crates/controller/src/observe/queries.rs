//! Asking: a task for each trigger that has a query, at the trigger's pace.
//!
//! Deciding never waits for an answer: a task puts the newest one where the next decision finds it,
//! and asks for a decision.

use std::{collections::BTreeMap, sync::Arc, sync::Weak, time::Duration};

use backstop_engine::{
    policy::{Minimum, Source},
    query::{QueryContext, QueryTemplate},
    reading::{Reading, Unavailable},
    snapshot::{Observed, Workload},
    trigger,
    web::{WebQuestion, WebTemplate},
};
use backstop_sources::{Credentials, Endpoint, InstantQuery, WebQuery};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Observer, lock};
use crate::context::Context;

/// No query may take longer, however slow the trigger's pace is.
const LONGEST_QUERY: Duration = Duration::from_secs(10);
/// Credentials are read again after so long: they are rotated.
const CREDENTIALS_KEPT: Duration = Duration::from_mins(5);
/// And after so long when they did not work.
const CREDENTIALS_RETRIED: Duration = Duration::from_secs(10);

/// What the queries are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    release: String,
    context: QueryContext,
}

impl Question {
    /// About the live release of a workload.
    #[must_use]
    pub fn about(namespace: &str, workload: &Workload, template_hashes: Vec<String>) -> Self {
        let live = workload.live().iter();
        Self {
            release: workload.release.clone(),
            context: QueryContext {
                workloads: live.map(|w| w.name.clone()).collect(),
                namespace: namespace.to_owned(),
                template_hashes,
                release: workload.release.clone(),
            },
        }
    }
}

/// Starts a task for each trigger that asks. They end when the observer is gone.
pub(super) fn start(observer: &Arc<Observer>, context: &Arc<Context>) {
    for index in 0..observer.policy.triggers.len() {
        if observer.policy.triggers[index].is_asked() {
            tokio::spawn(ask(
                Arc::downgrade(observer),
                Arc::downgrade(context),
                index,
            ));
        }
    }
}

async fn ask(observer: Weak<Observer>, context: Weak<Context>, index: usize) {
    let Some((mut question, pace)) = observer.upgrade().map(|o| {
        let pace = o.policy.triggers[index].interval;
        (
            o.question.subscribe(),
            Duration::try_from(pace).unwrap_or(LONGEST_QUERY),
        )
    }) else {
        return;
    };
    let mut tick = interval(pace);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut access = Access::default();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            changed = question.changed() => {
                if changed.is_err() { return; }
                tick.reset();
            }
        }
        let Some(asked) = question.borrow_and_update().clone() else {
            continue;
        };
        let (Some(observer), Some(context)) = (observer.upgrade(), context.upgrade()) else {
            return;
        };
        let answer = look(&observer, &context, index, &asked, pace, &mut access).await;
        let trigger = &observer.policy.triggers[index];
        tracing::debug!(policy = observer.policy.name, trigger = trigger.name, query = answer.query, reading = ?answer.reading, "asked");
        lock(&observer.readings).insert(trigger.name.clone(), answer);
        context.poke_policy(&observer.namespace, &observer.policy.name);
    }
}

async fn look(
    observer: &Observer,
    context: &Context,
    index: usize,
    asked: &Question,
    pace: Duration,
    access: &mut Access,
) -> Observed {
    let trigger = &observer.policy.triggers[index];
    let asked_at = Timestamp::now();
    let limit = pace.min(LONGEST_QUERY);
    let (query, reading) = match &trigger.source {
        Source::Prometheus {
            query,
            address,
            secret_name,
            minimum,
        } => {
            let shown = query.render(&asked.context).map_err(|e| e.to_string());
            let reading = match &shown {
                Ok(_) => {
                    let address = address.as_deref();
                    let endpoint = access
                        .endpoint(
                            context,
                            &observer.namespace,
                            address,
                            secret_name.as_deref(),
                        )
                        .await;
                    match endpoint {
                        Ok(endpoint) => {
                            answer(context, &endpoint, query, minimum.as_ref(), asked, limit).await
                        }
                        Err(why) => misconfigured(why),
                    }
                }
                Err(why) => misconfigured(why.clone()),
            };
            (shown.unwrap_or_else(|_| query.to_string()), reading)
        }
        Source::Web(web) => match web.render(&asked.context) {
            Ok(question) => {
                let reading = fetch(observer, context, web, &question, limit, access).await;
                (question.in_words(), reading)
            }
            Err(error) => (web.url().to_owned(), misconfigured(error.to_string())),
        },
        Source::Workload { .. } => unreachable!("only such triggers ask"),
    };
    if matches!(
        reading,
        Reading::Unavailable {
            reason: Unavailable::Unauthorized | Unavailable::Misconfigured,
            ..
        }
    ) {
        access.did_not_work();
    }
    Observed {
        release: asked.release.clone(),
        query,
        reading,
        asked_at,
    }
}

fn misconfigured(why: String) -> Reading {
    Reading::Unavailable {
        reason: Unavailable::Misconfigured,
        why,
    }
}

/// Asks a web service.
async fn fetch(
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

async fn answer(
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
        Err(error) => Reading::Unavailable {
            reason: Unavailable::Misconfigured,
            why: error.to_string(),
        },
    };
    match minimum {
        None => one(query).await,
        Some(minimum) => {
            let (reading, samples) = futures::join!(one(query), one(&minimum.query));
            trigger::with_minimum(reading, &samples, minimum.at_least)
        }
    }
}

/// With which credentials to ask.
#[derive(Default)]
struct Access {
    credentials: Option<(Credentials, Instant)>,
}

impl Access {
    async fn endpoint(
        &mut self,
        context: &Context,
        namespace: &str,
        address: Option<&str>,
        secret: Option<&str>,
    ) -> Result<Endpoint, String> {
        let address = match address {
            Some(address) => context.allowed.check(address),
            None => context.allowed.own(),
        }
        .map_err(|e| e.to_string())?;
        Ok(Endpoint {
            address,
            credentials: self.credentials(context, namespace, secret).await?,
        })
    }

    async fn credentials(
        &mut self,
        context: &Context,
        namespace: &str,
        secret: Option<&str>,
    ) -> Result<Credentials, String> {
        let Some(secret) = secret else {
            return Ok(Credentials::none());
        };
        if let Some((credentials, until)) = &self.credentials
            && Instant::now() < *until
        {
            return Ok(credentials.clone());
        }
        let read = credentials(context, namespace, secret).await?;
        self.credentials = Some((read.clone(), Instant::now() + CREDENTIALS_KEPT));
        Ok(read)
    }

    fn did_not_work(&mut self) {
        if let Some((_, until)) = &mut self.credentials {
            *until = (*until).min(Instant::now() + CREDENTIALS_RETRIED);
        }
    }
}

async fn credentials(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Credentials, String> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let secret = context
        .calls
        .read("get secret", api.get(name))
        .await
        .map_err(|e| format!("Secret {name} of this namespace cannot be read: {e}"))?;
    let data: BTreeMap<String, Vec<u8>> = secret
        .data
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key, value.0))
        .collect();
    Credentials::from_secret(&data).map_err(|e| format!("Secret {name}: {e}"))
}
