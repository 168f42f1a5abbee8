//! Whether the GitOps tool that applies the workload is to be suspended.

use backstop_api::policy::{Mode, OnConflict};

use crate::{guards::Look, quarantine};

/// What is wanted of the GitOps tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It cannot be told, or is not Backstop's to change: what is so stays so.
    AsItIs,
    /// It works.
    No,
    /// It is suspended.
    Yes {
        /// The rollback that it would undo.
        event: String,
        /// Why, in a sentence.
        why: String,
    },
}

/// It is suspended from the first change of a rollback on, as long as what failed is kept out and nothing
/// newer is live.
pub(super) fn wanted(look: &Look<'_>) -> Rest {
    let policy = look.policy;
    // Safety rule 9, either way: to resume is a change as well.
    if policy.mode != Mode::Enforce || look.seen.paused.is_some() {
        return Rest::AsItIs;
    }
    let taken_over = || look.workload.live().iter().any(|w| w.overridden.is_some());
    if policy.on_conflict != OnConflict::Suspend || taken_over() {
        return Rest::No;
    }
    // What blocks a release leaves it live: a tool that applies it undoes nothing.
    let acted = look.seen.events.iter().filter(|e| e.has_acted());
    let rollbacks = acted.filter(|e| e.status.to.is_some() || e.spec.to.is_some());
    let newest = rollbacks.max_by_key(|e| (e.status.times.decided, &e.name));
    let Some((event, failed)) = newest.and_then(|e| Some((e, e.from_hash()?))) else {
        return Rest::No;
    };
    let live = &look.workload.release;
    let about_it = !event.is_over() || live == failed || event.restored(live);
    if !(about_it && quarantine::keeps_out(policy, look.seen, failed, look.now)) {
        return Rest::No;
    }
    Rest::Yes {
        event: event.name.clone(),
        why: format!(
            "release {failed} of Deployment '{}' failed and was taken back, and would be put in again",
            look.workload.name
        ),
    }
}
