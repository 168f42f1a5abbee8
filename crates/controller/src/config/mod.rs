//! Configuration beside points: reading it, keeping it, putting it back.
//!
//! - [`objects`]: the ConfigMaps and Secrets that a template references, as they are.
//! - [`keys`]: the keys, kept in a Secret of the operator's namespace.
//! - [`seal`]: encrypting and decrypting with AES-256-GCM.
//! - [`store`]: the immutable Secrets in which contents are kept. Pure.
//! - [`keep`]: making and reading those.
//! - [`users`]: who else uses an object.
//! - [`anew`]: encrypting again with another key.
//! - `rotation`: how old the keys are, and what is lost with one that is gone.
//! - [`restore`]: putting an object back, if it may be.
//!
//! What may be put back is decided in [`backstop_engine::config`].
//!
//! Contents reach no log, event, status or error. So every type that has some prints without them,
//! Secrets are read as untyped objects (the client logs the whole of an answer that does not have
//! the type it should have), and what the server says about a Secret is left out of messages.

pub mod anew;
pub mod keep;
pub mod keys;
pub mod objects;
pub mod restore;
pub(crate) mod rotation;
pub mod seal;
pub mod store;
pub mod users;

use backstop_api::config::ConfigKind;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
};

use crate::calls::Calls;

/// Where something is read or written.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The API server.
    pub client: &'a Client,
    /// How it is called.
    pub calls: &'a Calls,
    /// The namespace.
    pub namespace: &'a str,
}

impl Place<'_> {
    /// Objects of a kind as they come. Untyped on purpose: see above.
    fn objects(&self, kind: ConfigKind) -> Api<DynamicObject> {
        let plural = match kind {
            ConfigKind::ConfigMap => "configmaps",
            ConfigKind::Secret => "secrets",
        };
        self.untyped("", kind.name(), plural)
    }

    fn untyped(&self, group: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let api_version = if group.is_empty() {
            "v1".to_owned()
        } else {
            format!("{group}/v1")
        };
        let resource = ApiResource {
            group: group.into(),
            version: "v1".into(),
            api_version,
            kind: kind.into(),
            plural: plural.into(),
        };
        Api::namespaced_with(self.client.clone(), self.namespace, &resource)
    }
}
