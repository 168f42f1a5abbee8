//! What is live, told from everything that a policy speaks of.
//!
//! For one Deployment that is the Deployment itself. Several are live together. Of two stacks the
//! one is live that the Service selects, and a canary is while it has a share of the requests.

use std::collections::BTreeMap;

use backstop_api::config::ConfigRef;

use crate::{
    config::{self, identity::identity},
    policy::{FieldError, ValidCanary, ValidPolicy, ValidStrategy},
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
    let live = without_config(policy, parts)?;
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

fn without_config(policy: &ValidPolicy, parts: &Parts) -> Result<Workload, Absent> {
    match &policy.strategy {
        ValidStrategy::Rolling | ValidStrategy::Recreate => {
            let names: Vec<&str> = policy.deployments.iter().map(String::as_str).collect();
            let mut found = all_of(parts, &names)?;
            if found.len() == 1 {
                return Ok(found.remove(0));
            }
            Ok(together(found))
        }
        ValidStrategy::BlueGreen { service, .. } => selected(policy, parts, service),
        ValidStrategy::Canary(canary) => by_share(parts, canary),
    }
}

fn all_of(parts: &Parts, names: &[&str]) -> Result<Vec<Workload>, Absent> {
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
fn together(members: Vec<Workload>) -> Workload {
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
    let base = restored_templates(policy, workload, event)?;
    // What configuration was left as it is shows only when it is looked at again.
    let config = workload.map(|w| w.config.as_slice()).unwrap_or_default();
    Some(identity(&base, &config::identity::parts(config)))
}

fn restored_templates(
    policy: &ValidPolicy,
    workload: Option<&Workload>,
    event: &Event,
) -> Option<String> {
    let of = |name: &str| {
        let written = event.written(name).map(|w| w.hash.clone());
        written.or_else(|| Some(workload?.deployment(name)?.release.clone()))
    };
    let names = &policy.deployments;
    names.iter().find(|name| event.written(name).is_some())?;
    match &policy.strategy {
        ValidStrategy::Rolling | ValidStrategy::Recreate if names.len() == 1 => of(&names[0]),
        ValidStrategy::Rolling | ValidStrategy::Recreate => {
            let releases: Option<Vec<String>> = names.iter().map(|n| of(n)).collect();
            let releases = releases?;
            let parts: Vec<_> = names
                .iter()
                .map(String::as_str)
                .zip(releases.iter().map(String::as_str))
                .collect();
            Some(release::of_parts("together", &parts))
        }
        ValidStrategy::BlueGreen { .. } => {
            let name = names.iter().find(|n| event.written(n).is_some())?;
            Some(release::of_parts("stack", &[(name, &of(name)?)]))
        }
        ValidStrategy::Canary(canary) => {
            Some(event.written(&canary.parameters.stable.0)?.hash.clone())
        }
    }
}

/// Of two stacks the one that the Service selects.
fn selected(policy: &ValidPolicy, parts: &Parts, name: &str) -> Result<Workload, Absent> {
    let field = "spec.strategy.blueGreen.service";
    let Some(service) = &parts.service else {
        return Err(misfit(
            field,
            name,
            "is not there: this namespace has no Service of that name; create it, or name the one \
             that the clients of the two stacks use",
        ));
    };
    let stacks: Vec<&Workload> = policy
        .deployments
        .iter()
        .filter_map(|n| parts.deployments.iter().find(|w| &w.name == n))
        .collect();
    if stacks.is_empty() {
        return Err(Absent::Missing(policy.deployments.clone()));
    }
    let (on, off): (Vec<&Workload>, Vec<&Workload>) =
        stacks.into_iter().partition(|w| selects(service, w));
    let selector = || {
        let pairs: Vec<String> = service
            .selector
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        format!("Service {name} selects '{}'", pairs.join(","))
    };
    let stack = match on.as_slice() {
        [stack] => *stack,
        [] => {
            return Err(misfit(
                field,
                name,
                &format!(
                    "selects the pods of neither stack ({}); its selector must match the pod labels \
                     of exactly one of {}",
                    selector(),
                    policy.names()
                ),
            ));
        }
        _ => {
            return Err(misfit(
                field,
                name,
                &format!(
                    "selects the pods of both stacks ({}); add a label to its selector that only the \
                     pods of one of {} have",
                    selector(),
                    policy.names()
                ),
            ));
        }
    };
    Ok(Workload {
        uid: service.uid.clone(),
        release: release::of_parts("stack", &[(&stack.name, &stack.release)]),
        last_writer: service.last_writer.clone(),
        members: vec![stack.clone()],
        beside: off.into_iter().cloned().collect(),
        ..stack.clone()
    })
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

/// The canary while it has a share of the requests, else the stable side.
fn by_share(parts: &Parts, canary: &ValidCanary) -> Result<Workload, Absent> {
    let parameters = &canary.parameters;
    let route = match &parts.route {
        Some(Ok(route)) => route,
        Some(Err(wrong)) => return Err(Absent::Misfit(wrong.clone())),
        None => {
            return Err(misfit(
                "spec.strategy.canary.route.name",
                &parameters.route.name,
                "is not there: this namespace has no such route",
            ));
        }
    };
    let stable = all_of(parts, &[&parameters.stable.0])?.remove(0);
    if route.share == 0 {
        let beside = parts
            .deployments
            .iter()
            .filter(|w| w.name == parameters.canary.0);
        return Ok(Workload {
            members: vec![stable.clone()],
            beside: beside.cloned().collect(),
            ..stable
        });
    }
    let tried = all_of(parts, &[&parameters.canary.0])?.remove(0);
    let parts = [
        (stable.name.as_str(), stable.release.as_str()),
        (tried.name.as_str(), tried.release.as_str()),
    ];
    Ok(Workload {
        uid: stable.uid.clone(),
        release: release::of_parts("canary", &parts),
        members: vec![tried.clone()],
        tried: true,
        beside: vec![stable],
        ..tried
    })
}

fn misfit(field: &str, value: &str, problem: &str) -> Absent {
    Absent::Misfit(FieldError {
        field: field.to_owned(),
        value: value.to_owned(),
        problem: problem.to_owned(),
    })
}
