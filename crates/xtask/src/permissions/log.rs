//! What the API servers wrote about the operator.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::kept;
use crate::generate::rbac::{NAMESPACE, Right, SERVICE_ACCOUNT};

/// How the operator calls itself. Tests that act in its place do not.
const AGENT: &str = "backstop/";

/// The parts of an audit event that matter here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    #[serde(default)]
    response_status: ResponseStatus,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
}

/// What was asked about.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    api_group: String,
    namespace: String,
}

/// How it was answered.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
    message: String,
}

impl Line {
    /// The operator's, or nothing.
    fn parse(text: &str) -> Option<Self> {
        // The last line may have been cut off.
        let line: Self = serde_json::from_str(text).ok()?;
        let operator = format!("system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}");
        (line.user.username == operator && line.user_agent.starts_with(AGENT)).then_some(line)
    }

    /// What the API server said of it, if it refused.
    pub(super) fn message(&self) -> &str {
        &self.response_status.message
    }

    fn key(&self) -> Key {
        let object = self.object_ref.as_ref();
        let resource = object.map_or_else(String::new, |o| match o.subresource.as_str() {
            "" => o.resource.clone(),
            subresource => format!("{}/{subresource}", o.resource),
        });
        Key {
            own: object.is_some_and(|o| o.namespace == NAMESPACE),
            group: object.map(|o| o.api_group.clone()).unwrap_or_default(),
            resource,
            verb: self.verb.clone(),
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    own: bool,
    group: String,
    resource: String,
    verb: String,
}

/// Everything that the operator asked for, counted.
#[derive(Debug, Default)]
pub(super) struct Requests {
    allowed: BTreeMap<Key, usize>,
    refused: BTreeMap<String, usize>,
}

impl Requests {
    /// Reads every log of a folder.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let entries = fs::read_dir(folder).with_context(|| {
            format!(
                "there are no audit logs in {}; `cargo xtask test` makes them",
                folder.display()
            )
        })?;
        let mut requests = Self::default();
        for entry in entries {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "jsonl")
            {
                let lines = BufReader::new(File::open(&path)?).lines();
                for line in lines {
                    requests
                        .add(&line.with_context(|| format!("could not read {}", path.display()))?);
                }
            }
        }
        ensure!(
            requests.total() > 0,
            "no request of the operator is in the audit logs of {}",
            folder.display()
        );
        Ok(requests)
    }

    fn add(&mut self, text: &str) {
        let Some(line) = Line::parse(text) else {
            return;
        };
        if line.response_status.code != 403 {
            *self.allowed.entry(line.key()).or_default() += 1;
        } else if kept::refusal(&line).is_none() {
            let Key { resource, verb, .. } = line.key();
            let words = format!("{verb} {resource}: {}", line.message());
            *self.refused.entry(words).or_default() += 1;
        }
    }

    /// How often a right was used.
    pub(super) fn count(&self, right: &Right) -> usize {
        let is_use = |key: &&Key| {
            key.own == right.own
                && key.group == right.group
                && key.resource == right.resource
                && key.verb == right.verb
        };
        self.allowed
            .iter()
            .filter(|(key, _)| is_use(key))
            .map(|(_, count)| count)
            .sum()
    }

    /// How many there were.
    pub(super) fn total(&self) -> usize {
        self.allowed.values().chain(self.refused.values()).sum()
    }

    /// What was refused, in words, and how often.
    pub(super) fn refused(&self) -> Vec<String> {
        let refused = self.refused.iter();
        refused
            .map(|(words, count)| format!("{count} times {words}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn right(role: &'static str, own: bool, resource: &str, verb: &'static str) -> Right {
        Right {
            role,
            own,
            group: String::new(),
            resource: resource.to_owned(),
            verb,
        }
    }

    fn line(namespace: &str, verb: &str, code: u16, more: Value) -> String {
        let mut line = json!({
            "verb": verb,
            "user": {"username": "system:serviceaccount:backstop-system:backstop"},
            "userAgent": "backstop/0.1.0",
            "objectRef": {"resource": "secrets", "namespace": namespace, "apiVersion": "v1"},
            "responseStatus": {"code": code, "message": "secrets is forbidden"},
        });
        if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        line.to_string()
    }

    fn read(lines: &[String]) -> Requests {
        let mut requests = Requests::default();
        for line in lines {
            requests.add(line);
        }
        requests
    }

    #[test]
    fn a_right_in_the_operators_namespace_is_not_used_elsewhere() {
        let requests = read(&[
            line("shop", "get", 200, json!({})),
            line("shop", "get", 404, json!({})),
        ]);
        assert_eq!(
            requests.count(&right("backstop-secrets", false, "secrets", "get")),
            2
        );
        assert_eq!(
            requests.count(&right("backstop-leader-election", true, "secrets", "get")),
            0
        );
        assert_eq!(
            requests.count(&right("backstop-secrets", false, "secrets", "patch")),
            0
        );
    }

    #[test]
    fn what_a_test_does_in_the_operators_place_is_no_use_of_its_rights() {
        let by_hand = json!({"userAgent": "kubectl/v1.36.3"});
        let by_another = json!({"user": {"username": "alice"}});
        let requests = read(&[
            line("shop", "get", 200, by_hand),
            line("shop", "get", 403, by_another),
        ]);
        assert_eq!(requests.total(), 0);
    }

    #[test]
    fn a_subresource_is_a_right_of_its_own() {
        let object = json!({"resource": "secrets", "subresource": "status", "namespace": "shop"});
        let requests = read(&[line("shop", "patch", 200, json!({"objectRef": object}))]);
        assert_eq!(
            requests.count(&right("backstop", false, "secrets", "patch")),
            0
        );
        assert_eq!(
            requests.count(&right("backstop", false, "secrets/status", "patch")),
            1
        );
    }

    #[test]
    fn what_was_refused_is_no_use_and_is_told_with_the_reason() {
        let requests = read(&[
            line("shop", "list", 403, json!({})),
            line("shop", "list", 403, json!({})),
        ]);
        assert_eq!(
            requests.count(&right("backstop-secrets", false, "secrets", "list")),
            0
        );
        assert_eq!(
            requests.refused(),
            ["2 times list secrets: secrets is forbidden"]
        );
    }

    #[test]
    fn a_namespace_that_goes_refuses_nobody_for_want_of_a_right() {
        let message =
            "unable to create new content in namespace shop because it is being terminated";
        let status = json!({"responseStatus": {"code": 403, "message": message}});
        let requests = read(&[line("shop", "create", 403, status)]);
        assert!(requests.refused().is_empty() && requests.total() == 0);
    }

    #[test]
    fn half_a_line_is_left_out() {
        let whole = line("shop", "get", 200, json!({}));
        let requests = read(&[whole.clone(), whole[..whole.len() / 2].to_owned()]);
        assert_eq!(requests.total(), 1);
    }
}
