//! One attempt to send one message over one channel.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use backstop_api::notification::NotificationStatus;
use backstop_notify::{
    Failure, OPERATOR, Reason, Receipt, SecretData, Target, ValidChannel, queue,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use tracing::Instrument;

use super::{Office, Subject};
use crate::{context::Context, telemetry};

/// What came of an attempt.
pub(super) struct Attempt {
    /// The record as it was before.
    pub(super) record: NotificationStatus,
    /// Whether the channel has taken the message; none where there is nothing to tell any more.
    pub(super) result: Option<Result<Receipt, Failure>>,
}

/// Waits for its time, and sends.
pub(super) async fn attempt(
    office: Arc<Office>,
    subject: Subject,
    channel: ValidChannel,
    records: Vec<NotificationStatus>,
    record: NotificationStatus,
    wait: Duration,
) -> Attempt {
    tokio::time::sleep(wait).await;
    let context = &office.context;
    let Some(object) = subject.read(context) else {
        return Attempt {
            record,
            result: None,
        };
    };
    // Acquiring fails only once the semaphore is closed, which it never is.
    let _slot = office.slots.acquire().await.ok();
    let began = Instant::now();
    let message = object.message(&records, &record);
    let kind = channel.kind().as_str();
    let span = tracing::info_span!(
        "tell",
        otel.kind = "client",
        namespace = subject.namespace(),
        object = subject.name(),
        channel = channel.name,
        channel_kind = kind,
        outcome = ?record.outcome,
    );
    telemetry::is_of_rollback(&span, &message.incident);
    let payload = channel.render(&message);
    let thread = queue::thread(&records, &channel.name);
    let sending = async {
        let target = target(context, subject.namespace(), &channel).await;
        let target = target.map_err(|why| Failure::new(Reason::Misconfigured, why))?;
        target
            .send(&payload, thread.as_deref(), Timestamp::now())
            .await
    };
    let result = sending.instrument(span).await;
    let word = result
        .as_ref()
        .map_or_else(|f| f.reason.as_str(), |_| "sent");
    context.metrics.notified(kind, word, began.elapsed());
    let (namespace, object) = (subject.namespace(), subject.name());
    let (outcome, name) = (record.outcome, &channel.name);
    match &result {
        Ok(_) => tracing::info!(namespace, object, channel = name, ?outcome, "told"),
        Err(failure) => tracing::warn!(
            namespace,
            object,
            channel = name,
            ?outcome,
            reason = word,
            why = failure.why,
            "a channel could not be told; it is tried again"
        ),
    }
    Attempt {
        record,
        result: Some(result),
    }
}

/// What a channel's messages are sent to: with its Secret as it is now, since they are rotated.
pub(super) async fn target(
    context: &Context,
    namespace: &str,
    channel: &ValidChannel,
) -> Result<Target, String> {
    let own = channel.name.starts_with(OPERATOR);
    let namespace = if own {
        &context.channels.namespace
    } else {
        namespace
    };
    let secret = match &channel.secret_name {
        None => None,
        Some(name) => Some(read(context, namespace, name).await?),
    };
    channel.target(secret.as_ref(), &context.channels.allowed)
}

async fn read(context: &Context, namespace: &str, name: &str) -> Result<SecretData, String> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let secret = context
        .calls
        .read("get secret", api.get(name))
        .await
        .map_err(|error| {
            format!("Secret {name} of namespace {namespace} cannot be read: {error}")
        })?;
    let data = secret.data.unwrap_or_default();
    Ok(data
        .into_iter()
        .map(|(key, value)| (key, value.0))
        .collect())
}
