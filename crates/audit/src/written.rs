//! Which records of policies a log has, by what stands in it.
//!
//! A rollback is marked in its RollbackEvent, so nobody has to look for it. A policy has no such marks: the log itself says
//! what of it is written. A record is known by the policy's UID, what happened, and when.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, BufRead},
};

use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    chain::take_apart,
    record::{PolicyRecord, Record},
};

/// Which records of policies a log has, by the UIDs of the policies.
#[derive(Clone, Debug, Default)]
pub struct Written(BTreeMap<String, OfPolicy>);

/// What it has of one policy.
#[derive(Clone, Debug)]
struct OfPolicy {
    policy: PolicyRecord,
    lines: HashSet<Known>,
    deleted: bool,
}

/// What a record of a policy is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
struct Known {
    kind: Kind,
    uid: String,
    namespace: String,
    policy: String,
    at: Timestamp,
    generation: Option<i64>,
    workload: Option<String>,
    until: Option<Timestamp>,
}

/// The kinds of records that are about policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
enum Kind {
    PolicyCreated,
    PolicyChanged,
    Override,
    PolicyDeleted,
}

/// As much of a line as is read again.
#[derive(Deserialize)]
struct Line {
    record: Known,
}

impl Known {
    /// By way of the JSON, so that a record is known by the same as its line. `None` for a rollback.
    fn of(record: &Record) -> Option<Self> {
        let value = serde_json::to_value(record).ok()?;
        serde_json::from_value(value).ok()
    }
}

impl Written {
    /// Reads a log. A line that was changed is no record, and neither is one that a crash has torn.
    pub fn read(log: impl BufRead) -> io::Result<Self> {
        let mut written = Self::default();
        for line in log.split(b'\n') {
            let line = line?;
            let Ok(text) = str::from_utf8(&line) else {
                continue;
            };
            if take_apart(text).is_some_and(|(_, said, has)| said == has)
                && let Ok(Line { record }) = serde_json::from_str(text)
            {
                written.add(record);
            }
        }
        Ok(written)
    }

    /// Takes note of a record that was written; of a rollback there is nothing to note.
    pub fn note(&mut self, record: &Record) {
        if let Some(known) = Known::of(record) {
            self.add(known);
        }
    }

    /// Whether it has this record of a policy. Of a policy that is gone it has all that there will be. Never of a rollback.
    #[must_use]
    pub fn has(&self, record: &Record) -> bool {
        Known::of(record).is_some_and(|known| {
            let of_policy = self.0.get(&known.uid);
            of_policy.is_some_and(|it| it.deleted || it.lines.contains(&known))
        })
    }

    /// The policies of which it has a record, and not that they are gone.
    pub fn policies(&self) -> impl Iterator<Item = &PolicyRecord> {
        let there = self.0.values().filter(|it| !it.deleted);
        there.map(|it| &it.policy)
    }

    fn add(&mut self, known: Known) {
        let of_policy = self.0.entry(known.uid.clone()).or_insert_with(|| OfPolicy {
            policy: PolicyRecord {
                at: known.at,
                namespace: known.namespace.clone(),
                policy: known.policy.clone(),
                uid: known.uid.clone(),
            },
            lines: HashSet::new(),
            deleted: false,
        });
        if known.kind == Kind::PolicyDeleted {
            of_policy.deleted = true;
            // Nothing is asked about it any more.
            of_policy.lines.clear();
        } else {
            of_policy.lines.insert(known);
        }
    }
}
