//! The objects of GitOps tools, and their sources, as the API server has them.

use backstop_api::policy::Suspended;
use backstop_engine::gitops::{object::Kind, wanted::Source};
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
};
use serde_json::Value;

use crate::{calls::CallError, context::Context};

/// Where an object is.
pub(super) struct Place {
    pub(super) kind: Kind,
    namespace: String,
    name: String,
}

impl Place {
    pub(super) fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(super) fn of(entry: &Suspended) -> Option<Self> {
        Some(Self::new(
            Kind::of(&entry.kind)?,
            &entry.namespace,
            &entry.name,
        ))
    }

    /// Whether it is the one that an entry of a policy's status is about.
    pub(super) fn is(&self, entry: &Suspended) -> bool {
        (self.kind.name(), &self.namespace, &self.name)
            == (entry.kind.as_str(), &entry.namespace, &entry.name)
    }

    pub(super) async fn read(&self, context: &Context) -> Result<Value, CallError> {
        let api = self.api(context);
        let call = api.get(&self.name);
        let found = context.calls.read("get gitops object", call).await?;
        Ok(serde_json::to_value(&found).unwrap_or_default())
    }

    /// Changes it by a JSON Patch.
    pub(super) async fn patch(&self, context: &Context, patch: &Value) -> Result<(), CallError> {
        let api = self.api(context);
        let calls = &context.calls;
        calls
            .json_patch("patch gitops object", &api, &self.name, patch)
            .await
            .map(drop)
    }

    fn api(&self, context: &Context) -> Api<DynamicObject> {
        Api::namespaced_with(
            context.client.clone(),
            &self.namespace,
            &resource(self.kind),
        )
    }
}

/// How the API server knows a kind.
pub(super) fn resource(kind: Kind) -> ApiResource {
    let (group, version, plural) = kind.resource();
    named(group, version, plural, kind.name())
}

/// Reads a source.
pub(super) async fn source(context: &Context, from: &Source) -> Result<Value, CallError> {
    let resource = named("source.toolkit.fluxcd.io", "v1", from.plural, from.kind);
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &from.namespace, &resource);
    let call = api.get(&from.name);
    let found = context.calls.read("get gitops source", call).await?;
    Ok(serde_json::to_value(&found).unwrap_or_default())
}

fn named(group: &str, version: &str, plural: &str, kind: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: format!("{group}/{version}"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}
