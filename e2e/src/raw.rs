//! Backstop's objects without their types, so that a test can write what the types would not let it write.

use anyhow::{Context as _, bail, ensure};
use backstop_api::{RollbackEvent, RollbackPoint, RollbackPolicy};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::{Value, json};

/// One kind of object in a namespace, as one user sees it.
#[derive(Debug, Clone)]
pub struct Raw {
    api: Api<DynamicObject>,
    kind: String,
}

/// An object or a refusal.
pub type Answer = kube::Result<DynamicObject>;

impl Raw {
    /// RollbackPolicies.
    pub fn policies(client: &Client, namespace: &str) -> Self {
        Self::new(
            client,
            namespace,
            &ApiResource::erase::<RollbackPolicy>(&()),
        )
    }

    /// RollbackPoints.
    pub fn points(client: &Client, namespace: &str) -> Self {
        Self::new(client, namespace, &ApiResource::erase::<RollbackPoint>(&()))
    }

    /// RollbackEvents.
    pub fn events(client: &Client, namespace: &str) -> Self {
        Self::new(client, namespace, &ApiResource::erase::<RollbackEvent>(&()))
    }

    fn new(client: &Client, namespace: &str, resource: &ApiResource) -> Self {
        Self {
            api: Api::namespaced_with(client.clone(), namespace, resource),
            kind: resource.kind.clone(),
        }
    }

    /// Creates an object from its `metadata` and `spec`. A `metadata` that is a string is its name.
    pub async fn create(&self, metadata: impl Into<Value>, spec: Value) -> Answer {
        self.post(metadata.into(), spec, &PostParams::default())
            .await
    }

    /// Asks whether the API server would let an object be created, and creates none.
    pub async fn try_to_create(&self, metadata: impl Into<Value>, spec: Value) -> Answer {
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        self.post(metadata.into(), spec, &dry_run).await
    }

    async fn post(&self, metadata: Value, spec: Value, params: &PostParams) -> Answer {
        let metadata = match metadata {
            Value::String(name) => json!({ "name": name }),
            other => other,
        };
        let object = json!({
            "apiVersion": "backstop.dev/v1alpha1",
            "kind": self.kind,
            "metadata": metadata,
            "spec": spec,
        });
        let object = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
        self.api.create(params, &object).await
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, name: &str, patch: Value) -> Answer {
        let params = PatchParams::default();
        self.api.patch(name, &params, &Patch::Merge(patch)).await
    }

    /// Writes an object's status by a merge patch.
    pub async fn status(&self, name: &str, status: Value) -> Answer {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api
            .patch_status(name, &PatchParams::default(), &patch)
            .await
    }

    /// Deletes an object.
    pub async fn delete(&self, name: &str) -> kube::Result<()> {
        self.api
            .delete(name, &DeleteParams::default())
            .await
            .map(drop)
    }

    /// Deletes all of them with one request.
    pub async fn delete_all(&self) -> kube::Result<()> {
        self.api
            .delete_collection(&DeleteParams::default(), &ListParams::default())
            .await
            .map(drop)
    }

    /// All of them.
    pub async fn list(&self) -> kube::Result<Vec<DynamicObject>> {
        let all = self.api.list(&ListParams::default()).await?;
        Ok(all.items)
    }

    /// An object, if it is there.
    pub async fn get(&self, name: &str) -> kube::Result<Option<DynamicObject>> {
        self.api.get_opt(name).await
    }
}

/// Sees to it that the API server refused, and with these words; returns all of them.
pub fn refused<T>(answer: kube::Result<T>, words: &str) -> anyhow::Result<String> {
    match answer {
        Ok(_) => bail!("accepted; it should have been refused with: {words}"),
        Err(kube::Error::Api(status)) => {
            let said = status.message.clone();
            ensure!(
                said.contains(words),
                "refused, but without the words: {words}\nit said: {said}"
            );
            Ok(said)
        }
        Err(other) => Err(other).context("neither accepted nor refused"),
    }
}

/// The spec of a policy that watches a Deployment.
pub fn policy(workload: &str) -> Value {
    json!({
        "workloads": [{"name": workload}],
        "triggers": [{"name": "cannot-start", "workload": {"signals": ["CrashLoopBackOff"]}}],
    })
}

/// The spec of a point that a person makes.
pub fn point(workload: &str) -> Value {
    json!({"workload": {"name": workload}})
}

/// A release, as Backstop would fill it in.
pub fn release() -> Value {
    let workload = json!({
        "name": "web", "uid": "u", "hash": "0123456789abcdef", "template": {"spec": {}}, "replicas": 2,
    });
    json!({"hash": "0123456789abcdef", "workloads": [workload]})
}

/// The spec of a rollback that somebody asks for.
pub fn event(workload: &str, by: &str) -> Value {
    json!({"policy": "web", "workloads": [{"name": workload}], "cause": "Manual", "requestedBy": by})
}

/// `base` with the fields of `more`.
pub fn with(mut base: Value, more: Value) -> Value {
    let (Value::Object(base), Value::Object(more)) = (&mut base, more) else {
        panic!("objects only")
    };
    base.extend(more);
    base.clone().into()
}
