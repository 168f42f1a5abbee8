//! Observing: what is watched for each policy, and nothing more than that.
//!
//! A policy costs three watches, each limited by name or by label to its own workload, and a task
//! for each query. So memory and work grow with the policies, not with the cluster.

mod config;
mod pods;
pub(crate) mod queries;
mod reach;
mod reports;
pub(crate) mod route;
mod snapshot;
mod watches;
mod workload;
pub(crate) mod writer;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use backstop_api::{
    RollbackPolicy, RollbackPolicyStatus, config::ConfigCapture, policy::AskedAbout,
};
use backstop_engine::{
    alert::Heard,
    config::references::{Reference, references},
    policy::{FieldError, ValidPolicy, ValidTrigger},
    snapshot::{Observed, Route, Service, Workload},
    state::State,
    subject::{self, Absent, Parts},
    vulnerability::Reports,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ApiResource};
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet};

pub use queries::Question;
pub use snapshot::snapshot;
pub(crate) use workload::managed_fields;

use crate::{alerts, config::objects::Looked, context::Context};

/// What is watched, by the policy's namespace and name.
#[derive(Default)]
pub struct Observers(Mutex<HashMap<(String, String), Arc<Observer>>>);

/// What is watched for one policy.
pub struct Observer {
    /// The policy's namespace.
    pub namespace: String,
    /// The policy, parsed once.
    pub policy: ValidPolicy,
    uid: Option<String>,
    generation: Option<i64>,
    /// Of each Deployment of the policy, in its order.
    watched: Vec<watches::Watched>,
    /// For BlueGreen: the Service.
    service: Option<watches::One>,
    /// For Canary: the route.
    route: Option<route::Watched>,
    /// For vulnerabilities: the reports of the namespace.
    reports: Option<watches::Many>,
    /// The configuration that the templates reference.
    config: Arc<config::Followed>,
    readings: Mutex<BTreeMap<String, Observed>>,
    /// The newest answers about what was not released.
    peers: Mutex<BTreeMap<String, Observed>>,
    question: watch::Sender<Option<Question>>,
    state: Mutex<State>,
    /// When it was last looked at what is suspended.
    gitops_looked_at: Mutex<Option<Timestamp>>,
    /// Ends with the observer.
    _tasks: JoinSet<()>,
}

impl Observers {
    /// The observer of a policy, made new when the policy's spec has changed.
    pub fn of(
        &self,
        context: &Arc<Context>,
        object: &RollbackPolicy,
        valid: impl FnOnce() -> Result<ValidPolicy, String>,
    ) -> Result<Arc<Observer>, String> {
        let namespace = object.namespace().unwrap_or_default();
        let key = (namespace.clone(), object.name_any());
        let before = lock(&self.0).get(&key).cloned();
        if let Some(observer) = &before
            && observer.uid == object.uid()
            && observer.generation == object.metadata.generation
        {
            return Ok(observer.clone());
        }
        let policy = match valid() {
            Ok(policy) => policy,
            Err(problem) => {
                lock(&self.0).remove(&key);
                return Err(problem);
            }
        };
        let state = match before.filter(|b| b.uid == object.uid()) {
            Some(before) => lock(&before.state).clone(),
            None => State::from_status(
                object
                    .status
                    .as_ref()
                    .unwrap_or(&RollbackPolicyStatus::default()),
            ),
        };
        let observer = Arc::new(Observer::start(context, object, namespace, policy, state));
        lock(&self.0).insert(key, observer.clone());
        Ok(observer)
    }

    /// The observer of a policy, if there is one.
    pub fn get(&self, namespace: &str, policy: &str) -> Option<Arc<Observer>> {
        lock(&self.0)
            .get(&(namespace.to_owned(), policy.to_owned()))
            .cloned()
    }

    /// Stops watching for policies that are not there any more. Returns how many are left.
    pub fn keep(&self, exists: impl Fn(&str, &str) -> bool) -> usize {
        let mut observers = lock(&self.0);
        observers.retain(|(namespace, name), _| exists(namespace, name));
        observers.len()
    }
}

impl Observer {
    fn start(
        context: &Arc<Context>,
        object: &RollbackPolicy,
        namespace: String,
        policy: ValidPolicy,
        state: State,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let name = object.name_any();
        let config = Arc::<config::Followed>::default();
        let poke = {
            let (context, namespace) = (Arc::downgrade(context), namespace.clone());
            let config = config.clone();
            move || {
                config.changed();
                if let Some(context) = context.upgrade() {
                    context.poke_policy(&namespace, &name);
                    context.poke_events(&namespace, &name);
                }
            }
        };
        let poke = Arc::new(poke) as watches::Poke;
        let client = &context.client;
        let watched = policy
            .deployments
            .iter()
            .map(|name| watches::start(&mut tasks, client, &namespace, name, &poke))
            .collect();
        let service = policy.strategy.service().map(|service| {
            let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&());
            watches::one(&mut tasks, client, &resource, &namespace, service, &poke)
        });
        let route = policy.strategy.canary().and_then(|canary| {
            route::watch(&mut tasks, context, &namespace, &canary.parameters, &poke)
        });
        let reports =
            reports::wanted(&policy).then(|| reports::watch(&mut tasks, client, &namespace, &poke));
        Self {
            route,
            reports,
            config,
            service,
            uid: object.uid(),
            generation: object.metadata.generation,
            watched,
            readings: Mutex::default(),
            peers: Mutex::default(),
            question: watch::Sender::new(None),
            state: Mutex::new(state),
            gitops_looked_at: Mutex::default(),
            namespace,
            policy,
            _tasks: tasks,
        }
    }

    /// Begins to ask. Apart from the start, because what is asked reports back to the observer.
    pub fn ask(self: &Arc<Self>, context: &Arc<Context>) {
        queries::start(self, context);
        config::follow(self, context);
    }

    /// Whether the watches have been read once, so that "not there" means that it is not there.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.watched.iter().all(watches::Watched::is_ready)
            && self.service.as_ref().is_none_or(watches::One::is_ready)
            && self.route.as_ref().is_none_or(route::Watched::is_ready)
            && self.reports.as_ref().is_none_or(watches::Many::is_ready)
            && self.config.is_about(&self.about_config())
    }

    /// What configuration the templates reference, as far as the policy wants it.
    fn about_config(&self) -> config::About {
        if self.policy.config == ConfigCapture::Ignore {
            return config::About::default();
        }
        // Asked at every look at the policy: by the cached objects, and not by copies of them.
        let there: Vec<_> = self
            .watched
            .iter()
            .filter_map(watches::Watched::object)
            .collect();
        let templates = there
            .iter()
            .filter_map(|d| d.data.pointer("/spec/template"));
        let all: BTreeSet<Reference> = templates.flat_map(references).collect();
        let generations = there.iter().map(|d| d.metadata.generation.unwrap_or(0));
        config::About {
            generations: generations.collect(),
            references: all.into_iter().collect(),
        }
    }

    /// The configuration of the live release, with its contents.
    #[must_use]
    pub fn config(&self) -> Vec<Looked> {
        self.config.looked()
    }

    /// Looks at the configuration again now: it was changed.
    pub fn look_at_config(&self) {
        self.config.again();
    }

    /// Whether the configuration was read after that time.
    #[must_use]
    pub fn has_read_config_since(&self, time: Timestamp) -> bool {
        self.config.is_newer_than(time)
    }

    fn watched(&self, name: &str) -> Option<&watches::Watched> {
        self.watched.iter().find(|w| w.name == name)
    }

    /// A Deployment as the server returned it.
    #[must_use]
    pub fn deployment(&self, name: &str) -> Option<Value> {
        self.watched(name)?.deployment()
    }

    /// A Deployment and its pods, as the engine sees them.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Workload> {
        let watched = self.watched(name)?;
        workload::workload(
            &watched.deployment()?,
            &watched.replica_sets(),
            &watched.pods(),
            &self.policy.ignore_annotations,
        )
    }

    /// What is live.
    pub fn live(&self) -> Result<Workload, Absent> {
        let names = self.policy.deployments.iter();
        let parts = Parts {
            deployments: names.filter_map(|name| self.member(name)).collect(),
            service: self.service(),
            route: self.route(),
            config: self.config.references(),
        };
        subject::live(&self.policy, &parts)
    }

    /// What is live, if that can be told.
    #[must_use]
    pub fn workload(&self) -> Option<Workload> {
        self.live().ok()
    }

    /// For BlueGreen: the Service.
    #[must_use]
    pub fn service(&self) -> Option<Service> {
        workload::service(&self.service.as_ref()?.object()?)
    }

    /// For Canary: the route.
    #[must_use]
    pub fn route(&self) -> Option<Result<Route, FieldError>> {
        Some(self.route.as_ref()?.look())
    }

    /// The images of a Deployment that run, with their digests.
    #[must_use]
    pub fn digests(&self, name: &str) -> Vec<backstop_api::point::Image> {
        self.watched(name)
            .map(|w| workload::digests(&w.pods()))
            .unwrap_or_default()
    }

    /// What is known of vulnerabilities, of the live release's images and of others.
    #[must_use]
    pub fn reports(&self, live: Option<&Workload>) -> Reports {
        let Some(reports) = &self.reports else {
            return Reports::NotWatched;
        };
        if let Some(why) = reports.trouble() {
            return Reports::Unavailable(reports::unreadable(&why));
        }
        let images = live
            .into_iter()
            .flat_map(Workload::live)
            .flat_map(|member| {
                self.watched(&member.name).map_or_else(Vec::new, |watched| {
                    reports::live_images(watched, member, &self.policy.ignore_annotations)
                })
            });
        Reports::Known {
            reports: reports.objects().iter().map(reports::parsed).collect(),
            live: images.collect(),
        }
    }

    /// The names of the pods that belong to a Deployment.
    #[must_use]
    pub fn pod_names(&self, name: &str) -> Vec<String> {
        self.watched(name)
            .map(|w| workload::pod_names(&w.replica_sets(), &w.pods()))
            .unwrap_or_default()
    }

    /// The pods of the live release, and those of other releases of the same Deployments.
    fn pods_by_release(&self) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
        let live = self.workload();
        let (mut of_it, mut others) = (Vec::new(), Vec::new());
        for member in live.iter().flat_map(Workload::live) {
            let Some(watched) = self.watched(&member.name) else {
                continue;
            };
            let (sets, ignored) = (watched.replica_sets(), &self.policy.ignore_annotations);
            let by_release = workload::by_release(&sets, &watched.pods(), &member.release, ignored);
            of_it.extend(by_release.0);
            others.extend(by_release.1);
        }
        (of_it, others)
    }

    /// What the queries are about from now on.
    pub fn turn_to(&self, workload: &Workload) {
        let of_each: Vec<Vec<String>> = workload
            .live()
            .iter()
            .filter_map(|member| {
                let sets = self.watched(&member.name)?.replica_sets();
                let ignored = &self.policy.ignore_annotations;
                Some(workload::template_hashes(&sets, &member.release, ignored))
            })
            .collect();
        let known = of_each.iter().all(|hashes| !hashes.is_empty());
        let question = known.then(|| {
            let stable = self.stable(workload);
            Question::about(&self.namespace, workload, of_each.concat(), stable)
        });
        self.question.send_if_modified(|old| {
            let changed = *old != question;
            if changed {
                *old = question;
            }
            changed
        });
    }

    /// What the queries are about, for whoever asks the same.
    #[must_use]
    pub fn asked_about(&self) -> Option<AskedAbout> {
        let about = self.question.borrow().as_ref().map(Question::context)?;
        Some(AskedAbout {
            release: about.release,
            workloads: about.workloads,
            template_hashes: about.template_hashes,
        })
    }

    /// The alerts that the policy may hear, where it listens for any.
    #[must_use]
    pub fn heard(&self, context: &Context) -> Option<Heard> {
        if !alerts::listens(&self.policy) {
            return None;
        }
        let about = self.question.borrow().as_ref().map(Question::context);
        let heard = context.alerts.as_ref()?.heard(&self.namespace)?;
        Some(Heard { about, ..heard })
    }

    /// The hashes of the pods that serve beside the live release and are not of it: the stable side
    /// of a canary that is tried, else what a rolling update has not replaced yet.
    /// Empty where no trigger asks about it.
    fn stable(&self, workload: &Workload) -> Vec<String> {
        if !self.policy.triggers.iter().any(ValidTrigger::uses_stable) {
            return Vec::new();
        }
        let ignored = &self.policy.ignore_annotations;
        let side = if workload.tried {
            &workload.beside
        } else {
            workload.live()
        };
        side.iter()
            .filter_map(|member| {
                let sets = self.watched(&member.name)?.replica_sets();
                Some(if workload.tried {
                    workload::template_hashes(&sets, &member.release, ignored)
                } else {
                    workload::other_hashes(&sets, &member.release, ignored)
                })
            })
            .flatten()
            .collect()
    }

    /// The newest answers.
    #[must_use]
    pub fn readings(&self) -> BTreeMap<String, Observed> {
        lock(&self.readings).clone()
    }

    /// The newest answers about what was not released.
    #[must_use]
    pub fn peers(&self) -> BTreeMap<String, Observed> {
        lock(&self.peers).clone()
    }

    /// Whether it is time to look again at what is suspended; if so, that is noted.
    pub fn looks_at_gitops(&self, now: Timestamp, every: jiff::SignedDuration) -> bool {
        let mut last = lock(&self.gitops_looked_at);
        let due = last.is_none_or(|last| now.duration_since(last) >= every);
        if due {
            *last = Some(now);
        }
        due
    }

    /// What the engine remembers.
    #[must_use]
    pub fn state(&self) -> State {
        lock(&self.state).clone()
    }

    /// What the engine is to remember.
    pub fn remember(&self, state: State) {
        *lock(&self.state) = state;
    }
}

/// A Deployment that nobody watches, as far as it tells by itself.
#[must_use]
pub fn unwatched(deployment: &Value, ignored_annotations: &[String]) -> Option<Workload> {
    workload::workload(deployment, &[], &[], ignored_annotations)
}

/// A lock that a panic elsewhere does not take away: what it guards is replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
