//! Whether the GitOps tool that applies the workload is to rest.

use backstop_api::policy::OnConflict;

use crate::{guards::Look, quarantine};

/// What is wanted of the GitOps tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It cannot be told: what is so stays so.
    AsItIs,
    /// It works.
    No,
    /// It rests.
    Yes {
        /// The rollback that it would undo.
        event: String,
        /// Why, in a sentence.
        why: String,
    },
}

/// It rests from the first change of a rollback on, as long as what failed is kept out and nothing newer
/// is live.
pub(super) fn wanted(look: &Look<'_>) -> Rest {
    let taken_over = || look.workload.live().iter().any(|w| w.overridden.is_some());
    if look.policy.on_conflict != OnConflict::Suspend || taken_over() {
        return Rest::No;
    }
    let acted = look.seen.events.iter().filter(|e| e.has_acted());
    let newest = acted.max_by_key(|e| (e.status.times.decided, &e.name));
    let Some((event, failed)) = newest.and_then(|e| Some((e, e.from_hash()?))) else {
        return Rest::No;
    };
    let live = &look.workload.release;
    let about_it = !event.is_over() || live == failed || event.restored(live);
    if !(about_it && quarantine::keeps_out(look.policy, look.seen, failed, look.now)) {
        return Rest::No;
    }
    Rest::Yes {
        event: event.name.clone(),
        why: format!(
            "release {failed} of {} failed and was taken back, and Git names it still",
            look.workload.name
        ),
    }
}
