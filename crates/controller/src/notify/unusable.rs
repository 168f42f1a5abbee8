//! Channels that could not be used if they had to be: found out before they have to be.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backstop_api::RollbackPolicy;
use kube::ResourceExt;

use super::attempt::target;
use crate::context::Context;

/// How often a channel that cannot be used is looked at again.
pub(super) const AGAIN: Duration = Duration::from_secs(30);

/// Which channels of which policies cannot be used, by the policy's UID.
#[derive(Debug, Default)]
pub struct Unusable(Mutex<HashMap<String, Looked>>);

/// What was seen of a policy's channels.
#[derive(Debug, PartialEq, Eq)]
struct Looked {
    /// The generation of the policy that was looked at.
    generation: Option<i64>,
    /// The channels that cannot be used, and why.
    found: Vec<(String, String)>,
}

impl Unusable {
    /// The channels of a policy that cannot be used, and why.
    #[must_use]
    pub fn of(&self, policy: &RollbackPolicy) -> Vec<(String, String)> {
        let all = self.all();
        let looked = all.get(&policy.uid().unwrap_or_default());
        looked
            .map(|looked| looked.found.clone())
            .unwrap_or_default()
    }

    /// Whether this generation of the policy was looked at, and all its channels could be used.
    fn is_fine(&self, policy: &RollbackPolicy) -> bool {
        let fine = Looked {
            generation: policy.metadata.generation,
            found: Vec::new(),
        };
        self.all().get(&policy.uid().unwrap_or_default()) == Some(&fine)
    }

    /// Returns whether what was found is news.
    fn set(&self, policy: &RollbackPolicy, found: Vec<(String, String)>) -> bool {
        let before = self.of(policy);
        let news = before != found;
        let looked = Looked {
            generation: policy.metadata.generation,
            found,
        };
        self.all().insert(policy.uid().unwrap_or_default(), looked);
        news
    }

    /// Forgets policies that are not there any more.
    pub(super) fn keep(&self, uids: &HashSet<String>) {
        self.all().retain(|uid, _| uids.contains(uid));
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Looked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the channels of a policy: whether their Secrets are there and lead where the operator
/// allows. Returns whether all can be used.
pub(super) async fn look(context: &Context, policy: &RollbackPolicy) -> bool {
    if context.unusable.is_fine(policy) {
        return true;
    }
    let namespace = policy.namespace().unwrap_or_default();
    let channels = backstop_notify::usable(&policy.spec.notifications, &context.channels.allowed);
    let mut found = Vec::new();
    for channel in &channels {
        if let Err(why) = target(context, &namespace, channel).await {
            found.push((channel.name.clone(), why));
        }
    }
    let all = found.is_empty();
    if context.unusable.set(policy, found) {
        context.poke_policy(&namespace, &policy.name_any());
    }
    all
}

/// Looks at the operator's own channels, and says in the log what is wrong with them.
pub(super) async fn look_at_own(context: &Context) {
    for channel in &context.channels.own {
        if let Err(why) = target(context, &context.channels.namespace, channel).await {
            tracing::warn!(
                channel = channel.name,
                why,
                "a channel of --notifications-file cannot be used; mend it before somebody has to be told"
            );
        }
    }
}
