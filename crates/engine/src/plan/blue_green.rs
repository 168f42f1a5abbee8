//! The plan of blue-green: the Service is pointed at the stack that was live before.

use backstop_api::event::{SelectorChange, Step, StepKind};

use super::{Order, template};
use crate::policy::ValidStrategy;

/// The good stack gets the capacity that it had, then the traffic. Where the point is about the
/// very stack that is live, its template has been changed in place and is written back.
pub(super) fn plan(order: &Order<'_>) -> Result<Vec<Step>, String> {
    let ValidStrategy::BlueGreen {
        preserve_failed, ..
    } = &order.policy.strategy
    else {
        return Err("the policy's strategy is not BlueGreen".into());
    };
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
    if good.desired < wanted {
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
    if !preserve_failed {
        // It may be that the point does not hold it: it is stopped, not restored.
        let as_it_is = crate::snapshot::PointWorkload {
            name: failed.name.clone(),
            release: failed.release.clone(),
            replicas: 0,
        };
        steps.push(order.capacity(StepKind::Scale, failed, &as_it_is, 0));
    }
    Ok(steps)
}
