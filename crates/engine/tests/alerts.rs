//! What alerts make of a trigger: which of them count, when silence is good news, and when it is none.

mod common;

use std::{collections::BTreeMap, sync::Arc};

use backstop_api::{
    event::{EventPhase, Outcome},
    point::Verdict,
    policy::TriggerState::{self, Firing, Inactive, NoData, Pending},
};
use backstop_engine::{
    alert::{Alert, Heard},
    policy::ValidPolicy,
    query::QueryContext,
    snapshot::Snapshot,
    state::{State, TriggerMemory},
    trigger,
};
use common::{GOOD, LIVE, at, event, point, policy, seen, state, with};
use serde_json::{Value, json};

/// One trigger, judged on what was heard. The release began at -10 s and its first pod was ready at 0.
struct Listening {
    policy: ValidPolicy,
    state: State,
    seen: Snapshot,
    now: i64,
}

/// Looks back a minute; alerts expire after one as well.
fn errors() -> Value {
    json!({"name": "errors", "alert": {
        "matchLabels": {"alertname": "Errors"}, "range": "1m", "expireAfter": "1m",
        "heartbeat": {"matchLabels": {"alertname": "Watchdog"}},
    }})
}

impl Listening {
    fn to(trigger: Value) -> Self {
        let heard = Heard {
            since: at(-3600),
            left_out_at: None,
            alerts: Vec::new(),
            about: Some(QueryContext {
                workloads: vec!["web".into()],
                namespace: "shop".into(),
                template_hashes: vec!["55d4".into()],
                release: LIVE.into(),
            }),
        };
        Self {
            policy: policy(&[trigger], json!({})),
            state: state(),
            seen: Snapshot {
                heard: Some(heard),
                ..seen()
            },
            now: 0,
        }
    }

    fn heard(&mut self) -> &mut Heard {
        self.seen.heard.as_mut().unwrap()
    }

    /// An alert is heard that began then.
    fn alert(&mut self, labels: &[(&str, &str)], began: i64, heard: i64, firing: bool) {
        let labels: BTreeMap<String, String> = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let alerts = &mut self.heard().alerts;
        alerts.retain(|old| old.labels != labels);
        alerts.push(Arc::new(Alert {
            labels,
            summary: Some("half of the requests fail".into()),
            starts_at: at(began),
            first_heard_at: at(began.max(-3600)),
            heard_at: at(heard),
            firing,
            own: false,
        }));
    }

    /// About a pod of the live release.
    fn about_a_pod(&mut self, began: i64, heard: i64, firing: bool) {
        let labels = [
            ("alertname", "Errors"),
            ("namespace", "shop"),
            ("pod", "web-55d4-x2z9q"),
        ];
        self.alert(&labels, began, heard, firing);
    }

    /// About the Deployment, and no pod.
    fn about_the_workload(&mut self, began: i64, heard: i64, firing: bool) {
        let labels = [
            ("alertname", "Errors"),
            ("namespace", "shop"),
            ("deployment", "web"),
        ];
        self.alert(&labels, began, heard, firing);
    }

    fn beats(&mut self, heard: i64) {
        self.alert(&[("alertname", "Watchdog")], -3600, heard, true);
    }

    fn at(&mut self, now: i64) -> TriggerState {
        self.now = now;
        let workload = self.seen.workload.clone().unwrap();
        trigger::judge(
            &self.policy,
            &mut self.state,
            &self.seen,
            &workload,
            at(now),
        );
        self.memory().state
    }

    fn memory(&self) -> &TriggerMemory {
        &self.state.triggers["errors"]
    }

    fn says(&self, words: &str) {
        let message = &self.memory().message;
        assert!(message.contains(words), "{message}");
    }

    /// The release was restored by a rollback that was rolled out at 60 s.
    fn restored(&mut self) {
        let mut back = event(EventPhase::Verifying);
        back.status.restored_hash = Some(LIVE.into());
        self.seen.events = vec![back];
        self.seen.points.push(point(LIVE, Verdict::Good));
        let release = self.state.release.as_mut().unwrap();
        release.restored_by = Some("web-1".into());
        release.since = at(50);
        release.first_ready_at = Some(at(55));
        release.completed_at = Some(at(60));
    }
}

#[test]
fn an_alert_about_a_pod_of_the_release_fires_at_once_and_says_what_it_is() {
    let mut it = Listening::to(errors());
    it.about_a_pod(1, 2, true);
    assert_eq!(it.at(2), Firing);
    it.says("value = 1: 'value > 0.0' holds; alert Errors about pod web-55d4-x2z9q, since 2023-");
    it.says("half of the requests fail");
    assert_eq!(
        it.memory().query.as_deref(),
        Some(r#"{alertname="Errors"}"#)
    );
}

#[test]
fn the_value_is_the_number_of_alerts() {
    let mut it = Listening::to(with(errors(), json!({"condition": "value > 1.0"})));
    it.about_a_pod(1, 2, true);
    it.beats(2);
    assert_eq!(it.at(2), Inactive);
    let other = [
        ("alertname", "Errors"),
        ("namespace", "shop"),
        ("pod", "web-55d4-aaaaa"),
    ];
    it.alert(&other, 1, 3, true);
    assert_eq!(it.at(3), Firing);
}

#[test]
fn alerts_about_something_else_never_fire() {
    for labels in [
        // Another release, workload, namespace, alert; and one of which it is not known what it is about.
        [
            ("alertname", "Errors"),
            ("namespace", "shop"),
            ("pod", "web-77aa-x2z9q"),
        ],
        [
            ("alertname", "Errors"),
            ("namespace", "shop"),
            ("pod", "api-55d4-x2z9q"),
        ],
        [
            ("alertname", "Errors"),
            ("namespace", "shop"),
            ("deployment", "api"),
        ],
        [
            ("alertname", "Errors"),
            ("namespace", "bank"),
            ("pod", "web-55d4-x2z9q"),
        ],
        [
            ("alertname", "Errors"),
            ("namespace", "bank"),
            ("deployment", "web"),
        ],
        [
            ("alertname", "Other"),
            ("namespace", "shop"),
            ("pod", "web-55d4-x2z9q"),
        ],
        [
            ("alertname", "Errors"),
            ("namespace", "shop"),
            ("job", "web"),
        ],
        [
            ("alertname", "Errors"),
            ("cluster", "shop"),
            ("deployment", "web"),
        ],
    ] {
        let mut it = Listening::to(errors());
        it.alert(&labels, 70, 71, true);
        it.beats(71);
        assert_eq!(it.at(71), Inactive, "{labels:?}");
        assert!(it.memory().is_quiet(), "{labels:?}");
    }
}

#[test]
fn an_alert_without_a_pod_counts_when_all_that_it_looks_at_is_about_the_release() {
    let mut it = Listening::to(errors());
    it.about_the_workload(30, 59, true);
    assert_eq!(it.at(59), Inactive);
    it.says("what it looks at still reaches back before this release, so it is judged from");
    assert!(!it.memory().settled);
    it.about_the_workload(30, 60, true);
    assert_eq!(it.at(60), Firing);
    it.says("alert Errors about Deployment web");
}

#[test]
fn an_alert_that_fires_since_before_the_release_is_not_its_doing_and_not_well_either() {
    for pod in [true, false] {
        let mut it = Listening::to(errors());
        if pod {
            it.about_a_pod(-11, 70, true);
        } else {
            it.about_the_workload(-11, 70, true);
        }
        it.beats(70);
        assert_eq!(it.at(70), NoData);
        it.says("it fires since before this release");
    }
}

#[test]
fn an_alert_that_begins_in_the_future_began_when_it_was_heard() {
    // As Falco's do, which begin when they end.
    let mut it = Listening::to(errors());
    it.about_a_pod(600, 70, true);
    let first = Arc::make_mut(&mut it.heard().alerts[0]);
    first.first_heard_at = at(-11);
    it.beats(70);
    assert_eq!(it.at(70), NoData, "it was heard before the release began");
    let first = Arc::make_mut(&mut it.heard().alerts[0]);
    first.first_heard_at = at(65);
    assert_eq!(it.at(70), Firing);
}

#[test]
fn an_alert_that_is_not_heard_again_expires() {
    let mut it = Listening::to(errors());
    it.about_a_pod(1, 2, true);
    assert_eq!(it.at(62), Firing);
    assert_eq!(it.at(63), NoData, "it may be resolved or not");
    it.beats(63);
    assert_eq!(it.at(63), Inactive);
}

#[test]
fn a_resolved_alert_is_good_news_without_any_heartbeat() {
    let alert = json!({"matchLabels": {"alertname": "Errors"}, "range": "1m", "expireAfter": "1m"});
    let mut it = Listening::to(with(errors(), json!({"alert": alert})));
    it.about_a_pod(1, 2, true);
    assert_eq!(it.at(2), Firing);
    it.about_a_pod(1, 20, false);
    assert_eq!(it.at(20), Inactive);
    assert!(it.memory().is_quiet());
    assert_eq!(it.at(90), NoData, "and not for ever");
    it.says("without a heartbeat that may have any reason");
    it.says("noData: Ignore");
}

#[test]
fn silence_is_good_news_only_while_the_heartbeat_is_heard() {
    let mut it = Listening::to(errors());
    assert_eq!(it.at(100), NoData);
    it.says(r#"the heartbeat {alertname="Watchdog"} was never heard since"#);
    it.beats(110);
    assert_eq!(it.at(110), Inactive);
    assert!(it.memory().is_quiet());
    assert_eq!(it.at(170), Inactive);
    assert_eq!(it.at(171), NoData);
    it.says("was last heard at");
    it.says("whether Alertmanager reaches the operator");
}

#[test]
fn a_heartbeat_before_alerts_can_speak_of_the_release_proves_nothing() {
    let mut it = Listening::to(errors());
    it.beats(59);
    assert_eq!(it.at(61), Inactive);
    assert!(!it.memory().settled);
    it.says("silence counts from the first heartbeat after");
    it.beats(60);
    assert_eq!(it.at(61), Inactive);
    assert!(it.memory().is_quiet());
}

#[test]
fn a_new_leader_listens_before_silence_means_something() {
    let mut it = Listening::to(errors());
    it.heard().since = at(100);
    it.beats(101);
    assert_eq!(it.at(120), Inactive);
    assert!(!it.memory().settled, "what fires is not heard again yet");
    it.says("what fires is heard again until");
    it.about_a_pod(1, 130, true);
    it.beats(130);
    assert_eq!(it.at(130), Firing, "and what is heard counts at once");
    it.about_a_pod(1, 140, false);
    it.beats(160);
    assert_eq!(it.at(160), Inactive);
    assert!(it.memory().is_quiet());
}

#[test]
fn alerts_that_were_left_out_make_silence_worthless() {
    let mut it = Listening::to(errors());
    it.beats(100);
    it.heard().left_out_at = Some(at(90));
    assert_eq!(it.at(100), NoData);
    it.says("raise max_alerts");
    it.about_a_pod(1, 100, true);
    assert_eq!(it.at(100), Firing);
}

#[test]
fn for_is_counted_from_when_the_alert_is_heard() {
    let mut it = Listening::to(with(errors(), json!({"for": "30s"})));
    it.about_a_pod(1, 10, true);
    assert_eq!(it.at(10), Pending);
    assert_eq!(it.at(39), Pending);
    assert_eq!(it.at(40), Firing);
}

#[test]
fn what_still_fires_on_a_restored_release_is_about_it() {
    let mut it = Listening::to(errors());
    it.restored();
    // It has fired since the release that was taken back.
    it.about_the_workload(10, 119, true);
    it.beats(119);
    assert_eq!(it.at(119), Inactive);
    assert!(!it.memory().settled);
    it.about_the_workload(10, 120, true);
    assert_eq!(it.at(120), Firing);
}

#[test]
fn what_fires_about_a_pod_of_its_earlier_life_is_not_held_against_a_restored_release() {
    let mut it = Listening::to(errors());
    it.restored();
    it.about_a_pod(10, 130, true);
    it.beats(130);
    assert_eq!(it.at(130), NoData);
    it.about_a_pod(70, 130, true);
    assert_eq!(it.at(130), Firing, "and what began since is");
}

#[test]
fn a_restored_release_is_well_when_the_heartbeat_comes_a_full_range_after_it() {
    let mut it = Listening::to(errors());
    it.restored();
    it.beats(119);
    assert_eq!(it.at(119), Inactive);
    assert!(!it.memory().is_quiet());
    it.beats(121);
    assert_eq!(it.at(121), Inactive);
    assert!(it.memory().is_quiet());
    assert_eq!(
        it.memory().asked_at,
        Some(at(121)),
        "the news is as old as the heartbeat"
    );
}

#[test]
fn a_rollback_that_waits_is_called_off_when_the_alert_is_resolved() {
    let mut it = Listening::to(with(errors(), json!({"delay": "5m"})));
    it.about_a_pod(1, 2, true);
    it.at(2);
    let mut waiting = event(EventPhase::Pending);
    waiting.spec.to = Some(backstop_api::event::Target {
        point: format!("web-{GOOD}"),
        hash: Some(GOOD.into()),
    });
    waiting.spec.not_before = Some(at(302));
    it.seen.events = vec![waiting];
    it.about_a_pod(1, 30, false);
    let (_, decision) = backstop_engine::decide::decide(&it.policy, &it.state, &it.seen, at(30));
    let outcomes: Vec<_> = decision
        .acts
        .iter()
        .filter_map(|act| match act {
            backstop_engine::decide::Act::Change(change) => change.status.outcome,
            _ => None,
        })
        .collect();
    assert_eq!(outcomes, [Outcome::RecoveredBeforeActing]);
}

#[test]
fn time_alone_is_looked_at_again() {
    let mut it = Listening::to(with(errors(), json!({"interval": "7s"})));
    it.beats(100);
    let (_, decision) = backstop_engine::decide::decide(&it.policy, &it.state, &it.seen, at(100));
    assert_eq!(decision.wake_at, Some(at(107)));
}
