//! What is said: the policy's status, and Kubernetes Events.

use backstop_api::{
    condition::{self, ConditionStatus},
    event::EventPhase,
    point::Verdict,
    policy::{Health, Mode, Phase, QuarantinedTemplate, TriggerState},
};
use jiff::Timestamp;

use super::{Course, Decision, newest_point};
use crate::{
    guards::{Hold, HoldReason, Look},
    health::{self, Proof},
    policy::{ValidPolicy, ValidTrigger},
    snapshot::{Snapshot, Workload},
    state::{State, TriggerMemory},
    track,
};

/// How many releases that failed the status names.
const QUARANTINED_SHOWN: usize = 3;

/// The policy's status, as far as it is decided here.
#[derive(Clone, Debug, PartialEq)]
pub struct Say {
    /// Where the policy stands.
    pub phase: Phase,
    /// The same in a sentence.
    pub message: String,
    /// How the live release does.
    pub health: Health,
    /// The conditions.
    pub conditions: Vec<Said>,
    /// The newest good point.
    pub last_point: Option<String>,
    /// The newest rollback.
    pub last_event: Option<String>,
    /// Rollbacks in the incident that is going on.
    pub attempts: u32,
    /// No new rollback before this time.
    pub cooldown_until: Option<Timestamp>,
    /// The releases that failed.
    pub quarantined: Vec<QuarantinedTemplate>,
    /// Why nothing is taken back although a trigger fires.
    pub held: Option<String>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its type.
    pub type_: &'static str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
}

/// A Kubernetes Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether somebody should look.
    pub kind: NoticeKind,
    /// In one word.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// Whether somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// All is as it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

fn said(
    type_: &'static str,
    status: impl Into<ConditionStatus>,
    reason: impl Into<String>,
    message: impl Into<String>,
) -> Said {
    Said {
        type_,
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
    }
}

fn accepted() -> Said {
    said(
        condition::ACCEPTED,
        true,
        "Valid",
        "the policy is valid and in force",
    )
}

/// What is said of a policy whose workload has an older policy.
pub(super) fn conflict(policy: &ValidPolicy, older: &str) -> Decision {
    let message = format!(
        "policy {older} is older and looks after Deployment {} already; two would undo each \
         other's work, so this one does nothing. Delete one of them",
        policy.workload
    );
    Decision {
        acts: Vec::new(),
        say: Say {
            phase: Phase::Invalid,
            conditions: vec![
                said(condition::ACCEPTED, false, "Conflict", &message),
                said(condition::READY, false, "Conflict", &message),
            ],
            message,
            health: Health::Unknown,
            last_point: None,
            last_event: None,
            attempts: 0,
            cooldown_until: None,
            quarantined: Vec::new(),
            held: None,
        },
        notices: Vec::new(),
        wake_at: None,
    }
}

/// What is said while there is no Deployment.
pub(super) fn no_workload(policy: &ValidPolicy, seen: &Snapshot) -> Say {
    let message = format!(
        "there is no Deployment {} in this namespace; the policy starts by itself when there is",
        policy.workload
    );
    Say {
        phase: Phase::Waiting,
        conditions: vec![
            accepted(),
            said(condition::READY, false, "WorkloadNotFound", &message),
            said(
                condition::ACTION_REQUIRED,
                false,
                "Nothing",
                "nothing is to be done",
            ),
        ],
        message,
        health: Health::Unknown,
        last_point: newest_point(seen).map(|p| p.name.clone()),
        last_event: last_event(seen),
        attempts: 0,
        cooldown_until: None,
        quarantined: quarantined(seen, &policy.workload),
        held: None,
    }
}

/// What is said of a policy that looks after its workload.
pub(super) fn status(look: &Look<'_>, course: &Course<'_>) -> Say {
    let cooldown_until = look
        .incident
        .last_ended
        .and_then(|t| t.checked_add(look.policy.cooldown).ok())
        .filter(|t| *t > look.now);
    let held = match course {
        Course::Held { hold, .. } => Some(format!("{:?}", hold.reason)),
        _ => None,
    };
    let (phase, message) = phase(look, course);
    Say {
        phase,
        message,
        health: health::health(look.policy, look.state, look.workload),
        conditions: vec![
            accepted(),
            ready(look.workload),
            data_available(look),
            protected(look),
            action_required(look, course),
        ],
        last_point: newest_point(look.seen).map(|p| p.name.clone()),
        last_event: last_event(look.seen),
        attempts: look.incident.attempts,
        cooldown_until,
        quarantined: quarantined(look.seen, &look.policy.workload),
        held,
    }
}

fn phase(look: &Look<'_>, course: &Course<'_>) -> (Phase, String) {
    match course {
        Course::UnderWay { event, message, .. } => {
            let phase = match event.status.phase {
                None | Some(EventPhase::Pending) => Phase::Pending,
                _ => Phase::RollingBack,
            };
            (phase, format!("{}: {message}", event.name))
        }
        Course::Start { spec } => (Phase::Pending, spec.reason.clone().unwrap_or_default()),
        Course::Held { why, hold } => {
            let phase = match hold.reason {
                HoldReason::PolicyPaused | HoldReason::Overridden => Phase::Paused,
                _ => Phase::Held,
            };
            (
                phase,
                format!("{why}, and nothing is taken back: {}", hold.message),
            )
        }
        Course::Quiet => quiet(look),
    }
}

fn quiet(look: &Look<'_>) -> (Phase, String) {
    let release = &look.workload.release;
    if look.policy.mode == Mode::Paused {
        return (
            Phase::Paused,
            "the policy is paused; nothing is decided".into(),
        );
    }
    if !look.workload.is_current() {
        return (
            Phase::Waiting,
            "waiting for the Deployment controller to see the newest spec".into(),
        );
    }
    let Some(state) = &look.state.release else {
        return (Phase::Waiting, "waiting to see the release".into());
    };
    let Some(completed) = state.completed_at else {
        let message = format!(
            "release {release} is rolling out: {} of {} replicas available",
            look.workload.available, look.workload.desired
        );
        return (Phase::Monitoring, message);
    };
    let proof = match state.proved_at {
        Some(at) => format!("release {release} proved itself at {at:.0}"),
        None => format!("release {release} was rolled out at {completed:.0}"),
    };
    match look
        .policy
        .window
        .and_then(|w| completed.checked_add(w).ok())
    {
        Some(ends) if look.now >= ends => (
            Phase::Idle,
            format!("{proof}; its window is over, waiting for the next release"),
        ),
        Some(ends) => (
            Phase::Monitoring,
            format!("{proof}; watched until {ends:.0}"),
        ),
        None => (
            Phase::Monitoring,
            format!("{proof}; watched as long as it is live"),
        ),
    }
}

fn ready(workload: &Workload) -> Said {
    if workload.paused {
        return said(
            condition::READY,
            false,
            "WorkloadPaused",
            format!(
                "the rollout of {0} is paused; kubectl rollout resume deployment/{0}",
                workload.name
            ),
        );
    }
    said(
        condition::READY,
        true,
        "Watching",
        format!("Deployment {} is watched", workload.name),
    )
}

fn data_available(look: &Look<'_>) -> Said {
    let mut missing = look
        .policy
        .triggers
        .iter()
        .filter_map(|t| Some((t, look.state.triggers.get(&t.name)?)))
        .filter(|(_, m)| matches!(m.state, TriggerState::NoData | TriggerState::Error))
        .peekable();
    let Some((_, first)) = missing.peek() else {
        return settling(look);
    };
    let reason = match first.state {
        TriggerState::Error => "Error",
        _ => "NoData",
    };
    let list: Vec<String> = missing
        .map(|(t, m)| format!("{}: {}", t.name, m.message))
        .collect();
    let message = format!(
        "cannot be judged, so nothing is taken back on them: {}",
        list.join("; ")
    );
    said(condition::DATA_AVAILABLE, false, reason, message)
}

/// No trigger lacks data; some may have none yet that are about this release.
fn settling(look: &Look<'_>) -> Said {
    let waiting: Vec<String> = look
        .policy
        .triggers
        .iter()
        .filter_map(|t| Some((t, look.state.triggers.get(&t.name)?)))
        .filter(|(_, m)| !m.settled)
        .map(|(t, m)| format!("{}: {}", t.name, m.message))
        .collect();
    if waiting.is_empty() {
        return said(
            condition::DATA_AVAILABLE,
            true,
            "Data",
            "every trigger can be judged",
        );
    }
    said(
        condition::DATA_AVAILABLE,
        ConditionStatus::Unknown,
        "Settling",
        format!(
            "not to be judged yet, so nothing is taken back on them: {}",
            waiting.join("; ")
        ),
    )
}

fn protected(look: &Look<'_>) -> Said {
    let live = &look.workload.release;
    let (may, _) = crate::target::candidates(look.seen, live, &look.incident.failed);
    if let Some(point) = may.first() {
        let message = format!("a bad release goes back to point {}", point.name);
        return said(condition::PROTECTED, true, "GoodPoint", message);
    }
    if newest_point(look.seen).is_some_and(|p| p.release.as_ref() == Some(live)) {
        let message =
            "the live release has proved itself; the next one goes back to it if it is bad";
        return said(condition::PROTECTED, true, "LiveIsGood", message);
    }
    let message = "no release has proved itself yet: a bad one could not be taken back. One does \
                   when it is healthy for points.soak, or when a RollbackPoint names it while it is live";
    said(condition::PROTECTED, false, "NoGoodPoint", message)
}

/// A rollback that failed, whose target is live and has not proved itself since, calls for a person
/// even while no trigger fires.
fn failed_rollback(look: &Look<'_>) -> Option<Said> {
    let event = track::restorer(look.state, look.seen)?;
    let unproved = look.state.release.as_ref()?.proved_at.is_none();
    let failed = event.status.phase == Some(EventPhase::Failed) && unproved;
    failed.then(|| {
        let outcome = event.status.outcome.map(|o| format!("{o:?}"));
        said(
            condition::ACTION_REQUIRED,
            true,
            outcome.unwrap_or_else(|| "RollbackFailed".into()),
            format!(
                "{} failed: {}",
                event.name,
                event.status.message.as_deref().unwrap_or_default()
            ),
        )
    })
}

fn action_required(look: &Look<'_>, course: &Course<'_>) -> Said {
    if matches!(course, Course::Quiet)
        && let Some(failed) = failed_rollback(look)
    {
        return failed;
    }
    match course {
        Course::Held { hold, .. } if hold.reason.needs_a_person() => said(
            condition::ACTION_REQUIRED,
            true,
            format!("{:?}", hold.reason),
            hold.message.clone(),
        ),
        _ => said(
            condition::ACTION_REQUIRED,
            false,
            "Nothing",
            "nothing is to be done",
        ),
    }
}

fn last_event(seen: &Snapshot) -> Option<String> {
    seen.events
        .iter()
        .max_by_key(|e| (e.created, e.name.len(), &e.name))
        .map(|e| e.name.clone())
}

fn quarantined(seen: &Snapshot, workload: &str) -> Vec<QuarantinedTemplate> {
    let mut failed: Vec<_> = seen
        .points
        .iter()
        .filter(|p| p.verdict == Verdict::Quarantined)
        .collect();
    failed.sort_by(|a, b| (b.proved_at, &b.name).cmp(&(a.proved_at, &a.name)));
    failed
        .into_iter()
        .filter_map(|point| {
            let release = point.release.clone()?;
            let event = seen
                .events
                .iter()
                .filter(|e| e.from_hash() == Some(&release))
                .max_by_key(|e| (e.created, &e.name))
                .map_or_else(String::new, |e| e.name.clone());
            Some(QuarantinedTemplate {
                workload: workload.to_owned(),
                release,
                event,
            })
        })
        .take(QUARANTINED_SHOWN)
        .collect()
}

/// A trigger that only notifies has fired.
pub(super) fn notify_only(trigger: &ValidTrigger, memory: &TriggerMemory) -> Hold {
    Hold {
        reason: HoldReason::NotifyOnly,
        message: format!("action of {} is Notify; {}", trigger.name, memory.message),
        until: None,
    }
}

/// What has changed since the last decision, for whoever reads Kubernetes Events.
pub(super) fn notices(
    before: &State,
    look: &Look<'_>,
    course: &Course<'_>,
    proof: Proof,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut notice = |kind, reason, message: String| {
        notices.push(Notice {
            kind,
            reason,
            message,
        });
    };
    for trigger in &look.policy.triggers {
        let Some(memory) = look.state.triggers.get(&trigger.name) else {
            continue;
        };
        let was = before.triggers.get(&trigger.name).map(|m| m.state);
        if was == Some(memory.state) {
            continue;
        }
        let text = format!("trigger {}: {}", trigger.name, memory.message);
        match memory.state {
            TriggerState::Firing => notice(NoticeKind::Warning, "TriggerFiring", text),
            TriggerState::NoData => notice(NoticeKind::Warning, "NoData", text),
            TriggerState::Error => notice(NoticeKind::Warning, "TriggerError", text),
            TriggerState::Inactive if was == Some(TriggerState::Firing) => {
                notice(NoticeKind::Normal, "TriggerResolved", text);
            }
            TriggerState::Inactive | TriggerState::Pending => {}
        }
    }
    if let Course::Held { why, hold } = course
        && before.held.as_deref() != Some(&format!("{:?}", hold.reason))
    {
        let text = format!("{why}, and nothing is taken back: {}", hold.message);
        notice(NoticeKind::Warning, "RollbackHeld", text);
    }
    if proof == Proof::Now {
        let text = format!(
            "release {} was healthy for {} s and is a point to go back to from now on",
            look.workload.release,
            look.policy.soak.as_secs()
        );
        notice(NoticeKind::Normal, "ReleaseProved", text);
    }
    notices
}
