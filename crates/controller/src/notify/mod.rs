//! Telling people: apart from everything that decides or acts, so that a channel that hangs holds up
//! nothing but its own messages.
//!
//! Who is told of what stands in the status of rollbacks and policies, and is written before the
//! first message is sent. One clerk for each object that has something to tell keeps these records;
//! each channel's messages are sent one after the other, and those of different channels at once.

mod attempt;
mod clerk;
mod subject;
mod unusable;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backstop_api::{RollbackPolicy, notification::NotificationStatus};
use backstop_notify::{Allowed, ValidChannel};
use futures::{StreamExt, channel::mpsc};
use tokio::{
    sync::{Notify, Semaphore},
    task::{Id, JoinSet},
};

use crate::context::Context;
pub use subject::Subject;
pub use unusable::Unusable;

/// So many messages are on their way at once.
const AT_ONCE: usize = 256;
/// How often what is remembered is compared with what is there.
const SWEEP: Duration = Duration::from_secs(15);

/// Whom the operator tells of every policy, and where messages may be sent.
#[derive(Clone, Debug)]
pub struct Channels {
    /// Where messages may be sent.
    pub allowed: Allowed,
    /// The operator's own channels.
    pub own: Vec<ValidChannel>,
    /// Where their Secrets are.
    pub namespace: String,
}

impl Channels {
    /// The channels that are told of a policy: its own as far as they can be used, and the operator's.
    #[must_use]
    pub fn of(&self, policy: Option<&RollbackPolicy>) -> Vec<ValidChannel> {
        let mut channels = self.own.clone();
        if let Some(policy) = policy {
            channels.extend(backstop_notify::usable(
                &policy.spec.notifications,
                &self.allowed,
            ));
        }
        channels
    }
}

/// What clerks share.
struct Office {
    context: Arc<Context>,
    /// What was last written of each object, by its UID: the cache may not show it yet.
    written: Mutex<HashMap<String, Vec<NotificationStatus>>>,
    /// Bounds the messages that are on their way.
    slots: Semaphore,
}

impl Office {
    fn written(&self, uid: &str) -> Option<Vec<NotificationStatus>> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.get(uid).cloned()
    }

    fn remember(&self, uid: &str, records: &[NotificationStatus]) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(uid.to_owned(), records.to_vec());
    }

    /// Forgets objects that are not there any more.
    fn sweep(&self) {
        let known = subject::uids(&self.context);
        self.context.unusable.keep(&known);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|uid, _| known.contains(uid));
    }
}

/// By which a clerk is told that its object has changed.
#[derive(Default)]
struct Bell {
    rung: AtomicU64,
    notify: Notify,
}

impl Bell {
    fn ring(&self) {
        self.rung.fetch_add(1, Ordering::SeqCst);
        self.notify.notify_one();
    }

    /// How often it has rung: what is looked at after asking is at least as new.
    fn rung(&self) -> u64 {
        self.rung.load(Ordering::SeqCst)
    }

    async fn heard(&self) {
        self.notify.notified().await;
    }
}

/// The clerks that are at work.
struct Clerks {
    office: Arc<Office>,
    bells: HashMap<Subject, Arc<Bell>>,
    subjects: HashMap<Id, Subject>,
    /// Ends with it.
    tasks: JoinSet<u64>,
}

impl Clerks {
    fn poke(&mut self, subject: Subject) {
        if let Some(bell) = self.bells.get(&subject) {
            bell.ring();
            return;
        }
        let bell = Arc::<Bell>::default();
        let (office, about, hears) = (self.office.clone(), subject.clone(), bell.clone());
        let task = self
            .tasks
            .spawn(async move { clerk::work(&office, &about, &hears).await });
        self.subjects.insert(task.id(), subject.clone());
        self.bells.insert(subject, bell);
    }

    /// A clerk has nothing left to do, as far as it had heard; or it has died.
    fn ended(&mut self, id: Id, heard: Option<u64>) {
        let Some(subject) = self.subjects.remove(&id) else {
            return;
        };
        let rung = self.bells.remove(&subject).map(|bell| bell.rung());
        if heard != rung {
            self.poke(subject);
        }
    }
}

/// Tells people until the future is dropped. `pokes` names what has changed; the caches are full.
pub async fn tell(context: Arc<Context>, mut pokes: mpsc::UnboundedReceiver<Subject>) {
    let office = Arc::new(Office {
        context: context.clone(),
        written: Mutex::default(),
        slots: Semaphore::new(AT_ONCE),
    });
    unusable::look_at_own(&context).await;
    let mut clerks = Clerks {
        office: office.clone(),
        bells: HashMap::new(),
        subjects: HashMap::new(),
        tasks: JoinSet::new(),
    };
    for subject in subject::all(&context) {
        clerks.poke(subject);
    }
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            poke = pokes.next() => match poke {
                Some(subject) => clerks.poke(subject),
                None => return,
            },
            Some(ended) = clerks.tasks.join_next_with_id() => match ended {
                Ok((id, heard)) => clerks.ended(id, Some(heard)),
                Err(error) => {
                    tracing::error!(%error, "a clerk of notifications has died; another one takes over");
                    clerks.ended(error.id(), None);
                }
            },
            _ = sweep.tick() => office.sweep(),
        }
    }
}
