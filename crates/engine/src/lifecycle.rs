//! The life of a rollback, as far as it is decided and not executed: from recorded to begun, and
//! from executed to verified.

use std::collections::BTreeSet;

use backstop_api::{
    RollbackEventStatus,
    event::{Cause, EventPhase, Outcome, Target},
    point::Verdict,
    policy::Action,
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    decide::{self, Act},
    guards::{self, Look},
    plan, rollout,
    snapshot::{Event, Workload},
    target,
};

mod asked;
mod block;
pub(crate) mod drill;
mod end;
pub mod revert;
mod verify;

use block::block;

pub use end::ended;
pub(crate) use end::{refused_policy, workload_is_gone};

/// The type of an event's condition: whether it has ended, and how.
pub const COMPLETE: &str = "Complete";

/// A new status for a rollback.
#[derive(Clone, Debug, PartialEq)]
pub struct EventChange {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The version that this was decided on.
    pub version: String,
    /// The status from now on.
    pub status: RollbackEventStatus,
    /// Where this is the point of no return: UID and version of every rollback of the policy that
    /// it was decided on. Where a quorum read shows anything else, it was decided on an old picture,
    /// and must be decided again: another one may have begun or ended meanwhile. Else empty.
    pub known: Vec<(String, String)>,
}

/// What comes next in a rollback.
pub(crate) struct Next {
    pub(crate) acts: Vec<Act>,
    pub(crate) message: String,
    pub(crate) again: Option<Timestamp>,
}

impl Next {
    fn wait(message: impl Into<String>, again: Option<Timestamp>) -> Self {
        Self {
            acts: Vec::new(),
            message: message.into(),
            again,
        }
    }

    fn change(event: &Event, status: RollbackEventStatus) -> Self {
        let message = status.message.clone().unwrap_or_default();
        Self {
            acts: vec![change(event, status)],
            message,
            again: None,
        }
    }
}

fn change(event: &Event, status: RollbackEventStatus) -> Act {
    Act::Change(Box::new(EventChange {
        name: event.name.clone(),
        uid: event.uid.clone(),
        version: event.version.clone(),
        status,
        known: Vec::new(),
    }))
}

/// Looks at the open rollback, and says what comes next.
pub(crate) fn advance(look: &Look<'_>, event: &Event) -> Next {
    match event.status.phase {
        None | Some(EventPhase::Pending) => pending(look, event),
        Some(EventPhase::Executing) => {
            let message = event.status.message.clone();
            Next::wait(
                message.unwrap_or_else(|| format!("{} is being executed", event.name)),
                None,
            )
        }
        Some(EventPhase::Verifying) => verify::verify(look, event),
        Some(_) => Next::wait("", None),
    }
}

/// While nothing has been done, everything may still call it off.
fn pending(look: &Look<'_>, event: &Event) -> Next {
    let status = opened(look, event);
    let over = |phase, outcome, message: String| {
        Next::change(
            event,
            ended(status.clone(), phase, outcome, message, look.now),
        )
    };
    if let Some(why) = &event.cancel {
        let message = format!("called off by a person before anything was changed: {why}");
        return over(EventPhase::Cancelled, Outcome::CancelledByPerson, message);
    }
    if rollout::still_there(event, Some(look.workload)).is_none() {
        let message = "the Deployment was deleted before anything was changed".to_owned();
        return over(EventPhase::Superseded, Outcome::WorkloadDeleted, message);
    }
    if let Some(message) = names_others(look, event) {
        return over(EventPhase::Cancelled, Outcome::PolicyNotInForce, message);
    }
    if let Some(other) = overtaken(look, event) {
        let message = format!(
            "{other} took a release back since this was asked for; see whether it is still \
             needed, and create another one if it is"
        );
        return over(EventPhase::Superseded, Outcome::NewerRelease, message);
    }
    if drill::is_older_picture(look, event) {
        return Next::wait("waiting to see what the drill has written", None);
    }
    if let Some(from) = event
        .from_hash()
        .filter(|from| *from != look.workload.release)
    {
        let message = format!(
            "release {} is live instead of {from} by now; nothing was changed",
            look.workload.release
        );
        return over(EventPhase::Superseded, Outcome::NewerRelease, message);
    }
    let hold = if event.spec.ends_drill.is_some() {
        guards::for_the_way_back(look)
    } else {
        guards::for_a_person(look)
    };
    if let Some(hold) = hold {
        return over(
            EventPhase::Cancelled,
            Outcome::PolicyNotInForce,
            format!("nothing was changed: {}", hold.message),
        );
    }
    if let Some(why) = drill::refused(look, event) {
        return over(EventPhase::Cancelled, Outcome::DrillNotPossible, why);
    }
    if let Some(more_urgent) = asked::taken_over(look, event) {
        return over(EventPhase::Superseded, Outcome::TakenOver, more_urgent);
    }
    if let Some(next) = asked::calmed_down(look, event, &status) {
        return next;
    }
    if event.spec.action == Some(Action::BlockDeployment) {
        return block(look, event, status);
    }
    let (point, to) = match chosen(look, event) {
        Ok(target) => target,
        Err(why) => return over(EventPhase::Cancelled, Outcome::NoTarget, why),
    };
    if decide::only_observes(look.policy) {
        let message = format!(
            "mode Observe: would have taken {} from release {} back to {to} (point {point})",
            look.workload.name, look.workload.release
        );
        return over(EventPhase::Cancelled, Outcome::ObserveOnly, message);
    }
    if let Some(until) = event.spec.not_before.filter(|t| look.now < *t) {
        let message = format!(
            "will take {} back to release {to} at {until:.0}, unless it recovers before; to call \
             it off: kubectl annotate rollbackevent {} backstop.dev/cancel='<why>'",
            look.workload.name, event.name
        );
        return wait(
            event,
            RollbackEventStatus {
                message: Some(message),
                ..status
            },
            Some(until),
        );
    }
    begin(look, event, status, &point, &to)
}

/// Whether other Deployments are named than the policy looks after, in words.
fn names_others(look: &Look<'_>, event: &Event) -> Option<String> {
    let workloads = event.spec.workloads.iter();
    let named: BTreeSet<&str> = workloads.map(|w| w.name.as_str()).collect();
    let cared_for: BTreeSet<&str> = look.policy.deployments.iter().map(String::as_str).collect();
    (named != cared_for).then(|| {
        format!(
            "spec.workloads names '{}', and policy {} looks after '{}'{}",
            Vec::from_iter(named).join(", "),
            look.policy.name,
            look.policy.names(),
            if look.policy.deployments.len() == 1 {
                "; create one for that"
            } else {
                ", which are taken back together; create one that names all of them"
            }
        )
    })
}

/// What a person asks for is about the release that was live then. A rollback that was still going
/// on has changed that: another one on top would take back the good release.
fn overtaken<'a>(look: &Look<'a>, event: &Event) -> Option<&'a str> {
    let by = look.seen.events.iter().find(|other| {
        other.uid != event.uid
            && other.has_acted()
            && other.restored(&look.workload.release)
            && other.status.times.ended.is_none_or(|t| t >= event.created)
    });
    by.filter(|_| event.spec.cause == Cause::Manual || drill::is_asked_for(event))
        .map(|e| e.name.as_str())
}

/// The status of a rollback that is open, as far as it is known before it begins.
fn opened(look: &Look<'_>, event: &Event) -> RollbackEventStatus {
    let mut status = event.status.clone();
    status.phase = Some(EventPhase::Pending);
    status
        .workload_uid
        .get_or_insert_with(|| look.workload.uid.clone());
    let spec = &event.spec;
    let names: Vec<&str> = spec.workloads.iter().map(|w| w.name.as_str()).collect();
    status.workloads.get_or_insert_with(|| names.join(", "));
    status
        .cause_text
        .get_or_insert_with(|| match (&spec.evidence, &spec.ends_drill) {
            (Some(evidence), _) => format!("Trigger {}", evidence.trigger),
            (None, Some(drill)) => format!("End of {drill}"),
            (None, None) => format!("{:?} by {}", spec.cause, spec.requested_by),
        });
    status.from.get_or_insert_with(|| {
        spec.from
            .clone()
            .unwrap_or_else(|| decide::live(look.workload))
    });
    if status.to.is_none() {
        status.to = spec.to.clone().filter(|t| t.hash.is_some());
    }
    let times = &mut status.times;
    times.fired = times.fired.or(spec.fired_at).or(Some(event.created));
    let active = spec
        .evidence
        .as_ref()
        .and_then(|e| look.state.triggers.get(&e.trigger)?.active_since);
    times.condition_held = times.condition_held.or(active);
    status
}

/// Only a change is written: waiting is not one.
fn wait(event: &Event, status: RollbackEventStatus, again: Option<Timestamp>) -> Next {
    let message = status.message.clone().unwrap_or_default();
    if status == event.status {
        return Next::wait(message, again);
    }
    Next {
        again,
        ..Next::change(event, status)
    }
}

/// The point to go back to, and its release: as recorded or named, else the best one.
fn chosen(look: &Look<'_>, event: &Event) -> Result<(String, String), String> {
    let live = &look.workload.release;
    let (may, floor) = target::candidates(look.seen, live, &look.incident.failed);
    let Some(Target { point: wanted, .. }) = event.spec.to.as_ref() else {
        let action = event.spec.action.unwrap_or(Action::Rollback);
        let mut cannot = None;
        for point in may {
            match (guards::reachable(look, point, action), &point.release) {
                (Ok(()), Some(release)) => return Ok((point.name.clone(), release.clone())),
                (Err(why), _) => cannot = cannot.or(Some(why)),
                _ => {}
            }
        }
        return Err(cannot.map_or_else(
            || {
                format!(
                    "there is no good release of {} to go back to; nothing was changed",
                    look.workload.name
                )
            },
            |why| format!("{why}; nothing was changed"),
        ));
    };
    let point = look
        .seen
        .points
        .iter()
        .find(|p| &p.name == wanted)
        .ok_or_else(|| {
            format!(
                "there is no RollbackPoint '{wanted}' for {} (spec.to.point); nothing was changed",
                look.workload.name
            )
        })?;
    let refuse = |why: String| {
        Err(format!(
            "RollbackPoint '{wanted}' (spec.to.point) {why}; nothing was changed"
        ))
    };
    let Some(release) = &point.release else {
        return refuse("has not captured its release yet; see its status".into());
    };
    if point.verdict == Verdict::Quarantined || target::is_quarantined(look.seen, release) {
        return refuse(
            "is a release that failed; delete its Quarantined record if it is good after all"
                .into(),
        );
    }
    if release == live {
        return refuse("is live already".into());
    }
    let by_a_person = event.spec.cause != Cause::Trigger;
    let behind = |p: &&crate::snapshot::Point| p.floor.is_some() && p.proved_at > point.proved_at;
    // The end of a drill goes forward, whatever the release in between has proved since.
    let forward = event.spec.ends_drill.is_some();
    if !forward && target::good_points(look.seen).iter().any(behind) {
        return refuse(format!(
            "lies behind the floor '{}'",
            floor.unwrap_or_default()
        ));
    }
    if !by_a_person && look.incident.failed.contains(release) {
        return refuse("failed in this incident".into());
    }
    Ok((point.name.clone(), release.clone()))
}

/// The point of no return: from here on no metric is asked until the end is verified.
fn begin(
    look: &Look<'_>,
    event: &Event,
    mut status: RollbackEventStatus,
    point: &str,
    to: &str,
) -> Next {
    let order = look
        .seen
        .points
        .iter()
        .find(|p| p.name == point)
        .map(|held| plan::Order {
            policy: look.policy,
            seen: look.seen,
            workload: look.workload,
            point: held,
            action: event.spec.action.unwrap_or(Action::Rollback),
            quarantine: quarantines(look, event),
        });
    let (steps, wrong) = match order.as_ref().map(plan::plan) {
        Some(Ok(steps)) => {
            let wrong = if event.spec.ends_drill.is_some() {
                plan::check::violations_going_forward(look.seen, &steps)
            } else {
                plan::check::violations(look.seen, &steps)
            };
            (steps, wrong)
        }
        Some(Err(why)) => (Vec::new(), vec![why]),
        None => (Vec::new(), vec![format!("point {point} is gone")]),
    };
    if !wrong.is_empty() {
        let message = format!(
            "it cannot be done, and nothing was changed: {}",
            wrong.join("; ")
        );
        let status = ended(
            status,
            EventPhase::Cancelled,
            Outcome::PointUnusable,
            message,
            look.now,
        );
        return Next::change(event, status);
    }
    status.phase = Some(EventPhase::Executing);
    status.to = Some(Target {
        point: point.to_owned(),
        hash: Some(to.to_owned()),
    });
    status.steps = steps;
    status.times.decided = Some(look.now);
    status.message = Some(match (&event.spec.ends_drill, event.spec.cause) {
        (Some(drill), _) => format!(
            "drill {drill} is over: bringing {} from release {} back to {to} (point {point})",
            look.workload.name, look.workload.release
        ),
        (None, Cause::Drill) => format!(
            "drill: taking {0} from release {1} back to {to} (point {point}); {1} is brought back when this has ended",
            look.workload.name, look.workload.release
        ),
        _ => format!(
            "taking {} from release {} back to {to} (point {point})",
            look.workload.name, look.workload.release
        ),
    });
    let mut next = Next::change(event, status);
    known(&mut next, look);
    next
}

/// What the beginning of a rollback was decided on.
fn known(next: &mut Next, look: &Look<'_>) {
    let known = decide::versions(look.seen);
    for act in &mut next.acts {
        if let Act::Change(change) = act {
            change.known.clone_from(&known);
        }
    }
}

/// Whether the release that is taken back is recorded as one that failed. In the course of going
/// further back a release that had proved itself is not: what broke it may be around it.
fn quarantines(look: &Look<'_>, event: &Event) -> bool {
    match event.spec.cause {
        Cause::Trigger => {
            let proved = target::good_points(look.seen)
                .iter()
                .any(|p| p.release.as_ref() == Some(&look.workload.release));
            !(look.incident.continues && proved)
        }
        Cause::Manual => event.spec.quarantine,
        Cause::Drill => false,
    }
}

/// The longest interval at which a source is asked; zero where none is.
fn longest_interval(look: &Look<'_>) -> SignedDuration {
    look.policy
        .triggers
        .iter()
        .filter(|t| t.is_asked())
        .map(|t| t.interval)
        .max()
        .unwrap_or(SignedDuration::ZERO)
}

/// Whether this workload's live release is the one that the rollback restored.
fn is_in_place(event: &Event, workload: &Workload) -> bool {
    event.restored(&workload.release)
}
