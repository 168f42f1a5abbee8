//! When to look again although nothing changes: time alone can make a difference.

use backstop_api::policy::TriggerState;
use jiff::{SignedDuration, Timestamp};

use super::Course;
use crate::{guards::Look, hysteresis, policy::Source, quarantine::KeptOut, trigger};

/// The earliest time at which a new look can come to another answer.
pub(super) fn at(
    look: &Look<'_>,
    course: &Course<'_>,
    quarantined: &[KeptOut],
) -> Option<Timestamp> {
    let mut times: Vec<Timestamp> = quarantined.iter().map(|q| q.expires_at).collect();
    for trigger in &look.policy.triggers {
        let Some(memory) = look.state.triggers.get(&trigger.name) else {
            continue;
        };
        // Sources that are asked wake us with every answer; the workload's own status does not
        // change again only because `for` is over.
        let told = !trigger.is_asked();
        if told {
            times.extend(hysteresis::quiet_at(trigger, memory));
        }
        if told && memory.state == TriggerState::Pending {
            times.extend(
                memory
                    .active_since
                    .and_then(|t| t.checked_add(trigger.for_).ok()),
            );
        }
        if let Source::Alert(_) = &trigger.source {
            // Nobody tells that an alert, or a heartbeat, was not heard again.
            times.extend(look.now.checked_add(trigger.interval).ok());
        }
        if !told && let Some(asked) = memory.asked_at {
            // The first moment at which that answer is too old.
            let fresh = trigger::too_old(trigger) + SignedDuration::from_millis(1);
            times.extend(asked.checked_add(fresh).ok());
        }
    }
    match course {
        Course::UnderWay { again, .. } => times.extend(*again),
        Course::Held { hold, .. } => times.extend(hold.until),
        Course::Start { .. } | Course::Quiet => {}
    }
    if let Some(release) = &look.state.release {
        if release.proved_at.is_none() {
            times.extend(
                release
                    .healthy_since
                    .and_then(|t| t.checked_add(look.policy.soak).ok()),
            );
        }
        times.extend(
            release
                .completed_at
                .zip(look.policy.window)
                .and_then(|(t, w)| t.checked_add(w).ok()),
        );
    }
    times.into_iter().filter(|t| *t > look.now).min()
}
