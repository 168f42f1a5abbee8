//! Making stores and reading them.

use backstop_api::{
    GROUP, RollbackPoint, VERSION,
    config::{ConfigKind, ConfigRef, StoreRef},
};
use backstop_engine::config::content::Content;
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use thiserror::Error;

use super::{
    Place,
    keys::{KeyRing, untyped},
    objects::Looked,
    store::{self, StoreError},
};
use crate::calls::CallError;

/// The longest reason that a point takes.
const LONGEST_REASON: usize = 1024;

/// No object has this UID.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// Why contents could not be read.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The API server.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What is kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Keeps the contents of an object, and returns what the point says of it.
///
/// What cannot be kept says why in `notCaptured`, and keeps no point from being made: a release
/// without its configuration is still a release to go back to. An error is worth another try.
///
/// The store has no owner yet: see [`own`].
pub async fn ensure_stored(
    place: Place<'_>,
    ring: &KeyRing,
    looked: Looked,
) -> Result<ConfigRef, CallError> {
    let Looked {
        mut reference,
        content,
    } = looked;
    let Some(content) = content else {
        return Ok(reference);
    };
    let (secret, store) = match store::build(ring, place.namespace, &reference, &content) {
        Ok(built) => built,
        Err(error) => {
            reference.not_captured = Some(reason(&error.to_string()));
            return Ok(reference);
        }
    };
    let api = place.objects(ConfigKind::Secret);
    let created = place
        .calls
        .create("create secret", &api, &untyped(&secret))
        .await;
    match created {
        // There is one of that name: with these contents, for that is what the name says. Whether
        // somebody has replaced it shows when it is read.
        Ok(_) | Err(CallError::AlreadyExists { .. }) => reference.store = Some(store),
        Err(CallError::Refused { code, message, .. }) => {
            let words = format!("the API server refuses to keep them ({code}): {message}");
            reference.not_captured = Some(reason(&words));
        }
        Err(error) => return Err(error),
    }
    Ok(reference)
}

/// Makes a point an owner of the stores that it refers to. Kubernetes deletes a store when the last
/// of the points that own it is gone, so that nobody has to list or delete Secrets. Safe to do twice.
pub async fn own(
    place: Place<'_>,
    point: &RollbackPoint,
    references: &[ConfigRef],
) -> Result<(), CallError> {
    if point.uid().is_none() {
        return Ok(());
    }
    let api = place.objects(ConfigKind::Secret);
    for store in references.iter().filter_map(|r| r.store.as_ref()) {
        // A strategic merge adds the owner to those that are there, by its UID.
        let patch = Patch::Strategic(json!({"metadata": {"ownerReferences": [owner(point)]}}));
        let params = PatchParams::default();
        let patched = api.patch(&store.name, &params, &patch);
        match place.calls.write("patch secret", patched).await {
            // Gone: the point says so when it is gone back to.
            Ok(_) | Err(CallError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives up a point's share in a store. The last one leaves it to an owner that there is not, so Kubernetes deletes it, and
/// nobody needs the right to delete Secrets.
pub(super) async fn let_go(
    place: Place<'_>,
    point: &RollbackPoint,
    store: &StoreRef,
) -> Result<(), CallError> {
    let api = place.objects(ConfigKind::Secret);
    let found = match place.calls.read("get secret", api.get(&store.name)).await {
        Ok(found) => found,
        Err(CallError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut owners = found.owner_references().to_vec();
    owners.retain(|owner| Some(&owner.uid) != point.uid().as_ref());
    if owners.is_empty() {
        owners.push(OwnerReference {
            uid: NOBODY.to_owned(),
            ..owner(point)
        });
    }
    let patch = Patch::Merge(json!({"metadata": {
        "resourceVersion": found.resource_version(), "ownerReferences": owners,
    }}));
    let params = PatchParams::default();
    let patched = api.patch(&store.name, &params, &patch);
    match place.calls.write("patch secret", patched).await {
        Ok(_) | Err(CallError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn owner(point: &RollbackPoint) -> OwnerReference {
    OwnerReference {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: "RollbackPoint".to_owned(),
        name: point.name_any(),
        uid: point.uid().unwrap_or_default(),
        ..OwnerReference::default()
    }
}

/// The contents that a point refers to, also where they were encrypted anew since.
pub async fn load(
    place: Place<'_>,
    ring: &KeyRing,
    reference: &ConfigRef,
) -> Result<Content, LoadError> {
    let error = match read(place, ring, reference).await {
        Err(error @ LoadError::Store(StoreError::Gone { .. } | StoreError::Seal(_))) => error,
        read => return read,
    };
    for other in store::elsewhere(ring, place.namespace, reference) {
        match read(place, ring, &other).await {
            Err(LoadError::Store(_)) => {}
            read => return read,
        }
    }
    Err(error)
}

async fn read(
    place: Place<'_>,
    ring: &KeyRing,
    reference: &ConfigRef,
) -> Result<Content, LoadError> {
    let name = reference
        .store
        .as_ref()
        .map(|store| store.name.clone())
        .ok_or(StoreError::Nothing)?;
    let api = place.objects(ConfigKind::Secret);
    let found = match place.calls.read("get secret", api.get(&name)).await {
        Ok(found) => found,
        Err(CallError::NotFound { .. }) => return Err(StoreError::Gone { name }.into()),
        Err(error) => return Err(error.into()),
    };
    let secret: Secret = serde_json::to_value(&found)
        .and_then(serde_json::from_value)
        // An error of the parser would show what it could not parse.
        .map_err(|_| StoreError::Damaged { name })?;
    Ok(store::open(ring, place.namespace, reference, &secret)?)
}

/// As much of a reason as a point takes.
fn reason(text: &str) -> String {
    if text.chars().count() <= LONGEST_REASON {
        return text.to_owned();
    }
    text.chars()
        .take(LONGEST_REASON - 1)
        .chain(std::iter::once('…'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_no_longer_than_a_point_takes() {
        assert_eq!(reason("short"), "short");
        let long = reason(&"ü".repeat(2000));
        assert_eq!(long.chars().count(), LONGEST_REASON);
        assert!(long.ends_with("ü…"));
    }
}
