//! Asking how many users the live release reaches.

use backstop_engine::reading::Reading;

use super::{LONGEST_QUERY, access::Access, misconfigured, prometheus::Asking};
use crate::{context::Context, observe::Observer};

/// The query as it was asked, and the answer; `None` where the policy does not ask, or nothing is live.
pub(crate) async fn affected_users(
    observer: &Observer,
    context: &Context,
) -> Option<(String, Reading)> {
    let asked = observer.policy.affected_users.as_ref()?;
    let question = observer.question.borrow().clone()?;
    let mut access = Access::default();
    let (address, secret) = (asked.address.as_deref(), asked.secret_name.as_deref());
    let endpoint = access
        .endpoint(context, &observer.namespace, address, secret)
        .await;
    Some(match endpoint {
        Err(why) => (asked.query.to_string(), misconfigured(why)),
        Ok(endpoint) => {
            let asking = Asking {
                context,
                endpoint: &endpoint,
                limit: LONGEST_QUERY,
            };
            asking.query(&asked.query, &question).await
        }
    })
}
