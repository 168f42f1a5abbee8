//! Who has taken over: kept in the status, so that it is known after the annotation is gone.

use backstop_api::{condition::OVERRIDDEN, policy::Override};
use jiff::Timestamp;

use crate::{
    decide::{Notice, NoticeKind, Said},
    snapshot::Workload,
    state::State,
};

/// So many are kept, the newest.
const KEPT: usize = 10;

/// Follows who has taken over which Deployment. Returns what has changed, for Kubernetes Events.
pub fn follow(state: &mut State, workload: &Workload, now: Timestamp) -> Vec<Notice> {
    let mut notices = Vec::new();
    let there: Vec<&Workload> = workload.live().iter().chain(&workload.beside).collect();
    for record in state.overrides.iter_mut().filter(|o| o.until.is_none()) {
        let goes_on = there.iter().any(|w| {
            w.name == record.workload
                && w.overridden.as_ref() == Some(&record.reason)
                && w.overridden_by.as_deref().unwrap_or_default() == record.by
        });
        if !goes_on {
            record.until = Some(now);
            notices.push(Notice {
                kind: NoticeKind::Normal,
                reason: "OverrideEnded",
                message: format!(
                    "{} is not taken over any more (it was by {}: '{}'); Backstop looks after it again",
                    record.workload,
                    name(&record.by),
                    record.reason
                ),
            });
        }
    }
    for deployment in there {
        let Some(reason) = &deployment.overridden else {
            continue;
        };
        let open = |o: &&Override| o.workload == deployment.name && o.until.is_none();
        if state.overrides.iter().any(|o| open(&o)) {
            continue;
        }
        let by = deployment.overridden_by.clone().unwrap_or_default();
        notices.push(Notice {
            kind: NoticeKind::Warning,
            reason: "Overridden",
            message: format!(
                "{} has taken over {}: '{reason}'; gates let every release of it pass, and nothing is taken back, \
                 until the annotation backstop.dev/override is removed",
                name(&by),
                deployment.name
            ),
        });
        state.overrides.insert(
            0,
            Override {
                workload: deployment.name.clone(),
                by,
                reason: reason.clone(),
                since: now,
                until: None,
            },
        );
    }
    state.overrides.truncate(KEPT);
    notices
}

/// That somebody has taken over, while that is so.
#[must_use]
pub fn said(state: &State) -> Option<Said> {
    let open: Vec<String> = state
        .overrides
        .iter()
        .filter(|o| o.until.is_none())
        .map(|o| {
            format!(
                "{} has taken over {} since {:.0}: '{}'",
                name(&o.by),
                o.workload,
                o.since,
                o.reason
            )
        })
        .collect();
    (!open.is_empty()).then(|| Said {
        type_: OVERRIDDEN,
        status: true.into(),
        reason: "ByPerson".into(),
        message: format!(
            "{}; gates let every release pass, and nothing is taken back, until the annotation backstop.dev/override is \
             removed",
            open.join("; ")
        ),
    })
}

fn name(by: &str) -> &str {
    if by.is_empty() { "somebody" } else { by }
}
