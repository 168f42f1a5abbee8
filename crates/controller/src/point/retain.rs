//! Retaining: as many points as are wanted, the oldest goes first.

use backstop_api::{
    RollbackPoint,
    point::{Origin, Verdict},
};
use backstop_engine::snapshot::{Event, Point};
use kube::{Api, ResourceExt};

use crate::{calls::CallError, context::Context};

/// Removes what is more than wanted of the points that Backstop made itself. What people and
/// pipelines named stays, and so does what an open rollback goes back to, the newest floor, and the
/// record of a failed release that has a good point too: without it that point would count again.
pub(super) async fn retain(context: &Context, point: &RollbackPoint) -> Result<(), CallError> {
    let namespace = point.namespace().unwrap_or_default();
    let workload = &point.spec.workload;
    let Some(policy) = context
        .policy_over(&namespace, &workload.name)
        .filter(|p| p.spec.deployments().first() == Some(&workload.name.as_str()))
    else {
        return Ok(());
    };
    let keep = policy.spec.points.keep as usize;
    let in_use: Vec<String> = context
        .events_of(&namespace, &policy.name_any())
        .iter()
        .map(Event::from)
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
        own.sort_by_key(|p| std::cmp::Reverse(Point::from(*p).proved_at));
        let newest_floor = own
            .iter()
            .find(|p| floor(p).is_some())
            .map(|p| p.name_any());
        for old in own.into_iter().skip(keep) {
            let name = old.name_any();
            if in_use.contains(&name)
                || newest_floor.as_ref() == Some(&name)
                || is_record_against_a_good_point(old, &points)
            {
                continue;
            }
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

fn floor(point: &RollbackPoint) -> Option<&String> {
    point.spec.release.as_ref()?.floor.as_ref()
}

fn is_record_against_a_good_point(record: &RollbackPoint, points: &[RollbackPoint]) -> bool {
    let hash = |p: &RollbackPoint| p.spec.release.as_ref().map(|r| r.hash.clone());
    record.spec.verdict == Verdict::Quarantined
        && points
            .iter()
            .any(|p| p.spec.verdict == Verdict::Good && hash(p) == hash(record))
}
