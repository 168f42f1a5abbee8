//! A clerk: keeps the records of one object, and has its messages sent.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use backstop_api::notification::{NotificationState, NotificationStatus};
use backstop_notify::{ValidChannel, queue};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;

use super::{
    Bell, Office, Subject,
    attempt::{Attempt, attempt},
    subject::Object,
    unusable,
};
use crate::calls::CallError;

/// The first wait before another attempt is about this.
const FIRST: Duration = Duration::from_secs(1);
/// No wait is much longer than this, unless the channel asks for it.
const LONGEST: Duration = Duration::from_mins(5);

/// Works until there is nothing left to do. Returns how often the bell had rung at the last look.
pub(super) async fn work(office: &Arc<Office>, subject: &Subject, bell: &Bell) -> u64 {
    let mut clerk = Clerk {
        office,
        subject,
        uid: String::new(),
        records: Vec::new(),
        unwritten: false,
        waits: HashMap::new(),
        attempts: FuturesUnordered::new(),
        busy: HashSet::new(),
    };
    loop {
        let heard = bell.rung();
        let Some(object) = subject.read(&office.context) else {
            return heard;
        };
        let Some(again) = clerk.look(&object).await else {
            return heard;
        };
        if clerk.attempts.is_empty() && again == Duration::MAX {
            return heard;
        }
        tokio::select! {
            Some(attempt) = clerk.attempts.next() => clerk.tried(attempt),
            () = bell.heard() => {}
            () = tokio::time::sleep(again), if again < Duration::MAX => {}
        }
    }
}

struct Clerk<'a> {
    office: &'a Arc<Office>,
    subject: &'a Subject,
    /// Which object the records are of: a namesake that was made since is another one.
    uid: String,
    records: Vec<NotificationStatus>,
    unwritten: bool,
    /// How long to wait before the next attempt, by channel; and for writing, under no name.
    waits: HashMap<String, ExponentialBackoff>,
    attempts: FuturesUnordered<BoxFuture<'static, Attempt>>,
    /// The channels that a message is on its way to.
    busy: HashSet<String>,
}

impl Clerk<'_> {
    /// Brings the records up to date and has sent what is to be sent. Returns when to look again at
    /// the latest; none where there is no sense in going on.
    async fn look(&mut self, object: &Object) -> Option<Duration> {
        let context = &self.office.context;
        if self.uid != object.uid() {
            self.uid = object.uid();
            self.attempts = FuturesUnordered::new();
            self.busy.clear();
            let written = self.office.written(&self.uid);
            self.records = written.unwrap_or_else(|| object.records());
        }
        let now = Timestamp::now();
        let channels = context.channels.of(object.policy());
        let due = object.due(&channels, &self.records, now);
        if let Some(records) = due.changed {
            self.records = records;
            self.unwritten = true;
        }
        let exists = |name: &str| channels.iter().any(|c| c.name == name);
        self.unwritten |= queue::give_up(&mut self.records, exists, now);
        let mut again = due.again.map_or(Duration::MAX, |at| {
            Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
        });
        if self.unwritten {
            // Nothing is sent before it is on record.
            match self.write().await {
                Ok(()) => {}
                Err(CallError::NotLeader { .. } | CallError::NotFound { .. }) => return None,
                Err(error) => {
                    let wait = self.wait("");
                    tracing::warn!(
                        namespace = self.subject.namespace(),
                        object = self.subject.name(),
                        %error,
                        "who is told what could not be recorded; trying again"
                    );
                    return Some(wait);
                }
            }
        }
        self.send(&channels);
        if let Object::Policy(policy) = object
            && !unusable::look(context, policy).await
        {
            again = again.min(unusable::AGAIN);
        }
        Some(again)
    }

    /// Has the oldest open message of each channel sent that nothing is on its way to.
    fn send(&mut self, channels: &[ValidChannel]) {
        for channel in channels {
            if self.busy.contains(&channel.name) {
                continue;
            }
            let Some(record) = queue::next(&self.records, &channel.name).cloned() else {
                continue;
            };
            let wait = if record.state == NotificationState::Retrying {
                self.wait(&channel.name)
            } else {
                Duration::ZERO
            };
            self.busy.insert(channel.name.clone());
            self.attempts.push(
                attempt(
                    self.office.clone(),
                    self.subject.clone(),
                    channel.clone(),
                    self.records.clone(),
                    record,
                    wait,
                )
                .boxed(),
            );
        }
    }

    /// An attempt has ended.
    fn tried(&mut self, Attempt { record, result }: Attempt) {
        self.busy.remove(&record.channel);
        let mut records = self.records.iter_mut();
        let same = |r: &&mut NotificationStatus| {
            (&r.channel, r.outcome, &r.reason, r.at)
                == (&record.channel, record.outcome, &record.reason, record.at)
        };
        let (Some(now), Some(result)) = (records.find(same), result) else {
            return;
        };
        now.attempts += 1;
        match result {
            Ok(receipt) => {
                now.state = NotificationState::Sent;
                now.sent_at = Some(Timestamp::now());
                now.error = None;
                now.thread = receipt.thread;
                self.waits.remove(&record.channel);
            }
            Err(failure) => {
                now.state = NotificationState::Retrying;
                now.error = Some(failure.why);
                if let Some(wait) = failure.retry_after {
                    let asked = ExponentialBuilder::new()
                        .with_min_delay(wait)
                        .with_max_delay(wait.max(LONGEST))
                        .without_max_times();
                    self.waits.insert(record.channel, asked.build());
                }
            }
        }
        self.office.remember(&self.uid, &self.records);
        self.unwritten = true;
    }

    async fn write(&mut self) -> Result<(), CallError> {
        self.office.remember(&self.uid, &self.records);
        let context = &self.office.context;
        self.subject
            .write(context, &self.uid, &self.records)
            .await?;
        self.unwritten = false;
        self.waits.remove("");
        Ok(())
    }

    fn wait(&mut self, name: &str) -> Duration {
        let wait = self.waits.entry(name.to_owned()).or_insert_with(|| {
            ExponentialBuilder::new()
                .with_min_delay(FIRST)
                .with_max_delay(LONGEST)
                .with_jitter()
                .without_max_times()
                .build()
        });
        wait.next().unwrap_or(LONGEST)
    }
}
