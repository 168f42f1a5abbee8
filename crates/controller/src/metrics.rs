//! Backstop's own metrics.

mod labels;
mod process;

use std::{collections::BTreeMap, time::Duration};

use backstop_api::event::GitOpsTool;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

pub use self::labels::{
    Answer, Call, Does, Ended, Exported, Judged, OfPolicy, Post, Probed, PutBack, Reconciler,
    Stands, StepDone, Told,
};

/// How many stand where: by phase, state and health, each of which is there even if none stands in it.
#[derive(Debug, Default)]
pub struct Standing {
    /// Rollbacks by phase.
    pub phases: BTreeMap<String, i64>,
    /// Triggers by state.
    pub triggers: BTreeMap<String, i64>,
    /// Policies by health.
    pub health: BTreeMap<String, i64>,
}

fn ended(phase: impl std::fmt::Debug, outcome: impl std::fmt::Debug) -> Ended {
    Ended {
        phase: format!("{phase:?}"),
        outcome: format!("{outcome:?}"),
    }
}

type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;

/// Backstop's own metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: Family<Call, Counter>,
    call_seconds: Seconds<Call>,
    queries: Family<Answer, Counter>,
    query_seconds: Seconds<Answer>,
    probes: Family<Probed, Counter>,
    probe_seconds: Seconds<Probed>,
    rollbacks: Family<Ended, Counter>,
    rollback_seconds: Histogram,
    drills: Family<Ended, Counter>,
    triggered: Counter,
    deployments: Counter,
    deployment_failures: Counter,
    status: Family<Stands, Gauge>,
    triggers: Family<Judged, Gauge>,
    health: Family<Does, Gauge>,
    put_back: Family<PutBack, Counter>,
    steps: Family<StepDone, Counter>,
    notifications: Family<Told, Counter>,
    notification_seconds: Seconds<Told>,
    exports: Family<Exported, Counter>,
    failures: Family<Reconciler, Counter>,
    alert_posts: Family<Post, Counter>,
    alerts: Gauge,
    leader: Gauge,
    paused: Gauge,
    policies: Gauge,
    queue: Gauge,
    scores: Family<OfPolicy, Gauge>,
    audit_failures: Counter,
    key_age: Gauge,
    old_keys: Gauge,
}

fn fast() -> Histogram {
    Histogram::new([
        0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("backstop");
        let metrics = Self {
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(fast as fn() -> Histogram),
            queries: Family::default(),
            query_seconds: Family::new_with_constructor(fast as fn() -> Histogram),
            probes: Family::default(),
            probe_seconds: Family::new_with_constructor(fast as fn() -> Histogram),
            rollbacks: Family::default(),
            rollback_seconds: Histogram::new([1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0]),
            drills: Family::default(),
            triggered: Counter::default(),
            deployments: Counter::default(),
            deployment_failures: Counter::default(),
            status: Family::default(),
            triggers: Family::default(),
            health: Family::default(),
            put_back: Family::default(),
            steps: Family::default(),
            notifications: Family::default(),
            notification_seconds: Family::new_with_constructor(fast as fn() -> Histogram),
            exports: Family::default(),
            failures: Family::default(),
            alert_posts: Family::default(),
            alerts: Gauge::default(),
            audit_failures: Counter::default(),
            key_age: Gauge::default(),
            old_keys: Gauge::default(),
            leader: Gauge::default(),
            paused: Gauge::default(),
            policies: Gauge::default(),
            queue: Gauge::default(),
            scores: Family::default(),
            registry: Registry::default(),
        };
        metrics.register_rollbacks(&mut registry);
        metrics.register_work(&mut registry);
        registry.register_collector(Box::new(process::Process));
        metrics.begin_at_zero();
        Self {
            registry,
            ..metrics
        }
    }
}

impl Metrics {
    /// A call to the API server has ended.
    pub fn called(&self, operation: &'static str, result: &'static str, took: Duration) {
        let call = Call { operation, result };
        self.calls.get_or_create(&call).inc();
        self.call_seconds
            .get_or_create(&call)
            .observe(took.as_secs_f64());
    }

    /// A query has been answered, or not.
    pub fn asked(&self, outcome: &'static str, took: Duration) {
        let answer = Answer { outcome };
        self.queries.get_or_create(&answer).inc();
        self.query_seconds
            .get_or_create(&answer)
            .observe(took.as_secs_f64());
    }

    /// Somebody has been asked for their health.
    pub fn probed(&self, result: &'static str, took: Duration) {
        let probed = Probed { result };
        self.probes.get_or_create(&probed).inc();
        self.probe_seconds
            .get_or_create(&probed)
            .observe(took.as_secs_f64());
    }

    /// A rollback has been recorded because a trigger fired.
    pub fn triggered(&self) {
        self.triggered.inc();
    }

    /// What is taken back, and what there is to take back.
    fn register_rollbacks(&self, registry: &mut Registry) {
        registry.register(
            "rollback_count",
            "Rollbacks that ended",
            self.rollbacks.clone(),
        );
        registry.register(
            "drills",
            "Drills that ended, and the ways back from them",
            self.drills.clone(),
        );
        registry.register(
            "rollback_duration_seconds",
            "From firing to the end of a rollback",
            self.rollback_seconds.clone(),
        );
        registry.register(
            "rollback_triggered",
            "Rollbacks recorded because a trigger fired",
            self.triggered.clone(),
        );
        registry.register(
            "release_put_back",
            "Releases that were put back after they failed, and taken back again",
            self.put_back.clone(),
        );
        registry.register(
            "health_score",
            "How the live release of a policy does, from 0 to 100; absent where nothing can be judged",
            self.scores.clone(),
        );
        registry.register(
            "rollback_status",
            "Rollbacks on record, by phase",
            self.status.clone(),
        );
        registry.register(
            "deployments",
            "Releases that began while they were looked after",
            self.deployments.clone(),
        );
        registry.register(
            "deployment_failures",
            "Releases that a trigger had taken back",
            self.deployment_failures.clone(),
        );
        registry.register("triggers", "Triggers, by state", self.triggers.clone());
        registry.register(
            "health",
            "Policies, by the health of what they look after",
            self.health.clone(),
        );
    }

    /// What is done for that.
    fn register_work(&self, registry: &mut Registry) {
        registry.register("api_calls", "Calls to the API server", self.calls.clone());
        registry.register(
            "api_call_duration_seconds",
            "How long calls to the API server take",
            self.call_seconds.clone(),
        );
        registry.register(
            "queries",
            "Queries to metrics sources",
            self.queries.clone(),
        );
        registry.register(
            "query_duration_seconds",
            "How long queries take",
            self.query_seconds.clone(),
        );
        registry.register(
            "probes",
            "Questions about health, by what came of them",
            self.probes.clone(),
        );
        registry.register(
            "probe_duration_seconds",
            "How long questions about health take",
            self.probe_seconds.clone(),
        );
        registry.register("steps", "Steps of plans that ended", self.steps.clone());
        registry.register(
            "notifications",
            "Attempts to send a notification",
            self.notifications.clone(),
        );
        registry.register(
            "notification_duration_seconds",
            "How long attempts to send a notification take",
            self.notification_seconds.clone(),
        );
        registry.register(
            "span_exports",
            "Attempts to export spans",
            self.exports.clone(),
        );
        registry.register(
            "reconcile_failures",
            "Reconciliations that failed",
            self.failures.clone(),
        );
        registry.register(
            "alert_posts",
            "Posts of alerts to the operator",
            self.alert_posts.clone(),
        );
        registry.register(
            "alerts",
            "Alerts that are kept, firing or resolved",
            self.alerts.clone(),
        );
        registry.register("leader", "Whether this replica acts", self.leader.clone());
        registry.register(
            "paused",
            "Whether Backstop is paused for the whole cluster",
            self.paused.clone(),
        );
        registry.register(
            "policies",
            "Policies that are looked after",
            self.policies.clone(),
        );
        registry.register(
            "rollback_queue_size",
            "Rollbacks that are not over",
            self.queue.clone(),
        );
        registry.register(
            "audit_failures",
            "Times that the audit log could not be written",
            self.audit_failures.clone(),
        );
        registry.register(
            "encryption_key_age_seconds",
            "How old the key is that encrypts configuration",
            self.key_age.clone(),
        );
        registry.register(
            "encryption_old_key_objects",
            "Kept Secrets of points that are encrypted with another key than the one that encrypts",
            self.old_keys.clone(),
        );
    }

    /// Counts nothing of what will be counted, so that the first one is a rise and not a beginning.
    fn begin_at_zero(&self) {
        use backstop_api::event::{EventPhase, Outcome};
        let ends = [
            (EventPhase::Succeeded, Outcome::Recovered),
            (EventPhase::Succeeded, Outcome::Held),
            (EventPhase::Failed, Outcome::NotCausedByRelease),
            (EventPhase::Failed, Outcome::TargetCannotStart),
            (EventPhase::Failed, Outcome::TargetUnhealthy),
            (EventPhase::Failed, Outcome::TimedOut),
            (EventPhase::Failed, Outcome::WriteRefused),
            (EventPhase::Failed, Outcome::PointUnusable),
            (EventPhase::Failed, Outcome::WorkloadDeleted),
            (EventPhase::Failed, Outcome::Contested),
            (EventPhase::Failed, Outcome::CancelledByPerson),
            (EventPhase::Failed, Outcome::PolicyNotInForce),
        ];
        for (phase, outcome) in ends {
            drop(self.rollbacks.get_or_create(&ended(phase, outcome)));
            drop(self.drills.get_or_create(&ended(phase, outcome)));
        }
        for kind in ["policy", "event", "point"] {
            drop(self.failures.get_or_create(&Reconciler { kind }));
        }
    }

    /// A release has begun.
    pub fn deployed(&self) {
        self.deployments.inc();
    }

    /// A release is taken back because a trigger fired.
    pub fn deployment_failed(&self) {
        self.deployment_failures.inc();
    }

    /// How many rollbacks, triggers and policies stand where. What is not there counts none.
    pub fn stand(&self, now: &Standing) {
        fn set<L>(
            family: &Family<L, Gauge>,
            label: impl Fn(String) -> L,
            now: &BTreeMap<String, i64>,
        ) where
            L: Clone + std::fmt::Debug + Eq + std::hash::Hash,
        {
            for (name, count) in now {
                family.get_or_create(&label(name.clone())).set(*count);
            }
        }
        set(&self.status, |phase| Stands { phase }, &now.phases);
        set(&self.triggers, |state| Judged { state }, &now.triggers);
        set(&self.health, |health| Does { health }, &now.health);
    }

    /// A release that failed was put back, and is taken back again.
    pub fn put_back(&self, tool: Option<GitOpsTool>) {
        let tool = tool.map_or_else(|| "other".to_owned(), |tool| format!("{tool:?}"));
        self.put_back.get_or_create(&PutBack { tool }).inc();
    }

    /// A step of a plan has ended.
    pub fn step(&self, step: impl std::fmt::Debug, state: impl std::fmt::Debug) {
        let done = StepDone {
            step: format!("{step:?}"),
            state: format!("{state:?}"),
        };
        self.steps.get_or_create(&done).inc();
    }

    /// An attempt to tell somebody has ended.
    pub fn notified(&self, channel_kind: &'static str, outcome: &'static str, took: Duration) {
        let told = Told {
            channel_kind,
            outcome,
        };
        self.notifications.get_or_create(&told).inc();
        self.notification_seconds
            .get_or_create(&told)
            .observe(took.as_secs_f64());
    }

    /// An attempt to export spans has ended.
    pub fn exported(&self, outcome: &'static str) {
        self.exports.get_or_create(&Exported { outcome }).inc();
    }

    /// A rollback has ended.
    pub fn ended(
        &self,
        phase: impl std::fmt::Debug,
        outcome: impl std::fmt::Debug,
        took: Option<jiff::SignedDuration>,
    ) {
        self.rollbacks.get_or_create(&ended(phase, outcome)).inc();
        if let Some(took) = took {
            self.rollback_seconds.observe(took.as_secs_f64());
        }
    }

    /// A drill has ended, or the way back from one.
    pub fn drilled(&self, phase: impl std::fmt::Debug, outcome: impl std::fmt::Debug) {
        self.drills.get_or_create(&ended(phase, outcome)).inc();
    }

    /// A reconciliation has failed.
    pub fn failed(&self, kind: &'static str) {
        self.failures.get_or_create(&Reconciler { kind }).inc();
    }

    /// Alerts have been posted.
    pub fn alerts_posted(&self, result: &'static str) {
        self.alert_posts.get_or_create(&Post { result }).inc();
    }

    /// So many alerts are kept.
    pub fn alerts(&self, kept: usize) {
        self.alerts.set(i64::try_from(kept).unwrap_or(i64::MAX));
    }

    /// Whether this replica acts.
    pub fn leads(&self, yes: bool) {
        self.leader.set(i64::from(yes));
    }

    /// How the live release of a policy does; `None` where that cannot be told, or nobody asks any more.
    pub fn scored(&self, namespace: &str, policy: &str, score: Option<u8>) {
        let labels = OfPolicy {
            namespace: namespace.to_owned(),
            policy: policy.to_owned(),
        };
        match score {
            Some(score) => {
                self.scores.get_or_create(&labels).set(i64::from(score));
            }
            None => {
                self.scores.remove(&labels);
            }
        }
    }

    /// Whether nothing is taken back in the whole cluster.
    pub fn paused(&self, yes: bool) {
        self.paused.set(i64::from(yes));
    }

    /// How many policies are looked after.
    pub fn sizes(&self, policies: usize) {
        self.policies
            .set(i64::try_from(policies).unwrap_or(i64::MAX));
    }

    /// The audit log could not be written.
    pub fn audit_failed(&self) {
        self.audit_failures.inc();
    }

    /// How old the key is that encrypts, and how much is encrypted with another one.
    pub fn keys(&self, age: Duration, with_others: usize) {
        self.key_age
            .set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        self.old_keys
            .set(i64::try_from(with_others).unwrap_or(i64::MAX));
    }

    /// How many rollbacks are not over.
    pub fn queue(&self, open: i64) {
        self.queue.set(open);
    }

    /// Everything, as OpenMetrics text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_there_for_as_long_as_there_is_one() {
        let metrics = Metrics::default();
        metrics.scored("shop", "web", Some(80));
        let line = r#"backstop_health_score{namespace="shop",policy="web"} 80"#;
        assert!(metrics.text().contains(line), "{}", metrics.text());
        metrics.scored("shop", "web", None);
        assert!(
            !metrics.text().contains("health_score{"),
            "{}",
            metrics.text()
        );
    }
}
