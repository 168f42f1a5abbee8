//! Asking the same question about what was not released, at the same pace.

use std::time::Duration;

use backstop_engine::{policy::Source, snapshot::Observed};
use jiff::Timestamp;

use super::{LONGEST_QUERY, Question, access::Access, prometheus};
use crate::{context::Context, observe::Observer};

/// Asks what the trigger wants to know of its peers; `None` where that is nothing.
pub(super) async fn look(
    observer: &Observer,
    context: &Context,
    index: usize,
    asked: &Question,
    pace: Duration,
    access: &mut Access,
) -> Option<Observed> {
    let trigger = &observer.policy.triggers[index];
    let peers = trigger.peers.as_ref()?;
    let Source::Prometheus {
        address,
        secret_name,
        ..
    } = &trigger.source
    else {
        return None;
    };
    let asked_at = Timestamp::now();
    let (address, secret) = (address.as_deref(), secret_name.as_deref());
    let endpoint = access
        .endpoint(context, &observer.namespace, address, secret)
        .await;
    let limit = pace.min(LONGEST_QUERY);
    let (query, reading) =
        prometheus::ask(context, endpoint, &peers.query, None, asked, limit).await;
    access.learn_from(&reading);
    Some(Observed {
        release: asked.release.clone(),
        query,
        reading,
        asked_at,
    })
}
