//! Recreate: stop, restore, start. The releases never run beside each other.

use backstop_api::{
    RollbackPolicySpec,
    event::{Step, StepKind},
    policy::StrategyType,
};

use super::{Refusals, Strategy, rolling};
use crate::{
    plan::{Order, template},
    policy::ValidPolicy,
    snapshot::{Event, Workload},
    subject::{Absent, Parts},
};

#[derive(Debug)]
struct Recreate;

pub(super) fn parse(spec: &RollbackPolicySpec, refusals: &mut Refusals) -> Box<dyn Strategy> {
    refusals.without_workloads(spec);
    refusals.actions_of_rolling(spec);
    Box::new(Recreate)
}

impl Strategy for Recreate {
    fn type_(&self) -> StrategyType {
        StrategyType::Recreate
    }

    fn live(&self, policy: &ValidPolicy, parts: &Parts) -> Result<Workload, Absent> {
        rolling::live(policy, parts)
    }

    fn restored(
        &self,
        policy: &ValidPolicy,
        workload: Option<&Workload>,
        event: &Event,
    ) -> Option<String> {
        rolling::restored(policy, workload, event)
    }

    /// Everything is stopped, the last Deployment of the policy first; then the templates are written;
    /// then everything is started again, the first one first.
    fn plan(&self, order: &Order<'_>) -> Result<Vec<Step>, String> {
        let changed = order.changed()?;
        let mut steps: Vec<Step> = order.quarantine().into_iter().collect();
        for (there, held) in &changed {
            steps.push(order.capacity(StepKind::Scale, there, held, 0));
        }
        for (there, held) in &changed {
            steps.push(order.wait(StepKind::AwaitStopped, there, held));
        }
        let mut starts = Vec::new();
        for (there, held) in &changed {
            for step in template::rolled_out(order, there, held) {
                match step.kind {
                    StepKind::WriteTemplate | StepKind::HandBackOwnership => steps.push(step),
                    _ => starts.push(step),
                }
            }
        }
        for (there, held) in changed.iter().rev() {
            steps.push(order.step(StepKind::ScaleBack, there, held));
            let of_it = starts.iter().filter(|s| s.workload == there.name);
            steps.extend(of_it.cloned());
        }
        Ok(steps)
    }
}
