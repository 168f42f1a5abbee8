//! The configuration of a release: the ConfigMaps and Secrets that its pod template references.
//!
//! A release carries a [`ConfigRef`] for each of them. Contents are never in it: they lie beside the
//! point, in a [store](StoreRef) of the same namespace.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of object holds a piece of configuration.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ConfigKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl ConfigKind {
    /// The kind as Kubernetes writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

impl fmt::Display for ConfigKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A ConfigMap or a Secret of the policy's namespace, by name.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct ConfigKey {
    /// What kind of object.
    pub kind: ConfigKind,
    /// Its name.
    pub name: String,
}

impl ConfigKey {
    /// The ConfigMap of this name.
    #[must_use]
    pub fn config_map(name: impl Into<String>) -> Self {
        Self {
            kind: ConfigKind::ConfigMap,
            name: name.into(),
        }
    }

    /// The Secret of this name.
    #[must_use]
    pub fn secret(name: impl Into<String>) -> Self {
        Self {
            kind: ConfigKind::Secret,
            name: name.into(),
        }
    }
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// A piece of a release's configuration as it was: which object, and where its contents lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigRef {
    /// Which object.
    #[serde(flatten)]
    pub key: ConfigKey,
    /// Whether every reference to it is optional, so that pods start without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// Its UID then; absent where there was no such object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Identity of its contents: an HMAC-SHA256, 64 hex digits, under a key that only the operator
    /// has, so that nobody can guess a Secret by it. Absent where there was no such object, and
    /// where it is not part of the release's identity (`notCaptured` says why).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Whether it was immutable then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub immutable: bool,
    /// A Secret's type. It cannot be changed in place.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Where its contents lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreRef>,
    /// Why its contents are not kept, if so: in words, never with contents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub not_captured: Option<String>,
}

impl ConfigRef {
    /// A reference to an object that is not there.
    #[must_use]
    pub fn absent(key: ConfigKey, optional: bool) -> Self {
        Self {
            key,
            optional,
            uid: None,
            hash: None,
            immutable: false,
            type_: None,
            store: None,
            not_captured: None,
        }
    }

    /// Whether there was no such object.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.uid.is_none() && self.not_captured.is_none()
    }
}

/// Where contents lie: an immutable Secret of the same namespace, named by what is in it, and so
/// shared by all points whose releases had the same contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreRef {
    /// The name of the Secret that Backstop made.
    pub name: String,
    /// The key that the contents are encrypted with; absent for a ConfigMap's, which are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
}

/// Whether configuration is part of a release: `points.config`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConfigCapture {
    /// The ConfigMaps that the template references are kept with each point, a change of their
    /// contents is a release of its own, and they go back with the workload. Secrets too, if
    /// `secrets` says so.
    #[default]
    Capture,
    /// A release is its template alone.
    Ignore,
}

/// Whether Secrets are part of a release's configuration: `points.secrets`. Says nothing where
/// `config` is `Ignore`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecretCapture {
    /// Like ConfigMaps, with contents encrypted by AES-256-GCM.
    #[default]
    Encrypted,
    /// Secrets are neither read nor kept, and a change of their contents is no release.
    Ignore,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reference_reads_as_it_is_written() {
        let captured = ConfigRef {
            uid: Some("u".into()),
            hash: Some("ab".into()),
            type_: Some("Opaque".into()),
            store: Some(StoreRef {
                name: "backstop-config-1".into(),
                key_id: Some("2026-01-01".into()),
            }),
            ..ConfigRef::absent(ConfigKey::secret("db"), false)
        };
        let written = serde_json::to_value(&captured).unwrap();
        assert_eq!(
            written,
            json!({
                "kind": "Secret", "name": "db", "uid": "u", "hash": "ab", "type": "Opaque",
                "store": {"name": "backstop-config-1", "keyId": "2026-01-01"},
            })
        );
        assert_eq!(
            serde_json::from_value::<ConfigRef>(written).unwrap(),
            captured
        );
    }

    #[test]
    fn the_schema_has_kind_and_name_beside_the_rest() {
        let schema = schemars::schema_for!(ConfigRef);
        let properties = schema
            .get("properties")
            .and_then(|p| p.as_object())
            .unwrap();
        let names: Vec<&str> = properties.keys().map(String::as_str).collect();
        for name in ["kind", "name", "hash", "type", "notCaptured"] {
            assert!(names.contains(&name), "{names:?}");
        }
    }

    #[test]
    fn what_is_not_kept_is_not_taken_for_what_is_not_there() {
        let absent = ConfigRef::absent(ConfigKey::config_map("web"), true);
        assert!(absent.is_absent());
        let refused = ConfigRef {
            not_captured: Some("Secrets may not be read".into()),
            ..absent
        };
        assert!(!refused.is_absent());
    }
}
