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
};
use backstop_sources::{Credentials, Endpoint, InstantQuery};
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
        let names: Vec<&str> = workload.live().iter().map(|w| w.name.as_str()).collect();
        Self {
            release: workload.release.clone(),
            context: QueryContext {
                workload: names.join("|"),
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
        if matches!(
            observer.policy.triggers[index].source,
            Source::Prometheus { .. }
        ) {
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
    let Source::Prometheus {
        query,
        address,
        secret_name,
        minimum,
    } = &trigger.source
    else {
        unreachable!("only such triggers ask");
    };
    let rendered = query.render(&asked.context);
    let reading = match &rendered {
        Ok(_) => {
            let endpoint = access
                .endpoint(
                    context,
                    &observer.namespace,
                    address.as_deref(),
                    secret_name.as_deref(),
                )
                .await;
            match endpoint {
                Ok(endpoint) => {
                    let limit = pace.min(LONGEST_QUERY);
                    answer(context, &endpoint, query, minimum.as_ref(), asked, limit).await
                }
                Err(why) => Reading::Unavailable {
                    reason: Unavailable::Misconfigured,
                    why,
                },
            }
        }
        Err(error) => Reading::Unavailable {
            reason: Unavailable::Misconfigured,
            why: error.to_string(),
        },
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
        query: rendered.unwrap_or_else(|_| query.to_string()),
        reading,
        asked_at,
    }
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

/// Where to ask, and with which credentials.
#[derive(Default)]
struct Access {
    endpoint: Option<(Endpoint, Instant)>,
}

impl Access {
    async fn endpoint(
        &mut self,
        context: &Context,
        namespace: &str,
        address: Option<&str>,
        secret: Option<&str>,
    ) -> Result<Endpoint, String> {
        if let Some((endpoint, until)) = &self.endpoint
            && Instant::now() < *until
        {
            return Ok(endpoint.clone());
        }
        let address = match address {
            Some(address) => context.allowed.check(address),
            None => context.allowed.own(),
        }
        .map_err(|e| e.to_string())?;
        let credentials = match secret {
            None => Credentials::none(),
            Some(name) => credentials(context, namespace, name).await?,
        };
        let endpoint = Endpoint {
            address,
            credentials,
        };
        self.endpoint = Some((endpoint.clone(), Instant::now() + CREDENTIALS_KEPT));
        Ok(endpoint)
    }

    fn did_not_work(&mut self) {
        if let Some((_, until)) = &mut self.endpoint {
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
