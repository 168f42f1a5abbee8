//! A namespace with an application, a policy and an operator, and short ways to say what happens
//! in it and what must be seen.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::{RollbackEvent, RollbackPoint, RollbackPolicy, RollbackPolicyStatus};
use backstop_testenv::{Cluster, eventually, fate};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::operator::Running;

/// The application's name.
pub const APP: &str = "web";
/// What should happen happens within this time, on a machine that is busy with other tests. It is waited for no longer than
/// it takes, so this costs time only where a test fails.
pub const SOON: Duration = Duration::from_mins(3);

/// A release of the application.
#[derive(Clone, Debug)]
pub struct App {
    name: String,
    version: String,
    labels: Vec<(String, String)>,
    fate: Option<&'static str>,
    env: Vec<(String, String)>,
    env_from: Vec<Value>,
    annotations: Vec<(String, String)>,
    deployment_annotations: Vec<(String, String)>,
    replicas: Option<i32>,
    progress_deadline: i32,
    recreate: bool,
}

impl App {
    /// A release that works.
    pub fn version(version: &str) -> Self {
        Self {
            name: APP.to_owned(),
            version: version.to_owned(),
            labels: Vec::new(),
            fate: None,
            env: Vec::new(),
            env_from: Vec::new(),
            annotations: Vec::new(),
            deployment_annotations: Vec::new(),
            replicas: Some(2),
            progress_deadline: 600,
            recreate: false,
        }
    }

    /// That works, and whose pods take so long to become ready, as `2s`.
    pub fn slow(version: &str, ready_after: &str) -> Self {
        Self::version(version)
            .fate(fate::SLOW_READY)
            .annotation(fate::READY_AFTER, ready_after)
    }

    /// Whose pods end like this (see [`fate`]).
    #[must_use]
    pub fn fate(mut self, fate: &'static str) -> Self {
        self.fate = Some(fate);
        self
    }

    /// Of another application than the usual one.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// With a further label of its pods.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With the contents of a ConfigMap as its environment.
    #[must_use]
    pub fn config_map(mut self, name: &str) -> Self {
        self.env_from.push(json!({"configMapRef": {"name": name}}));
        self
    }

    /// With the contents of a Secret as its environment.
    #[must_use]
    pub fn secret(mut self, name: &str) -> Self {
        self.env_from.push(json!({"secretRef": {"name": name}}));
        self
    }

    /// With an annotation of the pod template.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With an annotation of the Deployment.
    #[must_use]
    pub fn deployment_annotation(mut self, name: &str, value: &str) -> Self {
        self.deployment_annotations
            .push((name.to_owned(), value.to_owned()));
        self
    }

    /// With so many replicas; `None` leaves them to others.
    #[must_use]
    pub fn replicas(mut self, replicas: Option<i32>) -> Self {
        self.replicas = replicas;
        self
    }

    /// Which is stopped before the next one is started.
    #[must_use]
    pub fn recreate(mut self) -> Self {
        self.recreate = true;
        self
    }

    /// With this `progressDeadlineSeconds`.
    #[must_use]
    pub fn progress_deadline(mut self, seconds: i32) -> Self {
        self.progress_deadline = seconds;
        self
    }

    /// The manifest as a team would write it.
    pub fn manifest(&self) -> Value {
        let map = |pairs: &[(String, String)]| {
            pairs
                .iter()
                .map(|(k, v)| (k.clone(), json!(v)))
                .collect::<serde_json::Map<_, _>>()
        };
        let mut labels = map(&self.labels);
        labels.insert("app".to_owned(), json!(self.name));
        let mut annotations = map(&self.annotations);
        if let Some(fate) = self.fate {
            annotations.insert(fate::FATE.to_owned(), json!(fate));
        }
        let env: Vec<Value> = self
            .env
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let mut manifest = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name, "annotations": map(&self.deployment_annotations)},
            "spec": {
                "progressDeadlineSeconds": self.progress_deadline,
                "selector": {"matchLabels": {"app": self.name}},
                "template": {
                    "metadata": {"labels": labels, "annotations": annotations},
                    "spec": {
                        "terminationGracePeriodSeconds": 0,
                        "containers": [{
                            "name": "app",
                            "image": format!("example.test/web:{}", self.version),
                            "env": env,
                            "envFrom": self.env_from,
                        }],
                    },
                },
            },
        });
        if self.recreate {
            manifest["spec"]["strategy"] = json!({"type": "Recreate"});
        }
        if let Some(replicas) = self.replicas {
            manifest["spec"]["replicas"] = json!(replicas);
        }
        manifest
    }
}

/// A policy that acts quickly, on the cluster's own signs.
pub fn quick_policy() -> Value {
    json!({
        "workloads": [{"name": APP}],
        "points": {"soak": "1s"},
        "limits": {"cooldown": "0s"},
        "triggers": [cannot_start()],
    })
}

/// The trigger on everything that keeps a release from starting.
pub fn cannot_start() -> Value {
    json!({"name": "cannot-start", "workload": {"signals": [
        "ProgressDeadlineExceeded", "CrashLoopBackOff", "ImagePullBackOff",
        "CreateContainerConfigError", "OOMKilled",
    ]}})
}

/// What a rollback says of itself.
pub fn message(event: &RollbackEvent) -> String {
    let status = event.status.clone().unwrap_or_default();
    status.message.unwrap_or_default()
}

/// A namespace with an application and an operator.
pub struct World {
    /// The cluster that is shared by the tests of this process.
    pub cluster: &'static Cluster,
    /// The namespace.
    pub namespace: String,
    /// An administrator's client.
    pub client: Client,
    /// The operator.
    pub operator: Running,
}

impl World {
    /// A new namespace, and an operator that looks after it.
    pub async fn new(name: &str) -> anyhow::Result<Self> {
        Self::with(name, &[]).await
    }

    /// The same, with further flags for the operator.
    pub async fn with(name: &str, flags: &[String]) -> anyhow::Result<Self> {
        let cluster = Cluster::shared().await?;
        let namespace = cluster.namespace(name).await?;
        let operator = Running::start(cluster, &namespace, "a", flags).await?;
        let client = cluster.client().await?;
        let world = Self {
            cluster,
            namespace,
            client,
            operator,
        };
        world.operator.leads().await?;
        Ok(world)
    }

    /// A world in which `good` is live and has proved itself under `policy`.
    pub async fn with_good_release(
        name: &str,
        policy: Value,
        good: &App,
    ) -> anyhow::Result<(Self, RollbackPoint)> {
        let world = Self::new(name).await?;
        world.deploy(good).await?;
        world.policy(policy).await?;
        let point = world.good_point(1).await?;
        Ok((world, point))
    }

    /// The namespace's objects of a kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a release from the server's side, as `kubectl apply --server-side` does.
    pub async fn deploy(&self, app: &App) -> anyhow::Result<Deployment> {
        self.deploy_as(app, "kubectl").await
    }

    /// Applies a release as another field manager, taking over what it names.
    pub async fn deploy_as(&self, app: &App, manager: &str) -> anyhow::Result<Deployment> {
        let params = PatchParams::apply(manager).force();
        let patch = Patch::Apply(app.manifest());
        Ok(self
            .api::<Deployment>()
            .patch(&app.name, &params, &patch)
            .await?)
    }

    /// Changes the Deployment by a merge patch.
    pub async fn patch_deployment(&self, patch: Value) -> anyhow::Result<Deployment> {
        let params = PatchParams::default();
        Ok(self
            .api::<Deployment>()
            .patch(APP, &params, &Patch::Merge(patch))
            .await?)
    }

    /// Creates the policy, or writes it anew.
    pub async fn policy(&self, spec: Value) -> anyhow::Result<()> {
        self.named_policy(APP, spec).await
    }

    /// The same, under another name.
    pub async fn named_policy(&self, name: &str, spec: Value) -> anyhow::Result<()> {
        let policy = json!({
            "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackPolicy",
            "metadata": {"name": name}, "spec": spec,
        });
        let params = PatchParams::apply("test").force();
        self.api::<RollbackPolicy>()
            .patch(name, &params, &Patch::Apply(policy))
            .await?;
        Ok(())
    }

    /// Creates a RollbackEvent, as the administrator.
    pub async fn manual_event(
        &self,
        name: &str,
        to: Option<&str>,
    ) -> anyhow::Result<RollbackEvent> {
        self.asked_for(name, "Manual", &[APP], to).await
    }

    /// Asks for a drill, as the administrator.
    pub async fn drill(&self, name: &str) -> anyhow::Result<RollbackEvent> {
        self.drill_of(name, &[APP]).await
    }

    /// The same, where the policy looks after these Deployments.
    pub async fn drill_of(&self, name: &str, workloads: &[&str]) -> anyhow::Result<RollbackEvent> {
        self.asked_for(name, "Drill", workloads, None).await
    }

    /// Calls a rollback off, as a person does with `kubectl annotate`.
    pub async fn call_off(&self, name: &str, why: &str) -> anyhow::Result<()> {
        let patch = json!({"metadata": {"annotations": {"backstop.dev/cancel": why}}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let events = self.api::<RollbackEvent>();
        events.patch(name, &params, &patch).await?;
        Ok(())
    }

    async fn asked_for(
        &self,
        name: &str,
        cause: &str,
        workloads: &[&str],
        to: Option<&str>,
    ) -> anyhow::Result<RollbackEvent> {
        let workloads: Vec<_> = workloads.iter().map(|w| json!({"name": w})).collect();
        let mut spec = json!({
            "policy": APP, "workloads": workloads, "cause": cause,
            "requestedBy": "admin", "reason": "a test asks for it",
        });
        if let Some(point) = to {
            spec["to"] = json!({"point": point});
        }
        let event: RollbackEvent = serde_json::from_value(json!({
            "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackEvent",
            "metadata": {"name": name}, "spec": spec,
        }))?;
        Ok(self.api().create(&PostParams::default(), &event).await?)
    }

    /// The policy's status.
    pub async fn status(&self) -> anyhow::Result<RollbackPolicyStatus> {
        self.api::<RollbackPolicy>()
            .get(APP)
            .await?
            .status
            .context("the policy has no status yet")
    }

    /// Releases `v2`, which crashes, and waits until it has been taken back by the first rollback.
    pub async fn crashes_and_goes_back(&self) -> anyhow::Result<RollbackEvent> {
        self.deploy(&App::version("v2").fate(fate::CRASH_LOOP))
            .await?;
        self.ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
            .await
    }

    /// The image that the Deployment names now.
    pub async fn image(&self) -> anyhow::Result<String> {
        self.image_of(APP).await
    }

    /// The image that a Deployment names now.
    pub async fn image_of(&self, name: &str) -> anyhow::Result<String> {
        let deployment = self.api::<Deployment>().get(name).await?;
        let template = deployment
            .spec
            .context("no spec")?
            .template
            .spec
            .context("no pod spec")?;
        template.containers[0].image.clone().context("no image")
    }

    /// The version that the Deployment names now.
    pub async fn live(&self) -> anyhow::Result<String> {
        self.version_of(APP).await
    }

    /// The version that a Deployment names now.
    pub async fn version_of(&self, name: &str) -> anyhow::Result<String> {
        let image = self.image_of(name).await?;
        Ok(image.rsplit(':').next().unwrap_or_default().to_owned())
    }

    /// Every rollback, oldest first.
    pub async fn events(&self) -> anyhow::Result<Vec<RollbackEvent>> {
        let mut events = self
            .api::<RollbackEvent>()
            .list(&ListParams::default())
            .await?
            .items;
        events.sort_by_key(|e| (e.creation_timestamp(), e.name_any().len(), e.name_any()));
        Ok(events)
    }

    /// The points with this verdict.
    pub async fn points(&self, verdict: &str) -> anyhow::Result<Vec<RollbackPoint>> {
        let params = ListParams::default().labels(&format!("backstop.dev/verdict={verdict}"));
        Ok(self.api::<RollbackPoint>().list(&params).await?.items)
    }

    /// Waits for something; shows the operator's log where it does not come.
    pub async fn eventually<T>(
        &self,
        what: &str,
        probe: impl AsyncFnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        eventually(what, SOON, probe).await.with_context(|| {
            format!(
                "in namespace {}; the operator said:\n{}",
                self.namespace,
                self.operator.log_tail()
            )
        })
    }

    /// Waits until there are so many good points, and returns the newest.
    pub async fn good_point(&self, count: usize) -> anyhow::Result<RollbackPoint> {
        self.eventually(&format!("{count} good points"), async || {
            let mut points = self.points("Good").await?;
            let status = self.status().await.ok();
            ensure!(points.len() >= count, "{} points; {status:?}", points.len());
            points.sort_by_key(|p| {
                p.annotations()
                    .get(backstop_api::names::ANNOTATION_PROVED_AT)
                    .cloned()
            });
            points.pop().context("no point")
        })
        .await
    }

    /// The same, when the operator's own look at its points shows it too: what is asked of the operator next can be
    /// about it.
    pub async fn known_point(&self, count: usize) -> anyhow::Result<RollbackPoint> {
        let point = self.good_point(count).await?;
        self.policy_says("its newest point", |s| s.last_point == point.metadata.name)
            .await?;
        Ok(point)
    }

    /// Waits until the rollback has this phase.
    pub async fn event_in(&self, name: &str, phase: EventPhase) -> anyhow::Result<RollbackEvent> {
        self.eventually(&format!("{name} to be {phase:?}"), async || {
            let event = self.api::<RollbackEvent>().get(name).await?;
            let status = event.status.clone().unwrap_or_default();
            if status.phase.is_some_and(EventPhase::is_terminal) && status.phase != Some(phase) {
                // It will not change any more: say so in full.
                bail!(
                    "{name} ended as {:?}/{:?}: {:?}",
                    status.phase,
                    status.outcome,
                    status.message
                );
            }
            ensure!(
                status.phase == Some(phase),
                "{:?}: {:?}",
                status.phase,
                status.message
            );
            Ok(event)
        })
        .await
    }

    /// Waits until a rollback has ended, and checks how.
    pub async fn ended(
        &self,
        name: &str,
        phase: EventPhase,
        outcome: Outcome,
    ) -> anyhow::Result<RollbackEvent> {
        let event = self.event_in(name, phase).await?;
        let found = event.status.as_ref().and_then(|s| s.outcome);
        ensure!(
            found == Some(outcome),
            "{name} ended with {found:?} and not {outcome:?}: {:?}",
            event.status.as_ref().and_then(|s| s.message.clone())
        );
        Ok(event)
    }

    /// Waits until the policy's status satisfies `holds`.
    pub async fn policy_says(
        &self,
        what: &str,
        holds: impl Fn(&RollbackPolicyStatus) -> bool,
    ) -> anyhow::Result<RollbackPolicyStatus> {
        self.eventually(what, async || {
            let status = self.status().await?;
            ensure!(holds(&status), "{status:#?}");
            Ok(status)
        })
        .await
    }

    /// Waits until the condition of this type has this status and reason.
    pub async fn condition(
        &self,
        type_: &str,
        status: bool,
        reason: &str,
    ) -> anyhow::Result<String> {
        let wanted = backstop_api::condition::ConditionStatus::from(status);
        let found = self
            .policy_says(&format!("condition {type_}={status} ({reason})"), |s| {
                s.conditions
                    .iter()
                    .any(|c| c.type_ == type_ && c.status == wanted && c.reason == reason)
            })
            .await?;
        let condition = found.conditions.into_iter().find(|c| c.type_ == type_);
        Ok(condition.map(|c| c.message).unwrap_or_default())
    }

    /// The same, until it has these words as well: on a busy machine something else can be said with the same reason
    /// before.
    pub async fn condition_in_words(
        &self,
        type_: &str,
        status: bool,
        reason: &str,
        words: &str,
    ) -> anyhow::Result<String> {
        self.eventually(&format!("{type_} to say '{words}'"), async || {
            let said = self.condition(type_, status, reason).await?;
            ensure!(said.contains(words), "{said}");
            Ok(said)
        })
        .await
    }

    /// Waits for a Kubernetes Event with this reason about an object of this kind, and returns what
    /// it says.
    pub async fn said(&self, kind: &str, reason: &str) -> anyhow::Result<String> {
        self.eventually(
            &format!("a Kubernetes Event {reason} on {kind}"),
            async || {
                let events = self.api::<Event>().list(&ListParams::default()).await?;
                events
                    .into_iter()
                    .find(|e| {
                        e.reason.as_deref() == Some(reason)
                            && e.regarding.as_ref().and_then(|r| r.kind.as_deref()) == Some(kind)
                    })
                    .and_then(|e| e.note)
                    .context("not emitted")
            },
        )
        .await
    }

    /// Checks that for a while no rollback changes anything: long enough for every trigger to be
    /// judged several times.
    pub async fn nothing_happens(&self, while_: Duration) -> anyhow::Result<()> {
        let before = self.api::<Deployment>().get(APP).await?.metadata.generation;
        let until = tokio::time::Instant::now() + while_;
        while tokio::time::Instant::now() < until {
            let now = self.api::<Deployment>().get(APP).await?.metadata.generation;
            ensure!(
                before == now,
                "the Deployment was changed: generation {before:?} to {now:?}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }
}
