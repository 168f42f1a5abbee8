//! What was changed in a policy's spec, and by whom, for its status and the log.
//!
//! A change is told by digests in the status, so that one made while no operator ran is told too.

use std::collections::{BTreeMap, BTreeSet};

use backstop_api::{
    RollbackPolicy,
    audit::{SpecChange, SpecHistory},
};
use jiff::Timestamp;
use kube::{Api, Resource, ResourceExt};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{calls::CallError, context::Context, observe::writer};

/// So many changes are kept.
const KEPT: usize = 20;
/// So much of a digest is kept: enough to tell one value of a field from the next.
const DIGITS: usize = 16;

/// Records that the spec is another one, if it is.
pub(super) async fn note(context: &Context, policy: &RollbackPolicy) -> Result<(), CallError> {
    let Some(generation) = policy.metadata.generation else {
        return Ok(());
    };
    let known = policy.status.as_ref().and_then(|s| s.spec_history.clone());
    let mut history = known.unwrap_or_default();
    if history.generation == Some(generation) {
        return Ok(());
    }
    let spec = serde_json::to_value(&policy.spec).unwrap_or_default();
    let digests = digests(&spec);
    let fields = changed(&history.digests, &digests);
    let is_first = history.generation.is_none();
    let namespace = policy.namespace().unwrap_or_default();
    let api: Api<RollbackPolicy> = Api::namespaced(context.client.clone(), &namespace);
    let mut told = None;
    if !is_first && !fields.is_empty() {
        // The cache has no managedFields.
        let now = context
            .calls
            .read("get rollbackpolicy", api.get(&policy.name_any()))
            .await?;
        let change = SpecChange {
            at: Timestamp::now(),
            by: writer::of_object(&serde_json::to_value(&now).unwrap_or_default()),
            generation,
            fields,
        };
        history.changes.insert(0, change.clone());
        history.changes.truncate(KEPT);
        told = Some(change);
    }
    // A field that is gone has to be named as null, or it stays.
    let gone = history.digests.keys().filter(|f| !digests.contains_key(*f));
    let gone: Vec<String> = gone.cloned().collect();
    let mut value = serde_json::to_value(SpecHistory {
        digests,
        generation: Some(generation),
        changes: history.changes,
    })
    .unwrap_or_default();
    for field in gone {
        value["digests"][field] = Value::Null;
    }
    // By the version: what was noted meanwhile is not noted twice.
    let patch = serde_json::json!({
        "metadata": {"uid": policy.uid(), "resourceVersion": policy.resource_version()},
        "status": {"specHistory": value},
    });
    context
        .calls
        .merge_status(
            "patch rollbackpolicy status",
            &api,
            &policy.name_any(),
            patch,
        )
        .await?;
    if let Some(change) = told {
        let by = change.by.as_deref().unwrap_or("somebody");
        let fields = change.fields.join(", ");
        tracing::info!(
            namespace,
            policy = policy.name_any(),
            by,
            fields,
            generation,
            "the spec of a policy was changed"
        );
        let note = format!("{by} changed {fields} (generation {generation})");
        let about = [policy.object_ref(&())];
        // Saying so must not delay deciding.
        let teller = context.teller.clone();
        tokio::spawn(async move {
            teller
                .say(&about, false, "PolicyChanged", "Watch", &note)
                .await;
        });
    }
    Ok(())
}

/// A digest of every field.
fn digests(spec: &Value) -> BTreeMap<String, String> {
    let fields = spec.as_object().into_iter().flatten();
    fields
        .map(|(field, value)| {
            let digest = hex::encode(Sha256::digest(value.to_string()));
            (field.clone(), digest[..DIGITS].to_owned())
        })
        .collect()
}

/// The fields that are others, or are there on one side only.
fn changed(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let all: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    all.into_iter()
        .filter(|field| before.get(*field) != now.get(*field))
        .map(|field| format!("spec.{field}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(before: &Value, now: &Value) -> Vec<String> {
        changed(&digests(before), &digests(now))
    }

    #[test]
    fn the_fields_that_are_others_are_named_and_no_more() {
        let before = json!({"mode": "Enforce", "triggers": [{"name": "a"}], "gates": {}});
        assert!(fields(&before, &before).is_empty());
        let now = json!({"mode": "Enforce", "triggers": [{"name": "b"}], "decision": {}});
        assert_eq!(
            fields(&before, &now),
            ["spec.decision", "spec.gates", "spec.triggers"]
        );
    }
}
