//! Who else uses an object: everything in the namespace that runs pods, asked of the server.

use std::collections::{BTreeMap, BTreeSet};

use backstop_api::config::ConfigKey;
use backstop_engine::config::users::{self, Runner, User};
use kube::api::ListParams;
use serde_json::Value;

use super::{Place, objects::value};
use crate::calls::CallError;

/// So many objects at a time.
const PAGE: u32 = 500;

/// What runs pods: group, kind, plural. ReplicaSets and pods as well, to find what belongs to whom.
const RUNNERS: [(&str, &str, &str); 7] = [
    ("apps", "Deployment", "deployments"),
    ("apps", "StatefulSet", "statefulsets"),
    ("apps", "DaemonSet", "daemonsets"),
    ("apps", "ReplicaSet", "replicasets"),
    ("batch", "CronJob", "cronjobs"),
    ("batch", "Job", "jobs"),
    ("", "Pod", "pods"),
];

/// Who references which ConfigMap or Secret of the namespace, without the Deployments `own` that the
/// policy looks after.
///
/// Seven lists: for the moment of a rollback, not for every look at a policy. Refused lists are an
/// error, since without them an object that others use could be taken for one that they do not.
pub async fn users_of(
    place: Place<'_>,
    own: &BTreeSet<String>,
) -> Result<BTreeMap<ConfigKey, BTreeSet<User>>, CallError> {
    let mut found: Vec<(&str, Value)> = Vec::new();
    for (group, kind, plural) in RUNNERS {
        let api = place.untyped(group, kind, plural);
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = place
                .calls
                .read("list what runs pods", api.list(&page))
                .await?;
            let next = list.metadata.continue_.filter(|token| !token.is_empty());
            found.extend(list.items.into_iter().map(|item| (kind, value(item))));
            match next {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
    }
    let runners: Vec<Runner<'_>> = found
        .iter()
        .map(|(kind, object)| Runner { kind, object })
        .collect();
    Ok(users::users(&runners, own))
}
