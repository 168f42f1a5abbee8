//! Suspending an object of a GitOps tool, and making it work again as before.
//!
//! What is needed for that stands on the object: it must be there when the policy is not.

use std::collections::BTreeMap;

use backstop_api::names::{ANNOTATION_SUSPENDED, ANNOTATION_SUSPENDED_BY};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::object::Kind;

/// What Backstop notes on an object that it suspends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// The policy: its namespace and name, with a slash between.
    pub policy: String,
    /// The rollback that it would undo.
    pub event: String,
    /// What the object would have applied then.
    pub revision: String,
    /// The automated sync of an Application as it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automated: Option<Value>,
}

impl Mark {
    /// What is noted on an object; `None` where nothing is, or nothing that can be read.
    #[must_use]
    pub fn of(object: &Value) -> Option<Self> {
        let text = object["metadata"]["annotations"][ANNOTATION_SUSPENDED].as_str()?;
        serde_json::from_str(text).ok()
    }

    /// What is noted in an object's annotations.
    #[must_use]
    pub fn on(annotations: &BTreeMap<String, String>) -> Option<Self> {
        serde_json::from_str(annotations.get(ANNOTATION_SUSPENDED)?).ok()
    }
}

/// Whether the object does nothing by itself.
#[must_use]
pub fn rests(kind: Kind, object: &Value) -> bool {
    match kind {
        Kind::Kustomization | Kind::HelmRelease => {
            object.pointer("/spec/suspend") == Some(&json!(true))
        }
        Kind::Application => {
            let automated = object.pointer("/spec/syncPolicy/automated");
            automated.is_none_or(|a| a.is_null() || a.get("enabled") == Some(&json!(false)))
        }
    }
}

/// A JSON Patch that suspends the object, and says on it why; `None` where it rests already.
#[must_use]
pub fn suspend(kind: Kind, object: &Value, mark: &Mark, why: &str) -> Option<Value> {
    if rests(kind, object) {
        return None;
    }
    let mut mark = mark.clone();
    let mut operations = tests(object);
    match kind {
        Kind::Kustomization | Kind::HelmRelease => {
            operations.push(json!({"op": "add", "path": "/spec/suspend", "value": true}));
        }
        Kind::Application => {
            mark.automated = object.pointer("/spec/syncPolicy/automated").cloned();
            operations.push(json!({"op": "remove", "path": "/spec/syncPolicy/automated"}));
        }
    }
    let mut annotations = annotations(object);
    annotations[ANNOTATION_SUSPENDED_BY] = json!(why);
    annotations[ANNOTATION_SUSPENDED] = json!(serde_json::to_string(&mark).ok()?);
    operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": annotations}));
    Some(Value::Array(operations))
}

/// A JSON Patch that makes the object work again as before, and takes the mark away; `None` where there
/// is no mark: then it rests by somebody else's wish, or not at all.
#[must_use]
pub fn resume(kind: Kind, object: &Value) -> Option<Value> {
    let mark = Mark::of(object)?;
    let mut annotations = annotations(object);
    let marks = annotations.as_object_mut()?;
    marks.remove(ANNOTATION_SUSPENDED_BY);
    marks.remove(ANNOTATION_SUSPENDED);
    let mut operations = tests(object);
    if rests(kind, object) {
        match kind {
            Kind::Kustomization | Kind::HelmRelease => {
                operations.push(json!({"op": "remove", "path": "/spec/suspend"}));
            }
            Kind::Application => {
                // Somebody who has written `enabled: false` there wants no sync.
                let nothing = object.pointer("/spec/syncPolicy/automated").is_none();
                if let Some(before) = mark.automated.filter(|_| nothing) {
                    let policy = object.pointer("/spec/syncPolicy").cloned();
                    let mut policy = policy.filter(Value::is_object).unwrap_or(json!({}));
                    policy["automated"] = before;
                    let path = "/spec/syncPolicy";
                    operations.push(json!({"op": "add", "path": path, "value": policy}));
                }
            }
        }
    }
    let path = "/metadata/annotations";
    operations.push(if marks.is_empty() {
        json!({"op": "remove", "path": path})
    } else {
        json!({"op": "add", "path": path, "value": annotations})
    });
    Some(Value::Array(operations))
}

/// Only if it is still this object, as it was read.
fn tests(object: &Value) -> Vec<Value> {
    let test = |key: &str| {
        let path = format!("/metadata/{key}");
        json!({"op": "test", "path": path, "value": object["metadata"][key]})
    };
    vec![test("uid"), test("resourceVersion")]
}

fn annotations(object: &Value) -> Value {
    let found = object.pointer("/metadata/annotations");
    found
        .filter(|a| a.is_object())
        .cloned()
        .unwrap_or(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark {
            policy: "shop/web".into(),
            event: "web-1".into(),
            revision: "main@sha1:aaa".into(),
            automated: None,
        }
    }

    fn suspended(kind: Kind, object: &Value) -> Option<Value> {
        Some(patched(
            object.clone(),
            &suspend(kind, object, &mark(), "it fails")?,
        ))
    }

    fn patched(mut object: Value, operations: &Value) -> Value {
        for operation in operations.as_array().unwrap() {
            let path = operation["path"].as_str().unwrap();
            let (parent, key) = path.rsplit_once('/').unwrap();
            let place = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            match operation["op"].as_str().unwrap() {
                "test" => assert_eq!(place.get(key), Some(&operation["value"])),
                "add" => drop(place.insert(key.to_owned(), operation["value"].clone())),
                "remove" => assert!(place.remove(key).is_some()),
                other => panic!("{other}"),
            }
        }
        object
    }

    fn objects() -> Vec<(Kind, Value)> {
        let automated = json!({"prune": true, "selfHeal": true});
        let specs = [
            (Kind::Kustomization, json!({"path": "./"})),
            (Kind::HelmRelease, json!({"interval": "1m"})),
            (
                Kind::Application,
                json!({"syncPolicy": {"automated": automated, "retry": {}}}),
            ),
        ];
        let bare = json!({"uid": "u", "resourceVersion": "1"});
        let annotated =
            json!({"uid": "u", "resourceVersion": "1", "annotations": {"team": "shop"}});
        let of = |meta: &Value| {
            let meta = meta.clone();
            specs
                .clone()
                .map(move |(kind, spec)| (kind, json!({"metadata": meta.clone(), "spec": spec})))
        };
        of(&bare).into_iter().chain(of(&annotated)).collect()
    }

    #[test]
    fn what_was_suspended_is_afterwards_as_it_was_before() {
        for (kind, before) in objects() {
            let resting = suspended(kind, &before).unwrap();
            assert!(rests(kind, &resting) && !rests(kind, &before), "{kind:?}");
            let noted = Mark::of(&resting).unwrap();
            assert_eq!(
                (noted.policy.as_str(), noted.event.as_str()),
                ("shop/web", "web-1")
            );
            assert_eq!(
                resting["metadata"]["annotations"][ANNOTATION_SUSPENDED_BY],
                "it fails"
            );
            let after = patched(resting.clone(), &resume(kind, &resting).unwrap());
            assert_eq!(after, before, "{kind:?}");
        }
    }

    #[test]
    fn what_rests_by_somebody_elses_wish_is_left_alone() {
        let meta = json!({"uid": "u", "resourceVersion": "1"});
        let flux = json!({"metadata": meta, "spec": {"suspend": true}});
        let argo = json!({"metadata": meta, "spec": {"syncPolicy": {}}});
        let off =
            json!({"metadata": meta, "spec": {"syncPolicy": {"automated": {"enabled": false}}}});
        for (kind, object) in [
            (Kind::Kustomization, flux),
            (Kind::Application, argo),
            (Kind::Application, off),
        ] {
            assert_eq!(suspend(kind, &object, &mark(), "it fails"), None);
            assert_eq!(resume(kind, &object), None);
        }
    }

    #[test]
    fn what_a_person_made_of_it_meanwhile_stays() {
        for (kind, before) in objects() {
            let mut changed = suspended(kind, &before).unwrap();
            let wish = match kind {
                Kind::Application => json!({"automated": {"enabled": false}}),
                _ => json!(false),
            };
            let key = if kind == Kind::Application {
                "syncPolicy"
            } else {
                "suspend"
            };
            changed["spec"][key] = wish.clone();
            let after = patched(changed.clone(), &resume(kind, &changed).unwrap());
            assert_eq!(after["spec"][key], wish, "{kind:?}");
            assert_eq!(Mark::of(&after), None);
            // Whoever takes the mark away keeps it suspended.
            let mut kept = suspended(kind, &before).unwrap();
            kept["metadata"]["annotations"] = json!({});
            assert_eq!(resume(kind, &kept), None);
        }
    }
}
