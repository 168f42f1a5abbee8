//! IsolateAndRollback: the pods of a release that is not trusted get no requests any more.
//!
//! A ReplicaSet would replace a pod that is taken from it by another of the same release. So the good
//! template is written first, and then the ReplicaSet is taken from its pods.

use backstop_api::{
    event::{Step, StepKind},
    policy::Isolation,
};
use serde_json::Value;

use super::{Order, template};
use crate::snapshot::{PointWorkload, Workload};

/// Whether there is anything to isolate. A Deployment that stops all its pods before it starts others
/// leaves none.
pub(crate) fn applies(there: &Workload) -> bool {
    there.desired > 0 && there.strategy.get("type").and_then(Value::as_str) != Some("Recreate")
}

/// The steps of a rolling rollback. The pods are taken from their ReplicaSet right after the template
/// is written; they lose their requests then, or when the good release has rolled out.
pub(crate) fn plan(order: &Order<'_>, there: &Workload, held: &PointWorkload) -> Vec<Step> {
    let parameters = &order.policy.isolate;
    let detach = order.wait(StepKind::DetachSuspects, there, held);
    let isolate = Step {
        isolate: Some(parameters.clone()),
        ..order.step(StepKind::IsolateSuspects, there, held)
    };
    let mut steps = Vec::new();
    for step in template::rolled_out(order, there, held) {
        let kind = step.kind;
        steps.push(step);
        match (kind, parameters.isolation) {
            (StepKind::WriteTemplate, Isolation::Immediate) => {
                steps.extend([detach.clone(), isolate.clone()]);
            }
            (StepKind::WriteTemplate, Isolation::WhenReady) => steps.push(detach.clone()),
            (StepKind::AwaitRollout, Isolation::WhenReady) => steps.push(isolate.clone()),
            _ => {}
        }
    }
    steps
}
