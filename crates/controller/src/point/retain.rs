//! Retaining: as many points as are wanted, the oldest goes first.

use backstop_api::{
    RollbackPoint,
    point::{Origin, Verdict},
};
use kube::{Api, ResourceExt};

use crate::{calls::CallError, context::Context, observe};

/// Removes what is more than wanted of the points that Backstop made itself. What people and
/// pipelines named stays, and so does what an open rollback goes back to, and the floor with all
/// that is newer.
pub(super) async fn retain(context: &Context, point: &RollbackPoint) -> Result<(), CallError> {
    let namespace = point.namespace().unwrap_or_default();
    let workload = &point.spec.workload;
    let Some(policy) = context
        .policies_of(&namespace)
        .into_iter()
        .find(|p| p.spec.workloads.contains(workload))
    else {
        return Ok(());
    };
    let keep = policy.spec.points.keep as usize;
    let in_use: Vec<String> = context
        .events_of(&namespace, &policy.name_any())
        .iter()
        .map(observe::event)
        .filter(|e| !e.is_over())
        .filter_map(|e| e.status.to.or(e.spec.to).map(|t| t.point))
        .collect();
    let points = context.points_of(&namespace, &workload.name);
    let api: Api<RollbackPoint> = Api::namespaced(context.client.clone(), &namespace);
    for (verdict, origin) in [
        (Verdict::Good, Origin::Soak),
        (Verdict::Quarantined, Origin::Quarantine),
    ] {
        let mut own: Vec<&RollbackPoint> = points
            .iter()
            .filter(|p| {
                p.spec.verdict == verdict && p.spec.origin == origin && p.spec.release.is_some()
            })
            .collect();
        own.sort_by_key(|p| std::cmp::Reverse(observe::point(p).proved_at));
        for old in own
            .into_iter()
            .skip(keep)
            .filter(|p| !in_use.contains(&p.name_any()))
        {
            context
                .calls
                .delete("delete rollbackpoint", &api, &old.name_any(), old.uid())
                .await?;
            tracing::info!(
                namespace,
                point = old.name_any(),
                keep,
                "an old point is removed"
            );
        }
    }
    Ok(())
}
