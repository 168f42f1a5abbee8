//! Asking `metrics.k8s.io` what the release's pods use.

use std::collections::BTreeMap;

use backstop_api::policy::{ResourceName, ResourceSource};
use backstop_engine::{
    reading::{Reading, Unavailable},
    resource::{self, ContainerUse, PodUse},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Pod, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use kube_quantity::ParsedQuantity;
use serde::Deserialize;

use super::Question;
use crate::{calls::CallError, context::Context, observe::Observer};

/// What is read of a PodMetrics.
#[derive(Deserialize)]
struct Measured {
    timestamp: Timestamp,
    window: backstop_api::Duration,
    containers: Vec<MeasuredContainer>,
}

#[derive(Deserialize)]
struct MeasuredContainer {
    name: String,
    usage: BTreeMap<String, Quantity>,
}

/// Asks for all pods of the release at once.
pub(super) async fn usage(
    observer: &Observer,
    context: &Context,
    source: &ResourceSource,
    asked: &Question,
) -> Reading {
    let (pods, _) = observer.pods_by_release();
    let resource = ApiResource {
        group: "metrics.k8s.io".into(),
        version: "v1beta1".into(),
        api_version: "metrics.k8s.io/v1beta1".into(),
        kind: "PodMetrics".into(),
        plural: "pods".into(),
    };
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &observer.namespace, &resource);
    let hashes = asked.context.template_hashes.join(",");
    let params = ListParams::default().labels(&format!("pod-template-hash in ({hashes})"));
    let found = match context
        .calls
        .read("list pod metrics", api.list(&params))
        .await
    {
        Ok(found) => found,
        Err(error) => return unavailable(&error),
    };
    let mut used = Vec::new();
    for metrics in found {
        let name = metrics.name_any();
        // Another Deployment's pods may have the same hash.
        let Some(pod) = pods.iter().find(|pod| pod.name_any() == name) else {
            continue;
        };
        match of_pod(pod, source.name, &metrics) {
            Ok(one) => used.push(one),
            Err(why) => {
                return Reading::Unavailable {
                    reason: Unavailable::Malformed,
                    why: format!("metrics.k8s.io about pod {name}: {why}"),
                };
            }
        }
    }
    resource::reading(source, &used, Timestamp::now())
}

fn unavailable(error: &CallError) -> Reading {
    let (reason, hint) = match error {
        CallError::NotFound { .. } => (
            Unavailable::Rejected,
            "; is metrics-server installed in this cluster?",
        ),
        CallError::Refused {
            code: 401 | 403, ..
        } => (
            Unavailable::Unauthorized,
            "; the operator's role needs list on pods of metrics.k8s.io",
        ),
        CallError::Refused { .. } => (Unavailable::Rejected, ""),
        CallError::Timeout { .. } => (Unavailable::Timeout, "; is metrics-server well?"),
        _ => (Unavailable::ServerError, "; is metrics-server well?"),
    };
    Reading::Unavailable {
        reason,
        why: format!("{error}{hint}"),
    }
}

fn of_pod(pod: &Pod, what: ResourceName, metrics: &DynamicObject) -> Result<PodUse, String> {
    let measured: Measured =
        serde_json::from_value(metrics.data.clone()).map_err(|error| error.to_string())?;
    let key = match what {
        ResourceName::Cpu => "cpu",
        ResourceName::Memory => "memory",
    };
    let mut containers = Vec::new();
    for container in measured.containers {
        let used = container.usage.get(key);
        let used = used.ok_or_else(|| format!("container {} has no {key}", container.name))?;
        let resources = resources(pod, &container.name);
        let of = |amounts: Option<&BTreeMap<String, Quantity>>| {
            amounts.and_then(|a| a.get(key)).map(number).transpose()
        };
        containers.push(ContainerUse {
            used: number(used)?,
            request: of(resources.and_then(|r| r.requests.as_ref()))?,
            limit: of(resources.and_then(|r| r.limits.as_ref()))?,
            name: container.name,
        });
    }
    Ok(PodUse {
        pod: pod.name_any(),
        at: measured.timestamp,
        window: measured.window.as_signed(),
        containers,
    })
}

/// What a container was given: as its node tells, since it can be resized; else as its spec asks.
fn resources<'a>(pod: &'a Pod, container: &str) -> Option<&'a ResourceRequirements> {
    let statuses = pod
        .status
        .iter()
        .flat_map(|s| s.container_statuses.iter().flatten());
    let mut given = statuses.filter(|c| c.name == container);
    let given = given.find_map(|c| c.resources.as_ref());
    given.or_else(|| {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut wanted = containers.filter(|c| c.name == container);
        wanted.find_map(|c| c.resources.as_ref())
    })
}

/// Cores, or bytes.
fn number(quantity: &Quantity) -> Result<f64, String> {
    let parsed = ParsedQuantity::try_from(quantity.0.as_str()).ok();
    let number = parsed.and_then(|parsed| parsed.to_bytes_f64());
    number.ok_or_else(|| format!("`{}` is no quantity", quantity.0))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;

    fn metrics(cpu: &str, memory: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
            "metadata": {"name": "web-1", "namespace": "shop"},
            "timestamp": "2026-11-25T12:00:00Z", "window": "15.041s",
            "containers": [{"name": "app", "usage": {"cpu": cpu, "memory": memory}}],
        }))
        .unwrap()
    }

    fn pod(status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1"},
            "spec": {"containers": [{"name": "app", "resources": {
                "requests": {"cpu": "250m"}, "limits": {"cpu": "1", "memory": "128Mi"},
            }}]},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn what_metrics_server_writes_is_read() {
        let pod = pod(&json!({}));
        let metrics = metrics("123456789n", "65536Ki");
        let cpu = of_pod(&pod, ResourceName::Cpu, &metrics).unwrap();
        assert_eq!(cpu.at, "2026-11-25T12:00:00Z".parse().unwrap());
        assert_eq!(cpu.window, SignedDuration::from_millis(15_041));
        let app = &cpu.containers[0];
        assert!((app.used - 0.123_456_789).abs() < 1e-12, "{app:?}");
        assert_eq!((app.request, app.limit), (Some(0.25), Some(1.0)));
        let memory = of_pod(&pod, ResourceName::Memory, &metrics).unwrap();
        let app = &memory.containers[0];
        assert!((app.used - 67_108_864.0).abs() < 0.5, "{app:?}");
        assert_eq!((app.request, app.limit), (None, Some(134_217_728.0)));
    }

    #[test]
    fn what_a_container_was_given_counts_and_not_what_was_asked_for() {
        let resized = json!({"containerStatuses": [{
            "name": "app", "image": "web", "imageID": "", "ready": true, "restartCount": 0,
            "resources": {"limits": {"cpu": "2"}},
        }]});
        let cpu = of_pod(&pod(&resized), ResourceName::Cpu, &metrics("1", "1Mi")).unwrap();
        assert_eq!(cpu.containers[0].limit, Some(2.0));
    }

    #[test]
    fn what_is_no_quantity_is_an_error_and_no_number() {
        let error = of_pod(&pod(&json!({})), ResourceName::Cpu, &metrics("much", "1Mi"));
        assert_eq!(error.unwrap_err(), "`much` is no quantity");
    }
}
