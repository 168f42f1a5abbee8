//! RestoreConfig: ConfigMaps and Secrets are as they were at the point, as far as they are the
//! release's to change.

use std::collections::BTreeSet;

use backstop_api::{RollbackPoint, event::Step};
use kube::{Api, ResourceExt};

use super::{Done, Progress, Written, watched, wish};
use crate::{
    calls::CallError,
    config::{
        Place,
        restore::{Wanted, restore},
    },
    context::Context,
};

pub(super) async fn perform(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
    step: &Step,
) -> Result<Done, CallError> {
    let observer = match watched(context, namespace, progress).await? {
        Ok(observer) => observer,
        Err(done) => return Ok(done),
    };
    if let Some(done) = wish::against(context, namespace, progress, None).await? {
        return Ok(done);
    }
    let left_alone = |why: String| {
        let message = format!("configuration is left as it is: {why}");
        Ok(Done::Holds {
            left: vec![message.clone()],
            message,
            written: None,
        })
    };
    let api: Api<RollbackPoint> = Api::namespaced(context.client.clone(), namespace);
    let point = match context
        .calls
        .read("get rollbackpoint", api.get(&step.point))
        .await
    {
        Ok(point) => point,
        Err(CallError::NotFound { .. }) => {
            return left_alone(format!("RollbackPoint {} is gone", step.point));
        }
        Err(error) => return Err(error),
    };
    let at_point = point.spec.release.map(|r| r.config).unwrap_or_default();
    let keys = context.keys.borrow().clone();
    let ring = match keys {
        Some(Ok(ring)) => ring,
        Some(Err(why)) => return left_alone(why),
        None => {
            return Ok(Done::wait("waiting for the keys"));
        }
    };
    let own: BTreeSet<String> = observer.policy.deployments.iter().cloned().collect();
    let outcomes = restore(
        Place {
            client: &context.client,
            calls: &context.calls,
            namespace,
        },
        &ring,
        Wanted {
            at_point: &at_point,
            at_failed: &step.config,
            own: &own,
            event: &progress.event.name_any(),
        },
    )
    .await?;
    observer.look_at_config();
    let said: Vec<&str> = outcomes.iter().map(|o| o.said.as_str()).collect();
    let left = outcomes.iter().filter(|o| !o.holds);
    Ok(Done::Holds {
        message: said.join("; "),
        written: Some(Written::now()),
        left: left.map(|o| o.said.clone()).collect(),
    })
}
