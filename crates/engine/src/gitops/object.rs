//! The object of a GitOps tool that applies a Deployment: which one it is, how it is made to rest, and
//! how it is made to work again.

use std::collections::BTreeMap;

use backstop_api::{
    event::GitOpsTool,
    names::{ANNOTATION_AUTOMATED, ANNOTATION_SUSPENDED_BY},
};
use serde_json::{Value, json};

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Flux.
    Kustomization,
    /// Flux.
    HelmRelease,
    /// Argo CD.
    Application,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kustomization, Self::HelmRelease, Self::Application];

    /// The tool.
    #[must_use]
    pub fn tool(self) -> GitOpsTool {
        match self {
            Self::Kustomization | Self::HelmRelease => GitOpsTool::Flux,
            Self::Application => GitOpsTool::ArgoCD,
        }
    }

    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kustomization => "Kustomization",
            Self::HelmRelease => "HelmRelease",
            Self::Application => "Application",
        }
    }

    /// Group, version and plural.
    #[must_use]
    pub fn resource(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Kustomization => ("kustomize.toolkit.fluxcd.io", "v1", "kustomizations"),
            Self::HelmRelease => ("helm.toolkit.fluxcd.io", "v2", "helmreleases"),
            Self::Application => ("argoproj.io", "v1alpha1", "applications"),
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// An object, as the Deployment that it applies names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace, where the Deployment says so.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// The object that applies a Deployment with these labels and annotations. What a Deployment says of
/// itself proves nothing: see [`applies`].
#[must_use]
pub fn owner(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Option<Owner> {
    let flux = |kind: Kind, group: &str| {
        Some(Owner {
            kind,
            namespace: labels.get(&format!("{group}/namespace")).cloned(),
            name: labels.get(&format!("{group}/name"))?.clone(),
        })
    };
    let argo = |text: &String| {
        // An application of another namespace than Argo CD's own is named with it.
        let (namespace, name) = match text.split_once('_') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, text.as_str()),
        };
        Owner {
            kind: Kind::Application,
            namespace,
            name: name.to_owned(),
        }
    };
    let tracked = annotations
        .get("argocd.argoproj.io/tracking-id")
        .and_then(|id| id.split_once(':'))
        .map(|(application, _)| argo(&application.to_owned()));
    tracked
        .or_else(|| flux(Kind::HelmRelease, "helm.toolkit.fluxcd.io"))
        .or_else(|| flux(Kind::Kustomization, "kustomize.toolkit.fluxcd.io"))
        .or_else(|| labels.get("argocd.argoproj.io/instance").map(argo))
        .or_else(|| labels.get("app.kubernetes.io/instance").map(argo))
}

/// Whether the object says itself that it applies this Deployment. Labels can be written by whoever may
/// patch the Deployment, who could make any object rest by them.
#[must_use]
pub fn applies(kind: Kind, object: &Value, namespace: &str, deployment: &str) -> bool {
    let list = |path: &str| object.pointer(path).and_then(Value::as_array).cloned();
    match kind {
        Kind::Kustomization => {
            let id = format!("{namespace}_{deployment}_apps_Deployment");
            let entries = list("/status/inventory/entries").unwrap_or_default();
            entries.iter().any(|entry| entry["id"] == json!(id))
        }
        Kind::HelmRelease => {
            let own = object.pointer("/metadata/namespace");
            let target = object.pointer("/spec/targetNamespace").or(own);
            target == Some(&json!(namespace))
        }
        Kind::Application => {
            let resources = list("/status/resources").unwrap_or_default();
            resources.iter().any(|r| {
                r["group"] == "apps"
                    && r["kind"] == "Deployment"
                    && r["namespace"] == json!(namespace)
                    && r["name"] == json!(deployment)
            })
        }
    }
}

/// Where what an object applies comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its kind.
    pub kind: &'static str,
    /// The same in the API's paths.
    pub plural: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The kinds of sources of Flux.
const SOURCES: [(&str, &str); 4] = [
    ("GitRepository", "gitrepositories"),
    ("OCIRepository", "ocirepositories"),
    ("Bucket", "buckets"),
    ("ExternalArtifact", "externalartifacts"),
];

/// Where what the object applies comes from, if that is an object of its own.
#[must_use]
pub fn source(kind: Kind, object: &Value) -> Option<Source> {
    if kind != Kind::Kustomization {
        return None;
    }
    let reference = object.pointer("/spec/sourceRef")?;
    let own = object.pointer("/metadata/namespace")?.as_str()?;
    let text = |key: &str| reference.get(key).and_then(Value::as_str);
    let of = text("kind")?;
    let (kind, plural) = SOURCES.into_iter().find(|(kind, _)| *kind == of)?;
    Some(Source {
        kind,
        plural,
        namespace: text("namespace").unwrap_or(own).to_owned(),
        name: text("name")?.to_owned(),
    })
}

/// What the object would apply: when this is another text, something else is wanted.
#[must_use]
pub fn revision(kind: Kind, object: &Value, source: Option<&Value>) -> String {
    let text = |object: &Value, path: &str| {
        let found = object.pointer(path).filter(|v| !v.is_null());
        found.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
    };
    match kind {
        Kind::Kustomization | Kind::HelmRelease => {
            let generation = text(object, "/metadata/generation").unwrap_or_default();
            let artifact = source.and_then(|s| text(s, "/status/artifact/revision"));
            match artifact {
                Some(artifact) => format!("{artifact}, generation {generation}"),
                None => format!("generation {generation}"),
            }
        }
        Kind::Application => {
            let paths = [
                "/status/sync/revision",
                "/status/sync/revisions",
                "/spec/source/targetRevision",
            ];
            let parts: Vec<String> = paths.iter().filter_map(|p| text(object, p)).collect();
            parts.join(", ")
        }
    }
}

/// A JSON Patch that makes the object rest, and says on it why; `None` where it rests already, by
/// somebody else's wish.
#[must_use]
pub fn suspend(kind: Kind, object: &Value, why: &str) -> Option<Value> {
    let mut operations = tests(object);
    let mut annotations = annotations(object);
    annotations[ANNOTATION_SUSPENDED_BY] = json!(why);
    match kind {
        Kind::Kustomization | Kind::HelmRelease => {
            if object.pointer("/spec/suspend") == Some(&json!(true)) {
                return None;
            }
            operations.push(json!({"op": "add", "path": "/spec/suspend", "value": true}));
        }
        Kind::Application => {
            let automated = object.pointer("/spec/syncPolicy/automated")?;
            if automated.get("enabled") == Some(&json!(false)) {
                return None;
            }
            annotations[ANNOTATION_AUTOMATED] = json!(automated.to_string());
            operations.push(json!({"op": "remove", "path": "/spec/syncPolicy/automated"}));
        }
    }
    operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": annotations}));
    Some(Value::Array(operations))
}

/// A JSON Patch that makes the object work again as before; `None` where it does not rest by our wish
/// any more.
#[must_use]
pub fn resume(kind: Kind, object: &Value) -> Option<Value> {
    let mut annotations = annotations(object);
    let marks = annotations.as_object_mut()?;
    marks.remove(ANNOTATION_SUSPENDED_BY)?;
    let automated = marks.remove(ANNOTATION_AUTOMATED);
    let mut operations = tests(object);
    match kind {
        Kind::Kustomization | Kind::HelmRelease => {
            if object.pointer("/spec/suspend") == Some(&json!(true)) {
                operations.push(json!({"op": "remove", "path": "/spec/suspend"}));
            }
        }
        Kind::Application => {
            let before: Option<Value> = automated
                .as_ref()
                .and_then(Value::as_str)
                .and_then(|text| serde_json::from_str(text).ok());
            let resting = object.pointer("/spec/syncPolicy/automated").is_none();
            if let Some(before) = before.filter(|_| resting) {
                let mut policy = object
                    .pointer("/spec/syncPolicy")
                    .cloned()
                    .unwrap_or(json!({}));
                policy["automated"] = before;
                operations.push(json!({"op": "add", "path": "/spec/syncPolicy", "value": policy}));
            }
        }
    }
    operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": annotations}));
    Some(Value::Array(operations))
}

/// Only if it is still this object, as it was read.
fn tests(object: &Value) -> Vec<Value> {
    ["uid", "resourceVersion"]
        .map(|key| {
            let path = format!("/metadata/{key}");
            json!({"op": "test", "path": path, "value": object["metadata"][key]})
        })
        .to_vec()
}

fn annotations(object: &Value) -> Value {
    let found = object.pointer("/metadata/annotations");
    found
        .filter(|a| a.is_object())
        .cloned()
        .unwrap_or(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        pairs.iter().map(own).collect()
    }

    fn named(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Option<(Kind, String)> {
        let owner = owner(&map(labels), &map(annotations))?;
        let namespace = owner.namespace.unwrap_or_else(|| "-".into());
        Some((owner.kind, format!("{namespace}/{}", owner.name)))
    }

    #[test]
    fn a_deployment_names_what_applies_it() {
        let kustomization = [
            ("kustomize.toolkit.fluxcd.io/name", "apps"),
            ("kustomize.toolkit.fluxcd.io/namespace", "flux-system"),
        ];
        assert_eq!(
            named(&kustomization, &[]),
            Some((Kind::Kustomization, "flux-system/apps".into()))
        );
        let tracked = [(
            "argocd.argoproj.io/tracking-id",
            "shop:apps/Deployment:shop/web",
        )];
        assert_eq!(
            named(&[("app.kubernetes.io/instance", "other")], &tracked),
            Some((Kind::Application, "-/shop".into()))
        );
        let elsewhere = [(
            "argocd.argoproj.io/tracking-id",
            "team_shop:apps/Deployment:shop/web",
        )];
        assert_eq!(
            named(&[], &elsewhere),
            Some((Kind::Application, "team/shop".into()))
        );
        assert_eq!(named(&[("app", "web")], &[]), None);
    }

    #[test]
    fn what_does_not_say_itself_that_it_applies_the_deployment_does_not() {
        let object = json!({"status": {"inventory": {"entries": [{"id": "shop_web_apps_Deployment", "v": "v1"}]}}});
        assert!(applies(Kind::Kustomization, &object, "shop", "web"));
        assert!(!applies(Kind::Kustomization, &object, "shop", "db"));
        let object = json!({"status": {"resources": [
            {"group": "apps", "kind": "Deployment", "namespace": "shop", "name": "web"},
        ]}});
        assert!(applies(Kind::Application, &object, "shop", "web"));
        assert!(!applies(Kind::Application, &object, "other", "web"));
    }

    fn patched(mut object: Value, operations: &Value) -> Value {
        for operation in operations.as_array().unwrap() {
            let path = operation["path"].as_str().unwrap();
            let (parent, key) = path.rsplit_once('/').unwrap();
            let place = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            match operation["op"].as_str().unwrap() {
                "test" => assert_eq!(place.get(key), Some(&operation["value"])),
                "add" => drop(place.insert(key.to_owned(), operation["value"].clone())),
                "remove" => assert!(place.remove(key).is_some()),
                other => panic!("{other}"),
            }
        }
        object
    }

    #[test]
    fn what_rested_is_afterwards_as_it_was_before() {
        let meta = json!({"uid": "u", "resourceVersion": "1", "annotations": {"team": "shop"}});
        let automated = json!({"prune": true, "selfHeal": true});
        for (kind, spec) in [
            (Kind::Kustomization, json!({"path": "./"})),
            (Kind::HelmRelease, json!({"interval": "1m"})),
            (
                Kind::Application,
                json!({"syncPolicy": {"automated": automated, "retry": {}}}),
            ),
        ] {
            let before = json!({"metadata": meta, "spec": spec});
            let resting = patched(before.clone(), &suspend(kind, &before, "web-1").unwrap());
            assert_ne!(resting["spec"], before["spec"], "{kind:?}");
            assert_eq!(
                resting["metadata"]["annotations"][ANNOTATION_SUSPENDED_BY],
                "web-1"
            );
            let after = patched(resting.clone(), &resume(kind, &resting).unwrap());
            assert_eq!(after, before, "{kind:?}");
        }
    }

    #[test]
    fn what_rests_by_somebody_elses_wish_is_left_alone() {
        let meta = json!({"uid": "u", "resourceVersion": "1"});
        let flux = json!({"metadata": meta, "spec": {"suspend": true}});
        assert_eq!(suspend(Kind::Kustomization, &flux, "web-1"), None);
        assert_eq!(resume(Kind::Kustomization, &flux), None);
        let argo = json!({"metadata": meta, "spec": {"syncPolicy": {}}});
        assert_eq!(suspend(Kind::Application, &argo, "web-1"), None);
        assert_eq!(resume(Kind::Application, &argo), None);
    }
}
