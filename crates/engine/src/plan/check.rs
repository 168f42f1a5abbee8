//! Checks a plan against the safety rules. It shares no code with the planner, so that a mistake in
//! one is not made in the other.

use std::collections::BTreeSet;

use backstop_api::{
    event::{StepKind, StepState, StepStatus},
    point::Verdict,
};

use crate::snapshot::Snapshot;

/// Everything that is wrong with a plan; empty for one that may be carried out.
#[must_use]
pub fn violations(seen: &Snapshot, plan: &[StepStatus]) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(workload) = &seen.workload else {
        return vec!["there is no workload to plan for".into()];
    };
    if plan.is_empty() {
        wrong.push("a plan without steps changes nothing".into());
    }
    let kinds: Vec<StepKind> = plan.iter().map(|s| s.step.kind).collect();
    let writes: Vec<usize> = positions(&kinds, StepKind::WriteTemplate);
    if writes.len() != 1 {
        wrong.push(format!(
            "the template is written {} times, not once",
            writes.len()
        ));
    }
    for status in plan {
        let step = &status.step;
        let name = format!("{:?}", step.kind);
        if step.workload != workload.name || step.workload_uid != workload.uid {
            wrong.push(format!(
                "{name} is about another workload: {}",
                step.workload
            ));
        }
        if step.from == step.to {
            wrong.push(format!("{name} goes back to the release that failed"));
        }
        if step.from != workload.release {
            wrong.push(format!(
                "{name} takes back {}, which is not live",
                step.from
            ));
        }
        let held = seen.points.iter().any(|p| {
            p.name == step.point
                && p.verdict == Verdict::Good
                && p.release.as_deref() == Some(step.to.as_str())
        });
        if !held {
            wrong.push(format!(
                "{name}: no good point {} holds release {}",
                step.point, step.to
            ));
        }
        let failed_before = seen.points.iter().any(|p| {
            p.verdict == Verdict::Quarantined && p.release.as_deref() == Some(step.to.as_str())
        });
        if failed_before {
            wrong.push(format!("{name} goes to a quarantined release"));
        }
    }
    if workload.floor.is_some() {
        wrong.push("it goes behind a floor: the live release is one".into());
    }
    wrong.extend(behind_a_floor(seen, plan));
    let write = writes.first().copied().unwrap_or(0);
    for (kind, before) in [
        (StepKind::QuarantineRelease, true),
        (StepKind::HandBackOwnership, false),
        (StepKind::AwaitRollout, false),
        (StepKind::RestoreStrategy, false),
    ] {
        for position in positions(&kinds, kind) {
            if (position < write) != before {
                wrong.push(format!(
                    "{kind:?} stands on the wrong side of WriteTemplate"
                ));
            }
        }
    }
    for needed in [StepKind::HandBackOwnership, StepKind::AwaitRollout] {
        if positions(&kinds, needed).len() != 1 {
            wrong.push(format!("{needed:?} must be there once"));
        }
    }
    let changes_strategy = plan.iter().any(|s| s.step.rolling.is_some());
    let restores = !positions(&kinds, StepKind::RestoreStrategy).is_empty();
    if changes_strategy != restores {
        wrong.push("rollingUpdate must be put back if and only if it is changed".into());
    }
    wrong.extend(strategy_is_lost(plan, &kinds));
    wrong.extend(at_odds(plan));
    wrong
}

/// What would leave `/spec/strategy` other than it was, or put it back while it is still needed.
fn strategy_is_lost(plan: &[StepStatus], kinds: &[StepKind]) -> Vec<String> {
    let mut wrong = Vec::new();
    for restore in positions(kinds, StepKind::RestoreStrategy) {
        if plan[restore].step.strategy_before.is_none() {
            wrong.push("RestoreStrategy does not say what it was before".into());
        }
        if positions(kinds, StepKind::AwaitRollout)
            .first()
            .is_some_and(|wait| *wait > restore)
        {
            wrong.push("RestoreStrategy stands before AwaitRollout".into());
        }
    }
    wrong
}

/// Steps that do not belong together, or cannot end.
fn at_odds(plan: &[StepStatus]) -> Vec<String> {
    let mut wrong = Vec::new();
    let targets: BTreeSet<_> = plan.iter().map(|s| (&s.step.to, &s.step.point)).collect();
    if targets.len() > 1 {
        wrong.push(format!("a plan has one target, not {}", targets.len()));
    }
    for status in plan {
        let kind = status.step.kind;
        if kind == StepKind::AwaitRollout && status.step.timeout.is_none() {
            wrong.push("AwaitRollout without a timeout may never end".into());
        }
        if status.state != StepState::Waiting {
            wrong.push(format!("{kind:?} is begun already"));
        }
    }
    wrong
}

fn behind_a_floor(seen: &Snapshot, plan: &[StepStatus]) -> Option<String> {
    let target = &plan.first()?.step.point;
    let target = seen.points.iter().find(|p| &p.name == target)?;
    let floor = seen.points.iter().find(|p| {
        p.verdict == Verdict::Good && p.floor.is_some() && p.proved_at > target.proved_at
    })?;
    Some(format!("it goes behind the floor {}", floor.name))
}

fn positions(kinds: &[StepKind], wanted: StepKind) -> Vec<usize> {
    kinds
        .iter()
        .enumerate()
        .filter(|(_, k)| **k == wanted)
        .map(|(i, _)| i)
        .collect()
}
