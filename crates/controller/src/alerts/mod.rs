//! Hearing alerts: what Alertmanager posts, kept where policies find it.
//!
//! Only the leader hears. Another replica says that it does not listen, and Alertmanager tries again:
//! the picture is in one place, and nothing has to be passed on.

mod access;
mod board;
mod payload;
mod receive;
mod serve;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use backstop_engine::{alert::Heard, policy::Source};
use jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};

use self::{access::Access, board::Board};
use crate::{context::Context, metrics::Metrics};

pub use serve::{Hearing, start};

/// What has been heard, while this replica is the leader.
#[derive(Debug)]
pub struct Inbox {
    leading: Mutex<Option<Leading>>,
    access: Access,
    metrics: Arc<Metrics>,
}

struct Leading {
    board: Board,
    context: Weak<Context>,
}

impl std::fmt::Debug for Leading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leading")
            .field("alerts", &self.board.len())
            .finish_non_exhaustive()
    }
}

impl Inbox {
    /// Hears nothing yet. In `credentials` are the files by which posts about any namespace sign in.
    #[must_use]
    pub fn new(credentials: Option<PathBuf>, metrics: Arc<Metrics>) -> Self {
        Self {
            leading: Mutex::default(),
            access: Access::new(credentials),
            metrics,
        }
    }

    /// Listens from now on: this replica is the leader.
    pub fn open(&self, context: &Arc<Context>) {
        *self.lock() = Some(Leading {
            board: Board::new(Timestamp::now()),
            context: Arc::downgrade(context),
        });
    }

    /// Listens no more. What was heard is forgotten: it would be old when this replica leads again.
    pub fn close(&self) {
        *self.lock() = None;
        self.metrics.alerts(0);
    }

    /// What policies of a namespace may hear.
    #[must_use]
    pub fn heard(&self, namespace: &str) -> Option<Heard> {
        self.lock().as_ref().map(|it| it.board.heard(namespace))
    }

    /// What there is to work with while this replica leads.
    fn context(&self) -> Option<Arc<Context>> {
        self.lock().as_ref()?.context.upgrade()
    }

    /// Takes in what was posted, and wakes the policies that it may matter to. Returns how many alerts
    /// were taken; `None` where this replica leads no more.
    fn take(&self, door: &board::Door, post: payload::Post) -> Option<board::Taken> {
        let (taken, context) = {
            let mut leading = self.lock();
            let leading = leading.as_mut()?;
            let taken = leading.board.take(door, post, Timestamp::now());
            self.metrics.alerts(leading.board.len());
            (taken, leading.context.upgrade())
        };
        if let Some(context) = context {
            poke(&context, &taken.namespaces);
        }
        Some(taken)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Leading>> {
        self.leading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for the policies that listen in these namespaces to be looked at.
fn poke(context: &Context, namespaces: &BTreeSet<String>) {
    let concerned = context.policies.state_filter(|it| {
        let namespace = it.meta().namespace.as_ref();
        namespace.is_some_and(|it| namespaces.contains(it))
            && it.0.as_ref().is_ok_and(|policy| {
                let mut triggers = policy.spec.triggers.iter();
                triggers.any(|trigger| trigger.alert.is_some())
            })
    });
    for policy in concerned {
        let namespace = policy.meta().namespace.as_deref().unwrap_or_default();
        context.poke_policy(namespace, &policy.name_any());
    }
}

/// Whether a policy listens for any alert.
#[must_use]
pub fn listens(policy: &backstop_engine::policy::ValidPolicy) -> bool {
    let mut triggers = policy.triggers.iter();
    triggers.any(|trigger| matches!(trigger.source, Source::Alert(_)))
}
