//! RestoreStrategy: `/spec/strategy` is as it was before the rollback, and belongs to whom it
//! belonged.

use backstop_api::{event::Step, names::FIELD_MANAGER, point::Ownership};
use backstop_engine::ownership;
use serde_json::{Value, json};

use super::{Done, deployment, deployments, hand_back};
use crate::{calls::CallError, context::Context, observe::managed_fields};

/// So often is a lost race run again at once.
const RACES: usize = 8;

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    step: &Step,
) -> Result<Done, CallError> {
    let (Some(before), Some(rolling)) = (&step.strategy_before, &step.rolling) else {
        return Ok(Done::holds("the strategy was not changed"));
    };
    let mut lost = String::new();
    for _ in 0..RACES {
        let Ok(found) = deployment(context, namespace, step).await? else {
            return Ok(Done::holds(
                "the Deployment is gone, and its strategy with it",
            ));
        };
        let now = &found["spec"]["strategy"];
        if now == before {
            return release_ownership(context, namespace, step, &found).await;
        }
        let ours = [
            ("maxUnavailable", &rolling.max_unavailable),
            ("maxSurge", &rolling.max_surge),
        ]
        .into_iter()
        .all(|(key, wrote)| {
            wrote
                .as_ref()
                .is_none_or(|wrote| now["rollingUpdate"][key] == json!(wrote))
        });
        if !ours {
            return Ok(Done::holds(
                "somebody has written the strategy since; theirs stands",
            ));
        }
        let operations = json!([
            {"op": "test", "path": "/metadata/uid", "value": step.workload_uid},
            {"op": "test", "path": "/spec/strategy", "value": now},
            {"op": "replace", "path": "/spec/strategy", "value": before},
        ]);
        let api = deployments(context, namespace);
        let patched =
            context
                .calls
                .json_patch("patch deployment", &api, &step.workload, &operations);
        match patched.await {
            // Looked at again: the next round hands the ownership back.
            Ok(_) => {}
            Err(CallError::Conflict { message, .. }) => lost = message,
            Err(error) => return Err(error),
        }
    }
    Err(CallError::Conflict {
        operation: "patch deployment",
        message: lost,
    })
}

async fn release_ownership(
    context: &Context,
    namespace: &str,
    step: &Step,
    found: &Value,
) -> Result<Done, CallError> {
    let current = managed_fields(found);
    let template = Ownership {
        managed_fields: ownership::capture(&current, None).managed_fields,
        last_applied_template: None,
    };
    let handed = ownership::hand_back(
        &current,
        &template,
        Some(&step.strategy_owners),
        FIELD_MANAGER,
    );
    if handed != current {
        hand_back::as_a_courtesy(context, namespace, step, found, handed).await?;
    }
    Ok(Done::holds("the strategy is as it was before"))
}
