//! Asking a pod, or an address, for its health: once, and what came of it.

mod grpc;

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstop_api::policy::ProbeScheme;
use backstop_engine::probe::{Answer, ProbeQuestion};
use moka::sync::Cache;
use reqwest::redirect;
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::http::{self, chain};
use crate::prometheus::Endpoint;
use crate::{Credentials, WebAddress};

/// Questions in flight in all.
const AT_ONCE: usize = 64;
/// When nothing was answered: so long it is looked whether there can be a connection at all.
const LOOKED_FOR: Duration = Duration::from_secs(1);
/// Clients of addresses are kept this long after their last use, and so many of them.
const KEEP_CLIENTS: Duration = Duration::from_mins(10);
const MOST_CLIENTS: u64 = 1000;

/// Asks for health. Clones share everything.
///
/// Nothing is asked twice: that an answer failed to come is what is asked for.
#[derive(Clone)]
pub struct Prober(Arc<Inner>);

struct Inner {
    slots: Semaphore,
    plain: reqwest::Client,
    /// Does not look at certificates: a pod has none for its address.
    trusting: reqwest::Client,
    addresses: Cache<Endpoint, reqwest::Client>,
    observer: Box<dyn Fn(Duration, &'static str) + Send + Sync>,
}

/// Why there is no answer to judge.
pub(crate) enum NoAnswer {
    /// There was a connection, and nothing that can be used came over it.
    Broken(String),
    /// There may not even have been a connection.
    Unconnected(String),
}

impl Prober {
    /// A prober that tells `observer` of each question: how long it took, and what came of it in a
    /// word.
    ///
    /// The first call makes ring the TLS provider of the process, unless there is one.
    pub fn new(
        observer: impl Fn(Duration, &'static str) + Send + Sync + 'static,
    ) -> Result<Self, reqwest::Error> {
        http::install_tls();
        Ok(Self(Arc::new(Inner {
            slots: Semaphore::new(AT_ONCE),
            plain: of_pods().tls_certs_only([]).build()?,
            trusting: of_pods()
                .tls_certs_only([])
                .tls_danger_accept_invalid_certs(true)
                .build()?,
            addresses: Cache::builder()
                .max_capacity(MOST_CLIENTS)
                .time_to_idle(KEEP_CLIENTS)
                .build(),
            observer: Box::new(observer),
        })))
    }

    /// Asks a pod. Whether it may be asked has been decided: an address that a policy names goes
    /// through [`Self::address`].
    pub async fn pod(&self, pod: SocketAddr, question: &ProbeQuestion, limit: Duration) -> Answer {
        let ask = async {
            match question {
                ProbeQuestion::Http { scheme, path } => {
                    let (client, scheme) = match scheme {
                        ProbeScheme::Http => (&self.0.plain, "http"),
                        ProbeScheme::Https => (&self.0.trusting, "https"),
                    };
                    get(client, format!("{scheme}://{pod}{path}")).await
                }
                ProbeQuestion::Grpc { service } => {
                    grpc::check(format!("http://{pod}"), service).await
                }
            }
        };
        self.asking(ask, pod, limit).await
    }

    /// Asks an address that the operator's configuration allows; by HTTP with these credentials.
    pub async fn address(
        &self,
        address: &WebAddress,
        credentials: &Credentials,
        question: &ProbeQuestion,
        limit: Duration,
    ) -> Answer {
        let ask = async {
            match question {
                ProbeQuestion::Http { .. } => {
                    let client = self.client(address, credentials)?;
                    get(&client, address.url().as_str().to_owned()).await
                }
                ProbeQuestion::Grpc { service } => {
                    grpc::check(address.origin().to_string(), service).await
                }
            }
        };
        let url = address.url();
        let place = (
            url.host_str().unwrap_or_default(),
            url.port_or_known_default().unwrap_or_default(),
        );
        match self.asking(ask, place, limit).await {
            // Who refuses may as well be a proxy on the way.
            Answer::Refused => Answer::NotReached {
                why: "the connection is refused".into(),
            },
            Answer::Ill { took, why } => Answer::Ill {
                took,
                why: credentials.scrub(why),
            },
            Answer::NotReached { why } => Answer::NotReached {
                why: credentials.scrub(why),
            },
            well @ Answer::Well { .. } => well,
        }
    }

    /// Whether a pod accepts connections: a witness that the operator can reach pods at all.
    pub async fn connects(&self, pod: SocketAddr, limit: Duration) -> bool {
        let _slot = self.0.slots.acquire().await.ok();
        matches!(timeout(limit, TcpStream::connect(pod)).await, Ok(Ok(_)))
    }

    async fn asking(
        &self,
        ask: impl Future<Output = Result<Answered, NoAnswer>>,
        place: impl ToSocketAddrs,
        limit: Duration,
    ) -> Answer {
        // Acquiring fails only once a semaphore is closed, which this one never is.
        let _slot = self.0.slots.acquire().await.ok();
        let begun = Instant::now();
        let answer = match timeout(limit, ask).await {
            Ok(Ok(answered)) => {
                let took = begun.elapsed();
                match answered {
                    Answered::Well => Answer::Well { took },
                    Answered::Ill(why) => Answer::Ill {
                        took: Some(took),
                        why,
                    },
                }
            }
            Ok(Err(NoAnswer::Broken(why))) => Answer::Ill { took: None, why },
            Ok(Err(NoAnswer::Unconnected(why))) => unconnected(place, limit, None, why).await,
            Err(_) => {
                let why = format!("no answer within {limit:?}");
                unconnected(place, limit, Some(limit), why).await
            }
        };
        (self.0.observer)(begun.elapsed(), answer.as_str());
        answer
    }

    fn client(
        &self,
        address: &WebAddress,
        credentials: &Credentials,
    ) -> Result<reqwest::Client, NoAnswer> {
        let endpoint = Endpoint {
            address: address.origin(),
            credentials: credentials.clone(),
        };
        self.0
            .addresses
            .try_get_with_by_ref(&endpoint, || http::client(&endpoint))
            .map_err(|why| NoAnswer::Unconnected(why.to_string()))
    }
}

impl fmt::Debug for Prober {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prober").finish_non_exhaustive()
    }
}

/// What was answered.
pub(crate) enum Answered {
    Well,
    Ill(String),
}

/// What a client of pods is like: a connection for each question, straight to the pod.
fn of_pods() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("backstop/", env!("CARGO_PKG_VERSION")))
        // A redirect would lead somewhere else.
        .redirect(redirect::Policy::none())
        .no_proxy()
        .pool_max_idle_per_host(0)
}

/// Asks by HTTP. What is answered beside the status is not read.
async fn get(client: &reqwest::Client, url: String) -> Result<Answered, NoAnswer> {
    match client.get(url).send().await {
        Ok(response) => {
            let status = response.status();
            Ok(if (200..400).contains(&status.as_u16()) {
                Answered::Well
            } else {
                Answered::Ill(format!("HTTP {status}"))
            })
        }
        Err(error) if error.is_connect() => Err(NoAnswer::Unconnected(chain(&error))),
        Err(error) => Err(NoAnswer::Broken(chain(&error))),
    }
}

/// Nothing was answered: was there anybody? A connection now says so.
async fn unconnected(
    place: impl ToSocketAddrs,
    limit: Duration,
    took: Option<Duration>,
    why: String,
) -> Answer {
    match timeout(limit.min(LOOKED_FOR), TcpStream::connect(place)).await {
        Ok(Ok(_)) => Answer::Ill { took, why },
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Answer::Refused,
        Ok(Err(error)) => Answer::NotReached {
            why: error.to_string(),
        },
        Err(_) => Answer::NotReached {
            why: "no connection in time".into(),
        },
    }
}
