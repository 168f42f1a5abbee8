//! Which release is live, and how far it has come.

use jiff::Timestamp;

use crate::{
    incident,
    snapshot::{Event, Snapshot, Workload},
    state::{Release, State, TriggerMemory},
    target,
};

/// Follows the live release. A new one begins with no evidence: what was measured before was about
/// another.
pub fn track(state: &mut State, seen: &Snapshot, workload: &Workload, now: Timestamp) {
    let first_sight = state.release.is_none();
    if first_sight && !workload.is_current() {
        // How far a release from before our time has come cannot be told from this.
        return;
    }
    let restorer = restored_by(seen, workload);
    let same = state.release.as_ref().is_some_and(|r| {
        r.hash == workload.release
            && r.workload_uid == workload.uid
            && !has_returned(r, restorer)
            && !was_put_back(r, seen, workload)
    });
    if !same {
        let before = state
            .release
            .take()
            .filter(|r| r.workload_uid == workload.uid);
        let previous = before.and_then(|r| {
            if was_put_back(&r, seen, workload) {
                incident::acted(seen)
                    .first()
                    .and_then(|e| e.status.restored_hash.clone())
            } else if r.hash == workload.release {
                // It was gone meanwhile, and what took it away was itself taken back.
                restorer
                    .and_then(|e| e.from_hash().map(str::to_owned))
                    .or(r.previous)
            } else {
                Some(r.hash)
            }
        });
        state.release = Some(Release {
            previous,
            workload_uid: workload.uid.clone(),
            hash: workload.release.clone(),
            since: now,
            first_ready_at: None,
            completed_at: None,
            healthy_since: None,
            proved_at: None,
            restored_by: restorer.map(|e| e.name.clone()),
            verdict: None,
        });
        for memory in state.triggers.values_mut() {
            *memory = TriggerMemory::new(now);
        }
    }
    let Some(release) = &mut state.release else {
        return;
    };
    if release.restored_by.is_none() {
        // The template may be seen before the rollback's own status is.
        release.restored_by = restorer
            .filter(|_| release.proved_at.is_none())
            .map(|e| e.name.clone());
    }
    if release.first_ready_at.is_none() && workload.is_current() {
        // Pods of an earlier life of the same release do not count.
        release.first_ready_at = workload.pods.first_ready_at.map(|ready| {
            if first_sight {
                ready
            } else {
                ready.max(release.since)
            }
        });
    }
    if release.completed_at.is_none() {
        if first_sight {
            // A release from before our time: the Deployment remembers when its rollout ended.
            release.completed_at = workload.rollout_completed_at;
        }
        if release.completed_at.is_none() && workload.is_complete() {
            release.completed_at = Some(now);
        }
    }
}

/// The rollback that put the live release there, if it was one. Where another release has proved
/// itself since, somebody else put it there again.
fn restored_by<'a>(seen: &'a Snapshot, workload: &Workload) -> Option<&'a Event> {
    let newest = seen
        .events
        .iter()
        .filter(|e| e.has_acted() && e.status.workload_uid.as_deref() == Some(&workload.uid))
        .max_by_key(|e| (e.status.times.decided, &e.name))?;
    let ended = newest.status.times.ended;
    let another_since = ended.is_some()
        && target::good_points(seen)
            .iter()
            .any(|p| p.release.as_deref() != Some(&workload.release) && Some(p.proved_at) > ended);
    (newest.restored(&workload.release) && !another_since).then_some(newest)
}

/// Whether a release was restored since it was last seen to become live: it was gone meanwhile, and
/// whoever saw that did not live to write it down. What was known of it is of its earlier life.
fn has_returned(release: &Release, restorer: Option<&Event>) -> bool {
    restorer.is_some_and(|e| {
        e.status.times.decided > Some(release.since)
            && release.restored_by.as_ref() != Some(&e.name)
    })
}

/// Whether the release was taken back since it was seen to become live, and is live again: another one
/// was live meanwhile, for so short a time that it was not seen.
fn was_put_back(release: &Release, seen: &Snapshot, workload: &Workload) -> bool {
    let acted = incident::acted(seen);
    let Some(event) = acted
        .first()
        .filter(|e| e.from_hash() == Some(&release.hash))
    else {
        return false;
    };
    let written = event.status.steps.iter().filter_map(|s| {
        let restored = s.restored.as_ref()?;
        Some((
            s.finished_at?,
            s.step.workload.as_str(),
            restored.generation,
        ))
    });
    release.hash == workload.release
        && written.into_iter().any(|(at, name, generation)| {
            let there = workload.deployment(name);
            at > release.since && there.is_some_and(|w| w.generation > generation)
        })
}

/// The rollback that restored the live release.
#[must_use]
pub fn restorer<'a>(state: &State, seen: &'a Snapshot) -> Option<&'a Event> {
    let name = state.release.as_ref()?.restored_by.as_ref()?;
    seen.events.iter().find(|e| &e.name == name)
}
