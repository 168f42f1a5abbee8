//! Ways into a cluster, whoever started it: clients, kubeconfigs, namespaces and the command line programs.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::wait::await_condition;
use kube::runtime::wait::conditions::is_crd_established;
use kube::{Api, Client, ResourceExt as _};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::kubeconfig;
use crate::state::StateDir;
use crate::tools::{self, Tool};
use crate::wait::eventually;

/// Longer than any run that uses a token.
const TOKEN_SECONDS: i64 = 24 * 60 * 60;
/// How long the API server may take to serve a kind after its definition was made.
const ESTABLISHED: Duration = Duration::from_secs(30);

/// What a command line program said.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output, if it succeeded; otherwise an error with both outputs.
    pub fn success(self) -> anyhow::Result<String> {
        ensure!(
            self.status.success(),
            "{}\n{}{}",
            self.status,
            self.stdout,
            self.stderr
        );
        Ok(self.stdout)
    }
}

/// A cluster as its administrator reaches it. What it writes for that goes away with it; logs stay.
#[derive(Debug)]
pub struct Access {
    server: String,
    admin: String,
    admin_path: PathBuf,
    // The last field, so that its lock is held until the processes that work there have gone.
    state: StateDir,
}

impl Drop for Access {
    fn drop(&mut self) {
        // Credentials are of no use to those who look at the logs.
        let _ = std::fs::remove_file(&self.admin_path);
        let _ = std::fs::remove_dir_all(self.kubeconfigs());
    }
}

impl Access {
    /// By a kubeconfig that holds one context.
    pub(crate) fn new(server: &str, kubeconfig: String, state: StateDir) -> anyhow::Result<Self> {
        let admin_path = state.write("admin.kubeconfig", &kubeconfig)?;
        Ok(Self {
            server: server.to_owned(),
            admin: kubeconfig,
            admin_path,
            state,
        })
    }

    /// Into a cluster that is there already, by a context of the user's own kubeconfig. Builds kubectl first if need
    /// be.
    pub async fn by_context(context: &str) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(|| tools::ensure(&[Tool::Kubectl], &tools::Stderr)).await??;
        let view = [
            "config",
            "view",
            "--raw",
            "--minify",
            "--flatten",
            "--output=json",
        ];
        let output = Command::new(Tool::Kubectl.path()?)
            .args(view)
            .args(["--context", context])
            .output()
            .await?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Self::by_kubeconfig(String::from_utf8(output.stdout)?)
    }

    /// By the text of a kubeconfig that holds one context.
    pub fn by_kubeconfig(text: String) -> anyhow::Result<Self> {
        let server = kubeconfig::server(&text)?;
        Self::new(&server, text, StateDir::new("context")?)
    }

    /// The API server's address.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// A kubeconfig file for an administrator.
    pub fn kubeconfig_path(&self) -> &Path {
        &self.admin_path
    }

    /// Where the files of this run are. They outlast it, until later runs clear them away.
    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// Where the log of each process is.
    pub fn logs_dir(&self) -> PathBuf {
        self.state.logs()
    }

    /// The text of the administrator's kubeconfig.
    pub(crate) fn admin_kubeconfig(&self) -> &str {
        &self.admin
    }

    fn kubeconfigs(&self) -> PathBuf {
        self.state.path().join("kubeconfigs")
    }

    /// A client for an administrator, bound to the calling runtime: make one in each test, share none.
    pub async fn client(&self) -> anyhow::Result<Client> {
        kubeconfig::client(&self.admin).await
    }

    /// A client for whoever bears `token`.
    pub async fn client_for_token(&self, token: &str) -> anyhow::Result<Client> {
        kubeconfig::client(&kubeconfig::with_token(&self.admin, token)?).await
    }

    /// A client for a service account. The account has to exist.
    pub async fn client_for_service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<Client> {
        self.client_for_token(&self.service_account_token(namespace, name).await?)
            .await
    }

    /// A kubeconfig file for a service account, with a token from the API server. The account has to exist.
    pub async fn service_account_kubeconfig(
        &self,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<PathBuf> {
        let token = self.service_account_token(namespace, name).await?;
        self.write_kubeconfig(
            &format!("{namespace}-{name}"),
            &kubeconfig::with_token(&self.admin, &token)?,
        )
    }

    /// A token for a service account, good for a day.
    pub async fn service_account_token(
        &self,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("no token for the service account {namespace}/{name}"))?;
        answer
            .status
            .and_then(|status| status.token)
            .context("the API server answered without a token")
    }

    /// A new namespace whose name begins with `prefix`, ready for pods.
    pub async fn namespace(&self, prefix: &str) -> anyhow::Result<String> {
        self.create_namespace(ObjectMeta {
            generate_name: Some(format!("{prefix}-")),
            ..ObjectMeta::default()
        })
        .await
    }

    /// A new namespace of this name, ready for pods.
    pub async fn namespace_called(&self, name: &str) -> anyhow::Result<()> {
        self.create_namespace(ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        })
        .await?;
        Ok(())
    }

    async fn create_namespace(&self, metadata: ObjectMeta) -> anyhow::Result<String> {
        let client = self.client().await?;
        let namespace = Namespace {
            metadata,
            ..Namespace::default()
        };
        let name = Api::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await?
            .name_any();
        // Pods are refused before there is one.
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &name);
        eventually(
            "the default service account",
            Duration::from_secs(30),
            async || accounts.get("default").await,
        )
        .await?;
        Ok(name)
    }

    /// Runs kubectl as an administrator.
    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<Output> {
        self.run(Tool::Kubectl, self.kubeconfig_path(), args, "")
            .await
    }

    /// Runs kubectl with a kubeconfig of one's own, and with `input` as its standard input.
    pub async fn kubectl_with(
        &self,
        kubeconfig: &Path,
        args: &[&str],
        input: &str,
    ) -> anyhow::Result<Output> {
        self.run(Tool::Kubectl, kubeconfig, args, input).await
    }

    /// Waits until the API server serves the kinds of these definitions, each by its name or as `kubectl apply
    /// --output=name` calls it.
    ///
    /// `kubectl wait` fails at once at a definition so new that it has no conditions yet.
    pub async fn established(
        &self,
        definitions: impl IntoIterator<Item = &str>,
    ) -> anyhow::Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client().await?);
        for definition in definitions {
            let name = definition.rsplit('/').next().unwrap_or(definition);
            let served = await_condition(api.clone(), name, is_crd_established());
            tokio::time::timeout(ESTABLISHED, served)
                .await
                .with_context(|| format!("{name} is not served after {ESTABLISHED:?}"))??;
        }
        Ok(())
    }

    /// Applies manifests as an administrator, client-side as `kubectl apply` does by default.
    pub async fn apply(&self, namespace: &str, manifests: &str) -> anyhow::Result<()> {
        let args = ["apply", "--namespace", namespace, "--filename", "-"];
        self.run(Tool::Kubectl, self.kubeconfig_path(), &args, manifests)
            .await?
            .success()?;
        Ok(())
    }

    /// Runs Helm as an administrator. Builds it first if need be.
    pub async fn helm(&self, args: &[&str]) -> anyhow::Result<Output> {
        tokio::task::spawn_blocking(|| tools::ensure(&[Tool::Helm], &tools::Stderr)).await??;
        self.run(Tool::Helm, self.kubeconfig_path(), args, "").await
    }

    async fn run(
        &self,
        tool: Tool,
        kubeconfig: &Path,
        args: &[&str],
        input: &str,
    ) -> anyhow::Result<Output> {
        // Discovery is cached by address, and a port comes back with another cluster behind it: caches stay inside.
        let cache = self.state.path().join("cli");
        let mut child = Command::new(tool.path()?)
            .args(args)
            .env("KUBECONFIG", kubeconfig)
            .env("KUBECACHEDIR", &cache)
            .env("HELM_CACHE_HOME", cache.join("helm/cache"))
            .env("HELM_CONFIG_HOME", cache.join("helm/config"))
            .env("HELM_DATA_HOME", cache.join("helm/data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start {}", tool.binary()))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let feed = async {
            // A program that does not read it closes it, which is its right.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        let output = output?;
        Ok(Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    pub(crate) fn write_kubeconfig(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let folder = self.kubeconfigs();
        std::fs::create_dir_all(&folder)?;
        let safe: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        // Two tests may ask for the same user.
        let file = tempfile::Builder::new()
            .prefix(&safe)
            .suffix(".kubeconfig")
            .tempfile_in(folder)?;
        let (_, path) = file.keep()?;
        std::fs::write(&path, text)?;
        Ok(path)
    }
}
