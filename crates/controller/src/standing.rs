//! How many rollbacks, triggers and policies stand where, for the metrics.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};

use backstop_api::{
    event::EventPhase,
    policy::{Health, TriggerState},
};

use crate::{context::Context, metrics::Standing};

/// How often they are counted.
const COUNTED: Duration = Duration::from_secs(2);

const PHASES: [EventPhase; 7] = [
    EventPhase::Pending,
    EventPhase::Executing,
    EventPhase::Verifying,
    EventPhase::Succeeded,
    EventPhase::Failed,
    EventPhase::Cancelled,
    EventPhase::Superseded,
];
const STATES: [TriggerState; 5] = [
    TriggerState::Inactive,
    TriggerState::Pending,
    TriggerState::Firing,
    TriggerState::NoData,
    TriggerState::Error,
];
const HEALTH: [Health; 4] = [
    Health::Healthy,
    Health::Degraded,
    Health::Failing,
    Health::Unknown,
];

/// Counts them again and again.
pub(crate) async fn count(context: Arc<Context>) {
    let mut tick = tokio::time::interval(COUNTED);
    loop {
        tick.tick().await;
        let standing = standing(&context);
        let open = PHASES.iter().filter(|phase| !phase.is_terminal());
        let open = open.filter_map(|phase| standing.phases.get(&format!("{phase:?}")));
        context.metrics.queue(open.sum());
        context.metrics.stand(&standing);
    }
}

fn standing(context: &Context) -> Standing {
    let mut standing = Standing {
        phases: none(&PHASES),
        triggers: none(&STATES),
        health: none(&HEALTH),
    };
    for event in context.events.state() {
        if let Ok(event) = &event.0 {
            let phase = event.status.as_ref().and_then(|status| status.phase);
            one_more(&mut standing.phases, phase.unwrap_or(EventPhase::Pending));
        }
    }
    for policy in context.policies.state() {
        if let Ok(policy) = &policy.0
            && let Some(status) = &policy.status
        {
            for trigger in &status.triggers {
                one_more(&mut standing.triggers, trigger.state);
            }
            one_more(
                &mut standing.health,
                status.health.unwrap_or(Health::Unknown),
            );
        }
    }
    standing
}

fn none(all: &[impl Debug]) -> BTreeMap<String, i64> {
    all.iter().map(|one| (format!("{one:?}"), 0)).collect()
}

fn one_more(counts: &mut BTreeMap<String, i64>, which: impl Debug) {
    *counts.entry(format!("{which:?}")).or_default() += 1;
}
