//! What there is something to tell of: a rollback or a policy.

use std::collections::HashSet;

use backstop_api::{RollbackEvent, RollbackPolicy, notification::NotificationStatus};
use backstop_notify::{
    Message, ValidChannel,
    queue::{self, Records},
};
use jiff::Timestamp;
use kube::{
    Api, Resource, ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};
use serde_json::json;

use crate::{
    calls::CallError,
    context::{Context, Guarded},
};

/// What there is something to tell of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A rollback.
    Event {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A policy.
    Policy {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// The object itself, as it is cached.
pub(super) enum Object {
    Event {
        event: Box<RollbackEvent>,
        policy: Option<Box<RollbackPolicy>>,
    },
    Policy(Box<RollbackPolicy>),
}

impl Subject {
    pub(super) fn namespace(&self) -> &str {
        match self {
            Self::Event { namespace, .. } | Self::Policy { namespace, .. } => namespace,
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Event { name, .. } | Self::Policy { name, .. } => name,
        }
    }

    /// The object, while it is there.
    pub(super) fn read(&self, context: &Context) -> Option<Object> {
        Some(match self {
            Self::Event { namespace, name } => {
                let event = Box::new(cached(&context.events, namespace, name)?);
                let policy = cached(&context.policies, namespace, &event.spec.policy);
                Object::Event {
                    policy: policy.map(Box::new),
                    event,
                }
            }
            Self::Policy { namespace, name } => {
                Object::Policy(Box::new(cached(&context.policies, namespace, name)?))
            }
        })
    }

    /// Writes what is on record. Nobody else writes that, and nothing else is written.
    pub(super) async fn write(
        &self,
        context: &Context,
        uid: &str,
        records: &[NotificationStatus],
    ) -> Result<(), CallError> {
        let patch = json!({"metadata": {"uid": uid}, "status": {"notifications": records}});
        let (client, namespace, name) = (context.client.clone(), self.namespace(), self.name());
        let calls = &context.calls;
        match self {
            Self::Event { .. } => {
                let api: Api<RollbackEvent> = Api::namespaced(client, namespace);
                let operation = "patch rollbackevent status";
                calls.merge_status(operation, &api, name, patch).await?;
            }
            Self::Policy { .. } => {
                let api: Api<RollbackPolicy> = Api::namespaced(client, namespace);
                let operation = "patch rollbackpolicy status";
                calls.merge_status(operation, &api, name, patch).await?;
            }
        }
        Ok(())
    }
}

impl Object {
    pub(super) fn uid(&self) -> String {
        let uid = match self {
            Self::Event { event, .. } => event.uid(),
            Self::Policy(policy) => policy.uid(),
        };
        uid.unwrap_or_default()
    }

    /// The policy whose channels are told.
    pub(super) fn policy(&self) -> Option<&RollbackPolicy> {
        match self {
            Self::Event { policy, .. } => policy.as_deref(),
            Self::Policy(policy) => Some(policy),
        }
    }

    /// What is on record, as far as the cache shows.
    pub(super) fn records(&self) -> Vec<NotificationStatus> {
        let records = match self {
            Self::Event { event, .. } => event.status.as_ref().map(|s| &s.notifications),
            Self::Policy(policy) => policy.status.as_ref().map(|s| &s.notifications),
        };
        records.cloned().unwrap_or_default()
    }

    /// What is to be on record from now on.
    pub(super) fn due(
        &self,
        channels: &[ValidChannel],
        records: &[NotificationStatus],
        now: Timestamp,
    ) -> Records {
        match self {
            Self::Event { event, policy } => {
                let policy = policy.as_deref();
                let missing = queue::missing_for_event(event, policy, channels, records, now);
                Records {
                    changed: (!missing.is_empty()).then(|| [records, &missing].concat()),
                    again: None,
                }
            }
            Self::Policy(policy) => queue::records_of_policy(policy, channels, records, now),
        }
    }

    /// The message that a record stands for.
    pub(super) fn message(
        &self,
        records: &[NotificationStatus],
        record: &NotificationStatus,
    ) -> Message {
        match self {
            Self::Event { event, policy } => {
                queue::message_of_event(event, policy.as_deref(), record)
            }
            Self::Policy(policy) => queue::message_of_policy(policy, records, record),
        }
    }
}

fn cached<K>(store: &Store<Guarded<K>>, namespace: &str, name: &str) -> Option<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
    Guarded<K>: Resource<DynamicType = ()> + Clone,
{
    let key = ObjectRef::<Guarded<K>>::new(name).within(namespace);
    store.get(&key)?.0.as_ref().ok().cloned()
}

/// Everything that is cached.
pub(super) fn all(context: &Context) -> Vec<Subject> {
    let mut all = Vec::new();
    for event in context.events.state() {
        all.push(Subject::Event {
            namespace: event.namespace().unwrap_or_default(),
            name: event.name_any(),
        });
    }
    for policy in context.policies.state() {
        all.push(Subject::Policy {
            namespace: policy.namespace().unwrap_or_default(),
            name: policy.name_any(),
        });
    }
    all
}

/// The UIDs of everything that is cached.
pub(super) fn uids(context: &Context) -> HashSet<String> {
    let events = context.events.state();
    let policies = context.policies.state();
    let events = events.iter().filter_map(|e| e.meta().uid.clone());
    events
        .chain(policies.iter().filter_map(|p| p.meta().uid.clone()))
        .collect()
}
