//! How long each part of a rollback took, from what its RollbackEvent has recorded.

use std::fmt::Write as _;

use backstop_api::RollbackEvent;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

/// A rollback, which version it took back, and when somebody shipped that.
pub(crate) struct Case<'a> {
    pub(crate) version: &'a str,
    pub(crate) shipped: Timestamp,
    pub(crate) event: &'a RollbackEvent,
}

/// The parts: a name, and the moments from which and to which it lasts.
const PARTS: [(&str, usize, usize); 8] = [
    ("shipped -> first sign of trouble", 0, 1),
    ("first sign -> trigger fires (`for`)", 1, 2),
    ("trigger fires -> decision recorded", 2, 3),
    ("decision -> good template written", 3, 4),
    ("written -> rolled out", 4, 5),
    ("rolled out -> verified", 5, 6),
    ("shipped -> good template written", 0, 4),
    ("shipped -> verified", 0, 6),
];

/// The moments of a rollback, in order.
fn moments(case: &Case<'_>) -> [Option<Timestamp>; 7] {
    let times = case.event.status.clone().unwrap_or_default().times;
    [
        Some(case.shipped),
        times.condition_held,
        times.fired,
        times.decided,
        times.first_write,
        times.rolled_out,
        times.ended,
    ]
}

/// The figures as a table: a row for each part, a column for each rollback.
pub(crate) fn table(cases: &[Case<'_>]) -> String {
    let mut text = format!("{:37}", "");
    for case in cases {
        let title = format!("{} ({})", case.event.name_any(), case.version);
        // Writing into a String cannot fail.
        let _ = write!(text, "{title:>14}");
    }
    for (name, from, to) in PARTS {
        let _ = write!(text, "\n{name:37}");
        for case in cases {
            let moments = moments(case);
            let took = moments[from]
                .zip(moments[to])
                .map(|(from, to)| to.duration_since(from));
            let cell = took.map_or_else(|| "-".to_owned(), seconds);
            let _ = write!(text, "{cell:>14}");
        }
    }
    text
}

fn seconds(duration: SignedDuration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_time_that_was_not_recorded_is_no_zero() {
        let event: RollbackEvent = serde_json::from_value(json!({
            "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackEvent",
            "metadata": {"name": "web-1"},
            "spec": {
                "policy": "web", "workloads": [{"name": "web"}], "cause": "Trigger",
                "requestedBy": "backstop",
            },
            "status": {"times": {
                "fired": "2026-01-01T00:00:03Z", "decided": "2026-01-01T00:00:03.25Z",
            }, "durations": {}},
        }))
        .unwrap();
        let case = Case {
            version: "v2",
            shipped: "2026-01-01T00:00:00Z".parse().unwrap(),
            event: &event,
        };
        let text = table(&[case]);
        let row = |name: &str| {
            text.lines()
                .find(|l| l.starts_with(name))
                .unwrap()
                .to_owned()
        };
        assert!(row("trigger fires").ends_with("0.25 s"), "{text}");
        assert!(row("written").ends_with('-'), "{text}");
    }
}
