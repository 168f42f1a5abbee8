//! Blue-green: what a Service selects is live, and it is pointed at the stack that was live before.

use backstop_api::{
    RollbackPolicySpec,
    event::{SelectorChange, Step, StepKind},
    policy::StrategyType,
};

use super::{Refusals, Strategy};
use crate::{
    plan::{Order, template},
    policy::ValidPolicy,
    release,
    snapshot::{Event, PointWorkload, Workload},
    subject::{Absent, Parts, misfit, selects},
};

#[derive(Debug)]
struct BlueGreen {
    service: String,
    /// Whether the stack that failed keeps its pods.
    preserve_failed: bool,
}

pub(super) fn parse(
    spec: &RollbackPolicySpec,
    refusals: &mut Refusals,
) -> Option<Box<dyn Strategy>> {
    refusals.with_workloads(spec);
    refusals.actions_of_rolling(spec);
    match &spec.strategy.blue_green {
        Some(parameters) if parameters.stacks.len() == 2 => Some(Box::new(BlueGreen {
            service: parameters.service.clone(),
            preserve_failed: parameters.preserve_failed,
        })),
        found => {
            let value = format!("{} stacks", found.as_ref().map_or(0, |b| b.stacks.len()));
            let problem = "must name the Service and its two stacks";
            refusals.add("spec.strategy.blueGreen", value, problem);
            None
        }
    }
}

impl Strategy for BlueGreen {
    fn type_(&self) -> StrategyType {
        StrategyType::BlueGreen
    }

    fn service(&self) -> Option<&str> {
        Some(&self.service)
    }

    /// Of two stacks the one that the Service selects.
    fn live(&self, policy: &ValidPolicy, parts: &Parts) -> Result<Workload, Absent> {
        let (field, name) = ("spec.strategy.blueGreen.service", self.service.as_str());
        let Some(service) = &parts.service else {
            return Err(misfit(
                field,
                name,
                "is not there: this namespace has no Service of that name; create it, or name the one \
                 that the clients of the two stacks use",
            ));
        };
        let stacks: Vec<&Workload> = policy
            .deployments
            .iter()
            .filter_map(|n| parts.deployments.iter().find(|w| &w.name == n))
            .collect();
        if stacks.is_empty() {
            return Err(Absent::Missing(policy.deployments.clone()));
        }
        let (on, off): (Vec<&Workload>, Vec<&Workload>) =
            stacks.into_iter().partition(|w| selects(service, w));
        let selector = || {
            let pairs: Vec<String> = service
                .selector
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            format!("Service {name} selects '{}'", pairs.join(","))
        };
        let stack = match on.as_slice() {
            [stack] => *stack,
            [] => {
                return Err(misfit(
                    field,
                    name,
                    &format!(
                        "selects the pods of neither stack ({}); its selector must match the pod labels \
                         of exactly one of {}",
                        selector(),
                        policy.names()
                    ),
                ));
            }
            _ => {
                return Err(misfit(
                    field,
                    name,
                    &format!(
                        "selects the pods of both stacks ({}); add a label to its selector that only the \
                         pods of one of {} have",
                        selector(),
                        policy.names()
                    ),
                ));
            }
        };
        Ok(Workload {
            uid: service.uid.clone(),
            release: release::of_parts("stack", &[(&stack.name, &stack.release)]),
            last_writer: service.last_writer.clone(),
            members: vec![stack.clone()],
            beside: off.into_iter().cloned().collect(),
            ..stack.clone()
        })
    }

    fn restored(
        &self,
        policy: &ValidPolicy,
        _: Option<&Workload>,
        event: &Event,
    ) -> Option<String> {
        let written = |name: &String| Some((name.clone(), event.written(name)?.hash.clone()));
        let (name, hash) = policy.deployments.iter().find_map(written)?;
        Some(release::of_parts("stack", &[(&name, &hash)]))
    }

    /// The good stack gets the capacity that it had, then the traffic. Where the point is about the
    /// very stack that is live, its template has been changed in place and is written back.
    fn plan(&self, order: &Order<'_>) -> Result<Vec<Step>, String> {
        let stack = order.point.stack.as_ref().ok_or_else(|| {
            format!(
                "point {} does not say which stack was live",
                order.point.name
            )
        })?;
        let service = order
            .seen
            .service
            .as_ref()
            .ok_or("the Service is not there")?;
        let failed = &order.workload.live()[0];
        let (good, held) = order.pair(&stack.workload)?;
        let mut steps: Vec<Step> = order.quarantine().into_iter().collect();
        if good.release != held.release {
            if good.name != failed.name {
                return Err(format!(
                    "Deployment {} holds release {} by now, and not {} of point {}: it was changed since it \
                     was live; give it that release back, or fix forward",
                    good.name, good.release, held.release, order.point.name
                ));
            }
            steps.extend(template::rolled_out(order, good, held));
            return Ok(steps);
        }
        if good.name == failed.name {
            return Err(format!(
                "release {} of Deployment {} is live already",
                held.release, good.name
            ));
        }
        let wanted = held.replicas.max(1);
        let swap = SelectorChange {
            service: service.name.clone(),
            service_uid: service.uid.clone(),
            from: service.selector.clone(),
            to: stack.selector.clone(),
        };
        let scaled = good.desired < wanted;
        if scaled {
            steps.push(order.capacity(StepKind::Scale, good, held, wanted));
        }
        steps.push(order.capacity(StepKind::AwaitCapacity, good, held, wanted));
        steps.push(Step {
            selector: Some(swap.clone()),
            ..order.step(StepKind::SwapSelector, good, held)
        });
        steps.push(Step {
            selector: Some(swap),
            ..order.capacity(StepKind::AwaitEndpoints, good, held, wanted)
        });
        if scaled {
            steps.push(order.capacity(StepKind::ScaleBack, good, held, wanted));
        }
        if !self.preserve_failed {
            // It may be that the point does not hold it: it is stopped, not restored.
            let as_it_is = PointWorkload {
                name: failed.name.clone(),
                release: failed.release.clone(),
                replicas: 0,
            };
            steps.push(order.capacity(StepKind::Scale, failed, &as_it_is, 0));
        }
        Ok(steps)
    }
}
