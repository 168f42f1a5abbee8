//! Somebody's admission policy that refuses what Backstop writes.

use std::fmt::Debug;

use anyhow::bail;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::world::World;

/// What is said to whoever writes all the same.
pub const WORDS: &str = "the team has frozen it";

/// One that is in force.
pub struct Frozen {
    name: String,
    policies: Api<ValidatingAdmissionPolicy>,
    bindings: Api<ValidatingAdmissionPolicyBinding>,
}

impl Frozen {
    /// From now on an update of the object of this kind and name must satisfy a CEL expression.
    pub async fn unless<K>(world: &World, object: &str, expression: &str) -> anyhow::Result<Self>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let name = format!("frozen-{}", world.namespace);
        let frozen = Self {
            policies: Api::all(world.client.clone()),
            bindings: Api::all(world.client.clone()),
            name: name.clone(),
        };
        let policy = json!({
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": [K::group(&())], "apiVersions": ["*"], "operations": ["UPDATE"],
                    "resources": [K::plural(&())],
                }]},
                "validations": [
                    {
                        "expression": format!("object.metadata.name != '{object}' || ({expression})"),
                        "message": WORDS,
                    },
                    {
                        "expression": "!('probe' in object.metadata.?annotations.orValue({}))",
                        "message": "it is enforced",
                    },
                ],
            },
        });
        let binding = json!({
            "metadata": {"name": name},
            "spec": {
                "policyName": name, "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {
                    "kubernetes.io/metadata.name": world.namespace,
                }}},
            },
        });
        let params = PostParams::default();
        let policy = serde_json::from_value(policy)?;
        frozen.policies.create(&params, &policy).await?;
        let binding = serde_json::from_value(binding)?;
        frozen.bindings.create(&params, &binding).await?;
        // It takes the server a moment to enforce it.
        let dry = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let probe = Patch::Merge(json!({"metadata": {"annotations": {"probe": "x"}}}));
        let objects = world.api::<K>();
        world
            .eventually("the refusal is enforced", async || {
                match objects.patch(object, &dry, &probe).await {
                    Err(kube::Error::Api(status)) if status.message.contains(&name) => Ok(()),
                    Err(other) => Err(other)?,
                    Ok(_) => bail!("not yet"),
                }
            })
            .await?;
        Ok(frozen)
    }

    /// Nothing is refused any more.
    pub async fn lift(&self) -> anyhow::Result<()> {
        let params = DeleteParams::default();
        self.bindings.delete(&self.name, &params).await?;
        self.policies.delete(&self.name, &params).await?;
        Ok(())
    }
}
