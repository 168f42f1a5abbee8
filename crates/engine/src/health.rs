//! How the live release does, and when it has proved itself.

use backstop_api::policy::{Health, Severity, TriggerState};
use jiff::{SignedDuration, Timestamp};

use crate::{
    policy::ValidPolicy,
    snapshot::{Snapshot, Workload},
    state::State,
    target,
};

/// What is to be done about the live release's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing.
    None,
    /// It has proved itself just now: record it.
    Now,
    /// It has proved itself, and there is no record of that: the write was lost.
    Unrecorded,
}

/// How much earlier than its proof a point may say that its release proved itself: times are
/// written in whole seconds by some.
const ROUNDING: SignedDuration = SignedDuration::from_secs(1);

/// Follows the health of the live release.
pub fn follow(
    policy: &ValidPolicy,
    state: &mut State,
    seen: &Snapshot,
    workload: &Workload,
    now: Timestamp,
) -> Proof {
    let healthy = can_be_a_point(policy, state, workload);
    let soaking = !target::is_quarantined(seen, &workload.release) && !rolls_back(seen);
    let Some(release) = &mut state.release else {
        return Proof::None;
    };
    if !(healthy && soaking) {
        release.healthy_since = None;
        return Proof::None;
    }
    let since = *release.healthy_since.get_or_insert(now);
    if now.duration_since(since) < policy.soak {
        return Proof::None;
    }
    let Some(proved) = release.proved_at else {
        release.proved_at = Some(now);
        return Proof::Now;
    };
    let recorded = target::good_points(seen).iter().any(|p| {
        p.release.as_ref() == Some(&release.hash) && proved.duration_since(p.proved_at) < ROUNDING
    });
    if recorded {
        Proof::None
    } else {
        Proof::Unrecorded
    }
}

/// Whether everything that a point needs is so: rolled out, wanted, not paused, and every Critical
/// trigger has data and is quiet; none of the others fires. Data that lack only a baseline will do:
/// somebody has to be the first.
fn can_be_a_point(policy: &ValidPolicy, state: &State, workload: &Workload) -> bool {
    workload.can_prove_itself()
        && policy.triggers.iter().all(|trigger| {
            state
                .triggers
                .get(&trigger.name)
                .is_some_and(|memory| match trigger.severity {
                    Severity::Critical => memory.is_quiet() || memory.lacks_baseline,
                    Severity::Warning => memory.state != TriggerState::Firing,
                })
        })
}

fn rolls_back(seen: &Snapshot) -> bool {
    seen.events.iter().any(|e| !e.is_over())
}

/// How the live release does.
#[must_use]
pub fn health(policy: &ValidPolicy, state: &State, workload: &Workload) -> Health {
    let states = || {
        policy
            .triggers
            .iter()
            .filter_map(|t| state.triggers.get(&t.name))
    };
    if states().any(|m| m.state == TriggerState::Firing) {
        return Health::Failing;
    }
    if !workload.is_complete() || states().any(|m| m.state == TriggerState::Pending) {
        return Health::Degraded;
    }
    if states().any(|m| !m.is_quiet()) {
        return Health::Unknown;
    }
    Health::Healthy
}
