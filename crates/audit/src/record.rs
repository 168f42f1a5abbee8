//! What goes into the log: records of rollbacks, of policies that were made, changed and deleted, and of Deployments that
//! people took over.

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
    /// Somebody made a policy.
    PolicyCreated(PolicyRecord),
    /// Somebody changed a policy.
    PolicyChanged(SpecChangeRecord),
    /// A person took a Deployment over, or gave it back.
    Override(TakeoverRecord),
    /// A policy is not there any more.
    PolicyDeleted(PolicyRecord),
}

impl Record {
    /// When it happened.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Rollback(rollback) => rollback.at,
            Self::PolicyCreated(policy) | Self::PolicyDeleted(policy) => policy.at,
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

/// A policy was made, or is not there any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRecord {
    /// When it was made; when it was seen to be gone.
    pub at: Timestamp,
    /// The policy's namespace.
    pub namespace: String,
    /// The policy.
    pub policy: String,
    /// The policy's UID: a namesake that was made since is another one.
    pub uid: String,
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
    /// The policy's UID.
    pub uid: String,
    /// The field manager that wrote last.
    pub by: Option<String>,
    /// The generation since then.
    pub generation: i64,
    /// The fields that are others.
    pub fields: Vec<String>,
}

/// A person took a Deployment over, or gave it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TakeoverRecord {
    /// Since when.
    pub at: Timestamp,
    /// The policy's namespace.
    pub namespace: String,
    /// The policy.
    pub policy: String,
    /// The policy's UID.
    pub uid: String,
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

/// What a policy has on record of itself, oldest first: that it was made, and of the changes and takeovers those that its
/// status has kept.
#[must_use]
pub fn of_policy(policy: &RollbackPolicy) -> Vec<Record> {
    let meta = &policy.metadata;
    let namespace = meta.namespace.clone().unwrap_or_default();
    let name = meta.name.clone().unwrap_or_default();
    let uid = meta.uid.clone().unwrap_or_default();
    let created = meta.creation_timestamp.as_ref().map(|at| {
        Record::PolicyCreated(PolicyRecord {
            at: at.0,
            namespace: namespace.clone(),
            policy: name.clone(),
            uid: uid.clone(),
        })
    });
    let status = policy.status.as_ref();
    let history = status.and_then(|s| s.spec_history.as_ref());
    let changes = history.into_iter().flat_map(|h| &h.changes).map(|change| {
        Record::PolicyChanged(SpecChangeRecord {
            at: change.at,
            namespace: namespace.clone(),
            policy: name.clone(),
            uid: uid.clone(),
            by: change.by.clone(),
            generation: change.generation,
            fields: change.fields.clone(),
        })
    });
    let overrides = status.into_iter().flat_map(|s| &s.overrides).map(|taken| {
        Record::Override(TakeoverRecord {
            at: taken.since,
            namespace: namespace.clone(),
            policy: name.clone(),
            uid: uid.clone(),
            workload: taken.workload.clone(),
            by: taken.by.clone(),
            reason: taken.reason.clone(),
            until: taken.until,
        })
    });
    let mut records: Vec<Record> = created
        .into_iter()
        .chain(changes)
        .chain(overrides)
        .collect();
    records.sort_by_key(Record::at);
    records
}
