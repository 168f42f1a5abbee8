//! Rolling: write the good template, and let the Deployment roll.

use backstop_api::{
    RollbackPolicySpec,
    event::{Step, StepKind},
    policy::{Action, IntOrPercent, StrategyType},
};

use super::{Refusals, Strategy};
use crate::{
    plan::{Order, isolate, template},
    policy::ValidPolicy,
    release,
    snapshot::{Event, Workload},
    subject::{Absent, Parts, all_of, together},
};

#[derive(Debug)]
struct Rolling;

pub(super) fn parse(spec: &RollbackPolicySpec, refusals: &mut Refusals) -> Box<dyn Strategy> {
    refusals.without_workloads(spec);
    Box::new(Rolling)
}

impl Strategy for Rolling {
    fn type_(&self) -> StrategyType {
        StrategyType::Rolling
    }

    fn live(&self, policy: &ValidPolicy, parts: &Parts) -> Result<Workload, Absent> {
        live(policy, parts)
    }

    fn restored(
        &self,
        policy: &ValidPolicy,
        workload: Option<&Workload>,
        event: &Event,
    ) -> Option<String> {
        restored(policy, workload, event)
    }

    /// One Deployment after the other, the last one of the policy first; with ScaleAndRollback each gets
    /// more pods before, and gives them back after; with IsolateAndRollback the pods that were there get no
    /// requests any more.
    fn plan(&self, order: &Order<'_>) -> Result<Vec<Step>, String> {
        let mut steps: Vec<Step> = order.quarantine().into_iter().collect();
        for (there, held) in order.changed()? {
            if order.action == Action::IsolateAndRollback && isolate::applies(there) {
                steps.extend(isolate::plan(order, there, held));
                continue;
            }
            if order.action != Action::ScaleAndRollback || there.desired == 0 {
                steps.extend(template::rolled_out(order, there, held));
                continue;
            }
            let wanted = there
                .desired
                .saturating_add(more(&order.policy.scale_by, there.desired));
            steps.push(order.capacity(StepKind::Scale, there, held, wanted));
            // What is added is of the release that fails, and may never be ready: the rollback goes on
            // all the same when the time for it is over.
            steps.push(Step {
                optional: true,
                ..order.capacity(StepKind::AwaitCapacity, there, held, wanted)
            });
            steps.extend(template::rolled_out(order, there, held));
            steps.push(order.step(StepKind::ScaleBack, there, held));
        }
        Ok(steps)
    }
}

/// All Deployments of the policy, together.
pub(super) fn live(policy: &ValidPolicy, parts: &Parts) -> Result<Workload, Absent> {
    let names: Vec<&str> = policy.deployments.iter().map(String::as_str).collect();
    let mut found = all_of(parts, &names)?;
    if found.len() == 1 {
        return Ok(found.remove(0));
    }
    Ok(together(found))
}

/// Identity of all of them, together.
pub(super) fn restored(
    policy: &ValidPolicy,
    workload: Option<&Workload>,
    event: &Event,
) -> Option<String> {
    let of = |name: &String| {
        let written = event.written(name).map(|w| w.hash.clone());
        written.or_else(|| Some(workload?.deployment(name)?.release.clone()))
    };
    let names = &policy.deployments;
    if let [name] = names.as_slice() {
        return of(name);
    }
    let releases: Option<Vec<String>> = names.iter().map(of).collect();
    let releases = releases?;
    let names = names.iter().map(String::as_str);
    let parts: Vec<_> = names.zip(releases.iter().map(String::as_str)).collect();
    Some(release::of_parts("together", &parts))
}

/// How many pods are added to so many.
fn more(by: &IntOrPercent, desired: i32) -> i32 {
    match by {
        IntOrPercent::Int(n) => i32::try_from(*n).unwrap_or(i32::MAX),
        IntOrPercent::Percent(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let share = (i64::from(desired) * percent + 99) / 100;
            i32::try_from(share).unwrap_or(i32::MAX)
        }
    }
}
