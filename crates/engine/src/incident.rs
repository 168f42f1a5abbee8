//! The incident that the live release belongs to: the rollbacks that led to it without anything
//! having proved itself since.

use std::collections::BTreeSet;

use backstop_api::event::{Cause, Outcome};
use jiff::Timestamp;

use crate::{
    snapshot::{Event, Snapshot, Workload},
    state::State,
    target,
};

/// The incident that is going on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incident {
    /// Rollbacks in it so far.
    pub attempts: u32,
    /// The releases that failed in it.
    pub failed: BTreeSet<String>,
    /// The newest rollback left its target because it cannot start, or could not restore all of it:
    /// going on is part of the same rollback, and needs neither window nor cooldown.
    pub continues: bool,
    /// The rollback that left half of one release and half of another, if that is what is live.
    pub partial: Option<String>,
    /// When the newest rollback that changed something ended.
    pub last_ended: Option<Timestamp>,
}

/// The rollbacks that changed something and are over, newest first.
#[must_use]
pub fn acted(seen: &Snapshot) -> Vec<&Event> {
    let mut events: Vec<_> = seen
        .events
        .iter()
        .filter(|e| e.is_over() && e.has_acted())
        .collect();
    events
        .sort_by(|a, b| (b.status.times.decided, &b.name).cmp(&(a.status.times.decided, &a.name)));
    events
}

/// A drill blames nobody. A release that cannot be brought back by its end is the beginning of an incident, or it would
/// be left there.
fn after_a_drill(incident: &mut Incident, event: &Event, live: &str) {
    let cannot_start = event.status.outcome == Some(Outcome::TargetCannotStart);
    if event.spec.ends_drill.is_some() && cannot_start && event.restored(live) {
        incident.continues = true;
        incident
            .failed
            .extend(event.target_hash().map(str::to_owned));
    }
}

/// Reads the incident out of the recorded rollbacks.
#[must_use]
pub fn of(seen: &Snapshot, state: &State, workload: &Workload) -> Incident {
    let events = acted(seen);
    let newest_proof = target::good_points(seen)
        .first()
        .map(|p| p.proved_at)
        .max(state.release.as_ref().and_then(|r| r.proved_at));
    let newest = events.iter().find(|e| e.spec.cause != Cause::Drill);
    let mut incident = Incident {
        last_ended: newest.and_then(|e| e.status.times.ended),
        ..Incident::default()
    };
    let mut link = workload.release.as_str();
    for event in events {
        let ended = event.status.times.ended;
        if ended.is_some() && ended < newest_proof {
            break;
        }
        let Some(from) = event.from_hash() else { break };
        let newest = incident.failed.is_empty();
        if !(event.restored(link) || from == link) {
            break;
        }
        if event.spec.cause == Cause::Drill {
            if newest {
                after_a_drill(&mut incident, event, link);
            }
            break;
        }
        if newest {
            incident.attempts = event.spec.attempt;
            incident.continues = (event.status.outcome == Some(Outcome::TargetCannotStart)
                || event.is_partial())
                && event.spec.cause == Cause::Trigger
                && event.restored(link);
        }
        let half = event.is_partial() && event.spec.cause == Cause::Trigger;
        if link == workload.release && half && event.restored(link) {
            // Later attempts that changed nothing have not mended that.
            incident.partial.get_or_insert_with(|| event.name.clone());
        }
        incident.failed.insert(from.to_owned());
        if event.status.outcome == Some(Outcome::TargetCannotStart) {
            incident
                .failed
                .extend(event.target_hash().map(str::to_owned));
        }
        link = from;
    }
    incident
}
