//! The plan of a rolling rollback: write the good template, and let the Deployment roll.

use backstop_api::{
    event::{Step, StepKind},
    policy::{Action, IntOrPercent},
};

use super::{Order, isolate, template};

/// One Deployment after the other, the last one of the policy first; with ScaleAndRollback each gets
/// more pods before, and gives them back after; with IsolateAndRollback the pods that were there get no
/// requests any more.
pub(super) fn plan(order: &Order<'_>) -> Result<Vec<Step>, String> {
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
