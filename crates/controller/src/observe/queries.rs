//! Asking: a task for each trigger that has a query, at the trigger's pace.
//!
//! Deciding never waits for an answer: a task puts the newest one where the next decision finds it,
//! and asks for a decision.

mod access;
mod prometheus;
mod web;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use backstop_engine::{
    policy::Source,
    query::QueryContext,
    reading::{Reading, Unavailable},
    snapshot::{Observed, Workload},
};
use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use self::access::Access;
use super::{Observer, lock};
use crate::context::Context;

/// No query may take longer, however slow the trigger's pace is.
const LONGEST_QUERY: Duration = Duration::from_secs(10);

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
                            prometheus::answer(
                                context,
                                &endpoint,
                                query,
                                minimum.as_ref(),
                                asked,
                                limit,
                            )
                            .await
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
                let reading = web::fetch(observer, context, web, &question, limit, access).await;
                (question.in_words(), reading)
            }
            Err(error) => (web.url().to_owned(), misconfigured(error.to_string())),
        },
        Source::Workload { .. } | Source::Vulnerability(_) => {
            unreachable!("only such triggers ask")
        }
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
