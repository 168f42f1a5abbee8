//! The object of a GitOps tool that applies a Deployment: which one it is, and whether it says so too.

use std::collections::BTreeMap;

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
    let flux = |kind: Kind| {
        let (group, _, _) = kind.resource();
        Some(Owner {
            kind,
            namespace: labels.get(&format!("{group}/namespace")).cloned(),
            name: labels.get(&format!("{group}/name"))?.clone(),
        })
    };
    let argo = |text: &str| {
        // An application of another namespace than Argo CD's own is named with it.
        let (namespace, name) = match text.split_once('_') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, text),
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
        .map(|(application, _)| argo(application));
    let labelled = |key: &str| labels.get(key).map(|text| argo(text));
    tracked
        .or_else(|| flux(Kind::HelmRelease))
        .or_else(|| flux(Kind::Kustomization))
        .or_else(|| labelled("argocd.argoproj.io/instance"))
        .or_else(|| labelled("app.kubernetes.io/instance"))
}

/// Whether the object says itself that it applies this Deployment. Labels can be written by whoever may
/// patch the Deployment, who could suspend any object by them.
#[must_use]
pub fn applies(kind: Kind, object: &Value, namespace: &str, deployment: &str) -> bool {
    let list = |path: &str| object.pointer(path).and_then(Value::as_array);
    let inventory = || list("/status/inventory/entries");
    let listed = |entries: &Vec<Value>| {
        let id = format!("{namespace}_{deployment}_apps_Deployment");
        entries.iter().any(|entry| entry["id"] == json!(id))
    };
    match kind {
        Kind::Kustomization => inventory().is_some_and(listed),
        // Only newer versions of Flux have an inventory there.
        Kind::HelmRelease => inventory().map_or_else(
            || {
                let own = object.pointer("/metadata/namespace");
                let target = object.pointer("/spec/targetNamespace").or(own);
                target == Some(&json!(namespace))
            },
            listed,
        ),
        Kind::Application => list("/status/resources").is_some_and(|resources| {
            resources.iter().any(|r| {
                r["group"] == "apps"
                    && r["kind"] == "Deployment"
                    && r["namespace"] == json!(namespace)
                    && r["name"] == json!(deployment)
            })
        }),
    }
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
        for kind in [Kind::Kustomization, Kind::HelmRelease] {
            assert!(applies(kind, &object, "shop", "web"));
            assert!(!applies(kind, &object, "shop", "db"));
        }
        let object = json!({"metadata": {"namespace": "shop"}});
        assert!(!applies(Kind::Kustomization, &object, "shop", "web"));
        assert!(applies(Kind::HelmRelease, &object, "shop", "web"));
        assert!(!applies(Kind::HelmRelease, &object, "other", "web"));
        let object = json!({"status": {"resources": [
            {"group": "apps", "kind": "Deployment", "namespace": "shop", "name": "web"},
        ]}});
        assert!(applies(Kind::Application, &object, "shop", "web"));
        assert!(!applies(Kind::Application, &object, "other", "web"));
    }
}
