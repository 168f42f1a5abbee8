//! What happened on each day, for reports: counted once, whatever crashes.
//!
//! The counters are written in one piece with what they are counted from: the live release, what is
//! held, and the times up to which rollbacks are counted. Where the write is lost, so is all of it,
//! and it is counted again.

use backstop_api::{
    event::{Cause, EventPhase, Outcome},
    policy::DailyCounts,
};
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

use crate::{
    snapshot::{Event, Snapshot},
    state::State,
};

/// So many days are kept, today among them.
pub const DAYS_KEPT: usize = 31;

/// Counts what is new since `before`. `needs_a_person` is whether a rollback is held now that a
/// person has to see to.
pub fn count(
    state: &mut State,
    before: &State,
    seen: &Snapshot,
    needs_a_person: bool,
    now: Timestamp,
) {
    if is_new_release(state, before, seen) {
        add(state, now, now, |day| &mut day.releases);
    }
    if needs_a_person && state.held.is_some() && state.held != before.held {
        add(state, now, now, |day| &mut day.held);
    }
    for (at, event) in since(seen, state.counted.begun, began) {
        state.counted.begun = Some(at);
        if event.has_acted() && event.spec.cause != Cause::Drill {
            add(state, at, now, |day| &mut day.rollbacks);
        }
    }
    for (at, event) in since(seen, state.counted.ended, |e| e.status.times.ended) {
        state.counted.ended = Some(at);
        if event.spec.cause == Cause::Drill {
            if event.has_acted() && event.spec.ends_drill.is_none() {
                add(state, at, now, |day| &mut day.drills);
            }
            continue;
        }
        match (event.status.phase, event.status.outcome) {
            (_, Some(Outcome::ObserveOnly)) => add(state, at, now, |day| &mut day.observed),
            (Some(EventPhase::Succeeded), _) if event.has_acted() => {
                add(state, at, now, |day| &mut day.succeeded);
            }
            (Some(EventPhase::Failed), _) if event.has_acted() => {
                add(state, at, now, |day| &mut day.failed);
            }
            _ => {}
        }
    }
    forget(state, now);
}

/// Whether another release is live than before, that Backstop did not put there.
fn is_new_release(state: &State, before: &State, seen: &Snapshot) -> bool {
    let (Some(was), Some(is)) = (&before.release, &state.release) else {
        // What was there before anybody looked is not counted.
        return false;
    };
    // The template may be seen before the rollback's own status is.
    let restored = is.restored_by.is_some()
        || seen
            .events
            .iter()
            .any(|e| !e.is_over() && e.target_hash() == Some(&is.hash));
    (&was.hash, &was.workload_uid) != (&is.hash, &is.workload_uid) && !restored
}

/// When a rollback was begun, once it is certain that it was: it has written, or is over.
fn began(event: &Event) -> Option<Timestamp> {
    let times = &event.status.times;
    times
        .decided
        .filter(|_| times.first_write.is_some() || event.is_over())
}

/// The events whose time is after `counted`, in the order of that time.
fn since(
    seen: &Snapshot,
    counted: Option<Timestamp>,
    time: impl Fn(&Event) -> Option<Timestamp>,
) -> Vec<(Timestamp, &Event)> {
    let mut events: Vec<_> = seen
        .events
        .iter()
        .filter_map(|e| Some((time(e)?, e)))
        .filter(|(at, _)| counted.is_none_or(|counted| *at > counted))
        .collect();
    events.sort_by_key(|(at, event)| (*at, event.name.clone()));
    events
}

fn day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// The first day that is kept.
fn oldest(now: Timestamp) -> Date {
    let days = i64::try_from(DAYS_KEPT).unwrap_or(i64::MAX) - 1;
    day(now).saturating_sub(days.days())
}

fn add(
    state: &mut State,
    at: Timestamp,
    now: Timestamp,
    counter: impl Fn(&mut DailyCounts) -> &mut u32,
) {
    if day(at) < oldest(now) {
        return;
    }
    let date = day(at).to_string();
    let days = &mut state.daily;
    let index = days.partition_point(|d| d.date < date);
    if days.get(index).is_none_or(|d| d.date != date) {
        days.insert(
            index,
            DailyCounts {
                date,
                ..DailyCounts::default()
            },
        );
    }
    let number = counter(&mut days[index]);
    *number = number.saturating_add(1);
}

fn forget(state: &mut State, now: Timestamp) {
    let oldest = oldest(now).to_string();
    state.daily.retain(|d| d.date >= oldest);
    while state.daily.len() > DAYS_KEPT {
        state.daily.remove(0);
    }
}
