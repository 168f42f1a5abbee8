//! GitOps tools, as far as the API server sees them: they apply what Git says, again and again, under
//! field managers of their own.

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};

use crate::world::{App, World};

/// The field manager of Flux.
pub const FLUX: &str = "kustomize-controller";
/// The field manager of Argo CD.
pub const ARGO_CD: &str = "argocd-controller";

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
