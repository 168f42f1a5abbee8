//! Configuration goes back with the templates that reference it.

use backstop_api::event::{Step, StepKind};

use super::Order;
use crate::{config::identity, snapshot::PointWorkload};

/// Whether the point has other configuration than what is live.
pub(super) fn differs(order: &Order<'_>) -> bool {
    let there = identity::parts(&order.workload.config);
    identity::parts(&order.point.config)
        .iter()
        .any(|part| !there.contains(part))
}

/// Puts configuration back before the first template is written, so that the pods start with it.
/// Deployments whose template stays are restarted: pods read most of their configuration only when
/// they start.
pub(super) fn add(order: &Order<'_>, steps: &mut Vec<Step>) -> Result<(), String> {
    if !differs(order) {
        return Ok(());
    }
    let live = &order.workload.live()[0];
    let as_a_whole = PointWorkload {
        name: live.name.clone(),
        release: order.point.release.clone().unwrap_or_default(),
        replicas: 0,
    };
    let mut failed = order.workload.config.clone();
    for reference in &mut failed {
        reference.store = None;
    }
    let restore = Step {
        from: order.workload.release.clone(),
        config: failed,
        ..order.step(StepKind::RestoreConfig, live, &as_a_whole)
    };
    let first = steps.first().map(|s| s.kind);
    let at = usize::from(first == Some(StepKind::QuarantineRelease));
    steps.insert(at, restore);
    let restarted: Vec<&str> = order
        .workload
        .live()
        .iter()
        .map(|w| w.name.as_str())
        .filter(|name| {
            let touched = steps.iter().any(|s| {
                s.workload == *name
                    && matches!(s.kind, StepKind::WriteTemplate | StepKind::SwapSelector)
            });
            !touched
        })
        .collect();
    if steps
        .iter()
        .any(|s| matches!(s.kind, StepKind::SwapSelector | StepKind::ShiftWeight))
    {
        // What gets the traffic ran all the time with what it started with.
        return Ok(());
    }
    for name in restarted {
        let (there, held) = order.pair(name)?;
        steps.push(order.step(StepKind::Restart, there, held));
        steps.push(order.wait(StepKind::AwaitRollout, there, held));
    }
    Ok(())
}
