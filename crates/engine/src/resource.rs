//! What a release's pods use of CPU and memory: one number from what the metrics API tells of each.

use backstop_api::policy::{Aggregate, ResourceMeasure, ResourceName, ResourceSource};
use jiff::{SignedDuration, Timestamp};

use crate::{
    aggregate::one_of,
    reading::{Reading, Unavailable},
};

/// So far back a reading may look: what was measured, or began to be, before that is not used. The
/// metrics API usually measures over 15 to 60 s, and hands that out for as long again.
pub const REACH: SignedDuration = SignedDuration::from_mins(2);
/// Bytes in the unit that memory is told in.
const MEGABYTE: f64 = 1e6;

/// What one pod used.
#[derive(Clone, Debug, PartialEq)]
pub struct PodUse {
    /// Its name.
    pub pod: String,
    /// When the measuring ended.
    pub at: Timestamp,
    /// Over how long it was measured.
    pub window: SignedDuration,
    /// Each of its containers.
    pub containers: Vec<ContainerUse>,
}

/// What one container used, in cores or in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerUse {
    /// Its name.
    pub name: String,
    /// So much.
    pub used: f64,
    /// What it asks for.
    pub request: Option<f64>,
    /// What it may use at most.
    pub limit: Option<f64>,
}

/// The question for people, on one line.
#[must_use]
pub fn in_words(source: &ResourceSource) -> String {
    let aggregate = match aggregate(source) {
        Aggregate::Max => "highest",
        Aggregate::Average => "average",
        Aggregate::Min => "lowest",
    };
    let name = name(source);
    let unit = match (source.of, source.name) {
        (ResourceMeasure::Usage, ResourceName::Cpu) => " in cores",
        (ResourceMeasure::Usage, ResourceName::Memory) => " in MB",
        (ResourceMeasure::Request, _) => " as a share of the request",
        (ResourceMeasure::Limit, _) => " as a share of the limit",
    };
    let whose = match &source.container {
        Some(container) => format!("container {container} of the release's pods"),
        None => "the release's pods".into(),
    };
    format!("metrics.k8s.io: {aggregate} {name} of {whose}{unit}")
}

/// One number from what the pods used. `now` is when the metrics API was asked.
#[must_use]
pub fn reading(source: &ResourceSource, pods: &[PodUse], now: Timestamp) -> Reading {
    let began = |pod: &PodUse| pod.at.checked_sub(pod.window).unwrap_or(pod.at);
    let is_fresh = |pod: &&PodUse| now.duration_since(began(pod)) <= REACH;
    let Some(newest) = pods.iter().map(|pod| pod.at).max() else {
        return Reading::NoData {
            why: "metrics.k8s.io has no pod of this release".into(),
        };
    };
    let fresh: Vec<&PodUse> = pods.iter().filter(is_fresh).collect();
    if fresh.is_empty() {
        return Reading::Stale { at: newest };
    }
    let values: Result<Vec<f64>, String> = fresh.iter().map(|pod| of_pod(source, pod)).collect();
    match values.map(|values| one_of(aggregate(source), values.into_iter())) {
        Ok(Some(value)) => Reading::Value { value, at: newest },
        Ok(None) => Reading::NoData {
            why: "metrics.k8s.io has no pod of this release".into(),
        },
        Err(why) => Reading::Unavailable {
            reason: Unavailable::Misconfigured,
            why,
        },
    }
}

fn of_pod(source: &ResourceSource, pod: &PodUse) -> Result<f64, String> {
    let wanted = |c: &&ContainerUse| source.container.as_ref().is_none_or(|name| *name == c.name);
    let containers: Vec<&ContainerUse> = pod.containers.iter().filter(wanted).collect();
    if containers.is_empty() {
        let there: Vec<&str> = pod.containers.iter().map(|c| c.name.as_str()).collect();
        return Err(format!(
            "pod {} has no container {}; there are: {}",
            pod.pod,
            source.container.as_deref().unwrap_or_default(),
            there.join(", ")
        ));
    }
    let share = |of: fn(&ContainerUse) -> Option<f64>| {
        let shares = containers.iter().filter_map(|c| {
            let whole = of(c).filter(|whole| *whole > 0.0)?;
            Some(c.used / whole)
        });
        one_of(Aggregate::Max, shares)
    };
    let (share, word) = match source.of {
        ResourceMeasure::Usage => {
            let used: f64 = containers.iter().map(|c| c.used).sum();
            return Ok(match source.name {
                ResourceName::Cpu => used,
                ResourceName::Memory => used / MEGABYTE,
            });
        }
        ResourceMeasure::Request => (share(|c| c.request), "request"),
        ResourceMeasure::Limit => (share(|c| c.limit), "limit"),
    };
    share.ok_or_else(|| {
        format!(
            "no container of pod {} has a {word} for {}; set resources.{word}s.{}, or write of: Usage",
            pod.pod,
            name(source),
            name(source),
        )
    })
}

fn aggregate(source: &ResourceSource) -> Aggregate {
    source.aggregate.unwrap_or(Aggregate::Average)
}

fn name(source: &ResourceSource) -> &'static str {
    match source.name {
        ResourceName::Cpu => "cpu",
        ResourceName::Memory => "memory",
    }
}

#[cfg(test)]
mod tests;
