//! What a cluster says of one namespace, as it says it: watches side by side, in one stream.

use std::fmt::Debug;

use anyhow::Context as _;
use backstop_api::{RollbackEvent, RollbackPoint, RollbackPolicy};
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

/// An object as it is now.
#[derive(Debug)]
pub(crate) enum What {
    Policy(Box<RollbackPolicy>),
    Point(Box<RollbackPoint>),
    Rollback(Box<RollbackEvent>),
    Deployment(Box<Deployment>),
    Pod(Box<Pod>),
}

/// An object, and when it was heard of here.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) at: Timestamp,
    pub(crate) what: What,
}

/// Hears of everything that matters here in a namespace, until it is dropped.
pub(crate) struct Ear {
    said: UnboundedReceiver<Said>,
    _watches: JoinSet<()>,
}

impl Ear {
    /// Begins to listen. What is there already is heard of first.
    pub(crate) fn new(client: &Client, namespace: &str) -> Self {
        let (say, said) = unbounded_channel();
        let mut watches = JoinSet::new();
        let ways = Ways {
            client,
            namespace,
            say: &say,
        };
        ways.watch(&mut watches, |o| What::Policy(Box::new(o)));
        ways.watch(&mut watches, |o| What::Point(Box::new(o)));
        ways.watch(&mut watches, |o| What::Rollback(Box::new(o)));
        ways.watch(&mut watches, |o| What::Deployment(Box::new(o)));
        ways.watch(&mut watches, |o| What::Pod(Box::new(o)));
        Self {
            said,
            _watches: watches,
        }
    }

    /// Waits for the next word.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Said> {
        self.said.recv().await.context("every watch has ended")
    }
}

struct Ways<'a> {
    client: &'a Client,
    namespace: &'a str,
    say: &'a UnboundedSender<Said>,
}

impl Ways<'_> {
    fn watch<K>(&self, watches: &mut JoinSet<()>, what: fn(K) -> What)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let say = self.say.clone();
        watches.spawn(async move {
            let mut events = watcher(api, watcher::Config::default())
                .default_backoff()
                .boxed();
            while let Some(event) = events.next().await {
                let at = Timestamp::now();
                // What is gone is of no interest, and an interrupted watch begins anew by itself.
                if let Ok(Event::Apply(object) | Event::InitApply(object)) = event
                    && say
                        .send(Said {
                            at,
                            what: what(object),
                        })
                        .is_err()
                {
                    return;
                }
            }
        });
    }
}
