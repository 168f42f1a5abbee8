//! Checks a plan against the safety rules. It shares no code with the planners, so that a mistake in
//! one is not made in the other.

use std::collections::{BTreeMap, BTreeSet};

use backstop_api::{
    event::{Step, StepKind, StepState, StepStatus},
    point::Verdict,
};

use crate::snapshot::{Point, Snapshot, Workload};

/// Everything that is wrong with a plan; empty for one that may be carried out.
#[must_use]
pub fn violations(seen: &Snapshot, plan: &[StepStatus]) -> Vec<String> {
    let mut wrong = violations_going_forward(seen, plan);
    if seen.workload.as_ref().is_some_and(|w| w.floor.is_some()) {
        wrong.push("it goes behind a floor: the live release is one".into());
    }
    let points: BTreeSet<_> = plan.iter().map(|s| &s.step.point).collect();
    for point in seen.points.iter().filter(|p| points.contains(&p.name)) {
        let floor = seen.points.iter().find(|p| {
            p.verdict == Verdict::Good && p.floor.is_some() && p.proved_at > point.proved_at
        });
        if let Some(floor) = floor {
            wrong.push(format!("it goes behind the floor {}", floor.name));
        }
    }
    wrong
}

/// The same of a plan that brings back what a drill took away: no floor is in the way of that.
#[must_use]
pub fn violations_going_forward(seen: &Snapshot, plan: &[StepStatus]) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(live) = &seen.workload else {
        return vec!["there is no workload to plan for".into()];
    };
    if plan.is_empty() {
        wrong.push("a plan without steps changes nothing".into());
    }
    let points: BTreeSet<_> = plan.iter().map(|s| &s.step.point).collect();
    if points.len() > 1 {
        wrong.push(format!("a plan has one target, not {}", points.len()));
    }
    for name in points {
        match seen.points.iter().find(|p| &p.name == name) {
            Some(point) => wrong.extend(wrong_target(seen, live, point)),
            None => wrong.push(format!("no good point {name} is on record")),
        }
    }
    for status in plan {
        wrong.extend(wrong_step(seen, live, status));
    }
    let shifts = plan.iter().any(|s| s.step.kind == StepKind::ShiftWeight);
    for name in plan
        .iter()
        .map(|s| &s.step.workload)
        .collect::<BTreeSet<_>>()
    {
        let of_it: Vec<&Step> = plan
            .iter()
            .map(|s| &s.step)
            .filter(|s| &s.workload == name)
            .collect();
        wrong.extend(wrong_order(name, &of_it, !shifts));
    }
    wrong.extend(wrong_quarantine(plan));
    wrong.extend(wrong_traffic(seen, plan));
    if !changes_anything_live(live, plan) {
        wrong.push(
            "nothing that is live is changed: neither a template, nor a selector, nor a weight"
                .into(),
        );
    }
    wrong
}

/// What makes a point no place to go back to.
fn wrong_target(seen: &Snapshot, live: &Workload, point: &Point) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(release) = point.release.as_deref() else {
        return vec![format!("point {} holds no release", point.name)];
    };
    if release == live.release {
        wrong.push("it goes back to the release that failed".into());
    }
    if point.verdict != Verdict::Good {
        wrong.push(format!(
            "no good point {} holds release {release}",
            point.name
        ));
    }
    let failed_before = seen
        .points
        .iter()
        .any(|p| p.verdict == Verdict::Quarantined && p.release.as_deref() == Some(release));
    if failed_before {
        wrong.push(format!("it goes to a quarantined release: {release}"));
    }
    wrong
}

/// What is wrong with a step by itself.
fn wrong_step(seen: &Snapshot, live: &Workload, status: &StepStatus) -> Vec<String> {
    let step = &status.step;
    let name = format!("{:?}", step.kind);
    let mut wrong = Vec::new();
    if status.state != StepState::Waiting {
        wrong.push(format!("{name} is begun already"));
    }
    let there = live
        .live()
        .iter()
        .chain(&live.beside)
        .find(|w| w.name == step.workload && w.uid == step.workload_uid);
    let Some(there) = there else {
        return vec![format!(
            "{name} is about another workload: {}",
            step.workload
        )];
    };
    let point = seen.points.iter().find(|p| p.name == step.point);
    if matches!(
        step.kind,
        StepKind::QuarantineRelease | StepKind::RestoreConfig
    ) {
        if step.from != live.release {
            wrong.push(format!("{name} records {}, which is not live", step.from));
        }
        if point.is_some_and(|p| p.release.as_ref() != Some(&step.to)) {
            wrong.push(format!(
                "{name}: no good point {} holds release {}",
                step.point, step.to
            ));
        }
        return wrong;
    }
    if step.from != there.release {
        wrong.push(format!(
            "{name} takes back {}, which is not live",
            step.from
        ));
    }
    let held = point.and_then(|p| p.workloads.iter().find(|w| w.name == step.workload));
    let writes = [StepKind::WriteTemplate, StepKind::HandBackOwnership];
    if writes.contains(&step.kind) && step.from == step.to {
        wrong.push(format!("{name} goes back to the release that failed"));
    }
    let about_the_target = [
        StepKind::AwaitRollout,
        StepKind::RestoreStrategy,
        StepKind::Restart,
        StepKind::DetachSuspects,
        StepKind::IsolateSuspects,
    ];
    let follows_the_point = writes.contains(&step.kind) || about_the_target.contains(&step.kind);
    if follows_the_point && held.is_none_or(|h| h.release != step.to) {
        wrong.push(format!(
            "{name}: no good point {} holds release {}",
            step.point, step.to
        ));
    }
    let waits = [
        StepKind::AwaitRollout,
        StepKind::AwaitCapacity,
        StepKind::AwaitStopped,
        StepKind::AwaitEndpoints,
        StepKind::HoldWeight,
        StepKind::DetachSuspects,
    ];
    if waits.contains(&step.kind) && step.timeout.is_none() {
        wrong.push(format!("{name} without a timeout may never end"));
    }
    wrong
}

/// What is wrong with the order of the steps about one Deployment.
///
/// `serves`: whether it has requests to answer when its template is written.
fn wrong_order(name: &str, steps: &[&Step], serves: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let at = |kind: StepKind| -> Vec<usize> {
        (0..steps.len())
            .filter(|i| steps[*i].kind == kind)
            .collect()
    };
    let writes = at(StepKind::WriteTemplate);
    let touches_template = steps.iter().any(|s| {
        matches!(
            s.kind,
            StepKind::HandBackOwnership
                | StepKind::RestoreStrategy
                | StepKind::AwaitRollout
                | StepKind::DetachSuspects
                | StepKind::IsolateSuspects
        )
    }) && at(StepKind::Restart).is_empty();
    if writes.len() > 1 || (touches_template && writes.is_empty()) {
        wrong.push(format!(
            "the template of {name} is written {} times, not once",
            writes.len()
        ));
    }
    let Some(write) = writes.first().copied() else {
        return wrong;
    };
    for kind in [
        StepKind::HandBackOwnership,
        StepKind::AwaitRollout,
        StepKind::RestoreStrategy,
    ] {
        if at(kind).into_iter().any(|i| i < write) {
            wrong.push(format!(
                "{kind:?} stands on the wrong side of WriteTemplate"
            ));
        }
    }
    if at(StepKind::HandBackOwnership).len() != 1 {
        wrong.push(format!("HandBackOwnership must be there once for {name}"));
    }
    if at(StepKind::AwaitRollout).len() != usize::from(serves) {
        wrong.push(format!("AwaitRollout must be there once for {name}"));
    }
    let changes_strategy = steps.iter().any(|s| s.rolling.is_some());
    let restores = at(StepKind::RestoreStrategy);
    if changes_strategy == restores.is_empty() {
        wrong.push("rollingUpdate must be put back if and only if it is changed".into());
    }
    for restore in &restores {
        if steps[*restore].strategy_before.is_none() {
            wrong.push("RestoreStrategy does not say what it was before".into());
        }
        if at(StepKind::AwaitRollout)
            .first()
            .is_some_and(|wait| wait > restore)
        {
            wrong.push("RestoreStrategy stands before AwaitRollout".into());
        }
    }
    // A suspect that is taken from its ReplicaSet while that is still wanted is replaced by another.
    let (detach, isolate) = (at(StepKind::DetachSuspects), at(StepKind::IsolateSuspects));
    if detach.len() > 1 || detach.len() != isolate.len() {
        wrong.push(format!(
            "the suspects of {name} are detached {} times and isolated {} times",
            detach.len(),
            isolate.len()
        ));
    }
    if detach.first().is_some_and(|d| *d < write) || detach.first() > isolate.first() {
        wrong.push(format!(
            "the suspects of {name} must be detached after WriteTemplate and isolated after that"
        ));
    }
    // Replicas that were changed for the time of the rollback are put back.
    let before_write = at(StepKind::Scale).into_iter().any(|i| i < write);
    let back = at(StepKind::ScaleBack).into_iter().any(|i| i > write);
    if before_write != back {
        wrong.push(format!(
            "the replicas of {name} must be put back if and only if they are changed before"
        ));
    }
    if before_write
        && !steps
            .iter()
            .take(write)
            .any(|s| matches!(s.kind, StepKind::AwaitCapacity | StepKind::AwaitStopped))
    {
        wrong.push(format!(
            "nothing waits for the replicas of {name} before its template is written"
        ));
    }
    wrong
}

/// The record is made before anything that cannot be undone by somebody who reads it.
fn wrong_quarantine(plan: &[StepStatus]) -> Vec<String> {
    let kinds: Vec<StepKind> = plan.iter().map(|s| s.step.kind).collect();
    let of = |wanted: StepKind| kinds.iter().position(|k| *k == wanted);
    let mut wrong = Vec::new();
    let Some(record) = of(StepKind::QuarantineRelease) else {
        return wrong;
    };
    let last_shift = plan.iter().position(|s| {
        s.step.weight.as_ref().is_some_and(|w| w.to == 0) && s.step.kind == StepKind::ShiftWeight
    });
    // Where weights are shifted the canary's template comes after them.
    let first_write = last_shift
        .or_else(|| of(StepKind::SwapSelector))
        .or_else(|| of(StepKind::WriteTemplate));
    if first_write.is_some_and(|write| write < record) {
        wrong.push("QuarantineRelease stands on the wrong side of WriteTemplate".into());
    }
    wrong
}

/// Safety rule 6: traffic goes only to what is ready, at the capacity that it had.
fn wrong_traffic(seen: &Snapshot, plan: &[StepStatus]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut capacity: BTreeMap<&str, i32> = BTreeMap::new();
    let mut share = seen.route.as_ref().map(|r| r.share);
    for status in plan {
        let step = &status.step;
        let ready = capacity.get(step.workload.as_str()).copied();
        let had = seen
            .points
            .iter()
            .find(|p| p.name == step.point)
            .and_then(|p| p.workloads.iter().find(|w| w.name == step.workload))
            .map(|w| w.replicas);
        match step.kind {
            StepKind::AwaitCapacity if !step.optional => {
                capacity.insert(&step.workload, step.replicas.unwrap_or(0));
            }
            StepKind::Scale | StepKind::ScaleBack => {
                capacity.remove(step.workload.as_str());
            }
            StepKind::SwapSelector | StepKind::ShiftWeight if ready < had || ready.is_none() => {
                wrong.push(format!(
                    "{:?} sends requests to {} before it has the {} replicas that it had",
                    step.kind,
                    step.workload,
                    had.unwrap_or(1)
                ));
            }
            _ => {}
        }
        if step.kind == StepKind::ShiftWeight {
            let weight = step.weight.as_ref();
            let falls = weight.is_some_and(|w| Some(w.from) == share && w.to < w.from);
            if !falls {
                wrong.push("ShiftWeight must take away from the share that the canary has".into());
            }
            share = weight.map(|w| w.to);
        }
        if step.kind == StepKind::SwapSelector {
            let fits = step.selector.as_ref().is_some_and(|change| {
                seen.service
                    .as_ref()
                    .is_some_and(|s| s.uid == change.service_uid && s.selector == change.from)
                    && change.from != change.to
            });
            if !fits {
                wrong.push("SwapSelector is not about what the Service selects".into());
            }
        }
    }
    let shifts = plan.iter().any(|s| s.step.kind == StepKind::ShiftWeight);
    if shifts && share != Some(0) {
        wrong.push("the canary is left with a share of the requests".into());
    }
    wrong
}

fn changes_anything_live(live: &Workload, plan: &[StepStatus]) -> bool {
    plan.iter().any(|s| match s.step.kind {
        StepKind::WriteTemplate => live.live().iter().any(|w| w.name == s.step.workload),
        StepKind::SwapSelector | StepKind::ShiftWeight | StepKind::RestoreConfig => true,
        _ => false,
    })
}
