//! What an object of a GitOps tool would apply. It cannot be rendered here; that it is something else
//! than before can be told.

use serde_json::Value;

use super::object::Kind;
use crate::release;

/// Where what an object applies comes from, if that is an object of its own.
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
const SOURCES: [(&str, &str); 5] = [
    ("GitRepository", "gitrepositories"),
    ("OCIRepository", "ocirepositories"),
    ("Bucket", "buckets"),
    ("ExternalArtifact", "externalartifacts"),
    ("HelmChart", "helmcharts"),
];

/// The source of an object; `None` where it needs none that can be looked at.
#[must_use]
pub fn source(kind: Kind, object: &Value) -> Option<Source> {
    let own = object.pointer("/metadata/namespace")?.as_str()?;
    let referred = |path: &str| {
        let reference = object.pointer(path)?;
        let text = |key: &str| reference.get(key).and_then(Value::as_str);
        let of = text("kind")?;
        let (kind, plural) = SOURCES.into_iter().find(|(kind, _)| *kind == of)?;
        Some(Source {
            kind,
            plural,
            namespace: text("namespace").unwrap_or(own).to_owned(),
            name: text("name")?.to_owned(),
        })
    };
    match kind {
        Kind::Kustomization => referred("/spec/sourceRef"),
        Kind::HelmRelease => referred("/spec/chartRef").or_else(|| {
            let chart = object.pointer("/status/helmChart")?.as_str()?;
            let (namespace, name) = chart.split_once('/')?;
            Some(Source {
                kind: "HelmChart",
                plural: "helmcharts",
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        }),
        Kind::Application => None,
    }
}

/// What the object would apply: when this is another text, something else is wanted. What suspending
/// itself changes of the object is no part of it.
#[must_use]
pub fn revision(kind: Kind, object: &Value, source: Option<&Value>) -> String {
    let text = |object: &Value, path: &str| {
        let found = object.pointer(path).filter(|v| !v.is_null());
        found.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
    };
    let mut parts = Vec::new();
    let mut spec = object.pointer("/spec").cloned().unwrap_or_default();
    match kind {
        Kind::Kustomization | Kind::HelmRelease => {
            parts.extend(source.and_then(|s| text(s, "/status/artifact/revision")));
            if let Some(spec) = spec.as_object_mut() {
                spec.remove("suspend");
            }
        }
        Kind::Application => {
            for path in ["/status/sync/revision", "/status/sync/revisions"] {
                parts.extend(text(object, path));
            }
            let keys = ["source", "sources"].map(|key| (key, spec[key].to_string()));
            spec = keys.into_iter().collect();
        }
    }
    let asked = release::of_parts("spec", &[("spec", &spec.to_string())]);
    parts.push(format!("spec {}", &asked[..8]));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn suspending_alone_makes_nothing_else_wanted() {
        let flux = json!({"spec": {"path": "./"}});
        let source = json!({"status": {"artifact": {"revision": "main@sha1:aaa"}}});
        let before = revision(Kind::Kustomization, &flux, Some(&source));
        assert!(before.starts_with("main@sha1:aaa, spec "), "{before}");
        let suspended = json!({"spec": {"path": "./", "suspend": true}});
        assert_eq!(
            before,
            revision(Kind::Kustomization, &suspended, Some(&source))
        );
        let argo = json!({"spec": {"source": {"targetRevision": "main"}, "syncPolicy": {"automated": {}}}});
        let suspended = json!({"spec": {"source": {"targetRevision": "main"}, "syncPolicy": {}}});
        let of = |object| revision(Kind::Application, object, None);
        assert_eq!(of(&argo), of(&suspended));
    }

    #[test]
    fn another_commit_or_another_path_is_something_else() {
        let of = |path: &str, revision: &str| {
            let source = json!({"status": {"artifact": {"revision": revision}}});
            super::revision(
                Kind::Kustomization,
                &json!({"spec": {"path": path}}),
                Some(&source),
            )
        };
        assert_ne!(of("./", "aaa"), of("./", "bbb"));
        assert_ne!(of("./", "aaa"), of("./production", "aaa"));
        let argo = |image: &str, synced: &str| {
            let object = json!({
                "spec": {"source": {"kustomize": {"images": [image]}}},
                "status": {"sync": {"revision": synced}},
            });
            super::revision(Kind::Application, &object, None)
        };
        assert_ne!(argo("web:1", "aaa"), argo("web:2", "aaa"));
        assert_ne!(argo("web:1", "aaa"), argo("web:1", "bbb"));
    }

    #[test]
    fn a_helm_release_comes_from_its_chart() {
        let own = json!({"namespace": "shop"});
        let object =
            json!({"metadata": own, "spec": {}, "status": {"helmChart": "charts/shop-web"}});
        let found = source(Kind::HelmRelease, &object).unwrap();
        assert_eq!(
            (found.kind, found.namespace.as_str(), found.name.as_str()),
            ("HelmChart", "charts", "shop-web")
        );
        let object = json!({"metadata": own, "spec": {"chartRef": {"kind": "OCIRepository", "name": "web"}}});
        let found = source(Kind::HelmRelease, &object).unwrap();
        assert_eq!(
            (found.kind, found.namespace.as_str()),
            ("OCIRepository", "shop")
        );
        assert_eq!(source(Kind::Application, &object), None);
    }
}
