//! Messages on which a template is tried when it is read: what fails on neither of them does not fail
//! when it matters.

use backstop_api::{
    event::Sample,
    notification::{Category, NotificationOutcome},
    policy::Severity,
};
use jiff::Timestamp;

use crate::{
    Message,
    message::{Figures, Release},
};

/// One message that says everything, and one that says as little as can be.
pub(super) fn messages() -> [Message; 2] {
    let at = Timestamp::UNIX_EPOCH;
    let release = |point: Option<&str>| Release {
        hash: "0123456789abcdef".to_owned(),
        images: vec!["example.com/web:2".to_owned()],
        point: point.map(str::to_owned),
    };
    let whole = Message {
        id: "id".to_owned(),
        incident: "incident".to_owned(),
        outcome: NotificationOutcome::Failed,
        at,
        category: Some(Category::Critical),
        severity: Some(Severity::Critical),
        namespace: "shop".to_owned(),
        policy: "web".to_owned(),
        workloads: "web".to_owned(),
        event: Some("web-1".to_owned()),
        headline: "the rollback failed".to_owned(),
        what: "what".to_owned(),
        why: Some("why".to_owned()),
        figures: Some(Figures {
            trigger: "error-rate".to_owned(),
            condition: "value > 0.05".to_owned(),
            query: Some("rate(errors[1m])".to_owned()),
            last: Some(0.5),
            baseline: Some(0.01),
            samples: [0.1, 0.5].map(|value| Sample { at, value }).to_vec(),
            details: vec!["pod web-1: CrashLoopBackOff".to_owned()],
        }),
        from: Some(release(None)),
        to: Some(release(Some("web-0123456789abcdef"))),
        done: vec!["done".to_owned()],
        next: vec!["next".to_owned()],
        took: Some("42s".to_owned()),
    };
    let bare = Message {
        category: None,
        severity: None,
        event: None,
        why: None,
        figures: None,
        from: None,
        to: None,
        done: Vec::new(),
        next: Vec::new(),
        took: None,
        ..whole.clone()
    };
    [whole, bare]
}
