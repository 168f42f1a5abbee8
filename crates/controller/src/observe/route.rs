//! The route of a canary: which object it is, and what share it gives to the canary.

use std::sync::Arc;

use backstop_api::policy::{BackendParameters, CanaryParameters};
use backstop_engine::{policy::FieldError, snapshot};
use backstop_traffic::{Backend, Provider, Route, Rule, Selection};
use kube::api::ApiResource;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{watches, writer};
use crate::context::Context;

/// A route that is watched.
pub(super) struct Watched {
    one: watches::One,
    provider: Provider,
    selection: Selection,
    name: String,
}

/// Watches the route of a canary. `None` for a kind that is not known, which validation refuses.
pub(super) fn watch(
    tasks: &mut JoinSet<()>,
    context: &Arc<Context>,
    namespace: &str,
    parameters: &CanaryParameters,
    poke: &watches::Poke,
) -> Option<Watched> {
    let provider = context.routes.get(&parameters.route.provider).ok()?.clone();
    let name = parameters.route.name.clone();
    Some(Watched {
        one: watches::one(
            tasks,
            &context.client,
            &resource(&provider),
            namespace,
            &name,
            poke,
        ),
        selection: selection(parameters),
        provider,
        name,
    })
}

/// The kind of a route, for the API server.
#[must_use]
pub(crate) fn resource(provider: &Provider) -> ApiResource {
    ApiResource {
        group: provider.group.clone(),
        version: provider.version.clone(),
        api_version: provider.api_version(),
        kind: provider.kind.clone(),
        plural: provider.plural.clone(),
    }
}

/// Which backends of the route are meant.
#[must_use]
pub(crate) fn selection(parameters: &CanaryParameters) -> Selection {
    let backend = |given: &Option<BackendParameters>, deployment: &str| match given {
        Some(given) => Backend {
            name: given.name.clone(),
            subset: given.subset.clone(),
        },
        None => Backend::from(deployment),
    };
    let route = &parameters.route;
    Selection {
        stable: backend(&route.stable_backend, &parameters.stable.0),
        canary: backend(&route.canary_backend, &parameters.canary.0),
        rule: route.rule.as_ref().map(|rule| {
            rule.parse()
                .map_or_else(|_| Rule::Name(rule.clone()), Rule::Number)
        }),
    }
}

impl Watched {
    pub(super) fn is_ready(&self) -> bool {
        self.one.is_ready()
    }

    /// What it says now, or what is wrong with it.
    pub(super) fn look(&self) -> Result<snapshot::Route, FieldError> {
        let wrong = |field: &str, problem: String| FieldError {
            field: format!("spec.strategy.canary.route{field}"),
            value: self.name.clone(),
            problem,
        };
        if let Some(trouble) = self.one.trouble() {
            let problem = format!(
                "cannot be read: {trouble} (is {} of {} installed, and may Backstop read it?)",
                self.provider.kind,
                self.provider.api_version()
            );
            return Err(wrong(".provider", problem));
        }
        let Some(object) = self.one.object() else {
            let problem = format!(
                "is not there: this namespace has no {} of that name",
                self.provider.kind
            );
            return Err(wrong(".name", problem));
        };
        let read = Route::read(&self.provider, &self.selection, &object)
            .map_err(|error| wrong("", format!("does not fit: {error}")))?;
        let text = |path: &str| object.pointer(path).and_then(Value::as_str);
        Ok(snapshot::Route {
            name: self.name.clone(),
            uid: text("/metadata/uid").unwrap_or_default().to_owned(),
            share: read.weights().percent().get(),
            last_writer: writer::of_object(&object),
        })
    }
}
