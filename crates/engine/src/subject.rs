//! What is live, told from everything that a policy speaks of.
//!
//! For one Deployment that is the Deployment itself. Several are live together. Of two stacks the
//! one is live that the Service selects, and a canary is while it has a share of the requests: each
//! [strategy](crate::strategy) says it for itself.

use std::collections::BTreeMap;

use backstop_api::config::ConfigRef;

use crate::{
    config::{self, identity::identity},
    policy::{FieldError, ValidPolicy},
    release,
    snapshot::{Event, Pods, Route, Service, Workload},
};

/// What is there of all that a policy speaks of.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// The Deployments that are there.
    pub deployments: Vec<Workload>,
    /// For BlueGreen: the Service, if it is there.
    pub service: Option<Service>,
    /// For Canary: the route, or what is wrong with it.
    pub route: Option<Result<Route, FieldError>>,
    /// The configuration that the Deployments' templates reference.
    pub config: Vec<ConfigRef>,
}

/// Why it cannot be told what is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// These Deployments are not there.
    Missing(Vec<String>),
    /// The strategy cannot work on what is there.
    Misfit(FieldError),
}

/// What is live.
pub fn live(policy: &ValidPolicy, parts: &Parts) -> Result<Workload, Absent> {
    let live = policy.strategy.live(policy, parts)?;
    if parts.config.is_empty() {
        return Ok(live);
    }
    Ok(Workload {
        release: identity(&live.release, &config::identity::parts(&parts.config)),
        config: parts.config.clone(),
        // The Deployment keeps the identity of its template: by that its pods are told.
        members: live.live().to_vec(),
        ..live
    })
}

/// The Deployments of these names, or which of them are missing.
pub(crate) fn all_of(parts: &Parts, names: &[&str]) -> Result<Vec<Workload>, Absent> {
    let find = |name: &&str| parts.deployments.iter().find(|w| w.name == **name);
    let missing: Vec<String> = names
        .iter()
        .filter(|n| find(n).is_none())
        .map(|n| (*n).to_owned())
        .collect();
    if !missing.is_empty() {
        return Err(Absent::Missing(missing));
    }
    Ok(names.iter().filter_map(find).cloned().collect())
}

/// Several Deployments as one: it is complete when each is, and in trouble when one is.
pub(crate) fn together(members: Vec<Workload>) -> Workload {
    let joined = |of: fn(&Workload) -> &str, by: &str| {
        let all: Vec<&str> = members.iter().map(of).collect();
        all.join(by)
    };
    let sum = |of: fn(&Workload) -> i32| members.iter().map(of).fold(0, i32::saturating_add);
    let parts: Vec<_> = members
        .iter()
        .map(|m| (m.name.as_str(), m.release.as_str()))
        .collect();
    let all_at = |of: fn(&Workload) -> Option<jiff::Timestamp>| {
        let times: Option<Vec<_>> = members.iter().map(of).collect();
        times.and_then(|t| t.into_iter().max())
    };
    let words = |of: fn(&Workload) -> &[String]| {
        members.iter().flat_map(|m| of(m).iter().cloned()).collect()
    };
    Workload {
        name: joined(|m| &m.name, ", "),
        uid: joined(|m| &m.uid, "+"),
        release: release::of_parts("together", &parts),
        generation: members.iter().map(|m| m.generation).max().unwrap_or(0),
        observed_generation: members
            .iter()
            .map(|m| m.observed_generation)
            .min()
            .unwrap_or(0),
        deleting: members.iter().any(|m| m.deleting),
        revision: members.first().and_then(|m| m.revision.clone()),
        images: members.iter().flat_map(|m| m.images.clone()).collect(),
        paused: members.iter().any(|m| m.paused),
        overridden: members.iter().find_map(|m| m.overridden.clone()),
        overridden_by: members.iter().find_map(|m| m.overridden_by.clone()),
        floor: members.iter().find_map(|m| m.floor.clone()),
        desired: sum(|m| m.desired),
        replicas: sum(|m| m.replicas),
        updated: sum(|m| m.updated),
        ready: sum(|m| m.ready),
        available: sum(|m| m.available),
        rollout_completed_at: all_at(|m| m.rollout_completed_at),
        progress_deadline_exceeded: members
            .iter()
            .find_map(|m| m.progress_deadline_exceeded.clone()),
        pods: Pods {
            ready: sum(|m| m.pods.ready),
            // Only when each has a pod that is ready does a sample speak of all of them.
            first_ready_at: all_at(|m| m.pods.first_ready_at),
            crash_looping: words(|m| &m.pods.crash_looping),
            image_pull: words(|m| &m.pods.image_pull),
            config_error: words(|m| &m.pods.config_error),
            oom_killed: words(|m| &m.pods.oom_killed),
            restarts: members.iter().map(|m| m.pods.restarts).max().unwrap_or(0),
        },
        strategy: serde_json::Value::Null,
        strategy_owners: Vec::new(),
        last_writer: members.iter().find_map(|m| m.last_writer.clone()),
        labels: BTreeMap::new(),
        beside: Vec::new(),
        tried: false,
        config: Vec::new(),
        members,
    }
}

/// Identity of what is live once what `event` has written is there: admission may have made another
/// template of what a point holds. `None` where it wrote none that is live.
#[must_use]
pub fn restored(
    policy: &ValidPolicy,
    workload: Option<&Workload>,
    event: &Event,
) -> Option<String> {
    let names = &policy.deployments;
    names.iter().find(|name| event.written(name).is_some())?;
    let base = policy.strategy.restored(policy, workload, event)?;
    // What configuration was left as it is shows only when it is looked at again.
    let config = workload.map(|w| w.config.as_slice()).unwrap_or_default();
    Some(identity(&base, &config::identity::parts(config)))
}

/// Whether a Service selects the pods of a Deployment. One without a selector selects none.
#[must_use]
pub fn selects(service: &Service, workload: &Workload) -> bool {
    !service.selector.is_empty()
        && service
            .selector
            .iter()
            .all(|(key, value)| workload.labels.get(key) == Some(value))
}

/// What there is does not fit what a field says.
pub(crate) fn misfit(field: &str, value: &str, problem: &str) -> Absent {
    Absent::Misfit(FieldError {
        field: field.to_owned(),
        value: value.to_owned(),
        problem: problem.to_owned(),
    })
}
