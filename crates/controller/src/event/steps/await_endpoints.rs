//! AwaitEndpoints: the Service's endpoints are the good stack's, and as many as it had are ready.

use backstop_api::event::{Outcome, Step};
use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, api::ListParams};

use super::{Done, Progress, deadline};
use crate::{calls::CallError, context::Context};

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
) -> Result<Done, CallError> {
    let service = step.selector.as_ref().map_or("", |s| s.service.as_str());
    let wanted = usize::try_from(step.replicas.unwrap_or(1)).unwrap_or(1);
    let api: Api<EndpointSlice> = Api::namespaced(context.client.clone(), namespace);
    let params = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let slices = context
        .calls
        .read("list endpointslices", api.list(&params))
        .await?;
    let observer = context
        .observers
        .get(namespace, &progress.event.spec.policy);
    let own = observer.as_ref().map(|o| o.pod_names(&step.workload));
    let is_own = |pod: &str| own.as_ref().is_none_or(|own| own.iter().any(|p| p == pod));
    // Two slices may name one pod for a while, and a pod has an endpoint for each of its addresses.
    let mut ready = std::collections::BTreeSet::new();
    let mut others = std::collections::BTreeSet::new();
    for endpoint in slices.iter().flat_map(|s| s.endpoints.iter().flatten()) {
        let serves = endpoint
            .conditions
            .as_ref()
            .is_none_or(|c| c.ready.unwrap_or(true));
        let pod = endpoint
            .target_ref
            .as_ref()
            .and_then(|t| t.name.as_deref())
            .unwrap_or_default();
        if serves && is_own(pod) {
            ready.insert(pod);
        } else if serves {
            others.insert(pod);
        }
    }
    let state = format!(
        "Service {service} has {} of {wanted} ready endpoints in {}, and {} of other pods",
        ready.len(),
        step.workload,
        others.len()
    );
    // What is decided next is decided on what is watched: it must have seen the swap too.
    let seen = observer.is_none_or(|o| {
        let to = step.selector.as_ref().map(|s| &s.to);
        o.service().as_ref().map(|s| &s.selector) == to
    });
    if ready.len() >= wanted && others.is_empty() && seen {
        return Ok(Done::holds(state));
    }
    let late = deadline::late(progress, index, step, &state, Timestamp::now());
    Ok(match late {
        None => Done::wait(state),
        Some(late) => Done::ends(
            Outcome::TimedOut,
            format!(
                "{late}; kubectl get endpointslices -l kubernetes.io/service-name={service} says \
                 which are not ready"
            ),
        ),
    })
}
