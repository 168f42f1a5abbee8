//! Between two steps of a gradual rollback.

mod common;
mod stage;

use backstop_api::{
    event::{EventPhase, Sample, StepKind},
    policy::TriggerState,
};
use backstop_engine::{
    gradual::{Between, between},
    policy::{ValidPolicy, validate},
    snapshot::Workload,
    state::{State, TriggerMemory},
};
use common::{at, errors, event, spec, with};
use serde_json::json;
use stage::Stage;

/// A canary whose share was made smaller at 100 s; `errors` asked for that.
struct Case {
    stop_when: &'static str,
    second: serde_json::Value,
    votes: serde_json::Value,
    state: State,
    workload: Workload,
    now: i64,
    /// What the step before said.
    before: Option<String>,
}

fn memory(state: TriggerState, value: f64, measured: i64, asked: i64) -> TriggerMemory {
    TriggerMemory {
        state,
        settled: true,
        asked_at: Some(at(asked)),
        samples: [Sample {
            at: at(measured),
            value,
        }]
        .into(),
        ..TriggerMemory::new(at(0))
    }
}

impl Case {
    /// Half of the time is over, and the errors are too many.
    fn new() -> Self {
        let mut case = Self {
            stop_when: "value < 0.02",
            second: json!({"severity": "Critical"}),
            votes: json!([]),
            state: State::default(),
            workload: Stage::canary(50).live().unwrap(),
            now: 130,
            before: None,
        };
        case.measure(0.5, 120, 120);
        case
    }

    fn measure(&mut self, value: f64, measured: i64, asked: i64) {
        let it = memory(TriggerState::Firing, value, measured, asked);
        self.state.triggers.insert("errors".into(), it);
    }

    fn asked(&mut self) -> &mut TriggerMemory {
        self.state.triggers.get_mut("errors").unwrap()
    }

    fn second_fires(&mut self) {
        let it = memory(TriggerState::Firing, 1.0, 120, 120);
        self.state.triggers.insert("latency".into(), it);
    }

    fn other(&mut self) -> &mut TriggerMemory {
        self.state.triggers.get_mut("latency").unwrap()
    }

    fn policy(&self) -> ValidPolicy {
        let stage = Stage::canary(50)
            .set("canary", "stopWhen", json!(self.stop_when))
            .set("canary", "stepInterval", json!("60s"));
        let second = with(errors(), json!({"name": "latency"}));
        let second = with(second, self.second.clone());
        let third = with(errors(), json!({"name": "users"}));
        let mut fields = stage.fields;
        fields["decision"] = json!({"votes": self.votes});
        let spec = spec(&[errors(), second, third], fields);
        validate("web", &serde_json::from_value(spec).unwrap()).unwrap()
    }

    fn between(&self) -> Between {
        let policy = self.policy();
        let mut event = event(EventPhase::Executing);
        let mut step = event.status.steps[0].clone();
        step.step.kind = StepKind::HoldWeight;
        step.message.clone_from(&self.before);
        event.status.steps.push(step);
        between(
            &policy,
            policy.strategy.canary().expect("a canary"),
            &self.state,
            &event,
            &self.workload,
            at(100),
            at(self.now),
        )
    }
}

fn waits(case: &Case) {
    let between = case.between();
    assert!(matches!(between, Between::Wait(_)), "{between:?}");
}

fn goes_on(case: &Case, words: &str) {
    match case.between() {
        Between::GoOn(why) => assert!(why.contains(words), "{why}"),
        other => panic!("{other:?}"),
    }
}

fn stops(case: &Case) {
    match case.between() {
        Between::Stop(why) => assert!(why.contains("well again (0.01 on errors)"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// With ever fewer requests there may be nothing left to judge by.
#[test]
fn once_it_got_worse_it_goes_all_the_way() {
    let mut case = Case::new();
    case.second_fires();
    let Between::GoOn(why) = case.between() else {
        panic!("it waits");
    };
    let mut case = Case::new();
    case.before = Some(why);
    goes_on(&case, "trigger latency, which is Critical, fires too");
    case.before = Some("60 s are over".into());
    waits(&case);
}

#[test]
fn it_waits_until_the_time_is_over() {
    let mut case = Case::new();
    case.now = 159;
    waits(&case);
    case.now = 160;
    goes_on(&case, "60 s are over");
    case.now = 1000;
    goes_on(&case, "60 s are over");
}

#[test]
fn it_goes_on_when_a_critical_trigger_fires_too() {
    let mut case = Case::new();
    case.second_fires();
    goes_on(&case, "trigger latency, which is Critical, fires too");
    // It is worse, however well the first is by now.
    case.measure(0.01, 120, 120);
    goes_on(&case, "latency");
    case.state.triggers.get_mut("latency").unwrap().state = TriggerState::Pending;
    stops(&case);
}

#[test]
fn it_does_not_go_on_for_a_warning_or_for_what_only_notifies() {
    for second in [
        json!({"severity": "Warning"}),
        json!({"severity": "Critical", "action": "Notify"}),
    ] {
        let mut case = Case::new();
        case.second = second;
        case.second_fires();
        waits(&case);
    }
}

/// What would not begin a rollback does not hurry one.
#[test]
fn it_does_not_go_on_for_what_would_be_held() {
    let mut recovers = Case::new();
    recovers.second_fires();
    recovers.other().recovering_since = Some(at(125));
    waits(&recovers);

    let mut spared = Case::new();
    spared.second_fires();
    spared.other().peers.alike_since = Some(at(110));
    spared.other().peers.alike_at = Some(at(120));
    waits(&spared);

    let mut outvoted = Case::new();
    outvoted.votes = json!([{"triggers": ["latency", "users"], "needed": 2}]);
    outvoted.second_fires();
    waits(&outvoted);
    let it = memory(TriggerState::Firing, 1.0, 120, 120);
    outvoted.state.triggers.insert("users".into(), it);
    goes_on(&outvoted, "which is Critical, fires too");
}

#[test]
fn it_goes_on_when_the_canary_cannot_start() {
    let mut case = Case::new();
    case.measure(0.01, 120, 120);
    case.workload.pods.image_pull = vec!["pod canary-1: no such image".into()];
    goes_on(&case, "no such image");
}

#[test]
fn it_stops_when_it_is_well() {
    let mut case = Case::new();
    case.measure(0.01, 120, 120);
    stops(&case);
    // Also when the time is over.
    case.now = 160;
    stops(&case);
    case.measure(0.02, 120, 120);
    goes_on(&case, "over");
}

#[test]
fn it_does_not_stop_on_a_stale_sample() {
    let mut case = Case::new();
    for (measured, asked) in [(100, 120), (90, 120), (120, 100), (120, 90)] {
        case.measure(0.01, measured, asked);
        waits(&case);
    }
    case.measure(0.01, 101, 101);
    stops(&case);
    case.asked().settled = false;
    waits(&case);
    case.asked().settled = true;
    case.asked().asked_at = None;
    waits(&case);
    case.measure(0.01, 120, 120);
    case.asked().samples.clear();
    waits(&case);
    case.state.triggers.clear();
    waits(&case);
}

#[test]
fn it_does_not_stop_on_what_cannot_be_evaluated() {
    let mut case = Case::new();
    case.stop_when = "value < baseline";
    case.measure(0.01, 120, 120);
    waits(&case);
    case.asked().baseline = Some(0.05);
    stops(&case);
}
