//! How the rollout of a restored release goes.

use backstop_api::event::{Cause, Outcome, Step};
use jiff::{SignedDuration, Timestamp};

use crate::snapshot::{Event, Workload};

/// A plan says how long a rollout may take; one that does not is not followed for longer.
const LONGEST: SignedDuration = SignedDuration::from_mins(5);

/// How far a rollout has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on.
    Going {
        /// How far it is, for a person.
        message: String,
    },
    /// It is complete.
    Complete,
    /// It will not come to its end.
    Ended {
        /// How the rollback ended by that.
        outcome: Outcome,
        /// Why, and what to do next.
        message: String,
    },
}

/// Follows the rollout of the template that `event` wrote to the Deployment of `step` at `started`.
#[must_use]
pub fn progress(
    event: &Event,
    step: &Step,
    workload: Option<&Workload>,
    started: Timestamp,
    now: Timestamp,
) -> Progress {
    let timeout = step
        .timeout
        .map_or(LONGEST, backstop_api::Duration::as_signed);
    let workload = workload.filter(|w| !w.deleting && w.uid == step.workload_uid);
    let Some(workload) = workload else {
        return Progress::Ended {
            outcome: Outcome::WorkloadDeleted,
            message: format!(
                "Deployment {} was deleted while it was rolled back",
                step.workload
            ),
        };
    };
    let written = event.written(&step.workload);
    if written.is_some_and(|w| workload.generation < w.generation) {
        return Progress::Going {
            message: "waiting to see the restored template".into(),
        };
    }
    let in_place =
        workload.release == step.to || written.is_some_and(|w| w.hash == workload.release);
    if !in_place {
        let (outcome, message) = replaced(&step.from, workload);
        return Progress::Ended { outcome, message };
    }
    if !workload.is_current() {
        return Progress::Going {
            message: "waiting for the Deployment controller".into(),
        };
    }
    // The pods that are replaced by a restart are of the same template, and may well crash.
    let only_restarted = step.from == step.to;
    if let Some(why) = cannot_start(event, workload).filter(|_| !only_restarted) {
        return Progress::Ended {
            outcome: Outcome::TargetCannotStart,
            message: why,
        };
    }
    if workload.is_complete() {
        return Progress::Complete;
    }
    let state = format!(
        "{} of {} replicas updated, {} available, {} of other releases left",
        workload.updated,
        workload.desired,
        workload.available,
        (workload.replicas - workload.updated).max(0)
    );
    if now.duration_since(started) >= timeout {
        return Progress::Ended {
            outcome: Outcome::TimedOut,
            message: format!(
                "the restored release did not roll out within {} s ({state}); kubectl describe \
                 deployment/{} and its pods say what it waits for",
                timeout.as_secs(),
                workload.name
            ),
        };
    }
    Progress::Going { message: state }
}

/// The Deployment that the rollback is about, if it is still that one.
#[must_use]
pub fn still_there<'a>(event: &Event, workload: Option<&'a Workload>) -> Option<&'a Workload> {
    workload.filter(|w| {
        !w.deleting
            && event
                .status
                .workload_uid
                .as_ref()
                .is_none_or(|u| *u == w.uid)
    })
}

/// Somebody wrote another template: theirs wins.
#[must_use]
pub fn replaced(failed: &str, workload: &Workload) -> (Outcome, String) {
    let by = workload.last_writer.as_deref().unwrap_or("somebody");
    let release = &workload.release;
    let message = if failed == release {
        format!("{by} put the release that failed back ({release})")
    } else {
        format!("{by} wrote another release ({release}); theirs stands, and is judged anew")
    };
    (Outcome::NewerRelease, message)
}

/// That the release that a rollback has restored cannot start, by its own evidence, and why.
#[must_use]
pub fn cannot_start(event: &Event, workload: &Workload) -> Option<String> {
    let next = match event.spec.cause {
        Cause::Manual => {
            "; it was asked for by hand, and Backstop goes no further: name another point in a RollbackEvent, or deploy a fix"
        }
        Cause::Drill if event.spec.ends_drill.is_none() => "",
        Cause::Trigger | Cause::Drill => "; it is left for the point before it, if there is one",
    };
    start_failure(workload)
        .map(|words| format!("release {} cannot start: {words}{next}", workload.release))
}

/// Why pods of the live release cannot start, in the cluster's words.
#[must_use]
pub fn start_failure(workload: &Workload) -> Option<String> {
    let first = workload.pods.cannot_start().next()?;
    let more = workload.pods.cannot_start().count() - 1;
    let more = if more > 0 {
        format!(" (and {more} more)")
    } else {
        String::new()
    };
    Some(format!("{first}{more}"))
}
