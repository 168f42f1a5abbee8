//! Backstop's own metrics.

use std::time::Duration;

use backstop_api::event::GitOpsTool;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// A call to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Call {
    /// What is done, such as `patch deployment`: a closed set.
    pub operation: &'static str,
    /// How it ended: a closed set.
    pub result: &'static str,
}

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ended {
    /// One of the phases that end a rollback.
    pub phase: String,
    /// One of the outcomes.
    pub outcome: String,
}

/// A query's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answer {
    /// What came back: a closed set.
    pub outcome: &'static str,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StepDone {
    /// Which step.
    pub step: String,
    /// How it ended.
    pub state: String,
}

/// Who put a release back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PutBack {
    /// One of the GitOps tools, or `other`.
    pub tool: String,
}

/// A reconciler.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reconciler {
    /// `policy`, `event` or `point`.
    pub kind: &'static str,
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
    rollbacks: Family<Ended, Counter>,
    rollback_seconds: Histogram,
    triggered: Counter,
    put_back: Family<PutBack, Counter>,
    steps: Family<StepDone, Counter>,
    failures: Family<Reconciler, Counter>,
    leader: Gauge,
    policies: Gauge,
    queue: Gauge,
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
            rollbacks: Family::default(),
            rollback_seconds: Histogram::new([1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0]),
            triggered: Counter::default(),
            put_back: Family::default(),
            steps: Family::default(),
            failures: Family::default(),
            leader: Gauge::default(),
            policies: Gauge::default(),
            queue: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register(
            "api_calls",
            "Calls to the API server",
            metrics.calls.clone(),
        );
        registry.register(
            "api_call_duration_seconds",
            "How long calls to the API server take",
            metrics.call_seconds.clone(),
        );
        registry.register(
            "queries",
            "Queries to metrics sources",
            metrics.queries.clone(),
        );
        registry.register(
            "query_duration_seconds",
            "How long queries take",
            metrics.query_seconds.clone(),
        );
        registry.register(
            "rollback_count",
            "Rollbacks that ended",
            metrics.rollbacks.clone(),
        );
        registry.register(
            "rollback_duration_seconds",
            "From firing to the end of a rollback",
            metrics.rollback_seconds.clone(),
        );
        registry.register(
            "rollback_triggered",
            "Rollbacks recorded because a trigger fired",
            metrics.triggered.clone(),
        );
        registry.register(
            "release_put_back",
            "Releases that were put back after they failed, and taken back again",
            metrics.put_back.clone(),
        );
        registry.register("steps", "Steps of plans that ended", metrics.steps.clone());
        registry.register(
            "reconcile_failures",
            "Reconciliations that failed",
            metrics.failures.clone(),
        );
        registry.register(
            "leader",
            "Whether this replica acts",
            metrics.leader.clone(),
        );
        registry.register(
            "policies",
            "Policies that are looked after",
            metrics.policies.clone(),
        );
        registry.register(
            "rollback_queue_size",
            "Rollbacks that are not over",
            metrics.queue.clone(),
        );
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

    /// A rollback has been recorded because a trigger fired.
    pub fn triggered(&self) {
        self.triggered.inc();
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

    /// A rollback has ended.
    pub fn ended(
        &self,
        phase: impl std::fmt::Debug,
        outcome: impl std::fmt::Debug,
        took: Option<jiff::SignedDuration>,
    ) {
        let ended = Ended {
            phase: format!("{phase:?}"),
            outcome: format!("{outcome:?}"),
        };
        self.rollbacks.get_or_create(&ended).inc();
        if let Some(took) = took {
            self.rollback_seconds.observe(took.as_secs_f64());
        }
    }

    /// A reconciliation has failed.
    pub fn failed(&self, kind: &'static str) {
        self.failures.get_or_create(&Reconciler { kind }).inc();
    }

    /// Whether this replica acts.
    pub fn leads(&self, yes: bool) {
        self.leader.set(i64::from(yes));
    }

    /// How many policies are looked after, and how many rollbacks are not over.
    pub fn sizes(&self, policies: usize, open: usize) {
        self.policies
            .set(i64::try_from(policies).unwrap_or(i64::MAX));
        self.queue.set(i64::try_from(open).unwrap_or(i64::MAX));
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
