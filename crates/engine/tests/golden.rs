//! Plans and decisions as they are written down for people, each compared with a file.
//!
//! The messages are for whoever is on call at night: what happened, why, and what to do next. After
//! a change that is meant, `UPDATE_GOLDEN=1 cargo test -p backstop-engine --test golden` writes the
//! files anew, and their diff is what the reviewer reads.

mod common;
mod golden_cases;
mod stage;

use std::{collections::BTreeMap, fs, path::PathBuf};

use backstop_api::{event::StepStatus, policy::Action};
use backstop_engine::{
    decide::{Act, Decision},
    plan::{Order, check::violations, plan},
    snapshot::Snapshot,
};
use common::{errors, policy, seen};
use golden_cases::Case;
use serde_json::{Map, Value, json};
use stage::{Stage, size};

/// Compares with the file, or writes it.
fn compare(name: &str, value: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.yaml"));
    let now = serde_yaml_ng::to_string(value).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, now).unwrap();
        return;
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let differs = now
        .lines()
        .zip(golden.lines())
        .enumerate()
        .find(|(_, (now, golden))| now != golden)
        .map_or_else(
            || "one is longer than the other".to_owned(),
            |(line, (now, golden))| format!("line {}\n golden: {golden}\n now:    {now}", line + 1),
        );
    assert!(
        now == golden,
        "{} differs: {differs}\nif that is meant: UPDATE_GOLDEN=1 cargo test -p backstop-engine --test golden",
        path.display()
    );
}

fn plan_is(name: &str, seen: &Snapshot, fields: Value, action: Action, quarantine: bool) {
    let policy = policy(&[errors()], fields);
    let plan = plan(&Order {
        policy: &policy,
        seen,
        workload: seen.workload.as_ref().unwrap(),
        point: &seen.points[0],
        action,
        quarantine,
    })
    .unwrap();
    assert_eq!(violations(seen, &plan), Vec::<String>::new());
    let steps: Vec<Value> = plan.iter().map(step).collect();
    compare(name, &Value::Array(steps));
}

fn step(status: &StepStatus) -> Value {
    serde_json::to_value(&status.step).unwrap()
}

#[test]
fn plan_plain() {
    plan_is("plan-plain", &seen(), json!({}), Action::Rollback, true);
}

#[test]
fn plan_without_quarantine() {
    plan_is(
        "plan-without-quarantine",
        &seen(),
        json!({}),
        Action::Rollback,
        false,
    );
}

#[test]
fn plan_with_rolling_parameters() {
    let fields = json!({"strategy": {"timeout": "90s", "rolling": {"maxUnavailable": 1, "maxSurge": "50%"}}});
    plan_is(
        "plan-rolling-parameters",
        &seen(),
        fields,
        Action::Rollback,
        true,
    );
}

/// The Deployment's own parameters are the wanted ones already: nothing is changed or put back.
#[test]
fn plan_with_the_rolling_parameters_that_are_there() {
    let fields = json!({"strategy": {"rolling": {"maxUnavailable": "25%"}}});
    plan_is(
        "plan-rolling-parameters-as-they-are",
        &seen(),
        fields,
        Action::Rollback,
        true,
    );
}

/// With the Deployment's own maxSurge 0, maxUnavailable 0 alone would be refused by the server.
#[test]
fn plan_with_rolling_parameters_that_need_a_surge() {
    let mut seen = seen();
    seen.workload.as_mut().unwrap().strategy =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}});
    let fields = json!({"strategy": {"rolling": {"maxUnavailable": 0}}});
    plan_is(
        "plan-rolling-parameters-surge",
        &seen,
        fields,
        Action::Rollback,
        true,
    );
}

#[test]
fn plan_gradual() {
    let mut seen = seen();
    seen.workload.as_mut().unwrap().strategy_owners = vec![json!({
        "manager": "helm", "operation": "Update", "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:strategy": {"f:type": {}}}},
    })];
    plan_is(
        "plan-gradual",
        &seen,
        json!({}),
        Action::GradualRollback,
        true,
    );
}

/// Such a Deployment has no `rollingUpdate`.
#[test]
fn plan_of_a_deployment_that_recreates() {
    let mut seen = seen();
    seen.workload.as_mut().unwrap().strategy = json!({"type": "Recreate"});
    plan_is(
        "plan-recreate",
        &seen,
        json!({}),
        Action::GradualRollback,
        true,
    );
}

/// What a strategy plans, shortly: each step on a line of what matters in it.
fn strategy_is(name: &str, stage: &Stage, action: Action) {
    let plan = stage.plan(action, true).unwrap();
    assert_eq!(violations(&stage.seen(), &plan), Vec::<String>::new());
    let steps: Vec<Value> = plan.iter().map(step).collect();
    compare(name, &Value::Array(steps));
}

fn no_plan(stage: &Stage, words: &str) {
    let why = stage.plan(Action::Rollback, true).unwrap_err();
    assert!(
        why.contains(words),
        "expected '{words}', and it says: {why}"
    );
    assert!(
        why.contains("fix forward"),
        "it does not say what to do: {why}"
    );
}

#[test]
fn plan_of_several_with_one_changed() {
    let stage = Stage::several("Rolling", &["web", "worker"]).changed("web");
    strategy_is("plan-several-one-changed", &stage, Action::Rollback);
}

#[test]
fn plan_of_several_with_two_changed() {
    let stage = Stage::several("Rolling", &["web", "worker", "mail"]).changed("web");
    let stage = stage.changed("mail");
    strategy_is("plan-several-two-changed", &stage, Action::Rollback);
}

#[test]
fn plan_of_recreate() {
    let stage = Stage::several("Recreate", &["web"]).changed("web");
    strategy_is("plan-stop-and-restore-one", &stage, Action::Rollback);
    let stage = Stage::several("Recreate", &["web", "worker"]).changed("web");
    strategy_is(
        "plan-stop-and-restore-two",
        &stage.changed("worker"),
        Action::Rollback,
    );
}

#[test]
fn plan_with_more_capacity() {
    let stage = Stage::several("Rolling", &["web"]).changed("web");
    let number = stage.clone().set("", "scale", json!({"by": 2}));
    strategy_is("plan-scale-number", &number, Action::ScaleAndRollback);
    // A half of 3 is 2, not 1: capacity is rounded up.
    let share = stage.set("", "scale", json!({"by": "50%"}));
    strategy_is("plan-scale-share", &share, Action::ScaleAndRollback);
}

#[test]
fn plan_of_blue_green() {
    strategy_is("plan-blue-green", &Stage::stacks(), Action::Rollback);

    let mut stage = Stage::stacks();
    size(stage.there("blue"), 0);
    strategy_is("plan-blue-green-from-zero", &stage, Action::Rollback);

    let stage = Stage::stacks().set("blueGreen", "preserveFailed", json!(false));
    strategy_is("plan-blue-green-stop-failed", &stage, Action::Rollback);
}

/// The Service still selects the good stack, and its template was changed.
#[test]
fn plan_of_blue_green_that_was_changed_in_place() {
    let mut stage = Stage::stacks().changed("blue");
    stage.now.service.clone_from(&stage.was.service);
    strategy_is("plan-blue-green-in-place", &stage, Action::Rollback);
}

#[test]
fn no_plan_of_blue_green_whose_idle_stack_was_changed() {
    no_plan(
        &Stage::stacks().changed("blue"),
        "it was changed since it was live",
    );
}

#[test]
fn plan_of_a_canary() {
    strategy_is("plan-canary", &Stage::canary(20), Action::Rollback);
    let at_first = |share| Stage::canary(share);
    strategy_is(
        "plan-canary-gradual-100",
        &at_first(100),
        Action::GradualRollback,
    );
    strategy_is(
        "plan-canary-gradual-20",
        &at_first(20),
        Action::GradualRollback,
    );
    // 3 % goes to 3, 2, 1 and 0: the first step would take nothing away.
    strategy_is(
        "plan-canary-gradual-3",
        &at_first(3),
        Action::GradualRollback,
    );
}

/// Only its share was raised: its template stays, its size does too.
#[test]
fn plan_of_a_canary_as_it_was() {
    let mut stage = Stage::canary(20);
    stage.there("canary").release = "old-canary".into();
    size(stage.there("canary"), 1);
    strategy_is("plan-canary-as-it-was", &stage, Action::Rollback);
}

#[test]
fn plan_of_a_canary_that_the_point_does_not_hold() {
    let mut stage = Stage::canary(20);
    stage.was.deployments.truncate(1);
    strategy_is("plan-canary-not-held", &stage, Action::Rollback);
}

#[test]
fn plan_of_a_canary_whose_stable_side_is_too_small() {
    let mut stage = Stage::canary(100);
    size(stage.there("stable"), 1);
    strategy_is("plan-canary-small-stable", &stage, Action::Rollback);
}

#[test]
fn plan_of_a_canary_without_a_share() {
    let stage = Stage::canary(0).changed("stable");
    strategy_is("plan-canary-stable-changed", &stage, Action::Rollback);
}

#[test]
fn no_plan_of_a_canary_with_both_sides_changed() {
    no_plan(
        &Stage::canary(20).changed("stable"),
        "both sides were changed",
    );
}

/// A decision, as far as people see it.
fn shown(decision: &Decision) -> Value {
    let say = &decision.say;
    let mut shown = Map::new();
    shown.insert("phase".into(), json!(say.phase));
    shown.insert("message".into(), json!(say.message));
    shown.insert("health".into(), json!(say.health));
    let score = &say.score;
    shown.insert(
        "score".into(),
        json!(format!(
            "{:?} {:?}: {}",
            score.value, score.trend, score.message
        )),
    );
    let conditions = say.conditions.iter().filter(|c| c.reason != "Valid");
    for said in conditions {
        let text = format!("{:?} {}: {}", said.status, said.reason, said.message);
        shown.insert(said.type_.into(), json!(text));
    }
    let acts: Vec<Value> = decision.acts.iter().map(act).collect();
    if !acts.is_empty() {
        shown.insert("acts".into(), json!(acts));
    }
    let notices = decision.notices.iter();
    let notices: Vec<_> = notices
        .map(|n| format!("{:?} {}: {}", n.kind, n.reason, n.message))
        .collect();
    if !notices.is_empty() {
        shown.insert("notices".into(), json!(notices));
    }
    shown.insert("wakeAt".into(), json!(decision.wake_at));
    Value::Object(shown)
}

fn act(act: &Act) -> Value {
    match act {
        Act::Capture { release, baselines } => {
            let values = baselines.iter().map(|(name, it)| (name, it.value));
            json!({"capture": release, "baselines": values.collect::<BTreeMap<_, _>>()})
        }
        Act::Start { spec, .. } => json!({
            "start": spec.reason, "attempt": spec.attempt, "action": spec.action,
            "from": spec.from.as_ref().map(|f| &f.hash), "to": spec.to.as_ref().map(|t| &t.point),
            "notBefore": spec.not_before,
        }),
        Act::Change(change) => {
            let status = &change.status;
            let steps = status.steps.iter().map(|s| s.step.kind);
            let steps: Vec<_> = steps.collect();
            json!({
                "change": change.name, "phase": status.phase, "outcome": status.outcome,
                "message": status.message, "steps": steps,
            })
        }
        Act::Block {
            release,
            event,
            reason,
            ..
        } => json!({"block": release, "event": event, "reason": reason}),
        Act::LiftQuarantine { release, event } => json!({"lift": release, "event": event}),
    }
}

fn decisions_are(name: &str, cases: Vec<(&'static str, Case)>) {
    let mut all = Map::new();
    for (case, it) in cases {
        let before = all.insert(case.to_owned(), shown(&it.decide()));
        assert!(before.is_none(), "two cases are called {case}");
    }
    compare(name, &Value::Object(all));
}

#[test]
fn what_is_said_when_a_trigger_fires() {
    let mut cases = golden_cases::firing();
    cases.extend(golden_cases::firing_among_others());
    decisions_are("firing", cases);
}

#[test]
fn what_is_said_while_a_rollback_is_pending() {
    let mut cases = golden_cases::pending();
    cases.extend(golden_cases::pending_among_others());
    decisions_are("pending", cases);
}

#[test]
fn what_is_said_of_each_end_of_a_rollback() {
    decisions_are("verifying", golden_cases::verifying());
}

#[test]
fn what_is_said_when_no_trigger_fires() {
    decisions_are("quiet", golden_cases::quiet());
}
