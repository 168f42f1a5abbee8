//! What was not released, as a policy asks about it.

use backstop_api::policy::Trigger;
use jiff::SignedDuration;

use super::source::near_query;
use crate::{condition::Condition, query::QueryTemplate};

/// The same question about what was not released.
#[derive(Debug)]
pub struct ValidPeers {
    /// The question.
    pub query: QueryTemplate,
    /// When they are as bad as the release.
    pub alike: Alike,
    /// For so long at most the release is spared for it.
    pub hold_for: SignedDuration,
}

/// When what was not released is as bad as what was.
#[derive(Debug)]
pub enum Alike {
    /// When it got worse by this share of what the release did.
    Share(f64),
    /// When this holds on its value.
    Condition(Condition),
}

/// The share unless a policy says otherwise: half.
pub(crate) const SHARE: f64 = 0.5;
/// For so long a release is spared unless a policy says otherwise.
pub(crate) const HOLD_FOR: SignedDuration = SignedDuration::from_mins(30);

/// Parses what a trigger says of its peers; `None` where it says nothing, or where `refuse` has been
/// told what is wrong.
pub(super) fn validate(
    trigger: &Trigger,
    refuse: &mut impl FnMut(&str, String, String),
) -> Option<ValidPeers> {
    let peers = trigger.peers.as_ref()?;
    if trigger.prometheus.is_none() {
        refuse(
            "peers",
            trigger.name.clone(),
            "goes with prometheus only; remove it".into(),
        );
        return None;
    }
    let query = near_query(&peers.query)
        .and_then(|query| {
            if query.is_scoped() {
                return Err(
                    "is limited to the release itself, which is always as bad as itself; ask about \
                     what was not released, as in pod!~\"{{ workload }}-.+\""
                        .into(),
                );
            }
            Ok(query)
        })
        .map_err(|problem| refuse("peers.query", peers.query.clone(), problem));
    let alike = match (&peers.condition, peers.share) {
        (Some(text), None) => Condition::parse(text)
            .map(Alike::Condition)
            .map_err(|problem| refuse("peers.condition", text.clone(), problem)),
        (None, share) => {
            let share = share.unwrap_or(SHARE);
            let fits = share > 0.0 && share <= 1.0;
            fits.then_some(Alike::Share(share)).ok_or_else(|| {
                let problem = "must be above 0 and at most 1, for example 0.5";
                refuse("peers.share", share.to_string(), problem.into());
            })
        }
        (Some(text), Some(_)) => {
            let problem = "stands beside peers.share; remove one of them";
            refuse("peers.condition", text.clone(), problem.into());
            Err(())
        }
    };
    Some(ValidPeers {
        query: query.ok()?,
        alike: alike.ok()?,
        hold_for: peers.hold_for.as_signed(),
    })
}
