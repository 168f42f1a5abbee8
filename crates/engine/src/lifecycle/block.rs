//! BlockDeployment: the release stays where it is, and is on record as one that failed.

use backstop_api::{
    RollbackEventStatus,
    event::{EventPhase, Outcome},
};

use super::{Next, change, ended, wait};
use crate::{
    decide::{self, Act},
    guards::Look,
    snapshot::Event,
};

/// Blocks the live release, when the trigger's delay is over.
pub(super) fn block(look: &Look<'_>, event: &Event, status: RollbackEventStatus) -> Next {
    let live = &look.workload.release;
    if decide::only_observes(look.policy) {
        let message = format!(
            "mode Observe: would have blocked release {live} of {}",
            look.workload.name
        );
        let status = ended(
            status,
            EventPhase::Cancelled,
            Outcome::ObserveOnly,
            message,
            look.now,
        );
        return Next::change(event, status);
    }
    if let Some(until) = event.spec.not_before.filter(|t| look.now < *t) {
        let message = format!(
            "will block release {live} of {} at {until:.0}, unless it recovers before; to call it off: \
             kubectl annotate rollbackevent {} backstop.dev/cancel='<why>'",
            look.workload.name, event.name
        );
        let status = RollbackEventStatus {
            message: Some(message),
            ..status
        };
        return wait(event, status, Some(until));
    }
    let reason = event.spec.reason.clone().unwrap_or_default();
    let message = format!(
        "release {live} of {} stays live and is blocked: it is never gone back to, and is refused when it is \
         deployed anew ({reason}); release another one that mends it",
        look.workload.name
    );
    let status = ended(
        status,
        EventPhase::Succeeded,
        Outcome::Blocked,
        message.clone(),
        look.now,
    );
    Next {
        // The record comes first: whoever reads that it is blocked finds it so.
        acts: vec![
            Act::Block {
                release: live.clone(),
                event: event.name.clone(),
                version: event.version.clone(),
                reason,
            },
            change(event, status),
        ],
        message,
        again: None,
    }
}
