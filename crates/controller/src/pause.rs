//! The switch that stops all of Backstop: a ConfigMap in its own namespace.
//!
//! `paused: "true"` in its data, and nothing is taken back any more in the whole cluster. What cannot be read is
//! no permission: until the switch has been read once, nothing is taken back either.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, watcher},
    },
};
use tokio::sync::watch;

use crate::context::Context;

/// The key in the ConfigMap's data.
const PAUSED: &str = "paused";

/// Whether Backstop acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Nobody has looked yet.
    Unread,
    /// It does.
    On,
    /// A person has paused it, by this ConfigMap (namespace and name).
    Paused(String),
    /// It cannot be told, and why.
    Unknown(String),
}

impl Switch {
    /// Why nothing is taken back, if so, and what to do.
    #[must_use]
    pub fn in_words(&self) -> Option<String> {
        match self {
            Self::On => None,
            Self::Paused(at) => Some(format!(
                "Backstop is paused for the whole cluster by ConfigMap {at} (paused: \"true\"): nothing is taken back; set \
                 it to \"false\" to let Backstop act again"
            )),
            Self::Unread => Some("it is not known yet whether Backstop is paused".to_owned()),
            Self::Unknown(why) => Some(format!(
                "it cannot be told whether Backstop is paused for the whole cluster, so nothing is taken back: {why}"
            )),
        }
    }

    /// By the ConfigMap, as it is now.
    pub(crate) fn of(found: Option<&ConfigMap>, at: &str) -> Self {
        let value = found
            .and_then(|map| map.data.as_ref()?.get(PAUSED))
            .map_or("false", |value| value.trim());
        match value.to_ascii_lowercase().as_str() {
            "false" | "" => Self::On,
            "true" => Self::Paused(at.to_owned()),
            // Whoever writes something else there wants something: better to rest than to guess.
            other => Self::Unknown(format!(
                "ConfigMap {at} has paused: '{other}'; write \"true\" or \"false\""
            )),
        }
    }
}

/// Waits until somebody has looked: what is under way must not be called off only because nobody has yet.
pub(crate) async fn read(mut switch: watch::Receiver<Switch>) {
    let _ = switch.wait_for(|switch| *switch != Switch::Unread).await;
}

/// Follows the switch as long as this replica leads.
pub(crate) async fn follow(
    context: Arc<Context>,
    (namespace, name): (String, String),
    switch: watch::Sender<Switch>,
) {
    let at = format!("{namespace}/{name}");
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = watcher(api, config).default_backoff().boxed();
    let mut listed = None;
    while let Some(change) = changes.next().await {
        let now = match change {
            Ok(watcher::Event::Init) => {
                listed = None;
                continue;
            }
            Ok(watcher::Event::InitApply(map)) => {
                listed = Some(map);
                continue;
            }
            Ok(watcher::Event::InitDone) => Switch::of(listed.as_ref(), &at),
            Ok(watcher::Event::Apply(map)) => Switch::of(Some(&map), &at),
            Ok(watcher::Event::Delete(_)) => Switch::On,
            // What was read last holds on; where nothing was, that is said.
            Err(error) if matches!(*switch.borrow(), Switch::Unread | Switch::Unknown(_)) => {
                Switch::Unknown(format!("ConfigMap {at} cannot be read: {error}"))
            }
            Err(error) => {
                tracing::warn!(%error, at, "the switch that pauses Backstop cannot be followed at the moment");
                continue;
            }
        };
        if switch.send_replace(now.clone()) == now {
            continue;
        }
        context.metrics.paused(now != Switch::On);
        if let Some(why) = now.in_words() {
            tracing::warn!(at, "{why}");
        } else {
            tracing::info!(at, "Backstop acts: it is not paused");
        }
        for policy in context.policies.state() {
            let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
            context.poke_policy(&namespace, &name);
            context.poke_events(&namespace, &name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switch(value: Option<&str>) -> Switch {
        let map = ConfigMap {
            data: value.map(|v| [(PAUSED.to_owned(), v.to_owned())].into()),
            ..ConfigMap::default()
        };
        Switch::of(Some(&map), "ops/backstop")
    }

    #[test]
    fn without_the_config_map_or_its_key_backstop_acts() {
        assert_eq!(Switch::of(None, "ops/backstop"), Switch::On);
        assert_eq!(switch(None), Switch::On);
        assert_eq!(switch(Some("false")), Switch::On);
    }

    #[test]
    fn true_in_any_spelling_pauses_and_anything_else_is_no_permission() {
        for value in ["true", "True", " TRUE "] {
            assert_eq!(switch(Some(value)), Switch::Paused("ops/backstop".into()));
        }
        let odd = switch(Some("yes")).in_words().unwrap();
        assert!(
            odd.contains("paused: 'yes'") && odd.contains("nothing is taken back"),
            "{odd}"
        );
    }
}
