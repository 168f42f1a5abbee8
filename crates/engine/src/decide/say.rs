//! What is said: the policy's status, and Kubernetes Events.

use backstop_api::{
    condition::{self, ConditionStatus},
    event::EventPhase,
    policy::{GatesStatus, Health, Mode, Monitored, Phase, ReleaseVerdict, TriggerState},
};
use jiff::Timestamp;

use super::{Course, Decision, Rest, newest_point};

mod conditions;
use conditions::{accepted, action_required, data_available, monitored, protected, ready, said};

use crate::{
    guards::{Hold, HoldReason, Look},
    health::{self, Proof},
    policy::{FieldError, ValidPolicy, ValidTrigger},
    quarantine::{self, KeptOut},
    score::{self, Score},
    snapshot::Snapshot,
    state::State,
};

/// The policy's status, as far as it is decided here.
#[derive(Clone, Debug, PartialEq)]
pub struct Say {
    /// Where the policy stands.
    pub phase: Phase,
    /// The same in a sentence.
    pub message: String,
    /// How the live release does.
    pub health: Health,
    /// The same as a number.
    pub score: Score,
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
    /// The releases that failed and are kept out.
    pub quarantined: Vec<KeptOut>,
    /// Why nothing is taken back although a trigger fires.
    pub held: Option<String>,
    /// What new templates are held against.
    pub gates: Option<GatesStatus>,
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

/// What is said of a policy whose workload has an older policy.
pub(super) fn conflict(policy: &ValidPolicy, older: &str) -> Decision {
    let message = format!(
        "policy {older} is older and looks after Deployment {} already; two would undo each \
         other's work, so this one does nothing. Delete one of them",
        policy.names()
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
            score: Score::default(),
            last_point: None,
            last_event: None,
            attempts: 0,
            cooldown_until: None,
            quarantined: Vec::new(),
            held: None,
            gates: None,
        },
        notices: Vec::new(),
        rest: Rest::No,
        wake_at: None,
    }
}

/// What is said while the strategy cannot work on what is there.
pub(super) fn misfit(
    policy: &ValidPolicy,
    seen: &Snapshot,
    wrong: &FieldError,
    now: Timestamp,
) -> Decision {
    let message = wrong.to_string();
    Decision {
        acts: Vec::new(),
        say: Say {
            phase: Phase::Invalid,
            conditions: vec![
                said(condition::ACCEPTED, false, "CannotWork", &message),
                said(condition::READY, false, "CannotWork", &message),
            ],
            message,
            health: Health::Unknown,
            score: Score::default(),
            last_point: newest_point(seen).map(|p| p.name.clone()),
            last_event: last_event(seen),
            attempts: 0,
            cooldown_until: None,
            quarantined: quarantine::kept_out(policy, seen, now),
            held: None,
            gates: None,
        },
        notices: Vec::new(),
        rest: Rest::AsItIs,
        wake_at: None,
    }
}

/// What is said while there is no Deployment.
pub(super) fn no_workload(policy: &ValidPolicy, seen: &Snapshot, now: Timestamp) -> Say {
    let missing = if seen.missing.is_empty() {
        policy.names()
    } else {
        seen.missing.join(", ")
    };
    let message = format!(
        "there is no Deployment {missing} in this namespace; the policy starts by itself when there is"
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
        score: Score::default(),
        last_point: newest_point(seen).map(|p| p.name.clone()),
        last_event: last_event(seen),
        attempts: 0,
        cooldown_until: None,
        quarantined: quarantine::kept_out(policy, seen, now),
        held: None,
        gates: None,
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
        score: score::score(look.policy, look.state, look.workload, look.now),
        conditions: vec![
            accepted(),
            ready(look),
            data_available(look),
            protected(look),
            action_required(look, course),
            monitored(look),
        ],
        last_point: newest_point(look.seen).map(|p| p.name.clone()),
        last_event: last_event(look.seen),
        attempts: look.incident.attempts,
        cooldown_until,
        quarantined: quarantine::kept_out(look.policy, look.seen, look.now),
        held,
        gates: None,
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
                HoldReason::BackstopPaused | HoldReason::PolicyPaused | HoldReason::Overridden => {
                    Phase::Paused
                }
                _ => Phase::Held,
            };
            (
                phase,
                format!("{why}, and nothing is taken back: {}", hold.message),
            )
        }
        Course::Quiet => match quiet(look) {
            (Phase::Monitoring, message) => (Phase::Monitoring, message + &blind(look)),
            quiet => quiet,
        },
    }
}

/// What a release is not watched by at the moment.
fn blind(look: &Look<'_>) -> String {
    match conditions::unjudged(look) {
        blind if blind.is_empty() => String::new(),
        blind => format!(", but not by {}", blind.join("; ")),
    }
}

fn quiet(look: &Look<'_>) -> (Phase, String) {
    let release = &look.workload.release;
    if let Some(why) = &look.seen.paused {
        return (Phase::Paused, why.clone());
    }
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

fn last_event(seen: &Snapshot) -> Option<String> {
    seen.events
        .iter()
        .max_by_key(|e| (e.created, e.name.len(), &e.name))
        .map(|e| e.name.clone())
}

/// A trigger that only notifies has fired.
pub(super) fn notify_only(trigger: &ValidTrigger) -> Hold {
    Hold {
        reason: HoldReason::NotifyOnly,
        message: format!(
            "the action of {} is Notify; a person has to look",
            trigger.name
        ),
        until: None,
    }
}

/// What has changed since the last decision, for whoever reads Kubernetes Events.
pub(super) fn notices(
    before: &State,
    look: &Look<'_>,
    course: &Course<'_>,
    proof: Proof,
    verdict: Option<&ReleaseVerdict>,
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
            // After a change of release it is not quiet yet, only not judged yet.
            TriggerState::Inactive if was == Some(TriggerState::Firing) && memory.settled => {
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
    if let Some(verdict) = verdict {
        let text = format!("release {}: {}", look.workload.release, verdict.message);
        match verdict.result {
            Monitored::Passed => notice(NoticeKind::Normal, "ReleaseMonitored", text),
            Monitored::PartlyJudged | Monitored::NotJudged => {
                notice(NoticeKind::Warning, "ReleaseNotJudged", text);
            }
            Monitored::Failing => notice(NoticeKind::Warning, "ReleaseStillBad", text),
        }
    }
    notices
}
