//! A door between the operator and the API server that shuts at each of the operator's writes, so that it can be killed
//! exactly there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use backstop_testenv::Access;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::sync::watch;

/// More than the API server takes.
const LARGEST: usize = 8 << 20;
/// One kind of write on one object shuts the door so often at most: a rollback that loses races has no end of writes.
const SHUT_AT_MOST: usize = 40;

/// When the door shuts on a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// The API server never hears of it.
    Before,
    /// It is done, and the operator never hears of that.
    After,
}

/// A write of the operator's that says or does something about a rollback.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Write {
    /// What is written.
    pub method: String,
    /// To what.
    pub path: String,
    /// What it says, without what differs from one try to the next.
    pub what: String,
}

impl Write {
    fn of(head: &Parts, body: &[u8]) -> Option<Self> {
        let path = head.uri.path();
        let query = head.uri.query().unwrap_or_default();
        // A Kubernetes Event says what is so already, and a Lease is about nobody but the operator.
        let aside = ["/leases", "/events.k8s.io/", "/authorization.k8s.io/"];
        let asks = head.method == Method::GET || query.contains("dryRun=All");
        if asks || aside.iter().any(|part| path.contains(part)) {
            return None;
        }
        let said: Value = serde_json::from_slice(body).unwrap_or_default();
        Some(Self {
            method: head.method.to_string(),
            path: path.to_owned(),
            what: gist(&said),
        })
    }

    /// Whether it writes the whole template of a Deployment.
    pub fn is_template(&self) -> bool {
        let mut changes = self.what.split(", ");
        self.path.contains("/deployments/") && changes.any(|c| c == "replace /spec/template")
    }

    /// Whether it records a rollback.
    pub fn is_record(&self) -> bool {
        self.method == "POST" && self.path.ends_with("/rollbackevents")
    }

    /// Whether it changes what a team has: the objects that a rollback is about.
    pub fn is_change(&self) -> bool {
        let kinds = [
            "/deployments/",
            "/services/",
            "/httproutes/",
            "/pods/",
            "/replicasets/",
            "/configmaps",
        ];
        kinds.iter().any(|kind| self.path.contains(kind))
    }

    /// Whether it says of a rollback that so many of its steps are done.
    pub fn says_done(&self, steps: usize) -> bool {
        let mut said = self.what.split(", ");
        self.path.contains("/rollbackevents/") && said.any(|s| s == format!("{steps} done"))
    }
}

/// What a write says: the same for each try of it.
fn gist(said: &Value) -> String {
    if let Some(operations) = said.as_array() {
        let changes = operations.iter().filter(|o| o["op"] != "test");
        let words = changes.map(|o| format!("{} {}", o["op"], o["path"]).replace('"', ""));
        return words.collect::<Vec<_>>().join(", ");
    }
    let status = &said["status"];
    let Some(phase) = status["phase"].as_str() else {
        return String::new();
    };
    let Some(steps) = status["steps"].as_array() else {
        return phase.to_owned();
    };
    let done = steps.iter().filter(|s| s["state"] == "Done").count();
    let current = steps.iter().find(|s| s["state"] == "Running");
    let current = current.map_or_else(String::new, |step| {
        let found = if step["found"].is_null() {
            ""
        } else {
            ", has found"
        };
        format!(", {} runs{found}", step["step"]["kind"])
    });
    format!("{phase}, {done} done{current}")
}

/// What the door has seen.
#[derive(Debug, Default)]
struct Seen {
    /// How often it has shut at each write.
    shut: BTreeMap<Write, usize>,
    /// What the API server has taken, in order.
    taken: Vec<Write>,
}

struct Inside {
    client: Client,
    seen: Mutex<Seen>,
    /// Where it is shut, while it is.
    shut: watch::Sender<Option<(Write, Shut)>>,
}

/// The door. It stands as long as the test's runtime.
pub struct Door {
    address: SocketAddr,
    inside: Arc<Inside>,
}

impl Door {
    /// Puts one in front of a cluster, for whoever has this kubeconfig.
    pub async fn before(kubeconfig: &Path) -> anyhow::Result<Self> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let inside = Arc::new(Inside {
            client: Client::try_from(config)?,
            seen: Mutex::default(),
            shut: watch::Sender::new(None),
        });
        let router = Router::new().fallback(pass).with_state(inside.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, inside })
    }

    /// A kubeconfig for whoever comes through it; who that is, the door says.
    pub fn kubeconfig(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "door",
            "clusters": [{"name": "door", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "door", "user": {}}],
            "contexts": [{"name": "door", "context": {"cluster": "door", "user": "door"}}],
        })
    }

    /// Waits until it is shut, and says at what. `None` if it stays open for so long.
    pub async fn shuts_within(&self, time: Duration) -> Option<(Write, Shut)> {
        let mut shut = self.inside.shut.subscribe();
        let shut = tokio::time::timeout(time, shut.wait_for(Option::is_some)).await;
        shut.ok()?.ok()?.clone()
    }

    /// Opens it.
    pub fn open(&self) {
        self.inside.shut.send_replace(None);
    }

    /// At how many writes it has shut, before and after each of them.
    pub fn writes(&self) -> Vec<Write> {
        let seen = self.inside.seen();
        let both = seen.shut.iter().filter(|(_, times)| **times >= 2);
        both.map(|(write, _)| write.clone()).collect()
    }

    /// What the API server has taken, in order.
    pub fn taken(&self) -> Vec<Write> {
        self.inside.seen().taken.clone()
    }
}

impl Inside {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first time that a write comes the door shuts before it, the second time after it.
    fn shuts_at(&self, write: &Write) -> Option<Shut> {
        let mut seen = self.seen();
        let alike = |met: &&Write| met.method == write.method && met.path == write.path;
        let so_far = seen.shut.keys().filter(alike).count();
        let times = seen.shut.get(write).copied().unwrap_or_default();
        if times >= 2 || (times == 0 && so_far >= SHUT_AT_MOST) {
            return None;
        }
        seen.shut.insert(write.clone(), times + 1);
        Some(if times == 0 {
            Shut::Before
        } else {
            Shut::After
        })
    }

    async fn through(&self, request: Request) -> anyhow::Result<Response> {
        let (mut head, body) = request.into_parts();
        let body = to_bytes(body, LARGEST).await?;
        self.waits_where_it_is_shut().await;
        let write = Write::of(&head, &body);
        let shut = write.as_ref().and_then(|write| self.shuts_at(write));
        if let (Some(write), Some(Shut::Before)) = (&write, shut) {
            self.shut.send_replace(Some((write.clone(), Shut::Before)));
            return never().await;
        }
        head.headers.remove(HOST);
        let answer = self.send(head, body).await?;
        if let Some(write) = write {
            if answer.status().is_success() {
                self.seen().taken.push(write.clone());
            }
            if shut == Some(Shut::After) {
                self.shut.send_replace(Some((write, Shut::After)));
                return never().await;
            }
        }
        self.waits_where_it_is_shut().await;
        Ok(answer)
    }

    async fn send(&self, head: Parts, body: Bytes) -> anyhow::Result<Response> {
        let request = Request::from_parts(head, kube::client::Body::from(body));
        let (mut head, body) = self.client.send(request).await?.into_parts();
        // How the answer came is between the API server and the door.
        for name in [TRANSFER_ENCODING, CONNECTION] {
            head.headers.remove(name);
        }
        Ok(Response::from_parts(head, Body::new(body)))
    }

    /// Whoever stands before a door that is shut is killed there, and hears nothing more.
    async fn waits_where_it_is_shut(&self) {
        if self.shut.borrow().is_some() {
            std::future::pending::<()>().await;
        }
    }
}

async fn never() -> anyhow::Result<Response> {
    std::future::pending().await
}

async fn pass(State(inside): State<Arc<Inside>>, request: Request) -> Response {
    match inside.through(request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// The kubeconfig file of the operator's own service account.
pub async fn own(cluster: &Access) -> anyhow::Result<std::path::PathBuf> {
    let account = backstop_e2e::install(cluster)
        .await
        .context("no operator")?;
    cluster
        .service_account_kubeconfig(&account.namespace, &account.service_account)
        .await
}
