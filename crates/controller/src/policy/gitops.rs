//! The object of a GitOps tool that applies the workload rests while a rollback would be undone by it.
//!
//! What is to be done is written into the policy's status first, and done at the next look.

use backstop_api::{RollbackPolicy, names::ANNOTATION_SUSPENDED_BY, policy::Suspended};
use backstop_engine::{
    decide::Rest,
    gitops::object::{self, Kind, Owner},
};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DynamicObject},
};
use serde_json::Value;

use crate::{calls::CallError, context::Context, observe::Observer};

/// It is looked after so long whether something else is wanted by now.
pub(super) const LOOKED_AT: SignedDuration = SignedDuration::from_secs(15);

/// Does what is wanted, and says what is so then.
pub(super) async fn follow(
    context: &Context,
    policy: &RollbackPolicy,
    observer: &Observer,
    rest: &Rest,
    now: Timestamp,
) -> Result<Vec<Suspended>, CallError> {
    let before = policy.status.iter().flat_map(|s| s.suspended.clone());
    let mut entries: Vec<Suspended> = before.collect();
    let (event, why) = match rest {
        Rest::AsItIs => return Ok(entries),
        Rest::No => {
            for entry in &entries {
                if resume(context, entry).await? {
                    let note = format!("{} works again", named(entry));
                    say(context, policy, false, "GitOpsResumed", &note).await;
                }
            }
            return Ok(Vec::new());
        }
        Rest::Yes { event, why } => (event, why),
    };
    if entries.is_empty() {
        return intended(context, observer, event).await;
    }
    for entry in &mut entries {
        if &entry.event != event {
            // Of another rollback: what rests goes on resting, and what does not is to rest again.
            entry.event.clone_from(event);
            entry.message = None;
            if entry.resumed_at.take().is_some() {
                entry.since = None;
            }
            continue;
        }
        match (entry.since, entry.resumed_at, &entry.message) {
            (None, None, None) => suspend(context, policy, entry, why, now).await?,
            (Some(_), None, _) if observer.looks_at_gitops(now, LOOKED_AT) => {
                look(context, policy, entry, now).await?;
            }
            _ => {}
        }
    }
    Ok(entries)
}

/// What applies the live Deployments, as far as it is known and may be made to rest.
async fn intended(
    context: &Context,
    observer: &Observer,
    event: &str,
) -> Result<Vec<Suspended>, CallError> {
    let mut entries: Vec<Suspended> = Vec::new();
    for name in &observer.policy.deployments {
        let Some(deployment) = observer.deployment(name) else {
            continue;
        };
        let map = |path: &str| {
            let found = deployment.pointer(path).cloned();
            found
                .and_then(|map| serde_json::from_value(map).ok())
                .unwrap_or_default()
        };
        let Some(owner) = object::owner(&map("/metadata/labels"), &map("/metadata/annotations"))
        else {
            continue;
        };
        let entry = find(context, observer, &owner, name, event).await?;
        let known = |e: &Suspended| {
            (&e.kind, &e.namespace, &e.name) == (&entry.kind, &entry.namespace, &entry.name)
        };
        if !entries.iter().any(known) {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// The object that a Deployment names, where it is and says so too; else why it is not made to rest.
async fn find(
    context: &Context,
    observer: &Observer,
    owner: &Owner,
    workload: &str,
    event: &str,
) -> Result<Suspended, CallError> {
    let own = observer.namespace.as_str();
    let mut allowed = vec![own.to_owned()];
    allowed.extend(context.gitops_namespaces.iter().cloned());
    let entry = |namespace: &str, message: Option<String>| Suspended {
        kind: owner.kind.name().to_owned(),
        namespace: namespace.to_owned(),
        name: owner.name.clone(),
        workload: workload.to_owned(),
        event: event.to_owned(),
        since: None,
        revision: None,
        resumed_at: None,
        message,
    };
    let places: Vec<String> = match &owner.namespace {
        Some(namespace) if !allowed.contains(namespace) => {
            let message = format!(
                "it is in namespace {namespace}, which is neither the policy's nor listed by the operator's \
                 --gitops-namespaces; suspend it by hand"
            );
            return Ok(entry(namespace, Some(message)));
        }
        Some(namespace) => vec![namespace.clone()],
        None => allowed,
    };
    let mut seen = String::new();
    for namespace in &places {
        match read(context, owner.kind, namespace, &owner.name).await {
            Ok(found) if object::applies(owner.kind, &found, own, workload) => {
                return Ok(entry(namespace, None));
            }
            Ok(_) => {
                seen = format!("it does not say that it applies Deployment {workload} of {own}")
            }
            Err(CallError::NotFound { .. }) => {}
            Err(error @ CallError::Refused { .. }) => seen = error.to_string(),
            Err(error) => return Err(error),
        }
    }
    if seen.is_empty() {
        seen = format!("there is none in {}", places.join(", "));
    }
    let first = places.first().map_or(own, String::as_str);
    Ok(entry(first, Some(format!("not made to rest: {seen}"))))
}

/// Makes it rest.
async fn suspend(
    context: &Context,
    policy: &RollbackPolicy,
    entry: &mut Suspended,
    why: &str,
    now: Timestamp,
) -> Result<(), CallError> {
    let Some(kind) = Kind::of(&entry.kind) else {
        return Ok(());
    };
    let namespace = policy.namespace().unwrap_or_default();
    let mark = format!("{namespace}/{}: {why}", entry.event);
    let refused = |error: CallError| match error {
        CallError::NotFound { .. } | CallError::Refused { .. } => Ok(error.to_string()),
        other => Err(other),
    };
    let object = match read(context, kind, &entry.namespace, &entry.name).await {
        Ok(object) => object,
        Err(error) => {
            entry.message = Some(format!("not made to rest: {}", refused(error)?));
            return Ok(());
        }
    };
    let ours =
        object["metadata"]["annotations"][ANNOTATION_SUSPENDED_BY] == Value::from(mark.as_str());
    let resting = match object::suspend(kind, &object, &mark) {
        // Done already, before a crash.
        _ if ours => object,
        None => {
            entry.message = Some("it rests already, by somebody else's wish".to_owned());
            return Ok(());
        }
        Some(patch) => {
            let api = api(context, kind, &entry.namespace);
            let sent = context
                .calls
                .json_patch("patch gitops object", &api, &entry.name, &patch);
            match sent.await {
                Ok(object) => serde_json::to_value(&object).unwrap_or_default(),
                Err(error) => {
                    entry.message = Some(format!("not made to rest: {}", refused(error)?));
                    let note = format!(
                        "{}: {}",
                        named(entry),
                        entry.message.clone().unwrap_or_default()
                    );
                    say(context, policy, true, "GitOpsNotSuspended", &note).await;
                    return Ok(());
                }
            }
        }
    };
    entry.revision = Some(revision(context, kind, &resting).await);
    entry.since = Some(now);
    let note = format!("{} rests because of {}: {why}", named(entry), entry.event);
    tracing::warn!(namespace, "{note}");
    say(context, policy, true, "GitOpsSuspended", &note).await;
    Ok(())
}

/// Looks whether something else is wanted by now, or somebody made it work again.
async fn look(
    context: &Context,
    policy: &RollbackPolicy,
    entry: &mut Suspended,
    now: Timestamp,
) -> Result<(), CallError> {
    let Some(kind) = Kind::of(&entry.kind) else {
        return Ok(());
    };
    let object = match read(context, kind, &entry.namespace, &entry.name).await {
        Ok(object) => object,
        Err(CallError::NotFound { .. }) => Value::Null,
        Err(error) => return Err(error),
    };
    let message = if object["metadata"]["annotations"][ANNOTATION_SUSPENDED_BY].is_null() {
        "somebody made it work again".to_owned()
    } else {
        let wanted = revision(context, kind, &object).await;
        if entry.revision.as_ref() == Some(&wanted) {
            return Ok(());
        }
        resume(context, entry).await?;
        format!("it works again, since something else is wanted: {wanted}")
    };
    entry.resumed_at = Some(now);
    let note = format!("{}: {message}", named(entry));
    entry.message = Some(message);
    say(context, policy, false, "GitOpsResumed", &note).await;
    Ok(())
}

/// Makes it work again as before, if it rests by our wish. Returns whether it did.
pub(crate) async fn resume(context: &Context, entry: &Suspended) -> Result<bool, CallError> {
    let (Some(kind), Some(_), None) = (Kind::of(&entry.kind), entry.since, entry.resumed_at) else {
        return Ok(false);
    };
    let object = match read(context, kind, &entry.namespace, &entry.name).await {
        Ok(object) => object,
        Err(CallError::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let Some(patch) = object::resume(kind, &object) else {
        return Ok(false);
    };
    let api = api(context, kind, &entry.namespace);
    context
        .calls
        .json_patch("patch gitops object", &api, &entry.name, &patch)
        .await?;
    Ok(true)
}

/// What it would apply.
async fn revision(context: &Context, kind: Kind, object: &Value) -> String {
    let mut source = None;
    if let Some(from) = object::source(kind, object) {
        let resource = resource("source.toolkit.fluxcd.io", "v1", from.plural, from.kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(context.client.clone(), &from.namespace, &resource);
        match context
            .calls
            .read("get gitops source", api.get(&from.name))
            .await
        {
            Ok(found) => source = serde_json::to_value(&found).ok(),
            Err(error) => {
                tracing::warn!(%error, namespace = from.namespace, name = from.name,
                    "a source could not be read: what rests works again only when something newer is live");
            }
        }
    }
    object::revision(kind, object, source.as_ref())
}

async fn read(
    context: &Context,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Result<Value, CallError> {
    let api = api(context, kind, namespace);
    let found = context
        .calls
        .read("get gitops object", api.get(name))
        .await?;
    Ok(serde_json::to_value(&found).unwrap_or_default())
}

fn api(context: &Context, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    let (group, version, plural) = kind.resource();
    let resource = resource(group, version, plural, kind.name());
    Api::namespaced_with(context.client.clone(), namespace, &resource)
}

fn resource(group: &str, version: &str, plural: &str, kind: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: format!("{group}/{version}"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

fn named(entry: &Suspended) -> String {
    format!("{} {}/{}", entry.kind, entry.namespace, entry.name)
}

async fn say(context: &Context, policy: &RollbackPolicy, warning: bool, reason: &str, note: &str) {
    let about = [policy.object_ref(&())];
    context
        .teller
        .say(&about, warning, reason, "Rollback", note)
        .await;
}
