//! The alerts as they were heard last.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use backstop_engine::alert::{Alert, Heard};
use jiff::{SignedDuration, Timestamp};

use super::payload::{Post, Status};

/// So many alerts are kept. A cluster in which more fire at once has other worries.
const MOST_KEPT: usize = 20_000;
/// No policy may let an alert last longer without hearing it again.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);
/// The label that tells in which namespace an alert belongs, whatever policies look at besides.
const NAMESPACE: &str = "namespace";

/// Where a post came in, which says about what it may speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The whole cluster: each alert names its namespace.
    Cluster,
    /// One namespace, and no other.
    Namespace(String),
}

/// What became of a post.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// So many alerts are kept.
    pub(super) kept: usize,
    /// So many are about another namespace than the one whose door they came by.
    pub(super) foreign: usize,
    /// So many did not fit.
    pub(super) left_out: u64,
    /// Every namespace that one of them may be about.
    pub(super) namespaces: BTreeSet<String>,
}

/// The alerts that were heard, each once.
pub(super) struct Board {
    since: Timestamp,
    /// By the namespace that they are known to be about.
    alerts: HashMap<Option<String>, HashMap<Identity, Arc<Alert>>>,
    /// When a post said that some were left out, by the namespace of the door.
    left_out: HashMap<Option<String>, Timestamp>,
    len: usize,
}

/// An alert is its labels. One that came by a namespace's own door is another than one of the same
/// labels that did not: whoever posts the one must not resolve the other.
#[derive(PartialEq, Eq, Hash)]
struct Identity {
    own: bool,
    labels: BTreeMap<String, String>,
}

impl Board {
    pub(super) fn new(since: Timestamp) -> Self {
        Self {
            since,
            alerts: HashMap::new(),
            left_out: HashMap::new(),
            len: 0,
        }
    }

    /// How many alerts are kept, those included that are resolved.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes in a post.
    pub(super) fn take(&mut self, door: &Door, post: Post, now: Timestamp) -> Taken {
        self.forget_old(now);
        let own_namespace = match door {
            Door::Cluster => None,
            Door::Namespace(namespace) => Some(namespace.clone()),
        };
        let mut taken = Taken {
            left_out: post.truncated_alerts,
            namespaces: own_namespace.iter().cloned().collect(),
            ..Taken::default()
        };
        for posted in post.alerts {
            let named = posted.labels.get(NAMESPACE).cloned();
            if own_namespace.is_some() && named.is_some() && named != own_namespace {
                taken.foreign += 1;
                continue;
            }
            // Which label names the namespace is the policy's choice: each of them may.
            taken.namespaces.extend(posted.labels.values().cloned());
            let identity = Identity {
                own: own_namespace.is_some(),
                labels: posted.labels.clone(),
            };
            let place = own_namespace.clone().or(named);
            let alerts = self.alerts.entry(place).or_default();
            let firing = posted.status == Status::Firing;
            let summary = posted.summary();
            let before = alerts.get(&identity);
            if before.is_none() && self.len >= MOST_KEPT {
                taken.left_out += 1;
                continue;
            }
            // One that fires anew is another one, with the same labels.
            let same = before.filter(|b| b.firing && b.starts_at == posted.starts_at);
            let alert = Alert {
                first_heard_at: same.map_or(now, |b| b.first_heard_at),
                summary,
                starts_at: posted.starts_at,
                heard_at: now,
                firing,
                own: identity.own,
                labels: posted.labels,
            };
            if alerts.insert(identity, Arc::new(alert)).is_none() {
                self.len += 1;
            }
            taken.kept += 1;
        }
        if taken.left_out > 0 {
            self.left_out.insert(own_namespace, now);
        }
        taken
    }

    /// What policies of a namespace may hear: what is about it, and what names no namespace, such as
    /// a heartbeat.
    pub(super) fn heard(&self, namespace: &str) -> Heard {
        let own = Some(namespace.to_owned());
        let alerts = [&own, &None].into_iter().filter_map(|p| self.alerts.get(p));
        Heard {
            since: self.since,
            left_out_at: self
                .left_out
                .get(&own)
                .max(self.left_out.get(&None))
                .copied(),
            alerts: alerts.flat_map(HashMap::values).cloned().collect(),
            about: None,
        }
    }

    fn forget_old(&mut self, now: Timestamp) {
        self.alerts.retain(|_, alerts| {
            alerts.retain(|_, alert| now.duration_since(alert.heard_at) <= KEPT_FOR);
            !alerts.is_empty()
        });
        self.len = self.alerts.values().map(HashMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    /// An alert with these labels, in this state, which began then.
    fn post(labels: &serde_json::Value, status: &str, began: i64) -> Post {
        let post = json!({"version": "4", "alerts": [{
            "status": status, "labels": labels, "startsAt": at(began).to_string(),
        }]});
        Post::parse(post.to_string().as_bytes()).unwrap()
    }

    fn only(heard: &Heard) -> &Alert {
        let [alert] = heard.alerts.as_slice() else {
            panic!("{heard:?}");
        };
        alert
    }

    #[test]
    fn an_alert_is_heard_in_its_namespace_and_one_without_in_all() {
        let mut board = Board::new(at(0));
        for namespace in ["shop", "bank"] {
            let labels = json!({"alertname": "A", "namespace": namespace});
            let taken = board.take(&Door::Cluster, post(&labels, "firing", 0), at(1));
            assert!(taken.namespaces.contains(namespace));
        }
        assert_eq!(only(&board.heard("shop")).labels["namespace"], "shop");
        assert!(board.heard("other").alerts.is_empty());
        board.take(
            &Door::Cluster,
            post(&json!({"alertname": "Watchdog"}), "firing", 0),
            at(1),
        );
        assert_eq!(only(&board.heard("other")).labels["alertname"], "Watchdog");
        assert_eq!(board.heard("shop").alerts.len(), 2);
        assert_eq!(board.len(), 3);
    }

    #[test]
    fn a_namespaces_door_speaks_for_that_namespace_alone() {
        let mut board = Board::new(at(0));
        let door = Door::Namespace("shop".into());
        let foreign = json!({"alertname": "A", "namespace": "bank"});
        let taken = board.take(&door, post(&foreign, "firing", 0), at(1));
        assert_eq!((taken.kept, taken.foreign), (0, 1));
        let taken = board.take(&door, post(&json!({"alertname": "A"}), "firing", 0), at(1));
        assert_eq!((taken.kept, taken.foreign), (1, 0));
        assert!(only(&board.heard("shop")).own);
        assert!(board.heard("bank").alerts.is_empty());
    }

    #[test]
    fn nobody_resolves_an_alert_that_came_by_another_door() {
        let mut board = Board::new(at(0));
        let labels = json!({"alertname": "A", "namespace": "shop"});
        let door = Door::Namespace("shop".into());
        board.take(&Door::Cluster, post(&labels, "firing", 0), at(1));
        board.take(&door, post(&labels, "resolved", 0), at(2));
        let heard = board.heard("shop");
        let firing: Vec<_> = heard.alerts.iter().filter(|a| a.firing).collect();
        assert_eq!(firing.len(), 1);
        assert!(!firing[0].own);
    }

    #[test]
    fn an_alert_that_is_heard_again_was_heard_first_before_and_one_that_fires_anew_was_not() {
        let mut board = Board::new(at(0));
        let labels = json!({"alertname": "A", "namespace": "shop"});
        for (status, began, now, first) in [
            ("firing", 0, 1, 1),
            ("firing", 0, 61, 1),
            ("resolved", 0, 70, 1),
            ("firing", 80, 81, 81),
        ] {
            board.take(&Door::Cluster, post(&labels, status, began), at(now));
            let heard = board.heard("shop");
            let alert = only(&heard);
            assert_eq!(alert.first_heard_at, at(first));
            assert_eq!(alert.heard_at, at(now));
            assert_eq!(alert.firing, status == "firing");
        }
    }

    #[test]
    fn what_was_left_out_is_known_where_it_matters() {
        let mut board = Board::new(at(0));
        let mut short = post(&json!({"alertname": "A"}), "firing", 0);
        short.truncated_alerts = 2;
        let taken = board.take(&Door::Namespace("shop".into()), short, at(5));
        assert_eq!(taken.left_out, 2);
        assert_eq!(board.heard("shop").left_out_at, Some(at(5)));
        assert_eq!(board.heard("bank").left_out_at, None);
        let mut short = post(&json!({"alertname": "A"}), "firing", 0);
        short.truncated_alerts = 1;
        board.take(&Door::Cluster, short, at(6));
        assert_eq!(board.heard("bank").left_out_at, Some(at(6)));
    }

    #[test]
    fn no_more_are_kept_than_fit_and_the_known_ones_still_change() {
        let mut board = Board::new(at(0));
        let alerts = (0..MOST_KEPT).map(|number| {
            json!({
                "status": "firing", "labels": {"alertname": number.to_string()},
                "startsAt": at(0).to_string(),
            })
        });
        let full = json!({"version": "4", "alerts": alerts.collect::<Vec<_>>()});
        let full = Post::parse(full.to_string().as_bytes()).unwrap();
        assert_eq!(board.take(&Door::Cluster, full, at(1)).kept, MOST_KEPT);
        let labels = json!({"alertname": "one too many"});
        let taken = board.take(&Door::Cluster, post(&labels, "firing", 0), at(2));
        assert_eq!((taken.kept, taken.left_out), (0, 1));
        assert_eq!(board.heard("shop").left_out_at, Some(at(2)));
        let known = json!({"alertname": "7"});
        let taken = board.take(&Door::Cluster, post(&known, "resolved", 0), at(3));
        assert_eq!(taken.kept, 1);
        assert_eq!(board.len(), MOST_KEPT);
    }

    #[test]
    fn what_was_not_heard_for_a_day_is_forgotten() {
        let mut board = Board::new(at(0));
        let labels = json!({"alertname": "A"});
        board.take(&Door::Cluster, post(&labels, "firing", 0), at(0));
        let later = 24 * 3600 + 1;
        board.take(
            &Door::Cluster,
            post(&json!({"alertname": "B"}), "firing", later),
            at(later),
        );
        assert_eq!(only(&board.heard("shop")).labels["alertname"], "B");
        assert_eq!(board.len(), 1);
    }
}
