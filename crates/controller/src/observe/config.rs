//! Following the configuration that a policy's templates reference.
//!
//! Secrets are never listed or watched: that right would be one to all of them. So each object is
//! read by its name, at a pace, and at once when a template references another.

use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use backstop_api::config::ConfigRef;
use backstop_engine::config::references::Reference;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Observer, lock};
use crate::{
    config::{
        Place,
        objects::{Looked, look},
    },
    context::Context,
};

/// How often configuration is read.
const PACE: Duration = Duration::from_secs(5);
/// After so long when it could not be read.
const RETRIED: Duration = Duration::from_secs(1);

/// What is read: what is referenced, and for which generation of each Deployment. A new release
/// often comes with new contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) references: Vec<Reference>,
    pub(super) generations: Vec<i64>,
}

/// The configuration as it was read last.
#[derive(Default)]
pub(super) struct Followed {
    read: Mutex<Option<(About, Vec<Looked>)>>,
    read_at: Mutex<Option<Timestamp>>,
    again: Notify,
    changed: Notify,
}

impl Followed {
    /// Whether what was read is what is referenced. Nothing to read is as good as read.
    pub(super) fn is_about(&self, about: &About) -> bool {
        about.references.is_empty()
            || lock(&self.read)
                .as_ref()
                .is_some_and(|(read, _)| read == about)
    }

    /// A Deployment has changed: it may reference something else.
    pub(super) fn changed(&self) {
        self.changed.notify_one();
    }

    pub(super) fn looked(&self) -> Vec<Looked> {
        lock(&self.read)
            .as_ref()
            .map(|(_, looked)| looked.clone())
            .unwrap_or_default()
    }

    /// What a point says of it, without its contents.
    pub(super) fn references(&self) -> Vec<ConfigRef> {
        lock(&self.read)
            .iter()
            .flat_map(|(_, looked)| looked)
            .map(|l| l.reference.clone())
            .collect()
    }

    /// Whether it was read after that time.
    pub(super) fn is_newer_than(&self, time: Timestamp) -> bool {
        lock(&self.read_at).is_some_and(|read| read > time)
    }

    /// Reads it again at once.
    pub(super) fn again(&self) {
        self.again.notify_one();
    }
}

/// Reads the configuration for as long as the observer is there.
pub(super) fn follow(observer: &Arc<Observer>, context: &Arc<Context>) {
    tokio::spawn(read(Arc::downgrade(observer), Arc::downgrade(context)));
}

async fn read(observer: Weak<Observer>, context: Weak<Context>) {
    let mut due = true;
    loop {
        let (Some(this), Some(with)) = (observer.upgrade(), context.upgrade()) else {
            return;
        };
        let about = this.about_config();
        let mut pause = PACE;
        if due || !this.config.is_about(&about) {
            let began = Timestamp::now();
            match look_at(&this, &with, &about.references).await {
                Some(looked) => {
                    keep(&this, &with, about, looked);
                    *lock(&this.config.read_at) = Some(began);
                }
                None => pause = RETRIED,
            }
        }
        let config = this.config.clone();
        drop((with, this));
        due = tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = config.again.notified() => true,
            () = config.changed.notified() => false,
        };
    }
}

fn keep(observer: &Observer, context: &Context, about: About, looked: Vec<Looked>) {
    let new = Some((about, looked));
    let mut read = lock(&observer.config.read);
    let changed = *read != new;
    *read = new;
    drop(read);
    if changed {
        context.poke_policy(&observer.namespace, &observer.policy.name);
        context.poke_events(&observer.namespace, &observer.policy.name);
    }
}

/// The configuration as it is; `None` when that cannot be told now.
async fn look_at(
    observer: &Observer,
    context: &Context,
    references: &[Reference],
) -> Option<Vec<Looked>> {
    if references.is_empty() {
        return Some(Vec::new());
    }
    let keys = context.keys.borrow().clone()?;
    let ring = match keys {
        Ok(ring) => ring,
        Err(why) => {
            let unknown = |r: &Reference| Looked {
                reference: ConfigRef {
                    not_captured: Some(why.clone()),
                    ..ConfigRef::absent(r.key.clone(), r.optional)
                },
                content: None,
            };
            return Some(references.iter().map(unknown).collect());
        }
    };
    let place = Place {
        client: &context.client,
        calls: &context.calls,
        namespace: &observer.namespace,
    };
    let policy = &observer.policy;
    look(
        place,
        ring.identity(),
        references,
        policy.config,
        policy.secrets,
    )
    .await
    .inspect_err(|error| {
        tracing::warn!(%error, namespace = observer.namespace, policy = policy.name,
                "the configuration of the release cannot be read");
    })
    .ok()
}
