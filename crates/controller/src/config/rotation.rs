//! How old the key is that encrypts, what is encrypted with others and to be encrypted anew, and what is lost with a key
//! that is gone.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use backstop_api::{
    RollbackPoint,
    condition::{self, CONFIG_READABLE, Condition, ConditionStatus, KEY_LOST},
    names::CONFIG_KEYS_SECRET,
    point::Verdict,
};
use jiff::{SignedDuration, Timestamp, civil::Date};
use kube::{Api, ResourceExt};
use tokio::sync::watch;

use super::{
    Place,
    anew::{self, key_of, references},
    keys::{KeyRing, KeysError, key_ring, read_again},
};
use crate::{
    calls::CallError,
    context::{Context, Keys},
};

/// How often the keys are looked at.
const KEYS_LOOKED_AT: Duration = Duration::from_secs(15);
/// How often what they encrypt is looked at.
const EVERY: Duration = Duration::from_secs(10);
/// So many points are encrypted anew at a time, so that a rotation is no burst of calls.
const AT_A_TIME: usize = 8;
/// What could not be encrypted anew is tried again after so long.
const TRIED_AGAIN: SignedDuration = SignedDuration::from_mins(10);
const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// Reads the keys, and again every 15 s: one that is old enough gets a successor by that, and one that was put back or
/// taken away is noticed.
pub(crate) async fn keep_keys(
    context: Arc<Context>,
    (namespace, rotation_days): (String, u16),
    keys: watch::Sender<Keys>,
) {
    let mut said = Vec::new();
    loop {
        let place = Place {
            client: &context.client,
            calls: &context.calls,
            namespace: &namespace,
        };
        let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let known = keys.borrow().as_ref().is_some_and(Result::is_ok);
        let read = if known {
            read_again(place, today, rotation_days).await
        } else {
            key_ring(place, today, rotation_days).await
        };
        let problems = match &read {
            Ok(ring) => ring
                .problems()
                .map(|p| format!("a key of the configuration store cannot be used: {p}"))
                .collect(),
            // The API server does not answer, or the Secret is gone: what is known goes on to be used.
            Err(KeysError::Call(error)) if known => vec![format!(
                "the keys for configuration cannot be read again, and those that are known are used until the operator ends; \
                 if Secret {CONFIG_KEYS_SECRET} was deleted, put it back from a backup before that: {error}"
            )],
            Err(error) => vec![format!(
                "there are no keys, so configuration is not kept with points: {error}"
            )],
        };
        // Said once, and not at every look.
        if problems != said {
            for problem in &problems {
                tracing::warn!(namespace, "{problem}");
            }
            said = problems;
        }
        if !(known && matches!(read, Err(KeysError::Call(_)))) {
            keys.send_replace(Some(read.map(Arc::new).map_err(|e| e.to_string())));
        }
        tokio::time::sleep(KEYS_LOOKED_AT).await;
    }
}

/// Looks again and again.
pub(crate) async fn follow(context: Arc<Context>, rotation_days: u16) {
    let mut tick = tokio::time::interval(EVERY);
    let mut warned_on = None;
    let mut tried = HashMap::new();
    loop {
        tick.tick().await;
        let Some(Ok(ring)) = context.keys.borrow().clone() else {
            continue;
        };
        let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let state = context.points.state();
        let points: Vec<&RollbackPoint> = state.iter().filter_map(|p| p.0.as_ref().ok()).collect();
        let days = ring.age_in_days(today).unwrap_or(0);
        let others = with_other_keys(&ring, &points);
        context
            .metrics
            .keys(Duration::from_secs(days * SECONDS_A_DAY), others);
        if days > u64::from(rotation_days) && warned_on != Some(today) {
            warned_on = Some(today);
            tracing::warn!(
                days,
                rotation_days,
                "the key that encrypts configuration is overdue: Secret {CONFIG_KEYS_SECRET} names it in an annotation, or no \
                 other could be made; take the annotation away, or add a key that is named like today"
            );
        }
        rotate(&context, &ring, &points, &mut tried).await;
        for point in points {
            match say(&context, &ring, point).await {
                Ok(()) | Err(CallError::Conflict { .. } | CallError::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(namespace = point.namespace(), point = point.name_any(), %error, "it could not be said whether the point's Secrets can be read");
                }
            }
        }
    }
}

/// When a point was last tried that could not be encrypted anew, by its UID and the key.
type Tried = HashMap<(String, String), Timestamp>;

/// Encrypts some of the points anew that are encrypted with another key than the one that encrypts.
async fn rotate(context: &Context, ring: &KeyRing, points: &[&RollbackPoint], tried: &mut Tried) {
    let Ok(current) = ring.encrypts_with() else {
        return;
    };
    let now = Timestamp::now();
    tried.retain(|_, at| now.duration_since(*at) < TRIED_AGAIN);
    let attempt = |point: &RollbackPoint| (point.uid().unwrap_or_default(), current.to_owned());
    let is_old = |point: &RollbackPoint| {
        references(point).any(|r| key_of(point, r).is_some_and(|key| key != current))
    };
    let due = points
        .iter()
        .filter(|point| is_old(point) && !tried.contains_key(&attempt(point)));
    let due: Vec<_> = due.take(AT_A_TIME).collect();
    for point in due {
        let namespace = point.namespace().unwrap_or_default();
        let place = Place {
            client: &context.client,
            calls: &context.calls,
            namespace: &namespace,
        };
        let name = point.name_any();
        let ended = match anew::encrypt(place, ring, point).await {
            Ok(anew) if anew.left.is_empty() => {
                tracing::info!(
                    namespace,
                    point = name,
                    key = current,
                    secrets = anew.encrypted,
                    "the Secrets of a point are encrypted with the current key now"
                );
                lie_under(context, point, current).await
            }
            Ok(anew) => {
                tracing::warn!(namespace, point = name, key = current, left = ?anew.left, "not all Secrets of a point could be encrypted with the current key; it is tried again in 10 min");
                tried.insert(attempt(point), now);
                Ok(())
            }
            Err(error) => Err(error),
        };
        match ended {
            // Looked at again from what is there by then.
            Ok(()) | Err(CallError::Conflict { .. } | CallError::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(namespace, point = name, %error, "the Secrets of a point could not be encrypted with the current key; it is tried again");
                tried.insert(attempt(point), now);
            }
        }
    }
}

/// Writes down with which key a point's Secrets are encrypted now.
async fn lie_under(context: &Context, point: &RollbackPoint, key: &str) -> Result<(), CallError> {
    let namespace = point.namespace().unwrap_or_default();
    let api: Api<RollbackPoint> = Api::namespaced(context.client.clone(), &namespace);
    let patch = serde_json::json!({
        "metadata": {"uid": point.uid()},
        "status": {"configKey": key},
    });
    context
        .calls
        .merge_status("patch rollbackpoint status", &api, &point.name_any(), patch)
        .await
        .map(drop)
}

/// How many stores are encrypted with another key than the one that encrypts.
fn with_other_keys(ring: &KeyRing, points: &[&RollbackPoint]) -> usize {
    let current = ring.encrypts_with().ok();
    let stores = points.iter().flat_map(|point| {
        let namespace = point.metadata.namespace.as_deref();
        references(point)
            .filter(|r| key_of(point, r).is_some_and(|key| Some(key) != current))
            .filter_map(move |r| Some((namespace, &r.store.as_ref()?.name)))
    });
    stores.collect::<BTreeSet<_>>().len()
}

/// What cannot be read any more of a release that may be gone back to, and what to do.
fn lost(ring: &KeyRing, point: &RollbackPoint) -> Option<String> {
    if point.spec.verdict != Verdict::Good {
        return None;
    }
    let lost: Vec<String> = references(point)
        .filter_map(|reference| {
            let error = ring.key(key_of(point, reference)?).err()?;
            Some(format!("{}: {error}", reference.key))
        })
        .collect();
    (!lost.is_empty()).then(|| {
        format!(
            "a rollback to this release leaves as they are: {}; everything else of it goes back",
            lost.join("; ")
        )
    })
}

/// Says it in the point's status; and that it is over, where it was said.
async fn say(context: &Context, ring: &KeyRing, point: &RollbackPoint) -> Result<(), CallError> {
    let mut before = point.status.iter().flat_map(|s| &s.conditions);
    let before = before.find(|c| c.type_ == CONFIG_READABLE);
    let message = lost(ring, point);
    if message.as_deref()
        == before
            .filter(|c| c.status == ConditionStatus::False)
            .map(|c| c.message.as_str())
    {
        return Ok(());
    }
    let (holds, reason, message) = match message {
        Some(message) => (ConditionStatus::False, KEY_LOST, message),
        None => (
            ConditionStatus::True,
            "Readable",
            "every key is there again".to_owned(),
        ),
    };
    let mut status = point.status.clone().unwrap_or_default();
    condition::set(
        &mut status.conditions,
        Condition {
            type_: CONFIG_READABLE.into(),
            status: holds,
            reason: reason.into(),
            message,
            last_transition_time: Timestamp::now(),
            observed_generation: point.metadata.generation,
        },
    );
    let namespace = point.namespace().unwrap_or_default();
    let api: Api<RollbackPoint> = Api::namespaced(context.client.clone(), &namespace);
    // The list of conditions is written as a whole: it may not be an old one.
    let patch = serde_json::json!({
        "metadata": {"resourceVersion": point.resource_version()},
        "status": status,
    });
    context
        .calls
        .merge_status("patch rollbackpoint status", &api, &point.name_any(), patch)
        .await
        .map(drop)
}

impl KeyRing {
    /// How many days ago the key was made that encrypts.
    pub(crate) fn age_in_days(&self, today: Date) -> Option<u64> {
        let made = super::keys::day(self.encrypts_with().ok()?)?;
        u64::try_from((today - made).get_days()).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::keys::tests::ring as parse, *};

    fn ring() -> KeyRing {
        parse(&[
            ("identity", &[0; 32]),
            ("2026-01-01", &[1; 32]),
            ("2026-04-01", &[2; 32]),
        ])
        .unwrap()
    }

    fn point(verdict: &str, stores: &[(&str, Option<&str>)]) -> RollbackPoint {
        let config: Vec<_> = stores
            .iter()
            .map(|(name, key)| {
                let kind = if key.is_some() { "Secret" } else { "ConfigMap" };
                json!({"kind": kind, "name": name, "uid": "u", "hash": "h", "store": {"name": format!("backstop-{name}"), "keyId": key}})
            })
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackPoint",
            "metadata": {"name": "web-1", "namespace": "shop"},
            "spec": {
                "workload": {"name": "web"}, "verdict": verdict,
                "release": {"hash": "0123", "workloads": [], "config": config},
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_lost_key_costs_only_what_it_encrypted() {
        let stores = [
            ("db", Some("2025-10-01")),
            ("api", Some("2026-01-01")),
            ("web", None),
        ];
        let said = lost(&ring(), &point("Good", &stores)).unwrap();
        assert!(
            said.contains("Secret db: it is encrypted with key 2025-10-01"),
            "{said}"
        );
        assert!(said.contains("put that key back"), "{said}");
        assert!(!said.contains("api") && !said.contains("web"), "{said}");
        assert_eq!(lost(&ring(), &point("Good", &stores[1..])), None);
        assert_eq!(lost(&ring(), &point("Quarantined", &stores)), None);
    }

    #[test]
    fn what_is_encrypted_with_other_keys_is_counted_once() {
        let a = point("Good", &[("db", Some("2026-01-01")), ("web", None)]);
        let b = point(
            "Good",
            &[("db", Some("2026-01-01")), ("api", Some("2026-04-01"))],
        );
        assert_eq!(with_other_keys(&ring(), &[&a, &b]), 1);
    }

    #[test]
    fn what_was_encrypted_anew_counts_by_its_new_key() {
        let mut moved = point("Good", &[("db", Some("2026-01-01")), ("web", None)]);
        moved.status = Some(serde_json::from_value(json!({"configKey": "2026-04-01"})).unwrap());
        assert_eq!(with_other_keys(&ring(), &[&moved]), 0);
        // The key that it was encrypted with at first may be gone by now.
        let mut lost_at_first = point("Good", &[("db", Some("2025-10-01"))]);
        lost_at_first.status = moved.status.clone();
        assert_eq!(lost(&ring(), &lost_at_first), None);
    }

    #[test]
    fn a_key_is_as_old_as_its_name_says() {
        let today = "2026-07-01".parse().unwrap();
        assert_eq!(ring().age_in_days(today), Some(91));
    }
}
