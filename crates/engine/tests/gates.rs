//! Gates, vulnerabilities and overrides: what the engine says of them.

mod common;

use backstop_api::{
    RollbackEventStatus,
    condition::ConditionStatus,
    event::{EventPhase, Outcome},
    point::Verdict,
    policy::{Phase, TriggerState},
};
use backstop_engine::{
    decide::{Act, Decision, decide},
    image::ImageName,
    policy::ValidPolicy,
    snapshot::{Event, Snapshot},
    state::State,
    vulnerability::{Counts, LiveImage, Report, Reports},
};
use common::{GOOD, LIVE, at, policy, refused, seen, spec, state, with};
use jiff::Timestamp;
use serde_json::{Value, json};

const IMAGE: &str = "example.test/web:2";

fn vulnerable(fields: Value) -> Value {
    with(json!({"name": "vulnerable", "vulnerability": {}}), fields)
}

fn report(critical: u32, high: u32, seconds: i64) -> Report {
    Report {
        name: "replicaset-web-2-app".into(),
        replica_set: Some("web-2".into()),
        container: "app".into(),
        image: ImageName::parse(IMAGE),
        updated: Some(at(seconds)),
        all: Counts { critical, high },
        fixable: Counts { critical: 0, high },
    }
}

fn known(reports: Vec<Report>) -> Reports {
    let live = LiveImage {
        replica_sets: vec!["web-2".into()],
        container: "app".into(),
        image: ImageName::parse(IMAGE),
    };
    Reports::Known {
        reports,
        live: vec![live],
    }
}

fn with_reports(reports: Reports) -> Snapshot {
    Snapshot { reports, ..seen() }
}

fn look(policy: &ValidPolicy, snapshot: &Snapshot, now: Timestamp) -> (State, Decision) {
    decide(policy, &state(), snapshot, now)
}

fn trigger(state: &State) -> (TriggerState, &str) {
    let memory = &state.triggers["vulnerable"];
    (memory.state, &memory.message)
}

#[test]
fn figures_within_the_limits_are_quiet_and_over_them_the_release_is_blocked() {
    let policy = policy(&[vulnerable(json!({}))], json!({}));
    let (state, _) = look(
        &policy,
        &with_reports(known(vec![report(0, 10, 5)])),
        at(10),
    );
    assert_eq!(trigger(&state).0, TriggerState::Inactive);
    let (state, decision) = look(
        &policy,
        &with_reports(known(vec![report(1, 12, 5)])),
        at(10),
    );
    assert_eq!(trigger(&state).0, TriggerState::Firing);
    let value = state.triggers["vulnerable"].samples.back().unwrap().value;
    assert!((value - 3.0).abs() < f64::EPSILON, "{value}");
    let [Act::Start { spec, .. }] = &decision.acts[..] else {
        panic!("{:?}", decision.acts)
    };
    assert_eq!(
        spec.action,
        Some(backstop_api::policy::Action::BlockDeployment)
    );
    assert_eq!(spec.to, None);
    let details = &spec.evidence.as_ref().unwrap().details;
    assert!(
        details[0].contains("1 critical (at most 0) and 12 high (at most 10)"),
        "{details:?}"
    );
}

#[test]
fn a_report_counts_only_if_it_is_about_the_image_that_runs() {
    let policy = policy(&[vulnerable(json!({}))], json!({}));
    let bad = report(9, 9, 5);
    let others = [
        Report {
            image: ImageName::parse("example.test/web:1"),
            ..bad.clone()
        },
        Report {
            image: ImageName::parse("example.test/other:2"),
            ..bad.clone()
        },
        Report {
            container: "sidecar".into(),
            ..bad.clone()
        },
        Report {
            replica_set: Some("web-1".into()),
            ..bad.clone()
        },
        Report {
            replica_set: None,
            ..bad.clone()
        },
        // From before the release: the tag may have moved since.
        Report {
            updated: Some(at(-11)),
            ..bad.clone()
        },
        Report {
            updated: None,
            ..bad.clone()
        },
    ];
    for other in others {
        let (state, decision) = look(&policy, &with_reports(known(vec![other.clone()])), at(10));
        assert_ne!(trigger(&state).0, TriggerState::Firing, "{other:?}");
        assert!(decision.acts.is_empty(), "{other:?}");
    }
}

#[test]
fn a_digest_says_more_than_a_tag_and_an_age() {
    let policy = policy(&[vulnerable(json!({}))], json!({}));
    let judged = |said: &str, runs: &str| {
        let report = Report {
            image: ImageName::parse(&format!("{IMAGE}@{said}")),
            ..report(1, 0, -100)
        };
        let Reports::Known { reports, mut live } = known(vec![report]) else {
            unreachable!()
        };
        runs.clone_into(&mut live[0].image.digest);
        let (state, _) = look(
            &policy,
            &with_reports(Reports::Known { reports, live }),
            at(10),
        );
        trigger(&state).0
    };
    // An old report about the very image that runs is evidence; one about what the tag was before is not.
    assert_eq!(judged("sha256:ab", "sha256:ab"), TriggerState::Firing);
    assert_ne!(judged("sha256:ab", "sha256:cd"), TriggerState::Firing);
}

#[test]
fn without_reports_nothing_live_is_blocked_and_nothing_new_is_let_in_and_it_shows() {
    let policy = policy(
        &[vulnerable(json!({"noData": "Hold"}))],
        json!({"gates": {"vulnerabilities": {}}}),
    );
    let missing = Reports::Unavailable("the kind is not there".into());
    let (state, decision) = look(&policy, &with_reports(missing), at(10));
    assert_eq!(
        trigger(&state),
        (TriggerState::Error, "the kind is not there")
    );
    let gates = decision
        .say
        .conditions
        .iter()
        .find(|c| c.type_ == "GatesReady")
        .unwrap();
    assert_eq!(
        (gates.status, gates.reason.as_str()),
        (ConditionStatus::False, "NoReports")
    );
    assert!(
        gates.message.starts_with(
            "spec.gates.vulnerabilities: the kind is not there; every release is refused until that is mended"
        ),
        "{}",
        gates.message
    );
    let reckoned = decision.say.gates.unwrap();
    assert_eq!(
        reckoned.no_reports.as_deref(),
        Some("the kind is not there")
    );
    // Whoever does not ask for it needs no reports.
    let other = crate::policy(&[], json!({"gates": {"baseline": "Optional"}}));
    let missing = Reports::Unavailable("the kind is not there".into());
    let (_, decision) = look(&other, &with_reports(missing), at(10));
    assert_eq!(decision.say.gates.unwrap().no_reports, None);
    // A scan takes its time, and then it is missed.
    let (early, _) = look(&policy, &with_reports(known(Vec::new())), at(10));
    assert!(!early.triggers["vulnerable"].settled);
    let (late, decision) = look(&policy, &with_reports(known(Vec::new())), at(700));
    assert_eq!(trigger(&late).0, TriggerState::NoData);
    assert!(decision.acts.is_empty());
}

#[test]
fn a_blocked_release_is_not_blocked_twice_and_calls_a_person() {
    let policy = policy(&[vulnerable(json!({}))], json!({}));
    let mut snapshot = with_reports(known(vec![report(1, 0, 5)]));
    let (_, decision) = look(&policy, &snapshot, at(10));
    let [Act::Start { spec, .. }] = &decision.acts[..] else {
        panic!("{:?}", decision.acts)
    };
    snapshot.events.push(Event {
        created: at(10),
        spec: (**spec).clone(),
        status: RollbackEventStatus::default(),
        ..common::event(EventPhase::Pending)
    });
    let (_, decision) = look(&policy, &snapshot, at(11));
    let [Act::Block { release, event, .. }, Act::Change(change)] = &decision.acts[..] else {
        panic!("{:?}", decision.acts)
    };
    assert_eq!((release.as_str(), event.as_str()), (LIVE, "web-1"));
    assert_eq!(change.status.phase, Some(EventPhase::Succeeded));
    assert_eq!(change.status.outcome, Some(Outcome::Blocked));
    snapshot.events[0].status = change.status.clone();
    snapshot
        .points
        .push(common::point(LIVE, Verdict::Quarantined));
    let (_, decision) = look(&policy, &snapshot, at(12));
    assert!(decision.acts.is_empty(), "{:?}", decision.acts);
    assert_eq!(decision.say.phase, Phase::Held);
    assert_eq!(decision.say.held.as_deref(), Some("Blocked"));
    assert_eq!(decision.say.attempts, 0, "a block is no rollback");
    // Whoever takes the record away means that it is good.
    snapshot.points.retain(|p| p.verdict == Verdict::Good);
    let (_, decision) = look(&policy, &snapshot, at(13));
    assert!(decision.acts.is_empty(), "{:?}", decision.acts);
}

/// What is known of an image is the release's fault, whenever it is found out; what is measured is so within the
/// window only, and never once the release was restored.
#[test]
fn a_release_is_blocked_for_what_is_measured_only_where_it_could_be_taken_back_for_it() {
    let action = json!({"action": "BlockDeployment", "for": "0s"});
    let errors = common::with(common::errors(), action);
    let policy = policy(
        &[vulnerable(json!({})), errors],
        json!({"points": {"soak": "1h"}}),
    );
    let blamed = |found: Option<Report>, seconds: i64| -> Option<String> {
        let mut snapshot = with_reports(known(Vec::from_iter(found)));
        let errors = if matches!(&snapshot.reports, Reports::Known { reports, .. } if reports.is_empty())
        {
            0.5
        } else {
            0.0
        };
        snapshot
            .readings
            .insert("errors".into(), common::value(errors, seconds));
        let (_, decision) = look(&policy, &snapshot, at(seconds));
        decision.acts.into_iter().find_map(|act| match act {
            Act::Start { spec, .. } => spec.evidence.map(|e| e.trigger),
            _ => None,
        })
    };
    let late = 3600;
    assert_eq!(blamed(None, 300).as_deref(), Some("errors"));
    assert_eq!(blamed(None, late), None, "its window is over");
    assert_eq!(
        blamed(Some(report(1, 0, 5)), late).as_deref(),
        Some("vulnerable")
    );
}

#[test]
fn while_all_of_backstop_is_paused_nothing_is_begun() {
    let policy = policy(&[vulnerable(json!({"action": "Rollback"}))], json!({}));
    let mut snapshot = with_reports(known(vec![report(1, 0, 5)]));
    let (_, decision) = look(&policy, &snapshot, at(10));
    assert!(
        matches!(decision.acts[..], [Act::Start { .. }]),
        "{:?}",
        decision.acts
    );
    snapshot.paused = Some("paused by ConfigMap ops/backstop".into());
    let (_, decision) = look(&policy, &snapshot, at(10));
    assert!(decision.acts.is_empty(), "{:?}", decision.acts);
    assert_eq!(decision.say.phase, Phase::Paused);
    assert_eq!(decision.say.held.as_deref(), Some("BackstopPaused"));
}

#[test]
fn the_worst_images_of_the_namespace_are_named_and_the_rest_is_counted() {
    let policy = policy(&[], json!({"gates": {"vulnerabilities": {"maxHigh": 0}}}));
    let reports = (0..70)
        .map(|n| Report {
            image: ImageName::parse(&format!("example.test/web:{n}")),
            ..report(n % 7, n, 5)
        })
        .collect();
    let (_, decision) = look(&policy, &with_reports(known(reports)), at(10));
    let gates = decision.say.gates.unwrap();
    // Tag 0 has none at all.
    assert_eq!(
        (
            gates.vulnerable_images.len(),
            gates.further_vulnerable_images
        ),
        (64, 5)
    );
    assert_eq!(
        (
            gates.vulnerable_images[0].critical,
            gates.vulnerable_images[0].high
        ),
        (6, 69)
    );
    assert!(
        gates
            .vulnerable_images
            .iter()
            .all(|image| image.critical > 0 || image.high > 0)
    );
}

#[test]
fn the_newest_report_about_an_image_counts() {
    let policy = policy(&[], json!({"gates": {"vulnerabilities": {}}}));
    for (first, second) in [((5, 10), (0, 20)), ((0, 20), (5, 10))] {
        let reports = vec![report(first.0, 0, first.1), report(second.0, 0, second.1)];
        let (_, decision) = look(&policy, &with_reports(known(reports)), at(30));
        assert_eq!(decision.say.gates.unwrap().vulnerable_images, []);
    }
}

#[test]
fn a_release_waits_for_a_baseline_only_while_the_live_one_may_become_it() {
    let compared = json!({
        "name": "memory", "prometheus": {"query": "max(memory)"}, "condition": "value > baseline",
    });
    let policy = policy(&[compared], json!({"gates": {"baseline": "Required"}}));
    let mut snapshot = seen();
    let why = |snapshot: &Snapshot| {
        look(&policy, snapshot, at(10))
            .1
            .say
            .gates
            .unwrap()
            .no_baseline
    };
    // A good point without that value is not enough.
    let said = why(&snapshot).unwrap();
    assert!(said.contains("with a value of memory on record"), "{said}");
    let point = snapshot
        .points
        .iter_mut()
        .find(|p| p.release.as_deref() == Some(GOOD))
        .unwrap();
    point.baselines.insert("memory".into(), 100.0.into());
    assert_eq!(why(&snapshot), None);
    snapshot.points.clear();
    assert!(why(&snapshot).is_some());
    snapshot
        .workload
        .as_mut()
        .unwrap()
        .pods
        .crash_looping
        .push("pod web-1 crashes".into());
    assert_eq!(why(&snapshot), None, "what comes next is the fix");
}

#[test]
fn a_release_waits_for_a_baseline_that_it_can_be_compared_with() {
    let trigger = |fields: Value| {
        let it =
            json!({"name": "memory", "prometheus": {"query": "max(memory)"}, "interval": "10s"});
        with(it, fields)
    };
    let relative = json!({"condition": "value > 1.5 * baseline"});
    let why = |trigger: Value, samples: &[f64], now: i64| {
        let policy = policy(&[trigger], json!({"gates": {"baseline": "Required"}}));
        let mut snapshot = seen();
        let point = snapshot
            .points
            .iter_mut()
            .find(|p| p.release.as_deref() == Some(GOOD))
            .unwrap();
        point.proved_at = at(0);
        let measured = backstop_engine::baseline::of_samples(samples, (Some(at(0)), Some(at(0))));
        point.baselines.insert("memory".into(), measured.unwrap());
        let gates = look(&policy, &snapshot, at(now)).1.say.gates.unwrap();
        gates.no_baseline.unwrap_or_default()
    };
    assert_eq!(why(trigger(relative.clone()), &[100.0; 9], 10), "");
    let few = why(trigger(relative.clone()), &[100.0; 2], 10);
    assert!(few.contains("too few samples: 2, of at least 5"), "{few}");
    let wild = why(
        trigger(relative.clone()),
        &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0],
        10,
    );
    assert!(wild.contains("too wild to compare with"), "{wild}");
    let aging = with(relative, json!({"baseline": {"maxAge": "1h"}}));
    assert_eq!(why(trigger(aging.clone()), &[100.0; 9], 3600), "");
    let old = why(trigger(aging), &[100.0; 9], 2 * 3600);
    assert!(old.contains("is 2 h old, and may be 1 h"), "{old}");
    // Whole sets of samples are compared with a point's too.
    let sets = json!({"compare": {"samples": 12, "confidence": 0.95}});
    let short = why(trigger(sets), &[100.0; 9], 10);
    assert!(
        short.contains("too few samples to compare: 9 of 12"),
        "{short}"
    );
    // What is compared with another time, or with a number, needs nothing of a point.
    for other in [
        json!({"from": "Offset", "offset": "24h"}),
        json!({"from": "Static", "value": 1.0}),
    ] {
        let fields = json!({"condition": "value > 1.5 * baseline", "baseline": other});
        assert_eq!(why(trigger(fields), &[100.0; 2], 10), "");
    }
}

#[test]
fn what_is_missing_is_said_beside_what_is_no_good_in_as_many_words_as_a_refusal_holds() {
    let trigger = |name: &str| {
        json!({
            "name": name, "prometheus": {"query": "max(memory)"}, "condition": "value > baseline",
        })
    };
    let why = |names: &[String], measured: &[String]| {
        let triggers: Vec<Value> = names.iter().map(|name| trigger(name)).collect();
        let policy = policy(&triggers, json!({"gates": {"baseline": "Required"}}));
        let mut snapshot = seen();
        let few = backstop_engine::baseline::of_samples(&[100.0; 2], (None, None)).unwrap();
        let few = measured.iter().map(|name| (name.clone(), few.clone()));
        snapshot.points[0].baselines.extend(few);
        let gates = look(&policy, &snapshot, at(10)).1.say.gates.unwrap();
        gates.no_baseline.unwrap_or_default()
    };
    let names = ["memory".to_owned(), "cpu".to_owned()];
    let said = why(&names, &names[..1]);
    for words in [
        "with a value of cpu on record",
        "the baseline of memory in RollbackPoint web-600d600d600d600d was made of too few samples",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let many: Vec<String> = (0..32).map(|n| format!("trigger-{n}")).collect();
    let said = why(&many, &many);
    assert!(said.len() < 3072 && said.contains('…'), "{said}");
    assert!(said.contains("has been healthy for"), "{said}");
}

#[test]
fn where_nothing_is_compared_a_release_waits_for_one_that_proved_itself_and_has_not_failed_since() {
    let policy = policy(&[], json!({"gates": {"baseline": "Required"}}));
    let mut snapshot = seen();
    let why = |snapshot: &Snapshot| {
        let gates = look(&policy, snapshot, at(10)).1.say.gates.unwrap();
        gates.no_baseline.unwrap_or_default()
    };
    assert_eq!(why(&snapshot), "");
    snapshot
        .points
        .push(common::point(GOOD, Verdict::Quarantined));
    let said = why(&snapshot);
    assert!(said.contains("with its values on record"), "{said}");
}

#[test]
fn windows_of_a_freeze_follow_the_clock_of_their_zone() {
    let weekend = json!({"timeZone": "Europe/Berlin", "windows": [
        {"name": "weekend", "weekly": {"days": ["Friday"], "at": "16:00", "for": "64h"}},
    ]});
    let policy = policy(&[], json!({"gates": {"freeze": weekend}}));
    // A Saturday; the night to Sunday in which the clock is put back lies ahead.
    let now: Timestamp = "2026-10-24T12:00:00Z".parse().unwrap();
    let (_, decision) = look(&policy, &seen(), now);
    let windows = decision.say.gates.unwrap().freezes;
    assert_eq!(windows[0].from.to_string(), "2026-10-23T14:00:00Z");
    assert_eq!(windows[0].until.to_string(), "2026-10-26T06:00:00Z");
    assert_eq!(windows[1].from.to_string(), "2026-10-30T15:00:00Z");
    assert!(windows.len() <= 8 && windows.is_sorted_by_key(|w| w.from));
    assert!(windows.iter().all(|w| w.until > now));
}

#[test]
fn a_freeze_that_is_over_is_not_named_and_one_that_is_wrong_is_refused_by_field() {
    let once = json!({"windows": [
        {"name": "past", "once": {"from": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z"}},
    ]});
    let policy = policy(&[], json!({"gates": {"freeze": once}}));
    assert_eq!(
        look(&policy, &seen(), at(10)).1.say.gates.unwrap().freezes,
        []
    );
    let wrong = json!({"timeZone": "Mars/Olympus", "windows": [
        {"name": "a", "weekly": {"at": "25:00", "for": "1h"}},
        {"name": "b", "weekly": {"at": "22:00", "for": "200h"}},
        {"name": "c", "once": {"from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}},
        {"name": "d"},
    ]});
    let errors = refused(spec(&[], json!({"gates": {"freeze": wrong}})));
    let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.gates.freeze.timeZone",
            "spec.gates.freeze.windows[0].weekly.at",
            "spec.gates.freeze.windows[1].weekly.for",
            "spec.gates.freeze.windows[2].once.until",
            "spec.gates.freeze.windows[3]",
        ]
    );
}

#[test]
fn who_has_taken_over_is_said_once_and_stays_on_record() {
    let policy = policy(&[], json!({}));
    let mut snapshot = seen();
    let workload = snapshot.workload.as_mut().unwrap();
    workload.overridden = Some("INC-17".into());
    workload.overridden_by = Some("alice".into());
    let (state, decision) = decide(&policy, &state(), &snapshot, at(10));
    let reasons = |decision: &Decision| -> Vec<&str> {
        let all = decision.notices.iter().map(|n| n.reason);
        all.filter(|r| r.starts_with("Overrid")).collect()
    };
    assert_eq!(reasons(&decision), ["Overridden"]);
    let said = decision
        .say
        .conditions
        .iter()
        .find(|c| c.type_ == "Overridden")
        .unwrap();
    assert!(
        said.message.contains("alice has taken over web"),
        "{}",
        said.message
    );
    let (state, decision) = decide(&policy, &state, &snapshot, at(20));
    assert!(reasons(&decision).is_empty());
    let workload = snapshot.workload.as_mut().unwrap();
    workload.overridden = None;
    workload.overridden_by = None;
    let (state, decision) = decide(&policy, &state, &snapshot, at(30));
    assert_eq!(decision.notices.last().unwrap().reason, "OverrideEnded");
    assert!(
        decision
            .say
            .conditions
            .iter()
            .all(|c| c.type_ != "Overridden")
    );
    let record = &state.overrides[0];
    assert_eq!(
        (record.by.as_str(), record.since, record.until),
        ("alice", at(10), Some(at(30)))
    );
}

#[test]
fn at_most_ten_overrides_are_kept() {
    let policy = policy(&[], json!({}));
    let mut snapshot = seen();
    let mut state = state();
    for n in 0..30 {
        let workload = snapshot.workload.as_mut().unwrap();
        workload.overridden = Some(format!("reason {n}"));
        state = decide(&policy, &state, &snapshot, at(n)).0;
    }
    assert_eq!(state.overrides.len(), 10);
    assert_eq!(state.overrides[0].reason, "reason 29");
    assert!(state.overrides[1..].iter().all(|o| o.until.is_some()));
}
