//! Which cluster is meant, and how it is asked.

use std::{fmt::Debug, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use kube::{
    Api, Client, Config, Resource,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;

/// No answer is waited for longer.
const LIMIT: Duration = Duration::from_secs(30);
/// So many objects are asked for at a time.
const PAGE: u32 = 500;

/// Which cluster, and which namespace of it: as kubectl's own flags.
#[derive(Debug, Args)]
pub struct Cluster {
    /// The kubeconfig; without it the one that kubectl takes.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    #[arg(long)]
    context: Option<String>,
    /// The namespace; without it that of the context.
    #[arg(long, short)]
    namespace: Option<String>,
}

/// One namespace of a cluster, or all of them.
#[derive(Debug, Args)]
pub struct Scope {
    #[command(flatten)]
    cluster: Cluster,
    /// Every namespace.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    all_namespaces: bool,
}

/// A namespace of a cluster that can be asked.
pub struct Namespace {
    client: Client,
    /// Its name.
    pub name: String,
}

impl Cluster {
    /// Reads the kubeconfig. Nothing is asked yet.
    pub async fn connect(&self) -> anyhow::Result<Namespace> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match &self.kubeconfig {
            Some(path) => {
                Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?
            }
            None if self.context.is_some() => Config::from_kubeconfig(&options).await?,
            None => Config::infer().await?,
        };
        config.connect_timeout = Some(LIMIT);
        config.read_timeout = Some(LIMIT);
        let name = self
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        Ok(Namespace {
            client: Client::try_from(config)?,
            name,
        })
    }
}

impl Scope {
    /// All objects of a kind.
    pub async fn list<K>(&self) -> anyhow::Result<Vec<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let namespace = self.cluster.connect().await?;
        if self.all_namespaces {
            list(&Api::all(namespace.client)).await
        } else {
            namespace.list().await
        }
    }
}

impl Namespace {
    /// Its objects of a kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// All of them.
    pub async fn list<K>(&self) -> anyhow::Result<Vec<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        list(&self.api()).await
    }

    /// The one of this name.
    pub async fn get<K>(&self, name: &str) -> anyhow::Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let kind = K::kind(&());
        let found = self.api::<K>().get_opt(name).await;
        match found.with_context(|| format!("could not read {kind} {name}"))? {
            Some(object) => Ok(object),
            None => bail!("there is no {kind} {name} in namespace {}", self.name),
        }
    }
}

async fn list<K>(api: &Api<K>) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let mut all = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api
            .list(&params)
            .await
            .with_context(|| format!("could not list {}", K::plural(&())))?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}
