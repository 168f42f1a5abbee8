//! Drills: a rollback while all is well, to see that it would work, and the way back from it.
//!
//! A drill is a rollback like any other, to a recorded good point, and blames nobody. When it has ended, however it
//! has, a second one brings back the release that was live before: a rollback forward, to the good point of that
//! release. Without such a point no drill is begun.

use backstop_api::{
    RollbackEventSpec,
    event::{Cause, EventPhase, Outcome},
    policy::Action,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    decide::{self, Course},
    guards::{self, Hold, HoldReason, Look, can_be_brought_back},
    incident,
    snapshot::{Event, Point},
    target, track,
};

/// A watch tells of a change within this time.
const SEEN_WITHIN: SignedDuration = SignedDuration::from_secs(10);

/// Whether a person asked for this drill. Its end is a rollback of its own.
pub(crate) fn is_asked_for(event: &Event) -> bool {
    event.spec.cause == Cause::Drill && event.spec.ends_drill.is_none()
}

/// Why a drill is not begun, if it is not: only what is well and can be brought back is taken away.
pub(super) fn refused(look: &Look<'_>, event: &Event) -> Option<String> {
    if !is_asked_for(event) {
        return None;
    }
    let live = &look.workload.release;
    if look.workload.tried {
        return Some(format!(
            "canary {} has a share of the requests: it is being tried, and could not be brought back after a drill. Ask for \
             a drill when it has none; nothing was changed",
            look.workload.name
        ));
    }
    if good_point(look, live).is_none() {
        return Some(format!(
            "release {live} of {} is no good point yet, so it could not be brought back after a drill; wait until it has \
             proved itself, or record it with a RollbackPoint. Nothing was changed",
            look.workload.name
        ));
    }
    if !look.workload.is_complete() {
        return Some(format!(
            "{} is not rolled out: {} of {} replicas are available. A drill is for times when all is well; nothing was \
             changed",
            look.workload.name, look.workload.available, look.workload.desired
        ));
    }
    if let Some(rollback) = track::restorer(look.state, look.seen)
        && rollback.spec.cause != Cause::Drill
    {
        return Some(format!(
            "release {live} is live because {} took another one back, and that is not mended yet. Ask for a drill when a new \
             release has proved itself; nothing was changed",
            rollback.name
        ));
    }
    let (trigger, memory) = decide::firing(look).into_iter().next()?;
    Some(format!(
        "trigger {} fires ({}). A drill is for times when all is well; nothing was changed",
        trigger.name, memory.message
    ))
}

/// Whether the picture is from before the drill that this event ends: what is live in it, was.
pub(super) fn is_older_picture(look: &Look<'_>, event: &Event) -> bool {
    let mut events = look.seen.events.iter();
    let ends = |e: &&Event| Some(&e.name) == event.spec.ends_drill.as_ref();
    let Some(drill) = events.find(ends) else {
        return false;
    };
    look.workload.live().iter().any(|w| {
        let written = drill.written(&w.name);
        written.is_some_and(|written| w.generation < written.generation)
    })
}

/// What a drill says at its end besides: what comes next.
pub(super) fn comes_next(event: &Event, outcome: Outcome) -> String {
    if !is_asked_for(event) || outcome == Outcome::WorkloadDeleted {
        return String::new();
    }
    let release = event.from_hash().unwrap_or_default();
    if event.cancel.is_some() {
        return format!(
            ". This was a drill, and it was called off: release {release} is not brought back by itself; deploy it again to \
             have it back"
        );
    }
    format!(". This was a drill: release {release} is brought back now")
}

/// The way back from the newest drill, if it is still to be gone.
pub(crate) fn way_back<'a>(look: &Look<'a>) -> Option<Course<'a>> {
    let drill = *incident::acted(look.seen).first()?;
    // One that was called off because somebody had to be asked first is asked for again.
    let answers = |e: &Event| {
        let called_off = e.status.outcome == Some(Outcome::CancelledByPerson);
        e.spec.ends_drill.as_deref() == Some(&drill.name)
            && (!e.is_over() || e.has_acted() || called_off)
    };
    let somebody_elses = drill.status.phase == Some(EventPhase::Superseded);
    let before = drill.from_hash()?;
    if !is_asked_for(drill)
        || somebody_elses
        || !drill.has_changed_what_is_live()
        || !is_as_it_was_left(look, drill, before)
        || drill.cancel.is_some()
        || look.seen.events.iter().any(answers)
    {
        return None;
    }
    let why = format!(
        "drill {} is over, and release {before} is to be brought back",
        drill.name
    );
    let observes = || {
        decide::only_observes(look.policy).then(|| Hold {
            reason: HoldReason::Observed,
            message: "the policy only observes; set spec.mode to Enforce to let Backstop do so"
                .to_owned(),
            until: None,
        })
    };
    if let Some(hold) = guards::for_the_way_back(look).or_else(observes) {
        return Some(Course::Held { why, hold });
    }
    let Some(point) = good_point(look, before) else {
        let hold = Hold {
            reason: HoldReason::NoGoodPoint,
            message: format!(
                "there is no good point of release {before} any more; deploy it again, or leave release {} live",
                look.workload.release
            ),
            until: None,
        };
        return Some(Course::Held { why, hold });
    };
    if let Err(cannot) = can_be_brought_back(look, point) {
        let hold = Hold {
            reason: HoldReason::NoGoodPoint,
            message: format!(
                "{cannot}; deploy release {before} again, or leave release {} live",
                look.workload.release
            ),
            until: None,
        };
        return Some(Course::Held { why, hold });
    }
    let own = decide::own(look, Cause::Drill, &why, Action::Rollback, Some(point));
    Some(Course::Start {
        spec: Box::new(RollbackEventSpec {
            ends_drill: Some(drill.name.clone()),
            ..own
        }),
    })
}

/// Whether what the drill has restored is live because of it, and not because somebody has deployed it since: it became
/// live in the course of the drill, or nothing else was live since what the drill took away.
fn is_as_it_was_left(look: &Look<'_>, drill: &Event, before: &str) -> bool {
    let Some(live) = &look.state.release else {
        return false;
    };
    let seen_by = |ended: Timestamp| ended.checked_add(SEEN_WITHIN).unwrap_or(ended);
    let in_its_course = drill
        .status
        .times
        .ended
        .is_some_and(|ended| live.since <= seen_by(ended));
    drill.restored(&look.workload.release)
        && live.restored_by.as_ref() == Some(&drill.name)
        && (in_its_course || live.previous.as_deref() == Some(before))
}

/// The newest good point of a release that has not failed.
fn good_point<'a>(look: &Look<'a>, release: &str) -> Option<&'a Point> {
    if target::is_quarantined(look.seen, release) {
        return None;
    }
    let mut points = target::good_points(look.seen).into_iter();
    points.find(|p| p.release.as_deref() == Some(release))
}
