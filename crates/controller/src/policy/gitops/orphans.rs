//! What is suspended for a policy that is not there any more works again: a policy may be deleted while nobody leads.

use std::{sync::Arc, time::Duration};

use backstop_api::RollbackPolicy;
use backstop_engine::gitops::{mark::Mark, object::Kind};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
    runtime::reflector::ObjectRef,
};
use tokio::sync::{Notify, watch};

use super::{before, objects, objects::Place, resume};
use crate::{
    calls::CallError,
    context::{Context, Guarded},
};

/// It is looked again so often all the same: what is done while a policy is deleted may come after the look.
const AGAIN: Duration = Duration::from_hours(1);
/// When it is tried again if it did not work.
const RETRIED: Duration = Duration::from_secs(15);

/// Looks when leading begins, and whenever a policy was `deleted`.
pub(crate) async fn follow(
    context: Arc<Context>,
    namespaces: Vec<String>,
    mut policies: watch::Receiver<bool>,
    deleted: &Notify,
) {
    let _ = policies.wait_for(|read| *read).await;
    loop {
        match free(&context, &namespaces).await {
            Ok(()) => {
                let _ = tokio::time::timeout(AGAIN, deleted.notified()).await;
            }
            Err(error) => {
                tracing::warn!(%error, "what a deleted policy has suspended could not be made to work again; trying again");
                tokio::time::sleep(RETRIED).await;
            }
        }
    }
}

/// Makes everything work again that no policy knows of. `namespaces` are those that are looked after; all if there are
/// none.
async fn free(context: &Context, namespaces: &[String]) -> Result<(), CallError> {
    let scopes: Vec<Option<&String>> = if namespaces.is_empty() {
        vec![None]
    } else {
        let all = namespaces.iter().chain(&context.gitops_namespaces);
        all.map(Some).collect()
    };
    for kind in Kind::ALL {
        let resource = objects::resource(kind);
        for scope in &scopes {
            if !may_list(context, &resource, *scope).await? {
                continue;
            }
            let client = context.client.clone();
            let api: Api<DynamicObject> = match scope {
                Some(namespace) => Api::namespaced_with(client, namespace, &resource),
                None => Api::all_with(client, &resource),
            };
            let params = ListParams::default();
            let call = api.list_metadata(&params);
            let found = match context.calls.read("list gitops objects", call).await {
                Ok(found) => found,
                // Without the tool nothing is suspended.
                Err(CallError::NotFound { .. } | CallError::Refused { .. }) => continue,
                Err(error) => return Err(error),
            };
            for object in found {
                let Some(mark) = Mark::on(object.annotations()) else {
                    continue;
                };
                let namespace = object.namespace().unwrap_or_default();
                let place = Place::new(kind, &namespace, &object.name_any());
                if is_orphan(context, namespaces, &mark, &place)
                    && resume(context, &place, &mark.policy).await?
                {
                    tracing::info!(
                        kind = kind.name(),
                        namespace,
                        name = object.name_any(),
                        policy = mark.policy,
                        "works again: the policy that had it suspended is not there any more"
                    );
                }
            }
        }
    }
    Ok(())
}

/// Whether there is a right to ask for such objects: without it nothing may be suspended, and nothing is. It is asked for
/// first, so that no request of the operator is refused where all is as it should be.
async fn may_list(
    context: &Context,
    resource: &ApiResource,
    namespace: Option<&String>,
) -> Result<bool, CallError> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(resource.group.clone()),
                resource: Some(resource.plural.clone()),
                verb: Some("list".to_owned()),
                namespace: namespace.cloned(),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(context.client.clone());
    let params = PostParams::default();
    let call = api.create(&params, &review);
    match context.calls.read("ask for a right", call).await {
        Ok(answer) => Ok(answer.status.is_some_and(|status| status.allowed)),
        // Everybody may ask, by Kubernetes' own roles. Where that was taken away, the request itself tells.
        Err(CallError::Refused { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether the policy that a mark names does not know of it. One that is looked after by another operator does.
fn is_orphan(context: &Context, namespaces: &[String], mark: &Mark, place: &Place) -> bool {
    let Some((namespace, name)) = mark.policy.split_once('/') else {
        return false;
    };
    if !namespaces.is_empty() && namespaces.iter().all(|n| n != namespace) {
        return false;
    }
    let key = ObjectRef::<Guarded<RollbackPolicy>>::new(name).within(namespace);
    match context.policies.get(&key).as_deref() {
        None => true,
        Some(Guarded { 0: Ok(policy) }) => !before(policy).iter().any(|entry| place.is(entry)),
        // It cannot be read: nothing is known of it.
        Some(_) => false,
    }
}
