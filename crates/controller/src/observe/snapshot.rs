//! The snapshot that a decision is made on, from what is cached.

use backstop_api::RollbackPolicy;
use backstop_engine::{
    snapshot::{Event, Point, Snapshot},
    subject::Absent,
};
use kube::ResourceExt;

use super::Observer;
use crate::context::{Context, age};

/// What is seen of a policy's world now.
#[must_use]
pub fn snapshot(context: &Context, object: &RollbackPolicy, observer: &Observer) -> Snapshot {
    let namespace = &observer.namespace;
    let (workload, missing, misfit) = match observer.live() {
        Ok(workload) => {
            observer.turn_to(&workload);
            (Some(workload), Vec::new(), None)
        }
        Err(Absent::Missing(names)) => (None, names, None),
        Err(Absent::Misfit(misfit)) => (None, Vec::new(), Some(misfit)),
    };
    Snapshot {
        reports: observer.reports(workload.as_ref()),
        paused: context.paused.borrow().in_words(),
        workload,
        missing,
        misfit,
        service: observer.service(),
        route: observer.route().and_then(Result::ok),
        readings: observer.readings(),
        heard: observer.heard(context),
        peers: observer.peers(),
        points: context
            .points_of(namespace, observer.policy.primary())
            .iter()
            .map(Point::from)
            .collect(),
        events: context
            .events_of(namespace, &observer.policy.name)
            .iter()
            .map(Event::from)
            .collect(),
        conflict: conflict(context, object),
    }
}

/// An older policy for the same workload.
fn conflict(context: &Context, object: &RollbackPolicy) -> Option<String> {
    context
        .policies_of(&object.namespace().unwrap_or_default())
        .into_iter()
        .filter(|other| {
            other.uid() != object.uid()
                && other.metadata.deletion_timestamp.is_none()
                && age(other) < age(object)
                && other
                    .spec
                    .deployments()
                    .iter()
                    .any(|name| object.spec.deployments().contains(name))
        })
        .min_by_key(age)
        .map(|other| other.name_any())
}
