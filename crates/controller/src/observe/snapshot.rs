//! The snapshot that a decision is made on, from what is cached.

use std::collections::BTreeMap;

use backstop_api::{
    RollbackEvent, RollbackPoint, RollbackPolicy,
    names::{ANNOTATION_CANCEL, ANNOTATION_PROVED_AT},
};
use backstop_engine::{
    snapshot::{Event, Measured, Point, PointWorkload, Snapshot},
    subject::Absent,
};
use jiff::Timestamp;
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
            .map(point)
            .collect(),
        events: context
            .events_of(namespace, &observer.policy.name)
            .iter()
            .map(event)
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

/// The engine's picture of a point.
#[must_use]
pub fn point(point: &RollbackPoint) -> Point {
    let annotated = point
        .annotations()
        .get(ANNOTATION_PROVED_AT)
        .and_then(|text| text.parse::<Timestamp>().ok());
    Point {
        name: point.name_any(),
        release: point.spec.release.as_ref().map(|r| r.hash.clone()),
        verdict: point.spec.verdict,
        origin: point.spec.origin,
        floor: point.spec.release.as_ref().and_then(|r| r.floor.clone()),
        proved_at: annotated.unwrap_or_else(|| created(point)),
        baselines: measured(point),
        workloads: point
            .spec
            .release
            .iter()
            .flat_map(|r| &r.workloads)
            .map(|w| PointWorkload {
                name: w.name.clone(),
                release: w.hash.clone(),
                replicas: w.replicas,
            })
            .collect(),
        stack: point.spec.release.as_ref().and_then(|r| r.stack.clone()),
        config: point
            .spec
            .release
            .as_ref()
            .map(|r| r.config.clone())
            .unwrap_or_default(),
    }
}

/// What each trigger measured while the release of a point proved itself.
#[must_use]
pub fn measured(point: &RollbackPoint) -> BTreeMap<String, Measured> {
    let spec = &point.spec;
    let of = |(name, value): (&String, &f64)| {
        let measured = Measured {
            value: *value,
            distribution: spec.distributions.get(name).cloned(),
        };
        (name.clone(), measured)
    };
    spec.baselines.iter().map(of).collect()
}

/// The engine's picture of a rollback.
#[must_use]
pub fn event(event: &RollbackEvent) -> Event {
    Event {
        name: event.name_any(),
        uid: event.uid().unwrap_or_default(),
        created: created(event),
        spec: event.spec.clone(),
        status: event.status.clone().unwrap_or_default(),
        version: event.resource_version().unwrap_or_default(),
        cancel: event.annotations().get(ANNOTATION_CANCEL).cloned(),
    }
}

fn created(object: &impl ResourceExt) -> Timestamp {
    object
        .creation_timestamp()
        .map_or(Timestamp::UNIX_EPOCH, |t| t.0)
}
