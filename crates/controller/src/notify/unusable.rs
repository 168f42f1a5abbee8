//! Channels that could not be used if they had to be: found out before they have to be.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use backstop_api::RollbackPolicy;
use kube::ResourceExt;

use super::attempt::target;
use crate::context::Context;

/// How often a channel that cannot be used is looked at again.
pub(super) const AGAIN: Duration = Duration::from_secs(30);

/// Which channels of which policies cannot be used, and why.
#[derive(Debug, Default)]
pub struct Unusable(Mutex<HashMap<(String, String), Vec<(String, String)>>>);

impl Unusable {
    /// The channels of a policy that cannot be used, and why.
    #[must_use]
    pub fn of(&self, namespace: &str, policy: &str) -> Vec<(String, String)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), policy.to_owned());
        all.get(&key).cloned().unwrap_or_default()
    }

    /// Returns whether that is news.
    fn set(&self, namespace: &str, policy: &str, found: Vec<(String, String)>) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), policy.to_owned());
        if found.is_empty() {
            return all.remove(&key).is_some();
        }
        all.insert(key, found.clone()) != Some(found)
    }
}

/// Looks at the channels of a policy: whether their Secrets are there and lead where the operator
/// allows. Returns whether all can be used.
pub(super) async fn look(context: &Context, policy: &RollbackPolicy) -> bool {
    let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
    let channels = backstop_notify::usable(&policy.spec.notifications, &context.channels.allowed);
    let mut found = Vec::new();
    for channel in &channels {
        if let Err(why) = target(context, &namespace, channel).await {
            found.push((channel.name.clone(), why));
        }
    }
    let all = found.is_empty();
    if context.unusable.set(&namespace, &name, found) {
        context.poke_policy(&namespace, &name);
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
