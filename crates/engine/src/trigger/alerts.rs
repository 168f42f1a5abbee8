//! What the alerts that were heard say of the live release.

use jiff::Timestamp;

use super::look::{Look, Scope, behind};
use crate::{
    alert::{About, Alert, AlertTemplate, Heard},
    policy::ValidTrigger,
    query::QueryContext,
    snapshot::{Snapshot, Workload},
    state::TriggerMemory,
};

/// What is found among the alerts.
#[derive(Default)]
struct Found {
    /// Those that fire on evidence about this release, in words.
    firing: Vec<String>,
    /// One that fires, and from when on it may be judged.
    early: Option<(String, Option<Timestamp>)>,
    /// One that fires since before the release: not its doing, and no sign that it is well.
    before: Option<String>,
    /// When one was last resolved, on evidence about this release.
    resolved_at: Option<Timestamp>,
}

/// What the alerts say, and for when they say it.
pub(super) fn look(
    alert: &AlertTemplate,
    trigger: &ValidTrigger,
    memory: &mut TriggerMemory,
    seen: &Snapshot,
    workload: &Workload,
    scope: &Scope<'_>,
    now: Timestamp,
) -> (Look, Timestamp) {
    memory.details.clear();
    memory.query = Some(alert.in_words());
    if !workload.is_current() {
        return (Look::Behind(behind(workload)), now);
    }
    let Some(heard) = &seen.heard else {
        return (Look::Settling("no alerts are listened for yet".into()), now);
    };
    let Some(release) = &heard.about else {
        let why = "waiting to see which pods are of this release";
        return (Look::Settling(why.into()), now);
    };
    let found = match find(alert, trigger, heard, release, scope, now) {
        Ok(found) => found,
        Err(why) => return (Look::Error(why), now),
    };
    if !found.firing.is_empty() {
        let count = u32::try_from(found.firing.len()).unwrap_or(u32::MAX);
        memory.details = found.firing;
        let value = f64::from(count);
        return (Look::Value { value, at: now }, now);
    }
    if let Some((which, from)) = found.early {
        let from = from.map_or_else(
            || "when it is rolled out".to_owned(),
            |from| format!("from {from:.0} on"),
        );
        let why = format!(
            "{which}; what it looks at still reaches back before this release, so it is judged {from}"
        );
        return (Look::Settling(why), now);
    }
    if let Some(which) = found.before {
        let why = format!(
            "{which}: it fires since before this release, so it says nothing about it, neither good \
             nor bad"
        );
        return (Look::Inconclusive(why), now);
    }
    quiet(alert, trigger, heard, found.resolved_at, scope, now)
}

fn find(
    alert: &AlertTemplate,
    trigger: &ValidTrigger,
    heard: &Heard,
    release: &QueryContext,
    scope: &Scope<'_>,
    now: Timestamp,
) -> Result<Found, String> {
    let mut found = Found::default();
    let meant = heard.alerts.iter().filter(|one| alert.means(one));
    for one in meant.filter(|one| is_fresh(alert, one, now)) {
        let about = alert.about(one, release).map_err(|e| e.to_string())?;
        // A pod of a release that was never live before has no past that could be meant.
        let from = match about {
            About::Other => continue,
            About::Pod if !scope.known => Some(scope.release.since),
            About::Pod | About::Workload => scope.evidence_from(trigger),
        };
        let counts = from.is_some_and(|from| one.heard_at >= from);
        if !one.firing {
            if counts {
                found.resolved_at = found.resolved_at.max(Some(one.heard_at));
            }
        } else if !counts {
            found.early.get_or_insert_with(|| (alert.tell(one), from));
        } else if one.began() < scope.release.since && (about == About::Pod || !scope.restored) {
            // A pod may be one of the release's earlier life, and gone by now.
            found.before.get_or_insert_with(|| alert.tell(one));
        } else {
            found.firing.push(alert.tell(one));
        }
    }
    Ok(found)
}

/// No alert fires: whether that is good news.
fn quiet(
    alert: &AlertTemplate,
    trigger: &ValidTrigger,
    heard: &Heard,
    resolved_at: Option<Timestamp>,
    scope: &Scope<'_>,
    now: Timestamp,
) -> (Look, Timestamp) {
    let well = |at: Timestamp| (Look::Value { value: 0.0, at }, at);
    if let Some(left_out) = heard.left_out_at.filter(|at| lasts(alert, *at, now)) {
        let why = format!(
            "not every alert was heard at {left_out:.0}; raise max_alerts of the receiver in \
             Alertmanager, or let its route send fewer"
        );
        return (Look::NoData(why), now);
    }
    let complete = heard.since.checked_add(alert.expire_after);
    let complete = complete.unwrap_or(Timestamp::MAX);
    let beats = heard.alerts.iter().filter(|one| {
        let heartbeat = alert.heartbeat();
        one.firing && heartbeat.is_some_and(|beat| beat.match_all(&one.labels))
    });
    let last_beat = beats.map(|one| one.heard_at).max();
    let beat = last_beat.filter(|at| lasts(alert, *at, now) && now >= complete);
    if let Some(at) = beat {
        return match scope.evidence_from(trigger) {
            None => {
                let why = "waiting for this release's first ready pod";
                (Look::Settling(why.into()), now)
            }
            Some(from) if at < from => {
                let why = format!(
                    "no alert fires; silence counts from the first heartbeat after {from:.0} on, when \
                     all that alerts look at is about this release"
                );
                (Look::Settling(why), now)
            }
            Some(_) => well(at),
        };
    }
    if let Some(at) = resolved_at {
        return well(at);
    }
    if now < complete {
        let why = format!(
            "alerts are listened for since {:.0}; what fires is heard again until {complete:.0}",
            heard.since
        );
        return (Look::Settling(why), now);
    }
    let why = match (alert.heartbeat(), last_beat) {
        (None, _) => {
            "no alert is heard, and without a heartbeat that may have any reason; name an \
                      alert that always fires in alert.heartbeat, or write noData: Ignore"
                .to_owned()
        }
        (Some(beat), None) => format!(
            "the heartbeat {beat} was never heard since {:.0}; see whether Alertmanager runs, and \
             whether its route for Backstop lets that alert through",
            heard.since
        ),
        (Some(beat), Some(at)) => format!(
            "the heartbeat {beat} was last heard at {at:.0}; see whether Prometheus and Alertmanager \
             run, and whether Alertmanager reaches the operator"
        ),
    };
    if scope.silence_counts(trigger, now) {
        (Look::NoData(why), now)
    } else {
        let why = format!("{why}. The release is too new for that to mean anything");
        (Look::Settling(why), now)
    }
}

fn is_fresh(alert: &AlertTemplate, one: &Alert, now: Timestamp) -> bool {
    lasts(alert, one.heard_at, now)
}

/// Whether what was heard then still speaks for now.
fn lasts(alert: &AlertTemplate, heard_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(heard_at) <= alert.expire_after
}
