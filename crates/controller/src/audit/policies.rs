//! What of policies goes into the log: that they were made, changed and deleted, and that people took Deployments over.
//!
//! A policy carries no marks of it. What is written is read from the file when this replica begins to lead, and after a
//! failure. Nobody can read standard output again, so none of it is written there.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufReader, ErrorKind},
    path::{Path, PathBuf},
};

use backstop_api::RollbackPolicy;
use backstop_audit::{PolicyRecord, Record, Written, of_policy};
use jiff::Timestamp;
use kube::{Api, Resource, ResourceExt};

use crate::{calls::CallError, context::Context};

/// So many policies that the cache does not have are asked for at a time.
const AT_A_TIME: usize = 20;

/// What of policies is in a log.
pub(super) struct Policies {
    written: Written,
    /// The versions that were looked at, by UID: nothing is made of them again.
    looked_at: HashMap<String, String>,
    /// Those that the cache does not have and that were not deleted, by UID: their namespace is not watched any more.
    elsewhere: HashSet<String>,
}

impl Policies {
    /// Reads what is in the log. It may be long: other work goes on meanwhile.
    pub(super) async fn read(file: PathBuf) -> anyhow::Result<Self> {
        let written = tokio::task::spawn_blocking(move || read(&file)).await??;
        Ok(Self {
            written,
            looked_at: HashMap::new(),
            elsewhere: HashSet::new(),
        })
    }

    /// The records that are in no line yet.
    pub(super) async fn missing(&mut self, context: &Context) -> Vec<Record> {
        let cached = context.policies.state();
        let there: HashSet<&str> = cached
            .iter()
            .filter_map(|policy| policy.meta().uid.as_deref())
            .collect();
        self.looked_at.retain(|uid, _| there.contains(uid.as_str()));
        self.elsewhere.retain(|uid| !there.contains(uid.as_str()));
        let mut records = Vec::new();
        for policy in cached.iter().filter_map(|policy| policy.0.as_ref().ok()) {
            let (Some(uid), Some(version)) = (policy.uid(), policy.resource_version()) else {
                continue;
            };
            if self.looked_at.get(&uid) == Some(&version) {
                continue;
            }
            let all = of_policy(policy).into_iter();
            records.extend(all.filter(|record| !self.written.has(record)));
            self.looked_at.insert(uid, version);
        }
        let unseen = self.written.policies().filter(|known| {
            !there.contains(known.uid.as_str()) && !self.elsewhere.contains(&known.uid)
        });
        let unseen: Vec<PolicyRecord> = unseen.take(AT_A_TIME).cloned().collect();
        for known in unseen {
            match is_deleted(context, &known).await {
                Some(true) => records.push(Record::PolicyDeleted(PolicyRecord {
                    at: Timestamp::now(),
                    ..known
                })),
                Some(false) => {
                    self.elsewhere.insert(known.uid);
                }
                // Another look at all of them comes soon.
                None => break,
            }
        }
        records
    }

    /// Takes note of a record that was written.
    pub(super) fn note(&mut self, record: &Record) {
        self.written.note(record);
    }
}

/// A log that is not there yet has nothing in it.
fn read(file: &Path) -> io::Result<Written> {
    match File::open(file) {
        Ok(log) => Written::read(BufReader::new(log)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Written::default()),
        Err(error) => Err(error),
    }
}

/// Whether a policy that the cache does not have was deleted, in the API server's words: the cache may not be filled yet, and
/// may have fewer namespaces than before. `None` where the API server does not say.
async fn is_deleted(context: &Context, known: &PolicyRecord) -> Option<bool> {
    let api: Api<RollbackPolicy> = Api::namespaced(context.client.clone(), &known.namespace);
    let asked = api.get_metadata(&known.policy);
    match context.calls.read("get rollbackpolicy", asked).await {
        Ok(found) => Some(found.metadata.uid.as_deref() != Some(known.uid.as_str())),
        Err(CallError::NotFound { .. }) => Some(true),
        Err(CallError::Refused { code: 403, .. }) => Some(false),
        Err(error) => {
            tracing::debug!(namespace = known.namespace, policy = known.policy, %error, "whether a policy was deleted could not be told");
            None
        }
    }
}
