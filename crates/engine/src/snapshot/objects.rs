//! The pictures of Backstop's own objects.

use std::collections::BTreeMap;

use backstop_api::{
    RollbackEvent, RollbackPoint,
    names::{ANNOTATION_CANCEL, ANNOTATION_PROVED_AT},
};
use jiff::Timestamp;

use super::{Event, Measured, Point, PointWorkload};

impl From<&RollbackPoint> for Point {
    fn from(point: &RollbackPoint) -> Self {
        let metadata = &point.metadata;
        let annotations = metadata.annotations.as_ref();
        let annotated = annotations.and_then(|all| all.get(ANNOTATION_PROVED_AT)?.parse().ok());
        let created = || metadata.creation_timestamp.as_ref().map(|t| t.0);
        let release = point.spec.release.as_ref();
        let workloads = release.iter().flat_map(|r| &r.workloads);
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            release: release.map(|r| r.hash.clone()),
            verdict: point.spec.verdict,
            origin: point.spec.origin,
            floor: release.and_then(|r| r.floor.clone()),
            proved_at: annotated.or_else(created).unwrap_or(Timestamp::UNIX_EPOCH),
            baselines: measured(point),
            workloads: workloads
                .map(|w| PointWorkload {
                    name: w.name.clone(),
                    release: w.hash.clone(),
                    replicas: w.replicas,
                })
                .collect(),
            stack: release.and_then(|r| r.stack.clone()),
            config: release.map(|r| r.config.clone()).unwrap_or_default(),
        }
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

impl From<&RollbackEvent> for Event {
    fn from(event: &RollbackEvent) -> Self {
        let metadata = &event.metadata;
        let annotations = metadata.annotations.as_ref();
        let created = metadata.creation_timestamp.as_ref().map(|t| t.0);
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            created: created.unwrap_or(Timestamp::UNIX_EPOCH),
            spec: event.spec.clone(),
            status: event.status.clone().unwrap_or_default(),
            version: metadata.resource_version.clone().unwrap_or_default(),
            cancel: annotations.and_then(|all| all.get(ANNOTATION_CANCEL).cloned()),
        }
    }
}
