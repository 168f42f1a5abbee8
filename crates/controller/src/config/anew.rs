//! Encrypting anew what is encrypted with another key than the one that encrypts now.
//!
//! Points are immutable and name the store in which their contents lay at first. Where they lie under another key is told
//! by the same name's rule, so nothing has to be written down for them to be found.

use backstop_api::{RollbackPoint, config::ConfigRef};
use kube::ResourceExt;

use super::{
    Place,
    keep::{LoadError, ensure_stored, let_go, load, own},
    keys::KeyRing,
    objects::Looked,
};
use crate::calls::CallError;

/// What came of it for one point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anew {
    /// How many of its Secrets lie under the current key now that did not before.
    pub encrypted: usize,
    /// What could not be encrypted anew, and why.
    pub left: Vec<String>,
}

/// The configuration of a point.
pub(super) fn references(point: &RollbackPoint) -> impl Iterator<Item = &ConfigRef> {
    point.spec.release.iter().flat_map(|r| &r.config)
}

/// The key with which something of a point is encrypted now; none where it is not.
pub(super) fn key_of<'a>(point: &'a RollbackPoint, reference: &'a ConfigRef) -> Option<&'a str> {
    let first = reference.store.as_ref()?.key_id.as_deref()?;
    let now = point.status.as_ref().and_then(|s| s.config_key.as_deref());
    Some(now.unwrap_or(first))
}

/// Encrypts the Secrets of a point with the current key, and gives up the stores in which they lay. Safe to do twice.
pub async fn encrypt(
    place: Place<'_>,
    ring: &KeyRing,
    point: &RollbackPoint,
) -> Result<Anew, CallError> {
    let mut anew = Anew::default();
    let Ok(current) = ring.encrypts_with() else {
        return Ok(anew);
    };
    let old = references(point).filter(|r| key_of(point, r).is_some_and(|key| key != current));
    for reference in old {
        let content = match load(place, ring, reference).await {
            Ok(content) => content,
            Err(LoadError::Call(error)) => return Err(error),
            Err(LoadError::Store(error)) => {
                anew.left.push(format!("{}: {error}", reference.key));
                continue;
            }
        };
        let mut stored = reference.clone();
        stored.store = None;
        let looked = Looked {
            reference: stored,
            content: Some(content),
        };
        let stored = ensure_stored(place, ring, looked).await?;
        if let Some(why) = &stored.not_captured {
            anew.left.push(format!("{}: {why}", reference.key));
            continue;
        }
        own(place, point, std::slice::from_ref(&stored)).await?;
        // What lies there is read before what lay elsewhere is given up.
        if let Err(error) = load(place, ring, &stored).await {
            anew.left.push(format!("{}: {error}", reference.key));
            continue;
        }
        anew.encrypted += 1;
        for before in places(place, ring, reference) {
            let given_up = before
                .store
                .filter(|store| Some(store) != stored.store.as_ref());
            if let Some(store) = given_up {
                let_go(place, point, &store).await?;
            }
        }
    }
    tracing::debug!(point = point.name_any(), ?anew, "encrypted anew");
    Ok(anew)
}

/// Everywhere that contents of a point may lie.
fn places(place: Place<'_>, ring: &KeyRing, reference: &ConfigRef) -> Vec<ConfigRef> {
    let mut all = super::store::elsewhere(ring, place.namespace, reference);
    all.push(reference.clone());
    all
}
