//! What a pod template references.

use std::collections::BTreeMap;

use backstop_api::config::{ConfigKey, ConfigKind};
use serde_json::Value;

/// The ConfigMap that Kubernetes itself puts into each namespace. It is nobody's release.
const CLUSTER_CA: &str = "kube-root-ca.crt";

/// An object that a template references.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Which object.
    pub key: ConfigKey,
    /// Whether every reference to it is optional, so that pods start without it.
    pub optional: bool,
}

/// The ConfigMaps and Secrets whose contents the containers of this pod template read: as
/// environment variables or as files. Sorted, each once.
///
/// `imagePullSecrets`, a CSI volume's `nodePublishSecretRef` and the `secretRef`s of storage volumes
/// do not count. They are credentials by which the node fetches an image or mounts a volume; the
/// application never reads them. Whoever runs the registry or the storage rotates them, so a change
/// is no release, and an old one that was put back could keep pods from starting at all.
#[must_use]
pub fn references(template: &Value) -> Vec<Reference> {
    let mut found = Found::default();
    let Some(spec) = template.get("spec") else {
        return Vec::new();
    };
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(spec, list) {
            of_container(container, &mut found);
        }
    }
    for volume in items(spec, "volumes") {
        of_volume(volume, &mut found);
    }
    found.into_sorted()
}

#[derive(Default)]
struct Found(BTreeMap<ConfigKey, bool>);

impl Found {
    /// Notes `reference`, whose name stands under `field`. One reference that is required makes the
    /// object required.
    fn note(&mut self, kind: ConfigKind, reference: Option<&Value>, field: &str) {
        let Some(reference) = reference else { return };
        let Some(name) = reference.get(field).and_then(Value::as_str) else {
            return;
        };
        if name.is_empty() || (kind == ConfigKind::ConfigMap && name == CLUSTER_CA) {
            return;
        }
        let optional = reference
            .get("optional")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        let key = ConfigKey {
            kind,
            name: name.to_owned(),
        };
        self.0
            .entry(key)
            .and_modify(|all| *all &= optional)
            .or_insert(optional);
    }

    fn into_sorted(self) -> Vec<Reference> {
        self.0
            .into_iter()
            .map(|(key, optional)| Reference { key, optional })
            .collect()
    }
}

fn of_container(container: &Value, found: &mut Found) {
    for variable in items(container, "env") {
        let Some(from) = variable.get("valueFrom") else {
            continue;
        };
        found.note(ConfigKind::ConfigMap, from.get("configMapKeyRef"), "name");
        found.note(ConfigKind::Secret, from.get("secretKeyRef"), "name");
    }
    for source in items(container, "envFrom") {
        found.note(ConfigKind::ConfigMap, source.get("configMapRef"), "name");
        found.note(ConfigKind::Secret, source.get("secretRef"), "name");
    }
}

fn of_volume(volume: &Value, found: &mut Found) {
    found.note(ConfigKind::ConfigMap, volume.get("configMap"), "name");
    found.note(ConfigKind::Secret, volume.get("secret"), "secretName");
    let Some(projected) = volume.get("projected") else {
        return;
    };
    for source in items(projected, "sources") {
        found.note(ConfigKind::ConfigMap, source.get("configMap"), "name");
        found.note(ConfigKind::Secret, source.get("secret"), "name");
    }
}

fn items<'a>(value: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(list)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(template: &Value) -> Vec<String> {
        references(template)
            .into_iter()
            .map(|r| format!("{}{}", r.key, if r.optional { "?" } else { "" }))
            .collect()
    }

    #[test]
    fn every_way_to_read_configuration_is_found_in_every_kind_of_container() {
        let template = json!({"spec": {
            "initContainers": [{"name": "init", "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "init-env", "key": "a"}}},
            ]}],
            "containers": [{"name": "app",
                "env": [
                    {"name": "PLAIN", "value": "1"},
                    {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "env", "key": "b", "optional": true}}},
                ],
                "envFrom": [
                    {"configMapRef": {"name": "all"}},
                    {"prefix": "X_", "secretRef": {"name": "all"}},
                ],
            }],
            "ephemeralContainers": [{"name": "debug", "envFrom": [{"configMapRef": {"name": "debug"}}]}],
            "volumes": [
                {"name": "empty", "emptyDir": {}},
                {"name": "files", "configMap": {"name": "files", "optional": true}},
                {"name": "tls", "secret": {"secretName": "tls"}},
                {"name": "both", "projected": {"sources": [
                    {"configMap": {"name": "projected"}},
                    {"secret": {"name": "projected"}},
                    {"serviceAccountToken": {"path": "token"}},
                    {"downwardAPI": {"items": []}},
                ]}},
            ],
        }});
        assert_eq!(
            names(&template),
            [
                "ConfigMap all",
                "ConfigMap debug",
                "ConfigMap files?",
                "ConfigMap init-env",
                "ConfigMap projected",
                "Secret all",
                "Secret env?",
                "Secret projected",
                "Secret tls",
            ]
        );
    }

    #[test]
    fn credentials_of_the_node_are_no_configuration() {
        let template = json!({"spec": {
            "imagePullSecrets": [{"name": "registry"}],
            "containers": [],
            "volumes": [
                {"name": "csi", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "driver"}}},
                {"name": "ceph", "cephfs": {"secretRef": {"name": "ceph"}}},
                {"name": "azure", "azureFile": {"secretName": "azure", "shareName": "s"}},
            ],
        }});
        assert_eq!(names(&template), [] as [&str; 0]);
    }

    #[test]
    fn the_clusters_own_certificates_are_no_configuration_of_a_release() {
        let template = json!({"spec": {"volumes": [
            {"name": "ca", "configMap": {"name": "kube-root-ca.crt"}},
            {"name": "tls", "secret": {"secretName": "kube-root-ca.crt"}},
        ]}});
        assert_eq!(names(&template), ["Secret kube-root-ca.crt"]);
    }

    #[test]
    fn one_required_reference_makes_an_object_required() {
        let template = |first: bool, second: bool| {
            json!({"spec": {
                "containers": [{"envFrom": [{"configMapRef": {"name": "web", "optional": first}}]}],
                "volumes": [{"configMap": {"name": "web", "optional": second}}],
            }})
        };
        assert_eq!(names(&template(true, true)), ["ConfigMap web?"]);
        assert_eq!(names(&template(true, false)), ["ConfigMap web"]);
        assert_eq!(names(&template(false, true)), ["ConfigMap web"]);
    }

    #[test]
    fn a_reference_without_a_name_is_none() {
        let template = json!({"spec": {"containers": [{"envFrom": [{"configMapRef": {}}, {"secretRef": {"name": ""}}]}]}});
        assert_eq!(names(&template), [] as [&str; 0]);
        assert_eq!(names(&json!({})), [] as [&str; 0]);
    }
}
