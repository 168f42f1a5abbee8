//! Writing a template back, and following its rollout: the part that strategies share.

use backstop_api::{
    event::{Step, StepKind},
    policy::{Action, IntOrPercent, RollingParameters},
};
use serde_json::Value;

use super::Order;
use crate::{
    policy::ValidPolicy,
    snapshot::{PointWorkload, Workload},
};

/// Writes the good template, hands its ownership back, waits for the rollout and puts the
/// parameters of the rollout back.
pub(crate) fn rolled_out(order: &Order<'_>, there: &Workload, held: &PointWorkload) -> Vec<Step> {
    let rolling = parameters(order.policy, there, order.action);
    let changes_strategy = rolling.is_some();
    let with_strategy = |kind| Step {
        rolling: rolling.clone(),
        strategy_before: changes_strategy.then(|| there.strategy.clone()),
        strategy_owners: if changes_strategy {
            there.strategy_owners.clone()
        } else {
            Vec::new()
        },
        ..order.step(kind, there, held)
    };
    let mut steps = vec![
        with_strategy(StepKind::WriteTemplate),
        with_strategy(StepKind::HandBackOwnership),
        order.wait(StepKind::AwaitRollout, there, held),
    ];
    if changes_strategy {
        steps.push(with_strategy(StepKind::RestoreStrategy));
    }
    steps
}

/// `rollingUpdate` for the time of the rollback; `None` leaves the Deployment's own.
fn parameters(
    policy: &ValidPolicy,
    workload: &Workload,
    action: Action,
) -> Option<RollingParameters> {
    if workload.strategy.get("type").and_then(Value::as_str) == Some("Recreate") {
        // Such a Deployment has no rollingUpdate, and the server refuses one.
        return None;
    }
    let wanted = match action {
        Action::GradualRollback => {
            let surge = policy.rolling.as_ref().and_then(|r| r.max_surge.clone());
            RollingParameters {
                max_unavailable: Some(IntOrPercent::Int(0)),
                max_surge: surge.filter(|s| !is_zero(s)).or(Some(IntOrPercent::Int(1))),
            }
        }
        // None of the suspects goes before it is taken from its ReplicaSet.
        Action::IsolateAndRollback => RollingParameters {
            max_unavailable: Some(IntOrPercent::Int(0)),
            max_surge: Some(IntOrPercent::Percent("100%".into())),
        },
        _ => policy.rolling.clone()?,
    };
    let now = workload.strategy.get("rollingUpdate");
    let wanted = movable(wanted, now);
    let same = |key: &str, value: &Option<IntOrPercent>| {
        value.as_ref().is_none_or(|v| {
            now.and_then(|n| n.get(key))
                .is_some_and(|n| serde_json::to_value(v).is_ok_and(|v| v == *n))
        })
    };
    let unchanged =
        same("maxUnavailable", &wanted.max_unavailable) && same("maxSurge", &wanted.max_surge);
    (!unchanged).then_some(wanted)
}

/// With what stays as it is, both must not be 0: the server refuses that.
fn movable(mut wanted: RollingParameters, now: Option<&Value>) -> RollingParameters {
    let stands = |key: &str, value: &Option<IntOrPercent>| match value {
        Some(value) => is_zero(value),
        None => now
            .and_then(|n| n.get(key))
            .and_then(|n| serde_json::from_value(n.clone()).ok())
            .is_some_and(|n| is_zero(&n)),
    };
    if stands("maxUnavailable", &wanted.max_unavailable) && stands("maxSurge", &wanted.max_surge) {
        wanted.max_surge = Some(IntOrPercent::Int(1));
    }
    wanted
}

fn is_zero(value: &IntOrPercent) -> bool {
    match value {
        IntOrPercent::Int(n) => *n == 0,
        IntOrPercent::Percent(p) => p == "0%",
    }
}
