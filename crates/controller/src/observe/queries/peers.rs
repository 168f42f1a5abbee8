//! Asking the same question about what was not released, at the same pace.

use std::time::Duration;

use backstop_engine::{
    policy::Source,
    snapshot::{Beside, Observed},
};
use jiff::Timestamp;

use super::{LONGEST_QUERY, Question, access::Access, misconfigured, prometheus::Asking};
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
    let (query, reading) = match endpoint {
        Err(why) => (peers.query.to_string(), misconfigured(why)),
        Ok(endpoint) => {
            let asking = Asking {
                context,
                endpoint: &endpoint,
                limit,
            };
            asking.query(&peers.query, asked).await
        }
    };
    access.learn_from(&reading);
    Some(Observed {
        release: asked.release.clone(),
        query,
        reading,
        beside: Beside::default(),
        asked_at,
        details: Vec::new(),
    })
}
