//! The plan of a rolling rollback: write the good template, and let the Deployment roll.

use backstop_api::{
    Duration,
    event::{Step, StepKind, StepState, StepStatus},
    policy::{Action, IntOrPercent, RollingParameters},
};
use serde_json::Value;

use crate::{policy::ValidPolicy, snapshot::Workload};

/// Plans to take `workload` from its live release to the release `to`, which `point` holds.
#[must_use]
pub fn rolling(
    policy: &ValidPolicy,
    workload: &Workload,
    point: &str,
    to: &str,
    action: Action,
    quarantine: bool,
) -> Vec<StepStatus> {
    let rolling = parameters(policy, workload, action);
    let changes_strategy = rolling.is_some();
    let plain = |kind| Step {
        kind,
        workload: workload.name.clone(),
        workload_uid: workload.uid.clone(),
        from: workload.release.clone(),
        to: to.to_owned(),
        point: point.to_owned(),
        rolling: None,
        strategy_before: None,
        strategy_owners: Vec::new(),
        timeout: None,
    };
    let with_strategy = |kind| Step {
        rolling: rolling.clone(),
        strategy_before: changes_strategy.then(|| workload.strategy.clone()),
        strategy_owners: if changes_strategy {
            workload.strategy_owners.clone()
        } else {
            Vec::new()
        },
        ..plain(kind)
    };
    let mut steps = Vec::new();
    if quarantine {
        steps.push(plain(StepKind::QuarantineRelease));
    }
    steps.push(with_strategy(StepKind::WriteTemplate));
    steps.push(with_strategy(StepKind::HandBackOwnership));
    steps.push(Step {
        timeout: Some(Duration::from(
            std::time::Duration::try_from(policy.timeout).unwrap_or_default(),
        )),
        ..plain(StepKind::AwaitRollout)
    });
    if changes_strategy {
        steps.push(with_strategy(StepKind::RestoreStrategy));
    }
    steps
        .into_iter()
        .map(|step| StepStatus {
            step,
            state: StepState::Waiting,
            started_at: None,
            finished_at: None,
            message: None,
        })
        .collect()
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
