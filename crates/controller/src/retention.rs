//! Letting records go: a rollback that ended long ago is deleted, by nobody but Backstop.
//!
//! Where they are many and in the audit log, a policy's older ones go sooner.
//!
//! The newest of each workload stay however old they are, and so does that with a policy's highest number, since the
//! next one is counted on from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use backstop_api::{RollbackEvent, event::EventPhase, names};
use backstop_audit::{ended, is_in_the_log};
use jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt};

use crate::context::Context;

/// How often old records are looked for.
const EVERY: Duration = Duration::from_hours(1);
/// So many are let go at a time, so that a first look at years of records is no burst.
const AT_A_TIME: usize = 500;

/// What ended less than a day ago may still matter to what is decided.
const RECENT: SignedDuration = SignedDuration::from_hours(24);

/// How long records stay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// For so many days after their end.
    pub(crate) days: u16,
    /// Of a policy's records that are in the audit log, so many stay that long, and the others for a day.
    pub(crate) newest: Option<u32>,
}

/// Lets records go again and again.
pub(crate) async fn keep(context: Arc<Context>, rules: Rules) {
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tick.tick().await;
        let state = context.events.state();
        let events: Vec<&RollbackEvent> = state.iter().filter_map(|e| e.0.as_ref().ok()).collect();
        let old = over(&events, rules, Timestamp::now());
        for event in old.into_iter().take(AT_A_TIME) {
            let (namespace, name) = (event.namespace().unwrap_or_default(), event.name_any());
            let api: Api<RollbackEvent> = Api::namespaced(context.client.clone(), &namespace);
            let deleted = context
                .calls
                .delete("delete rollbackevent", &api, &name, event.uid())
                .await;
            match deleted {
                Ok(()) => tracing::info!(
                    namespace,
                    event = name,
                    days = rules.days,
                    newest = rules.newest,
                    "the record of a rollback is let go: its time is over, or it is in the audit log and newer ones are many"
                ),
                Err(error) => tracing::warn!(
                    namespace,
                    event = name,
                    %error,
                    "the record of a rollback is kept beyond its time, since it could not be deleted; trying again in an hour"
                ),
            }
        }
    }
}

/// The records whose time is over, oldest first.
fn over<'a>(events: &[&'a RollbackEvent], rules: Rules, now: Timestamp) -> Vec<&'a RollbackEvent> {
    let time = SignedDuration::from_hours(24 * i64::from(rules.days));
    let many = rules.newest.map(|newest| beyond(events, newest));
    let many = many.unwrap_or_default();
    let mut newest: BTreeMap<(String, &str), &RollbackEvent> = BTreeMap::new();
    let mut highest: BTreeMap<(String, &str), (u64, String)> = BTreeMap::new();
    for event in events {
        let namespace = event.namespace().unwrap_or_default();
        for workload in &event.spec.workloads {
            let known = newest
                .entry((namespace.clone(), &workload.name))
                .or_insert(event);
            if ended(event) > ended(known) {
                *known = event;
            }
        }
        let (policy, name) = (event.spec.policy.as_str(), event.name_any());
        if let Some(number) = names::event_number(policy, &name) {
            let known = highest.entry((namespace, policy)).or_default();
            *known = known.clone().max((number, name));
        }
    }
    let mut kept: BTreeSet<(String, String)> = newest
        .values()
        .map(|e| (e.namespace().unwrap_or_default(), e.name_any()))
        .collect();
    kept.extend(
        highest
            .into_iter()
            .map(|((namespace, _), (_, name))| (namespace, name)),
    );
    let mut old: Vec<&RollbackEvent> = events
        .iter()
        .copied()
        .filter(|e| {
            e.status
                .as_ref()
                .and_then(|s| s.phase)
                .is_some_and(EventPhase::is_terminal)
        })
        .filter(|e| {
            let age = ended(e).map(|ended| now.duration_since(ended));
            let is_beyond = e.uid().is_some_and(|uid| many.contains(&uid));
            age.is_some_and(|age| age > time || (is_beyond && age > RECENT))
        })
        .filter(|e| !kept.contains(&(e.namespace().unwrap_or_default(), e.name_any())))
        .collect();
    old.sort_by_key(|e| ended(e));
    old
}

/// The records in the audit log, but for the newest of each policy, by UID.
fn beyond(events: &[&RollbackEvent], newest: u32) -> BTreeSet<String> {
    let mut of_policy: BTreeMap<(String, &str), Vec<&RollbackEvent>> = BTreeMap::new();
    for event in events.iter().filter(|e| is_in_the_log(e)) {
        let namespace = event.namespace().unwrap_or_default();
        let records = of_policy
            .entry((namespace, &event.spec.policy))
            .or_default();
        records.push(event);
    }
    let newest = usize::try_from(newest).unwrap_or(usize::MAX);
    let older = of_policy.into_values().flat_map(|mut records| {
        records.sort_by_key(|e| std::cmp::Reverse(ended(e)));
        records
            .into_iter()
            .skip(newest)
            .filter_map(ResourceExt::uid)
    });
    older.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const YEAR: Rules = Rules {
        days: 365,
        newest: None,
    };

    fn event(
        namespace: &str,
        name: &str,
        workloads: &[&str],
        phase: &str,
        ended: &str,
    ) -> RollbackEvent {
        let workloads: Vec<_> = workloads.iter().map(|w| json!({"name": w})).collect();
        serde_json::from_value(json!({
            "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackEvent",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": ended},
            "spec": {"policy": "web", "workloads": workloads, "cause": "Trigger", "requestedBy": "backstop"},
            "status": {"phase": phase, "times": {"ended": ended}},
        }))
        .unwrap()
    }

    fn let_go(events: &[RollbackEvent], now: &str) -> Vec<String> {
        let events: Vec<&RollbackEvent> = events.iter().collect();
        over(&events, YEAR, now.parse().unwrap())
            .iter()
            .map(|e| format!("{}/{}", e.namespace().unwrap(), e.name_any()))
            .collect()
    }

    #[test]
    fn a_record_goes_after_its_time_and_not_before() {
        let events = [
            event(
                "shop",
                "web-1",
                &["web"],
                "Succeeded",
                "2025-01-01T00:00:00Z",
            ),
            event("shop", "web-2", &["web"], "Failed", "2025-02-01T00:00:00Z"),
            event(
                "shop",
                "web-3",
                &["web"],
                "Succeeded",
                "2026-01-01T00:00:00Z",
            ),
        ];
        assert!(let_go(&events, "2026-01-01T00:00:00Z").is_empty());
        assert_eq!(let_go(&events, "2026-01-01T00:00:01Z"), ["shop/web-1"]);
        assert_eq!(
            let_go(&events, "2026-03-01T00:00:00Z"),
            ["shop/web-1", "shop/web-2"]
        );
    }

    #[test]
    fn the_newest_of_each_workload_stays_however_old_it_is() {
        let events = [
            event(
                "shop",
                "a",
                &["web", "worker"],
                "Succeeded",
                "2020-01-01T00:00:00Z",
            ),
            event("shop", "b", &["web"], "Succeeded", "2020-02-01T00:00:00Z"),
            event("shop", "c", &["web"], "Succeeded", "2020-03-01T00:00:00Z"),
            event("bank", "a", &["web"], "Succeeded", "2020-01-01T00:00:00Z"),
        ];
        // `a` is the newest of worker, and the other namespace's is its own.
        assert_eq!(let_go(&events, "2026-01-01T00:00:00Z"), ["shop/b"]);
    }

    #[test]
    fn the_highest_number_stays_so_that_no_name_comes_twice() {
        let events = [
            event(
                "shop",
                "web-9",
                &["web"],
                "Succeeded",
                "2020-01-01T00:00:00Z",
            ),
            event(
                "shop",
                "web-10",
                &["web"],
                "Succeeded",
                "2020-01-02T00:00:00Z",
            ),
            event(
                "shop",
                "by-hand",
                &["web"],
                "Succeeded",
                "2020-03-01T00:00:00Z",
            ),
        ];
        assert_eq!(let_go(&events, "2026-01-01T00:00:00Z"), ["shop/web-9"]);
    }

    #[test]
    fn of_many_that_are_in_the_log_the_newest_stay() {
        let named = |number: u32, exported: Option<&str>| {
            let name = format!("web-{number}");
            let ended = format!("2026-01-0{number}T00:00:00Z");
            let mut event = event("shop", &name, &["web"], "Succeeded", &ended);
            event.metadata.uid = Some(name);
            let mark = exported.map(|at| json!({"sequence": number, "hash": "0", "at": at}));
            if let (Some(status), Some(mark)) = (&mut event.status, mark) {
                status.exported = Some(serde_json::from_value(mark).unwrap());
            }
            event
        };
        let at = Some("2026-01-05T00:00:00Z");
        // Two is in no line, and one has ended again since.
        let again = Some("2025-12-31T00:00:00Z");
        let events = [
            named(1, again),
            named(2, None),
            named(3, at),
            named(4, at),
            named(5, at),
        ];
        let all: Vec<&RollbackEvent> = events.iter().collect();
        let let_go = |newest, now: &str| {
            let rules = Rules { days: 365, newest };
            let old = over(&all, rules, now.parse().unwrap());
            old.iter().map(|e| e.name_any()).collect::<Vec<_>>()
        };
        assert_eq!(let_go(Some(1), "2026-01-06T00:00:01Z"), ["web-3", "web-4"]);
        assert_eq!(let_go(Some(2), "2026-01-06T00:00:01Z"), ["web-3"]);
        assert!(let_go(None, "2026-01-06T00:00:01Z").is_empty());
        assert_eq!(let_go(Some(1), "2026-01-05T00:00:00Z"), ["web-3"], "a day");
    }

    #[test]
    fn what_is_not_over_is_never_let_go() {
        let events = [
            event(
                "shop",
                "web-1",
                &["web"],
                "Verifying",
                "2020-01-01T00:00:00Z",
            ),
            event(
                "shop",
                "web-2",
                &["web"],
                "Succeeded",
                "2026-01-01T00:00:00Z",
            ),
        ];
        assert!(let_go(&events, "2026-01-02T00:00:00Z").is_empty());
    }
}
