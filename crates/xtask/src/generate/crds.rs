//! The CRDs, as files.

use std::fmt::Write as _;

use backstop_api::{RollbackEvent, RollbackPoint, RollbackPolicy};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::Value;

use super::Files;

const HEADER: &str = "# Written by `cargo xtask generate` from crates/api. Change it there.\n";

/// Formats that Rust's types bring along and the API server warns about: it knows those of OpenAPI only.
const UNKNOWN_FORMATS: [&str; 3] = ["uint", "uint32", "uint64"];

/// The CRD of each kind, as JSON.
pub(super) fn all() -> Vec<Value> {
    [
        RollbackPolicy::crd(),
        RollbackPoint::crd(),
        RollbackEvent::crd(),
    ]
    .iter()
    .map(tidy)
    .collect()
}

/// The CRDs, once for kubectl and once for the chart.
pub(super) fn files(crds: &[Value]) -> anyhow::Result<Files> {
    let mut files = Files::new();
    let mut kustomization = format!(
        "{HEADER}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
    );
    for crd in crds {
        let name = format!("{}.yaml", plural(crd));
        let text = format!("{HEADER}{}", serde_yaml_ng::to_string(crd)?);
        let _ = writeln!(kustomization, "- {name}");
        files.insert(format!("crds/{name}"), text.clone());
        files.insert(format!("charts/backstop/files/crds/{name}"), text);
    }
    files.insert("crds/kustomization.yaml".to_owned(), kustomization);
    Ok(files)
}

fn plural(crd: &Value) -> &str {
    crd["spec"]["names"]["plural"]
        .as_str()
        .expect("a CRD names its plural")
}

fn tidy(crd: &CustomResourceDefinition) -> Value {
    let mut value = serde_json::to_value(crd).expect("a CRD is JSON");
    drop_unknown_formats(&mut value);
    value
}

fn drop_unknown_formats(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let unknown = |format: &Value| {
                format
                    .as_str()
                    .is_some_and(|format| UNKNOWN_FORMATS.contains(&format))
            };
            if map.get("format").is_some_and(unknown) {
                map.remove("format");
            }
            map.values_mut().for_each(drop_unknown_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_unknown_formats),
        _ => {}
    }
}
