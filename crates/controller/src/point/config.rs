//! Saying which ConfigMaps and Secrets are not kept with a point: a rollback to it leaves them as they are.

use backstop_api::{
    RollbackPoint,
    condition::{self, CONFIG_CAPTURED, CONFIG_NOT_CAPTURED, Condition, ConditionStatus},
    config::ConfigRef,
    point::Verdict,
};
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use crate::{calls::CallError, context::Context};

/// Says it in the point's status, once. Returns false where the point is not any more as it was read.
pub(super) async fn say(context: &Context, point: &RollbackPoint) -> Result<bool, CallError> {
    let Some(message) = message(point) else {
        return Ok(true);
    };
    let mut status = point.status.clone().unwrap_or_default();
    condition::set(
        &mut status.conditions,
        Condition {
            type_: CONFIG_CAPTURED.into(),
            status: ConditionStatus::False,
            reason: CONFIG_NOT_CAPTURED.into(),
            message,
            last_transition_time: Timestamp::now(),
            observed_generation: point.metadata.generation,
        },
    );
    if point.status.as_ref() == Some(&status) {
        return Ok(true);
    }
    let api: Api<RollbackPoint> = Api::namespaced(
        context.client.clone(),
        &point.namespace().unwrap_or_default(),
    );
    // The list of conditions is written as a whole: it may not be an old one.
    let patch = serde_json::json!({
        "metadata": {"resourceVersion": point.resource_version()},
        "status": status,
    });
    match context
        .calls
        .merge_status("patch rollbackpoint status", &api, &point.name_any(), patch)
        .await
    {
        Ok(_) => Ok(true),
        Err(CallError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is not kept of a release that may be gone back to, why, and what to do.
fn message(point: &RollbackPoint) -> Option<String> {
    let release = point.spec.release.as_ref()?;
    if point.spec.verdict != Verdict::Good {
        return None;
    }
    let left: Vec<String> = release.config.iter().filter_map(reason).collect();
    (!left.is_empty()).then(|| {
        format!(
            "a rollback to release {} leaves as they are: {}; mend that, and the next point keeps them: that of \
             the next release, or one that you make by hand",
            release.hash,
            left.join("; ")
        )
    })
}

fn reason(reference: &ConfigRef) -> Option<String> {
    let why = reference.not_captured.as_ref()?;
    Some(format!(
        "{}, whose contents are not kept, since {why}",
        reference.key
    ))
}

#[cfg(test)]
mod tests {
    use backstop_api::config::ConfigKey;
    use serde_json::json;

    use super::*;

    fn point(verdict: &str, config: &[ConfigRef]) -> RollbackPoint {
        serde_json::from_value(json!({
            "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackPoint", "metadata": {"name": "web-1"},
            "spec": {
                "workload": {"name": "web"}, "verdict": verdict,
                "release": {"hash": "0123", "workloads": [], "config": config},
            },
        }))
        .unwrap()
    }

    #[test]
    fn what_is_not_kept_is_said_with_the_reason_and_what_is_kept_is_not() {
        let kept = ConfigRef::absent(ConfigKey::config_map("small"), false);
        let large = ConfigRef {
            not_captured: Some("they take 2000000 bytes".into()),
            ..ConfigRef::absent(ConfigKey::config_map("large"), false)
        };
        let said = message(&point("Good", &[kept.clone(), large.clone()])).unwrap();
        assert!(
            said.starts_with(
                "a rollback to release 0123 leaves as they are: ConfigMap large, whose contents are not kept, since \
                 they take 2000000 bytes; mend that"
            ),
            "{said}"
        );
        assert_eq!(message(&point("Good", &[kept])), None);
        assert_eq!(message(&point("Quarantined", &[large])), None);
    }
}
