//! Calls to the API server: with a timeout, counted, and, where they write, only by the leader.

use std::{fmt::Debug, future::Future, sync::Arc, time::Duration};

use backstop_api::names::FIELD_MANAGER;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use thiserror::Error;
use tokio::time::{Instant, timeout};
use tracing::{Instrument, field::Empty};

use crate::{leader::Leadership, metrics::Metrics};

/// No call may take longer.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a call did not do what it should.
#[derive(Debug, Error)]
pub enum CallError {
    /// Another replica acts now.
    #[error("{operation}: not the leader any more; nothing was written")]
    NotLeader {
        /// What was to be done.
        operation: &'static str,
    },
    /// No answer.
    #[error("{operation}: no answer from the API server within {limit:?}")]
    Timeout {
        /// What was to be done.
        operation: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The object is not what it was when the change was decided.
    #[error("{operation}: the object has changed meanwhile: {message}")]
    Conflict {
        /// What was to be done.
        operation: &'static str,
        /// The server's words.
        message: String,
    },
    /// The object is not there.
    #[error("{operation}: not found: {message}")]
    NotFound {
        /// What was to be done.
        operation: &'static str,
        /// The server's words.
        message: String,
    },
    /// There is one of that name already.
    #[error("{operation}: is there already")]
    AlreadyExists {
        /// What was to be done.
        operation: &'static str,
    },
    /// The server refuses, and will refuse again until somebody changes something.
    #[error("{operation}: refused by the API server ({code}): {message}")]
    Refused {
        /// What was to be done.
        operation: &'static str,
        /// The HTTP status.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// Anything else: worth another try.
    #[error("{operation}: {source}")]
    Failed {
        /// What was to be done.
        operation: &'static str,
        /// What went wrong.
        source: Box<kube::Error>,
    },
}

impl CallError {
    /// Whether something is wrong that a person may have to see to, and not merely that somebody else was first.
    pub(crate) fn is_trouble(&self) -> bool {
        !matches!(self, Self::NotLeader { .. } | Self::Conflict { .. })
    }

    /// One word for metrics.
    fn result(&self) -> &'static str {
        match self {
            Self::NotLeader { .. } => "not_leader",
            Self::Timeout { .. } => "timeout",
            Self::Conflict { .. } => "conflict",
            Self::NotFound { .. } => "not_found",
            Self::AlreadyExists { .. } => "already_exists",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
        }
    }

    fn from_kube(operation: &'static str, error: kube::Error) -> Self {
        let kube::Error::Api(status) = &error else {
            return Self::Failed {
                operation,
                source: Box::new(error),
            };
        };
        let message = status.message.clone();
        match status.code {
            404 => Self::NotFound { operation, message },
            409 if status.reason == "AlreadyExists" => Self::AlreadyExists { operation },
            409 => Self::Conflict { operation, message },
            400 | 401 | 403 | 405 | 413 | 415 | 422 => Self::Refused {
                operation,
                code: status.code,
                message,
            },
            _ => Self::Failed {
                operation,
                source: Box::new(error),
            },
        }
    }
}

/// Whether every test of a JSON Patch holds for the object. As for the server, what is not there is
/// as good as null.
fn tests_hold(object: &Value, operations: &Value) -> bool {
    let mut tests = operations.as_array().into_iter().flatten();
    tests.all(|operation| {
        let path = operation["path"].as_str().unwrap_or_default();
        let now = object.pointer(path).unwrap_or(&Value::Null);
        operation["op"] != "test" || *now == operation["value"]
    })
}

/// Makes calls.
#[derive(Clone, Debug)]
pub struct Calls {
    leadership: Leadership,
    metrics: Arc<Metrics>,
    limit: Duration,
}

impl Calls {
    /// Calls that are counted by `metrics`, and write while `leadership` is held.
    #[must_use]
    pub fn new(leadership: Leadership, metrics: Arc<Metrics>) -> Self {
        Self {
            leadership,
            metrics,
            limit: LIMIT,
        }
    }

    /// Reads something.
    pub async fn read<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        let began = Instant::now();
        let span = tracing::info_span!(
            "call",
            otel.name = operation,
            otel.kind = "client",
            otel.status_code = Empty,
            result = Empty,
        );
        let result = match timeout(self.limit, call).instrument(span.clone()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(CallError::from_kube(operation, error)),
            Err(_) => Err(CallError::Timeout {
                operation,
                limit: self.limit,
            }),
        };
        let word = result.as_ref().err().map_or("ok", CallError::result);
        span.record("result", word);
        if result.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        self.metrics.called(operation, word, began.elapsed());
        result
    }

    /// Writes something, if this replica is the leader.
    pub async fn write<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        if !self.leadership.is_held() {
            self.metrics.called(operation, "not_leader", Duration::ZERO);
            return Err(CallError::NotLeader { operation });
        }
        self.read(operation, call).await
    }

    /// Creates an object.
    pub async fn create<K>(
        &self,
        operation: &'static str,
        api: &Api<K>,
        object: &K,
    ) -> Result<K, CallError>
    where
        K: Clone + DeserializeOwned + Serialize + Debug,
    {
        self.write(operation, api.create(&PostParams::default(), object))
            .await
    }

    /// Changes an object by a merge patch.
    pub async fn merge<K>(
        &self,
        operation: &'static str,
        api: &Api<K>,
        name: &str,
        patch: Value,
    ) -> Result<K, CallError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        self.write(operation, api.patch(name, &params, &patch))
            .await
    }

    /// Changes an object's status by a merge patch.
    pub async fn merge_status<K>(
        &self,
        operation: &'static str,
        api: &Api<K>,
        name: &str,
        patch: Value,
    ) -> Result<K, CallError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        self.write(operation, api.patch_status(name, &params, &patch))
            .await
    }

    /// Changes an object in Backstop's name by a JSON Patch. That a test in it does not hold is a
    /// conflict: the object is not what it was when the change was decided.
    pub async fn json_patch<K>(
        &self,
        operation: &'static str,
        api: &Api<K>,
        name: &str,
        operations: &Value,
    ) -> Result<K, CallError>
    where
        K: Clone + DeserializeOwned + Serialize + Debug,
    {
        let params = PatchParams::default();
        self.send_json_patch(operation, api, name, operations, params)
            .await
    }

    /// Asks the server what it would say to a JSON Patch, as [`Self::json_patch`] sends it.
    pub async fn try_json_patch<K>(
        &self,
        operation: &'static str,
        api: &Api<K>,
        name: &str,
        operations: &Value,
    ) -> Result<K, CallError>
    where
        K: Clone + DeserializeOwned + Serialize + Debug,
    {
        let params = PatchParams::default().dry_run();
        self.send_json_patch(operation, api, name, operations, params)
            .await
    }

    async fn send_json_patch<K>(
        &self,
        operation: &'static str,
        api: &Api<K>,
        name: &str,
        operations: &Value,
        params: PatchParams,
    ) -> Result<K, CallError>
    where
        K: Clone + DeserializeOwned + Serialize + Debug,
    {
        let malformed = |error: serde_json::Error| CallError::Refused {
            operation,
            code: 0,
            message: format!("the patch is malformed: {error}"),
        };
        let patch: Patch<Value> =
            Patch::Json(serde_json::from_value(operations.clone()).map_err(malformed)?);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..params
        };
        let sent = self
            .write(operation, api.patch(name, &params, &patch))
            .await;
        let Err(CallError::Refused {
            code: 422, message, ..
        }) = &sent
        else {
            return sent;
        };
        // A test that does not hold, an object that is not valid and a policy that says no are all
        // refused alike, in words that nobody promises. The object tells them apart: where the tests
        // hold for it, it was not changed meanwhile.
        let now = self.read("get refused object", api.get(name)).await?;
        let now = serde_json::to_value(&now).unwrap_or_default();
        if tests_hold(&now, operations) {
            return sent;
        }
        Err(CallError::Conflict {
            operation,
            message: message.clone(),
        })
    }

    /// Deletes the object with this UID; that it is gone already is as good.
    pub async fn delete<K>(
        &self,
        operation: &'static str,
        api: &Api<K>,
        name: &str,
        uid: Option<String>,
    ) -> Result<(), CallError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid,
                ..Preconditions::default()
            }),
            ..DeleteParams::default()
        };
        match self.write(operation, api.delete(name, &params)).await {
            Ok(_) | Err(CallError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::{http::StatusCode, routing::get};
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::json;
    use tokio::sync::watch;

    use super::*;

    fn calls(held: bool) -> (watch::Sender<Option<Instant>>, Arc<Metrics>, Calls) {
        let until = Instant::now() + Duration::from_hours(1);
        let (lease, receiver) = watch::channel(held.then_some(until));
        let metrics = Arc::new(Metrics::default());
        (
            lease,
            metrics.clone(),
            Calls::new(Leadership::from(receiver), metrics),
        )
    }

    /// Safety rule 8.
    #[tokio::test]
    async fn nothing_is_written_by_a_replica_that_is_not_the_leader() {
        let (lease, _, calls) = calls(true);
        let written = AtomicBool::new(false);
        let write = async || {
            calls
                .write("patch deployment", async {
                    written.store(true, Ordering::SeqCst);
                    Ok(())
                })
                .await
        };
        write().await.unwrap();
        assert!(written.swap(false, Ordering::SeqCst));
        lease.send_replace(None);
        let refused = write().await.unwrap_err();
        assert!(matches!(refused, CallError::NotLeader { .. }), "{refused}");
        assert!(
            !written.load(Ordering::SeqCst),
            "a call was made after the lease was lost"
        );
    }

    #[tokio::test]
    async fn a_call_without_an_answer_ends_and_is_counted() {
        let (_lease, metrics, mut calls) = calls(true);
        calls.limit = Duration::from_millis(10);
        let call = calls.read("get deployment", std::future::pending::<kube::Result<()>>());
        let error = call.await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "get deployment: no answer from the API server within 10ms"
        );
        let text = metrics.text();
        assert!(
            text.contains(
                r#"backstop_api_calls_total{operation="get deployment",result="timeout"} 1"#
            ),
            "{text}"
        );
    }

    /// What is said of a JSON Patch that a server refuses in these words, where it holds a
    /// Deployment of version 2 by then and the patch was made for `version`.
    async fn refused(words: &'static str, version: &str) -> CallError {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": words, "reason": "Invalid", "code": 422,
        });
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "2"},
        });
        let patched = async move || (StatusCode::UNPROCESSABLE_ENTITY, status.to_string());
        let path = "/apis/apps/v1/namespaces/shop/deployments/web";
        let server =
            axum::Router::new().route(path, get(async move || object.to_string()).patch(patched));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, server).await });
        let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let api: Api<Deployment> = Api::namespaced(client, "shop");
        let (_lease, _, calls) = calls(true);
        let operations = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/spec/paused", "value": true},
        ]);
        let sent = calls.json_patch("patch deployment", &api, "web", &operations);
        sent.await.unwrap_err()
    }

    #[tokio::test]
    async fn a_lost_race_is_told_by_the_object_whatever_the_words() {
        let error = refused("it does not fit", "1").await;
        assert!(matches!(error, CallError::Conflict { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_policy_that_says_no_is_no_lost_race_whatever_the_words() {
        let error = refused("denied: test the latest image first", "2").await;
        assert_eq!(
            error.to_string(),
            "patch deployment: refused by the API server (422): denied: test the latest image first"
        );
    }
}
