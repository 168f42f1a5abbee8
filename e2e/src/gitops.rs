//! GitOps tools, as far as the API server sees them: they apply what Git says, again and again, under
//! field managers of their own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::world::{APP, App, World};
use backstop_testenv::fate;

/// The field manager of Flux.
pub const FLUX: &str = "kustomize-controller";
/// The field manager of Argo CD.
pub const ARGO_CD: &str = "argocd-controller";

/// After the tool's first attempt the failed release is out again within this time.
pub const OUT_WITHIN: Duration = Duration::from_secs(3);

/// The release that fails.
pub fn v2() -> App {
    App::version("v2").fate(fate::CRASH_LOOP)
}

/// For how long a tool tries: so many seconds, unless `BACKSTOP_SELFHEAL_SECONDS` says otherwise.
pub fn trying(usually: u64) -> anyhow::Result<Duration> {
    let seconds = match std::env::var("BACKSTOP_SELFHEAL_SECONDS") {
        Ok(said) => said.parse()?,
        Err(_) => usually,
    };
    Ok(Duration::from_secs(seconds))
}

/// A new version has proved itself, and there was no second rollback.
pub async fn v3_passes(world: &World) -> anyhow::Result<()> {
    world.proved("v3").await?;
    ensure!(
        world.events().await?.len() == 1,
        "it was taken back more than once"
    );
    Ok(())
}

/// An apply that is tried on the server, and changes nothing.
pub struct Try<'a> {
    world: &'a World,
    app: App,
    manager: String,
}

impl World {
    /// Tries to apply a release as a field manager, taking over what it names.
    pub fn try_apply(&self, app: &App, manager: &str) -> Try<'_> {
        Try {
            world: self,
            app: app.clone(),
            manager: manager.to_owned(),
        }
    }
}

impl Try<'_> {
    async fn once(&self) -> kube::Result<()> {
        let params = PatchParams::apply(&self.manager).force().dry_run();
        let manifest = self.app.manifest();
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
        self.world
            .api::<Deployment>()
            .patch(name, &params, &Patch::Apply(&manifest))
            .await
            .map(drop)
    }

    /// Waits until it is refused by the quarantine, and returns in which words: what the API server
    /// knows of it is a moment old.
    pub async fn refused(&self) -> anyhow::Result<String> {
        self.world
            .eventually("the apply to be refused", async || {
                match self.once().await {
                    Err(kube::Error::Api(status))
                        if status.message.contains("backstop-quarantine") =>
                    {
                        ensure!(status.code == 403, "{status:?}");
                        Ok(status.message.clone())
                    }
                    other => bail!("{other:?}"),
                }
            })
            .await
    }

    /// Waits until it passes.
    pub async fn passes(&self) -> anyhow::Result<()> {
        self.world
            .eventually("the apply to pass", async || {
                self.once().await.context("it was refused")
            })
            .await
    }
}

/// What a refusal says, without the API server's own words before it.
pub fn reason(said: &str) -> &str {
    said.split_once("denied request: ")
        .map_or(said, |(_, reason)| reason)
}

/// What came of an apply, and when.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When it was answered.
    pub at: Instant,
    /// Why it was refused; `None` where it passed.
    pub refused: Option<String>,
}

/// What a Deployment was seen to be, from then on.
#[derive(Debug, Clone)]
pub struct Sight {
    /// When.
    pub at: Instant,
    /// The version that its template names.
    pub version: String,
}

/// Somebody who watches what is live. Ends when it is dropped.
pub struct Watcher {
    tasks: JoinSet<()>,
    sights: Arc<Mutex<Vec<Sight>>>,
}

/// How closely it is watched what is live.
const WATCHED: Duration = Duration::from_millis(25);

impl Watcher {
    /// Begins to watch.
    pub fn start(world: &World) -> Self {
        let mut tasks = JoinSet::new();
        let sights = Arc::<Mutex<Vec<Sight>>>::default();
        let api = world.api::<Deployment>();
        let seen = sights.clone();
        tasks.spawn(async move {
            let mut clock = tokio::time::interval(WATCHED);
            loop {
                clock.tick().await;
                let Ok(deployment) = api.get(APP).await else {
                    continue;
                };
                let version = version(&deployment).unwrap_or_default();
                let mut seen = seen.lock().await;
                if seen.last().is_none_or(|last| last.version != version) {
                    let at = Instant::now();
                    seen.push(Sight { at, version });
                }
            }
        });
        Self { tasks, sights }
    }

    /// Every change of what was live until now.
    pub async fn seen(&self) -> Vec<Sight> {
        self.sights.lock().await.clone()
    }

    /// Stops, and tells every change of what was live.
    pub async fn stop(mut self) -> Vec<Sight> {
        self.tasks.shutdown().await;
        self.seen().await
    }
}

/// A GitOps tool that applies the same release every second, and somebody who watches what is live.
/// Ends when it is dropped.
pub struct Reapplied {
    tasks: JoinSet<()>,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    watcher: Watcher,
}

/// How often a GitOps tool that is in a hurry applies what Git says.
const EVERY: Duration = Duration::from_secs(1);

impl Reapplied {
    /// Begins to apply a release as this field manager.
    pub fn start(world: &World, app: &App, manager: &str) -> Self {
        let mut tasks = JoinSet::new();
        let attempts = Arc::<Mutex<Vec<Attempt>>>::default();
        let tool = world.api::<Deployment>();
        let params = PatchParams::apply(manager).force();
        let (manifest, noted) = (app.manifest(), attempts.clone());
        tasks.spawn(async move {
            let mut clock = tokio::time::interval(EVERY);
            loop {
                clock.tick().await;
                let applied = tool.patch(APP, &params, &Patch::Apply(&manifest)).await;
                noted.lock().await.push(Attempt {
                    at: Instant::now(),
                    refused: applied.err().map(|error| error.to_string()),
                });
            }
        });
        Self {
            tasks,
            attempts,
            watcher: Watcher::start(world),
        }
    }

    /// Stops, and tells every attempt and every change of what was live.
    pub async fn stop(mut self) -> (Vec<Attempt>, Vec<Sight>) {
        self.tasks.shutdown().await;
        (
            self.attempts.lock().await.clone(),
            self.watcher.stop().await,
        )
    }
}

fn version(deployment: &Deployment) -> Option<String> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let image = pod.containers.first()?.image.as_ref()?;
    Some(image.rsplit(':').next()?.to_owned())
}
