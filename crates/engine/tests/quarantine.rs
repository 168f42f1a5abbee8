//! Which templates are kept out, for how long, and which are let pass.

mod common;

use backstop_api::{
    event::EventPhase,
    point::{Stack, Verdict},
};
use backstop_engine::{
    baseline::{Live, held as compared},
    quarantine::{KeptOut, keeps_out, kept_out},
    snapshot::{Point, Snapshot},
};
use common::{GOOD, LIVE, at, errors, event, held, point, policy, seen};
use serde_json::{Value, json};

/// The record of the live release, which failed at the beginning.
fn record() -> Point {
    Point {
        proved_at: at(0),
        ..point(LIVE, Verdict::Quarantined)
    }
}

fn world(record: Point) -> Snapshot {
    let mut seen = seen();
    seen.points.push(record);
    seen.events.push(event(EventPhase::Succeeded));
    seen
}

fn of(seen: &Snapshot, gitops: Value, seconds: i64) -> Vec<KeptOut> {
    kept_out(&policy(&[errors()], gitops), seen, at(seconds))
}

#[test]
fn what_failed_is_kept_out_until_its_time_is_over() {
    let seen = world(record());
    let gitops = json!({"gitops": {"quarantineFor": "60s"}});
    let kept = of(&seen, gitops.clone(), 59);
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].workload, "web");
    assert_eq!(kept[0].event, "web-1");
    assert_eq!(kept[0].reason.as_deref(), Some("trigger errors fires"));
    assert_eq!((kept[0].expires_at, &kept[0].let_pass), (at(60), &None));
    assert!(keeps_out(
        &policy(&[errors()], gitops.clone()),
        &seen,
        LIVE,
        at(59)
    ));
    assert!(of(&seen, gitops.clone(), 60).is_empty());
    assert!(!keeps_out(
        &policy(&[errors()], gitops),
        &seen,
        LIVE,
        at(60)
    ));
}

#[test]
fn a_policy_that_changes_nothing_lets_everything_pass_and_says_so() {
    let seen = world(record());
    for fields in [
        json!({"mode": "Observe"}),
        json!({"mode": "Paused"}),
        json!({"gitops": {"onConflict": "Notify"}}),
    ] {
        let kept = of(&seen, fields.clone(), 1);
        assert!(kept[0].let_pass.is_some(), "{fields}: {kept:?}");
        assert!(!keeps_out(&policy(&[errors()], fields), &seen, LIVE, at(1)));
    }
}

/// A failure of configuration alone: the template is that of the good release.
#[test]
fn a_template_that_a_good_release_has_too_is_let_pass() {
    let mut failed = record();
    failed.workloads = vec![held("web", GOOD)];
    let kept = of(&world(failed), json!({}), 1);
    let why = kept[0].let_pass.clone().unwrap_or_default();
    assert!(why.contains("what failed is its configuration"), "{kept:?}");
}

#[test]
fn a_good_release_that_failed_since_is_no_reason_to_let_its_template_pass() {
    let mut seen = world(record());
    seen.points.push(point(LIVE, Verdict::Good));
    let kept = of(&seen, json!({}), 1);
    assert_eq!(kept[0].let_pass, None);
}

/// The release that comes after a failed one is compared with the one that was gone back to.
#[test]
fn no_other_release_is_compared_with_one_that_failed_after_it_proved_itself() {
    let relative = common::with(errors(), json!({"condition": "value > 1.3 * baseline"}));
    let policy = policy(&[relative], json!({}));
    let mut seen = seen();
    seen.points.push(Point {
        proved_at: at(-60),
        ..point(LIVE, Verdict::Good)
    });
    let compared_with = |seen: &Snapshot, release: &str| {
        let live = Live {
            release,
            restored: false,
        };
        let held = compared(&policy.triggers[0], seen, live, at(10));
        held.and_then(|held| held.point.release.clone())
    };
    let next = "0000000000000000";
    assert_eq!(compared_with(&seen, next).as_deref(), Some(LIVE));
    seen.points.push(record());
    assert_eq!(compared_with(&seen, next).as_deref(), Some(GOOD));
    seen.points.remove(0);
    assert_eq!(compared_with(&seen, next), None);
    // It has nothing else to be compared with itself.
    assert_eq!(compared_with(&seen, LIVE).as_deref(), Some(LIVE));
}

#[test]
fn of_several_deployments_only_those_that_changed_are_kept_out() {
    let fields = json!({"workloads": [{"name": "web"}, {"name": "worker"}]});
    let mut failed = record();
    failed.workloads = vec![held("web", LIVE), held("worker", "w1")];
    let mut seen = world(failed);
    seen.points[0].workloads = vec![held("web", GOOD), held("worker", "w1")];
    let kept = of(&seen, fields, 1);
    let names: Vec<&str> = kept.iter().map(|k| k.workload.as_str()).collect();
    assert_eq!(names, ["web"]);
}

#[test]
fn an_idle_stack_has_neither_failed_nor_proved_itself() {
    let fields = json!({
        "workloads": [],
        "strategy": {"type": "BlueGreen", "blueGreen": {"service": "web", "stacks": ["blue", "green"]}},
    });
    let stack = |name: &str| {
        Some(Stack {
            workload: name.into(),
            selector: [("color".to_owned(), name.to_owned())].into(),
        })
    };
    let mut failed = record();
    failed.workloads = vec![held("green", "g2"), held("blue", "changed-while-idle")];
    failed.stack = stack("green");
    let mut seen = world(failed);
    seen.points[0].workloads = vec![held("blue", "b1"), held("green", "g2")];
    seen.points[0].stack = stack("blue");
    let kept = of(&seen, fields, 1);
    let names: Vec<&str> = kept.iter().map(|k| k.workload.as_str()).collect();
    assert_eq!(names, ["green"]);
    assert_eq!(kept[0].let_pass, None);
}

#[test]
fn the_newest_come_first() {
    let mut seen = world(record());
    for n in 1..10 {
        let release = format!("f{n}");
        seen.points.push(Point {
            proved_at: at(n),
            ..point(&release, Verdict::Quarantined)
        });
    }
    let kept = of(&seen, json!({}), 20);
    let releases: Vec<&str> = kept.iter().map(|k| k.release.as_str()).collect();
    assert_eq!(releases, ["f9", "f8", "f7", "f6", "f5", "f4", "f3", "f2"]);
}
