//! The plan of a canary: its share of the requests goes back to the stable side, then the canary is
//! taken back.

use backstop_api::{
    event::{Step, StepKind, WeightChange},
    policy::Action,
};

use super::{Order, length, template};
use crate::policy::{ValidCanary, ValidStrategy};

/// At once, or step by step where the trigger asks for that. While the canary has no share, what is
/// live is the stable side, and that is rolled back.
pub(super) fn plan(order: &Order<'_>) -> Result<Vec<Step>, String> {
    let ValidStrategy::Canary(canary) = &order.policy.strategy else {
        return Err("the policy's strategy is not Canary".into());
    };
    let route = order.seen.route.as_ref().ok_or("the route is not there")?;
    let parameters = &canary.parameters;
    let (stable, held) = order.pair(&parameters.stable.0)?;
    let quarantine = order.quarantine();
    let mut steps = Vec::new();
    if route.share == 0 {
        steps.extend(quarantine);
        steps.extend(template::rolled_out(order, stable, held));
        return Ok(steps);
    }
    if stable.release != held.release {
        return Err(format!(
            "Deployment {} holds release {} by now, and not {} of point {}: both sides were changed; \
             take the stable side back by hand first, or fix forward",
            stable.name, stable.release, held.release, order.point.name
        ));
    }
    let wanted = held.replicas.max(1);
    let scaled = stable.desired < wanted;
    if scaled {
        steps.push(order.capacity(StepKind::Scale, stable, held, wanted));
    }
    steps.push(order.capacity(StepKind::AwaitCapacity, stable, held, wanted));
    let shares = shares(canary, route.share, order.action);
    let mut from = route.share;
    for (index, to) in shares.iter().enumerate() {
        let last = index + 1 == shares.len();
        if last {
            // A gradual rollback may stop before this: then the release did not fail for good.
            steps.extend(quarantine.clone());
        }
        let weight = Some(WeightChange {
            route: parameters.route.clone(),
            route_uid: route.uid.clone(),
            from,
            to: *to,
        });
        steps.push(Step {
            weight: weight.clone(),
            ..order.step(StepKind::ShiftWeight, stable, held)
        });
        if !last {
            steps.push(Step {
                weight,
                timeout: Some(length(canary.step_interval)),
                ..order.step(StepKind::HoldWeight, stable, held)
            });
        }
        from = *to;
    }
    if scaled {
        steps.push(order.capacity(StepKind::ScaleBack, stable, held, wanted));
    }
    steps.extend(take_back(order, canary)?);
    Ok(steps)
}

/// What the canary has left after each step: nothing after the last, for a policy's steps end with
/// 100.
fn shares(canary: &ValidCanary, now: u8, action: Action) -> Vec<u8> {
    if action != Action::GradualRollback {
        return vec![0];
    }
    let mut shares: Vec<u8> = canary
        .steps
        .iter()
        .map(|back| {
            let left = u16::from(now) * (100 - u16::from(*back));
            u8::try_from(left.div_ceil(100)).unwrap_or(0)
        })
        .filter(|left| *left < now)
        .collect();
    shares.dedup();
    shares
}

/// The canary gets the template and the number of pods that it had at the point. It serves nobody
/// any more: nothing is waited for.
fn take_back(order: &Order<'_>, canary: &ValidCanary) -> Result<Vec<Step>, String> {
    let name = &canary.parameters.canary.0;
    let Some(held) = order.point.workload(name) else {
        // There was no canary yet: the one that came since is stopped, and left for whoever made it.
        let there = order
            .workload
            .deployment(name)
            .ok_or_else(|| format!("there is no Deployment {name}"))?;
        let stopped = crate::snapshot::PointWorkload {
            name: name.clone(),
            release: there.release.clone(),
            replicas: 0,
        };
        return Ok(vec![order.capacity(StepKind::Scale, there, &stopped, 0)]);
    };
    let (there, _) = order.pair(name)?;
    let mut steps = Vec::new();
    if there.release != held.release {
        let written = template::rolled_out(order, there, held).into_iter();
        steps.extend(written.filter(|s| s.kind != StepKind::AwaitRollout));
    }
    if there.desired != held.replicas {
        steps.push(order.capacity(StepKind::Scale, there, held, held.replicas));
    }
    Ok(steps)
}
