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

/// A JSON Patch whose test does not hold is refused as invalid.
pub(crate) fn is_failed_test(message: &str) -> bool {
    message.contains("test") || message.contains("the server rejected our request")
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
        let result = match timeout(self.limit, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(CallError::from_kube(operation, error)),
            Err(_) => Err(CallError::Timeout {
                operation,
                limit: self.limit,
            }),
        };
        let word = result.as_ref().err().map_or("ok", CallError::result);
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
        operations: Value,
    ) -> Result<K, CallError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let malformed = |error: serde_json::Error| CallError::Refused {
            operation,
            code: 0,
            message: format!("the patch is malformed: {error}"),
        };
        let patch: Patch<Value> =
            Patch::Json(serde_json::from_value(operations).map_err(malformed)?);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        match self
            .write(operation, api.patch(name, &params, &patch))
            .await
        {
            Err(CallError::Refused {
                code: 422, message, ..
            }) if is_failed_test(&message) => Err(CallError::Conflict { operation, message }),
            result => result,
        }
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

    use tokio::sync::watch;

    use super::*;

    fn calls(held: bool) -> (watch::Sender<bool>, Arc<Metrics>, Calls) {
        let (lease, receiver) = watch::channel(held);
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
        lease.send_replace(false);
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
}
