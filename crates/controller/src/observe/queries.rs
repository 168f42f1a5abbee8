//! Asking: a task for each trigger that has a query, at the trigger's pace.
//!
//! Deciding never waits for an answer: a task puts the newest one where the next decision finds it,
//! and asks for a decision.

mod access;
mod affected;
mod peers;
mod probe;
mod prometheus;
mod resource;
mod web;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use backstop_engine::{
    policy::Source,
    query::QueryContext,
    reading::{Reading, Unavailable},
    snapshot::{Beside, Observed, Workload},
};
use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};
use tracing::Instrument;

pub(crate) use self::affected::affected_users;
use self::{access::Access, prometheus::Asking};
use super::{Observer, lock};
use crate::context::Context;

/// No query may take longer, however slow the trigger's pace is.
const LONGEST_QUERY: Duration = Duration::from_secs(10);

/// What the queries are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    release: String,
    context: QueryContext,
    /// The side that is not released to, where there is one.
    stable: Option<QueryContext>,
}

impl Question {
    /// The release that is asked about.
    #[must_use]
    pub fn context(&self) -> QueryContext {
        self.context.clone()
    }

    /// About the live release of a workload, and beside it about the pods with the hashes of
    /// `stable`, if there are any: those of a release that serves too.
    #[must_use]
    pub fn about(
        namespace: &str,
        workload: &Workload,
        template_hashes: Vec<String>,
        stable: Vec<String>,
    ) -> Self {
        let names = |of: &[Workload]| of.iter().map(|w| w.name.clone()).collect();
        let sides = if workload.tried {
            names(&workload.beside)
        } else {
            names(workload.live())
        };
        Self {
            release: workload.release.clone(),
            context: QueryContext {
                workloads: names(workload.live()),
                namespace: namespace.to_owned(),
                template_hashes,
                release: workload.release.clone(),
            },
            stable: (!stable.is_empty()).then(|| QueryContext {
                workloads: sides,
                namespace: namespace.to_owned(),
                template_hashes: stable,
                // Which release it is cannot be told; a query that asks for it is refused.
                release: String::new(),
            }),
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
    let (mut access, mut access_of_peers) = (Access::default(), Access::default());
    let mut memory = probe::Memory::default();
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
        let trigger = &observer.policy.triggers[index];
        let span = tracing::info_span!(
            "ask",
            otel.kind = "client",
            namespace = observer.namespace,
            policy = observer.policy.name,
            trigger = trigger.name,
        );
        let known = (&mut access, &mut memory);
        let (answer, of_peers) = futures::future::join(
            look(&observer, &context, index, &asked, pace, known),
            peers::look(
                &observer,
                &context,
                index,
                &asked,
                pace,
                &mut access_of_peers,
            ),
        )
        .instrument(span)
        .await;
        tracing::debug!(policy = observer.policy.name, trigger = trigger.name, query = answer.query, reading = ?answer.reading, "asked");
        if let Some(of_peers) = of_peers {
            tracing::debug!(policy = observer.policy.name, trigger = trigger.name, query = of_peers.query, reading = ?of_peers.reading, "asked about what was not released");
            lock(&observer.peers).insert(trigger.name.clone(), of_peers);
        }
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
    (access, memory): (&mut Access, &mut probe::Memory),
) -> Observed {
    let trigger = &observer.policy.triggers[index];
    let asked_at = Timestamp::now();
    let limit = pace.min(LONGEST_QUERY);
    let mut beside = Beside::default();
    let mut details = Vec::new();
    let (query, reading) = match &trigger.source {
        Source::Prometheus {
            query,
            address,
            secret_name,
            ..
        } => {
            let namespace = &observer.namespace;
            let (address, secret) = (address.as_deref(), secret_name.as_deref());
            let endpoint = access.endpoint(context, namespace, address, secret).await;
            let shown = query.render(&asked.context);
            match (shown, endpoint) {
                (Err(error), _) => (query.to_string(), misconfigured(error.to_string())),
                (Ok(shown), Err(why)) => (shown, misconfigured(why)),
                (Ok(shown), Ok(endpoint)) => {
                    let asking = Asking {
                        context,
                        endpoint: &endpoint,
                        limit,
                    };
                    let (reading, others) = asking.all(trigger, asked).await;
                    beside = others;
                    (shown, reading)
                }
            }
        }
        Source::Web(web) => match web.render(&asked.context) {
            Ok(question) => {
                let reading = web::fetch(observer, context, web, &question, limit, access).await;
                (question.in_words(), reading)
            }
            Err(error) => (web.url().to_owned(), misconfigured(error.to_string())),
        },
        Source::Probe(health) => {
            let release = &asked.release;
            let (reading, wrong) =
                probe::round(observer, context, health, release, memory, access).await;
            details = wrong;
            (health.in_words(), reading)
        }
        Source::Resource(source) => (
            backstop_engine::resource::in_words(source),
            resource::usage(observer, context, source, asked).await,
        ),
        Source::Workload { .. } | Source::Vulnerability(_) | Source::Alert(_) => {
            unreachable!("only such triggers ask")
        }
    };
    access.learn_from(&reading);
    Observed {
        release: asked.release.clone(),
        query,
        reading,
        beside,
        asked_at,
        details,
    }
}

fn misconfigured(why: String) -> Reading {
    Reading::Unavailable {
        reason: Unavailable::Misconfigured,
        why,
    }
}
