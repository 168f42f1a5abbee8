//! Canary: it is live while it has a share of the requests. That goes back to the stable side, then the canary is taken
//! back.

use backstop_api::{
    RollbackPolicySpec,
    event::{Step, StepKind, WeightChange},
    policy::{Action, CanaryParameters, StrategyType},
};
use jiff::SignedDuration;

use super::{Refusals, Strategy};
use crate::{
    condition::Condition,
    plan::{Order, length, template},
    policy::ValidPolicy,
    release,
    snapshot::{Event, PointWorkload, Workload},
    subject::{Absent, Parts, all_of, misfit},
};

/// A canary.
#[derive(Debug)]
pub struct Canary {
    /// As written: the Deployments, and the route.
    pub parameters: CanaryParameters,
    /// How far back a gradual rollback has gone after each step, in percent, rising to 100.
    pub steps: Vec<u8>,
    /// How long it waits between them.
    pub step_interval: SignedDuration,
    /// When it need go no further.
    pub stop_when: Option<Condition>,
}

pub(super) fn parse(
    spec: &RollbackPolicySpec,
    refusals: &mut Refusals,
) -> Option<Box<dyn Strategy>> {
    refusals.with_workloads(spec);
    refusals.actions_of_rolling(spec);
    let Some(parameters) = &spec.strategy.canary else {
        let problem = "is missing; name the stable and the canary Deployment and the route";
        refusals.add("spec.strategy.canary", "", problem);
        return None;
    };
    let steps = &parameters.steps;
    let rising = steps.windows(2).all(|pair| pair[0] < pair[1]);
    if !rising || steps.last() != Some(&100) {
        refusals.add(
            "spec.strategy.canary.steps",
            format!("{steps:?}"),
            "must rise and end with 100, as in [25, 50, 75, 100]",
        );
    }
    let stop_when = match parameters.stop_when.as_deref().map(Condition::parse) {
        None => None,
        Some(Ok(condition)) => Some(condition),
        Some(Err(problem)) => {
            refusals.add(
                "spec.strategy.canary.stopWhen",
                parameters.stop_when.clone().unwrap_or_default(),
                &problem,
            );
            return None;
        }
    };
    Some(Box::new(Canary {
        steps: steps.clone(),
        step_interval: parameters.step_interval.as_signed(),
        stop_when,
        parameters: parameters.clone(),
    }))
}

impl Strategy for Canary {
    fn type_(&self) -> StrategyType {
        StrategyType::Canary
    }

    fn canary(&self) -> Option<&Canary> {
        Some(self)
    }

    /// The canary while it has a share of the requests, else the stable side.
    fn live(&self, _: &ValidPolicy, parts: &Parts) -> Result<Workload, Absent> {
        let parameters = &self.parameters;
        let route = match &parts.route {
            Some(Ok(route)) => route,
            Some(Err(wrong)) => return Err(Absent::Misfit(wrong.clone())),
            None => {
                return Err(misfit(
                    "spec.strategy.canary.route.name",
                    &parameters.route.name,
                    "is not there: this namespace has no such route",
                ));
            }
        };
        let stable = all_of(parts, &[&parameters.stable.0])?.remove(0);
        if route.share == 0 {
            let beside = parts
                .deployments
                .iter()
                .filter(|w| w.name == parameters.canary.0);
            return Ok(Workload {
                members: vec![stable.clone()],
                beside: beside.cloned().collect(),
                ..stable
            });
        }
        let tried = all_of(parts, &[&parameters.canary.0])?.remove(0);
        let parts = [
            (stable.name.as_str(), stable.release.as_str()),
            (tried.name.as_str(), tried.release.as_str()),
        ];
        Ok(Workload {
            uid: stable.uid.clone(),
            release: release::of_parts("canary", &parts),
            members: vec![tried.clone()],
            tried: true,
            beside: vec![stable],
            ..tried
        })
    }

    fn restored(&self, _: &ValidPolicy, _: Option<&Workload>, event: &Event) -> Option<String> {
        Some(event.written(&self.parameters.stable.0)?.hash.clone())
    }

    /// At once, or step by step where the trigger asks for that. While the canary has no share, what is
    /// live is the stable side, and that is rolled back.
    fn plan(&self, order: &Order<'_>) -> Result<Vec<Step>, String> {
        let route = order.seen.route.as_ref().ok_or("the route is not there")?;
        let parameters = &self.parameters;
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
        let shares = shares(self, route.share, order.action);
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
                    timeout: Some(length(self.step_interval)),
                    ..order.step(StepKind::HoldWeight, stable, held)
                });
            }
            from = *to;
        }
        if scaled {
            steps.push(order.capacity(StepKind::ScaleBack, stable, held, wanted));
        }
        steps.extend(take_back(order, self)?);
        Ok(steps)
    }
}

/// What the canary has left after each step: nothing after the last, for a policy's steps end with
/// 100.
fn shares(canary: &Canary, now: u8, action: Action) -> Vec<u8> {
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
fn take_back(order: &Order<'_>, canary: &Canary) -> Result<Vec<Step>, String> {
    let name = &canary.parameters.canary.0;
    let Some(held) = order.point.workload(name) else {
        // There was no canary yet: the one that came since is stopped, and left for whoever made it.
        let there = order
            .workload
            .deployment(name)
            .ok_or_else(|| format!("there is no Deployment {name}"))?;
        let stopped = PointWorkload {
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
