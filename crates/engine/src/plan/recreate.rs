//! The plan of stop and restore: the releases never run beside each other.

use backstop_api::event::{Step, StepKind};

use super::{Order, template};

/// Everything is stopped, the last Deployment of the policy first; then the templates are written;
/// then everything is started again, the first one first.
pub(super) fn plan(order: &Order<'_>) -> Result<Vec<Step>, String> {
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
