//! What is watched of a rollback's policy, for the steps that look at more than they write.

use std::sync::Arc;

use backstop_api::event::Outcome;

use super::{Done, Progress, wish};
use crate::{calls::CallError, context::Context, event::orphan, observe::Observer};

/// What is watched; or that it is not yet, as right after a start; or that nobody will watch it any
/// more.
pub(super) async fn watched(
    context: &Context,
    namespace: &str,
    progress: &Progress<'_>,
) -> Result<Result<Arc<Observer>, Done>, CallError> {
    let name = &progress.event.spec.policy;
    if let Some(observer) = context.observers.get(namespace, name) {
        let wait = || Done::wait("waiting to see what is there");
        return Ok(if observer.is_ready() {
            Ok(observer)
        } else {
            Err(wait())
        });
    }
    let policy = orphan::policy(context, progress.event, namespace).await?;
    let gone = match &policy {
        None => Some(format!("RollbackPolicy {name} is gone")),
        Some(policy) => orphan::refused(policy)
            .map(|why| format!("RollbackPolicy {name} is not in force: {why}")),
    };
    Ok(Err(match gone {
        None => Done::wait(format!("waiting for policy {name} to be looked after")),
        Some(why) => Done::ends(
            Outcome::PolicyNotInForce,
            format!(
                "{why}, so nobody knows what belongs together; {}, and a person has to go on",
                wish::so_far(progress)
            ),
        ),
    }))
}
