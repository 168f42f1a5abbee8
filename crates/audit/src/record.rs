//! What goes into the log: records of rollbacks, of changed policies, and of Deployments that people took over.

use backstop_api::{
    RollbackEvent, RollbackPolicy,
    audit::AffectedUsers,
    event::{Cause, EventPhase, Outcome, ReleaseRef, Revert, Sample, Target, Times},
    policy::{Action, Severity, StrategyType},
};
use jiff::Timestamp;
use serde::Serialize;

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind")]
pub enum Record {
    /// A rollback that has ended.
    Rollback(Box<RollbackRecord>),
    /// Somebody changed a policy.
    PolicyChanged(SpecChangeRecord),
    /// A person took a Deployment over.
    Override(TakeoverRecord),
}

impl Record {
    /// When it happened.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Rollback(rollback) => rollback.at,
            Self::PolicyChanged(change) => change.at,
            Self::Override(takeover) => takeover.at,
        }
    }
}

/// A rollback that has ended: everything that an auditor asks for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RollbackRecord {
    /// When it ended.
    pub at: Timestamp,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The policy.
    pub policy: String,
    /// The Deployments.
    pub workloads: Vec<String>,
    /// What started it.
    pub cause: Cause,
    /// Who asked for it.
    pub requested_by: String,
    /// Why.
    pub reason: Option<String>,
    /// The drill that it ended.
    pub ends_drill: Option<String>,
    /// The trigger that fired.
    pub trigger: Option<String>,
    /// Its severity.
    pub severity: Option<Severity>,
    /// Its condition.
    pub condition: Option<String>,
    /// The query as it was asked.
    pub query: Option<String>,
    /// What was measured, oldest first.
    pub samples: Vec<Sample>,
    /// What it was compared with.
    pub baseline: Option<f64>,
    /// What the cluster said.
    pub details: Vec<String>,
    /// What was done.
    pub action: Option<Action>,
    /// How.
    pub strategy: Option<StrategyType>,
    /// The release that was taken back.
    pub from: Option<ReleaseRef>,
    /// Where to.
    pub to: Option<Target>,
    /// How it ended.
    pub phase: EventPhase,
    /// The same in one word.
    pub outcome: Option<Outcome>,
    /// The same in a sentence.
    pub message: Option<String>,
    /// When things happened.
    pub times: Times,
    /// From firing, or asking, to the end, in seconds.
    pub duration_seconds: Option<f64>,
    /// How many users were affected.
    pub affected_users: Option<AffectedUsers>,
    /// Who put the release back.
    pub reverts: Vec<Revert>,
}

/// Somebody changed a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpecChangeRecord {
    /// When it was seen.
    pub at: Timestamp,
    /// The policy's namespace.
    pub namespace: String,
    /// The policy.
    pub policy: String,
    /// The field manager that wrote last.
    pub by: Option<String>,
    /// The generation since then.
    pub generation: i64,
    /// The fields that are others.
    pub fields: Vec<String>,
}

/// A person took a Deployment over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TakeoverRecord {
    /// Since when.
    pub at: Timestamp,
    /// The policy's namespace.
    pub namespace: String,
    /// The policy.
    pub policy: String,
    /// The Deployment.
    pub workload: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Until when; absent while it goes on.
    pub until: Option<Timestamp>,
}

/// When a rollback ended, and where that is not known when it was made.
#[must_use]
pub fn ended(event: &RollbackEvent) -> Option<Timestamp> {
    let ended = event.status.as_ref().and_then(|s| s.times.ended);
    ended.or_else(|| event.metadata.creation_timestamp.as_ref().map(|t| t.0))
}

/// Whether the end of a rollback is in the log already. One that took its release back again has ended again.
#[must_use]
pub fn is_in_the_log(event: &RollbackEvent) -> bool {
    let exported = event.status.as_ref().and_then(|s| s.exported.as_ref());
    exported.is_some_and(|exported| ended(event).is_some_and(|ended| exported.at >= ended))
}

/// The record of a rollback; `None` while it goes on.
#[must_use]
pub fn of_event(event: &RollbackEvent) -> Option<Record> {
    let status = event.status.as_ref()?;
    let phase = status.phase.filter(|phase| phase.is_terminal())?;
    let (meta, spec) = (&event.metadata, &event.spec);
    let created = meta.creation_timestamp.as_ref().map(|t| t.0);
    let ended = ended(event)?;
    let began = status.times.fired.or(spec.fired_at).or(created);
    let evidence = spec.evidence.as_ref();
    Some(Record::Rollback(Box::new(RollbackRecord {
        at: ended,
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        policy: spec.policy.clone(),
        workloads: spec.workloads.iter().map(|w| w.name.clone()).collect(),
        cause: spec.cause,
        requested_by: spec.requested_by.clone(),
        reason: spec.reason.clone(),
        ends_drill: spec.ends_drill.clone(),
        trigger: evidence.map(|e| e.trigger.clone()),
        severity: evidence.map(|e| e.severity),
        condition: evidence.map(|e| e.condition.clone()),
        query: evidence.and_then(|e| e.query.clone()),
        samples: evidence.map(|e| e.samples.clone()).unwrap_or_default(),
        baseline: evidence.and_then(|e| e.baseline),
        details: evidence.map(|e| e.details.clone()).unwrap_or_default(),
        action: spec.action,
        strategy: spec.strategy,
        from: status.from.clone().or_else(|| spec.from.clone()),
        to: status.to.clone().or_else(|| spec.to.clone()),
        phase,
        outcome: status.outcome,
        message: status.message.clone(),
        times: status.times.clone(),
        duration_seconds: began.map(|began| ended.duration_since(began).as_secs_f64()),
        affected_users: status.affected_users.clone(),
        reverts: status.reverts.clone(),
    })))
}

/// What a policy's status has on record, oldest first.
#[must_use]
pub fn of_policy(policy: &RollbackPolicy) -> Vec<Record> {
    let Some(status) = &policy.status else {
        return Vec::new();
    };
    let namespace = policy.metadata.namespace.clone().unwrap_or_default();
    let name = policy.metadata.name.clone().unwrap_or_default();
    let changes = status.spec_history.iter().flat_map(|h| &h.changes);
    let changes = changes.map(|change| {
        Record::PolicyChanged(SpecChangeRecord {
            at: change.at,
            namespace: namespace.clone(),
            policy: name.clone(),
            by: change.by.clone(),
            generation: change.generation,
            fields: change.fields.clone(),
        })
    });
    let overrides = status.overrides.iter().map(|taken| {
        Record::Override(TakeoverRecord {
            at: taken.since,
            namespace: namespace.clone(),
            policy: name.clone(),
            workload: taken.workload.clone(),
            by: taken.by.clone(),
            reason: taken.reason.clone(),
            until: taken.until,
        })
    });
    let mut records: Vec<Record> = changes.chain(overrides).collect();
    records.sort_by_key(Record::at);
    records
}
