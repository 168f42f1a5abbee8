//! Putting configuration back, if it may be.

use std::collections::{BTreeMap, BTreeSet};

use backstop_api::{
    config::{ConfigKey, ConfigKind, ConfigRef},
    names::{ANNOTATION_LAST_APPLIED, ANNOTATION_RESTORED_BY, FIELD_MANAGER},
};
use backstop_engine::config::{
    content::Content,
    ownership,
    restore::{Restore, restorable},
    users::User,
};
use kube::api::{DynamicObject, ObjectMeta, PostParams, TypeMeta};
use serde_json::{Value, json};

use super::{
    Place,
    keep::{LoadError, load},
    keys::KeyRing,
    objects::{get, present, value},
    users::users_of,
};
use crate::{calls::CallError, observe::managed_fields};

/// So often is a lost race run again at once.
const RACES: usize = 8;

/// What is to be put back, and on whose behalf.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The configuration of the release that is restored.
    pub at_point: &'a [ConfigRef],
    /// The configuration that was recorded with the release that failed.
    pub at_failed: &'a [ConfigRef],
    /// The Deployments that the policy looks after.
    pub own: &'a BTreeSet<String>,
    /// The RollbackEvent.
    pub event: &'a str,
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The object.
    pub key: ConfigKey,
    /// Whether it is as it was at the point.
    pub holds: bool,
    /// Whether something was written.
    pub written: bool,
    /// What was done, or why nothing was: for the event.
    pub said: String,
}

impl Outcome {
    fn of(restore: &Restore, key: &ConfigKey) -> Self {
        Self {
            key: key.clone(),
            holds: restore.restores(),
            written: matches!(restore, Restore::Write | Restore::Create),
            said: restore.say(key),
        }
    }

    fn left(key: &ConfigKey, why: &str) -> Self {
        Self {
            key: key.clone(),
            holds: false,
            written: false,
            said: format!("{key} is left as it is: {why}"),
        }
    }
}

/// Puts back what may be put back, one object after the other, and says of each what became of it.
///
/// Safe to do twice. An error is worth another try of the whole; what cannot be done ends as an
/// outcome and keeps no other object from going back.
pub async fn restore(
    place: Place<'_>,
    ring: &KeyRing,
    wanted: Wanted<'_>,
) -> Result<Vec<Outcome>, CallError> {
    let mut users = None;
    let mut outcomes = Vec::new();
    for at_point in wanted.at_point {
        outcomes.push(restore_one(place, ring, wanted, at_point, &mut users).await?);
    }
    Ok(outcomes)
}

type Users = BTreeMap<ConfigKey, BTreeSet<User>>;

async fn restore_one(
    place: Place<'_>,
    ring: &KeyRing,
    wanted: Wanted<'_>,
    at_point: &ConfigRef,
    users: &mut Option<Users>,
) -> Result<Outcome, CallError> {
    let key = &at_point.key;
    let at_failed = wanted.at_failed.iter().find(|r| r.key == *key);
    // Whose the fields were before the first write of ours: a later look shows them as ours.
    let mut before: Option<Vec<Value>> = None;
    let mut done: Option<Outcome> = None;
    for _ in 0..RACES {
        let found = match get(place, key).await {
            Ok(found) => found,
            Err(CallError::Refused { code, .. }) => {
                return Ok(Outcome::left(
                    key,
                    &format!("Backstop may not read it ({code})"),
                ));
            }
            Err(error) => return Err(error),
        };
        let now = found
            .as_ref()
            .map(|object| present(place.namespace, ring.identity(), key, object));
        let mut decision = restorable(at_point, at_failed, now.as_ref(), &[]);
        if matches!(decision, Restore::Write | Restore::Create) {
            // Only now is it worth asking who else uses it.
            let used = match users {
                Some(users) => users,
                None => match users_of(place, wanted.own).await {
                    Ok(found) => users.insert(found),
                    Err(CallError::Refused { code, .. }) => {
                        return Ok(Outcome::left(key, &unknown_users(code)));
                    }
                    Err(error) => return Err(error),
                },
            };
            let used: Vec<User> = used.get(key).into_iter().flatten().cloned().collect();
            decision = restorable(at_point, at_failed, now.as_ref(), &used);
        }
        let attempt = match (&decision, found) {
            (Restore::Write, Some(object)) => {
                before = Some(managed_fields(&object));
                let content = match contents(place, ring, at_point).await? {
                    Ok(content) => content,
                    Err(why) => return Ok(Outcome::left(key, &why)),
                };
                write(place, key, &object, &content).await
            }
            (Restore::Create, _) => {
                let content = match contents(place, ring, at_point).await? {
                    Ok(content) => content,
                    Err(why) => return Ok(Outcome::left(key, &why)),
                };
                create(place, at_point, &content, wanted.event).await
            }
            (Restore::Already, Some(object)) => {
                // Ours may still be the fields, from the write just now or from before a crash.
                hand_back(place, key, &object, before.as_deref()).await?;
                return Ok(done.unwrap_or_else(|| Outcome::of(&decision, key)));
            }
            _ => return Ok(Outcome::of(&decision, key)),
        };
        match attempt {
            // Looked at again: the next round sees that it holds, and hands the fields back.
            Ok(()) => done = Some(Outcome::of(&decision, key)),
            // Changed, made or deleted in between: again.
            Err(
                CallError::Conflict { .. }
                | CallError::AlreadyExists { .. }
                | CallError::NotFound { .. },
            ) => {}
            Err(CallError::Refused { code, message, .. }) => {
                return Ok(Outcome::left(key, &refused(key.kind, code, &message)));
            }
            Err(error) => return Err(error),
        }
    }
    Err(CallError::Conflict {
        operation: "patch configuration",
        message: format!("{key} is written by others all the time"),
    })
}

/// The contents that the point has; or in words why there are none.
async fn contents(
    place: Place<'_>,
    ring: &KeyRing,
    at_point: &ConfigRef,
) -> Result<Result<Content, String>, CallError> {
    match load(place, ring, at_point).await {
        Ok(content) => Ok(Ok(content)),
        Err(LoadError::Store(error)) => Ok(Err(format!(
            "the contents on record cannot be had: {error}"
        ))),
        Err(LoadError::Call(CallError::Refused { code, .. })) => Ok(Err(format!(
            "Backstop may not read the Secret that keeps its contents ({code})"
        ))),
        Err(LoadError::Call(error)) => Err(error),
    }
}

fn unknown_users(code: u16) -> String {
    format!("Backstop may not list everything that runs pods ({code}), so others may use it")
}

/// Why a change was refused. What is said about a Secret might repeat what is in it.
fn refused(kind: ConfigKind, code: u16, message: &str) -> String {
    match kind {
        ConfigKind::ConfigMap => format!("the API server refuses the change ({code}): {message}"),
        ConfigKind::Secret => format!(
            "the API server refuses the change ({code}); its words are left out, since they may \
             repeat contents"
        ),
    }
}

/// Writes the contents, if it is still this version of this object. The version stands for the data
/// that was seen: a test of the data itself would say the same at twice the size.
async fn write(
    place: Place<'_>,
    key: &ConfigKey,
    object: &Value,
    content: &Content,
) -> Result<(), CallError> {
    let mut operations = preconditions(object);
    operations.extend(changes(key.kind, object, content));
    patch(place, key, operations).await.map(|_| ())
}

fn preconditions(object: &Value) -> Vec<Value> {
    ["uid", "resourceVersion"]
        .iter()
        .map(|field| {
            let path = format!("/metadata/{field}");
            json!({"op": "test", "path": path, "value": object["metadata"][*field]})
        })
        .collect()
}

/// The contents, and kubectl's annotation with them.
fn changes(kind: ConfigKind, object: &Value, content: &Content) -> Vec<Value> {
    // `add` replaces what is there.
    let mut operations = vec![json!({"op": "add", "path": "/data", "value": content.data})];
    if !content.binary_data.is_empty() {
        operations.push(json!({"op": "add", "path": "/binaryData", "value": content.binary_data}));
    } else if object.get("binaryData").is_some() {
        operations.push(json!({"op": "remove", "path": "/binaryData"}));
    }
    let applied = object["metadata"]["annotations"][ANNOTATION_LAST_APPLIED].as_str();
    let before = Content::of(kind, object);
    if let (Some(applied), Some(before)) = (applied, before)
        && let Some(text) = ownership::last_applied(applied, &before, content)
    {
        let path = format!(
            "/metadata/annotations/{}",
            ANNOTATION_LAST_APPLIED.replace('/', "~1")
        );
        operations.push(json!({"op": "replace", "path": path, "value": text}));
    }
    operations
}

async fn patch(
    place: Place<'_>,
    key: &ConfigKey,
    operations: Vec<Value>,
) -> Result<Value, CallError> {
    let operation = match key.kind {
        ConfigKind::ConfigMap => "patch configmap",
        ConfigKind::Secret => "patch secret",
    };
    let api = place.objects(key.kind);
    let operations = Value::Array(operations);
    let calls = place.calls;
    let patched = calls.json_patch(operation, &api, &key.name, &operations);
    patched.await.map(value)
}

async fn create(
    place: Place<'_>,
    at_point: &ConfigRef,
    content: &Content,
    event: &str,
) -> Result<(), CallError> {
    let (operation, key) = match at_point.key.kind {
        ConfigKind::ConfigMap => ("create configmap", &at_point.key),
        ConfigKind::Secret => ("create secret", &at_point.key),
    };
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PostParams::default()
    };
    let object = made(at_point, content, event);
    let api = place.objects(key.kind);
    let created = api.create(&params, &object);
    place.calls.write(operation, created).await.map(|_| ())
}

/// The object that is made where it was gone.
fn made(at_point: &ConfigRef, content: &Content, event: &str) -> DynamicObject {
    let mut fields = content.fields();
    if at_point.immutable {
        fields["immutable"] = json!(true);
    }
    DynamicObject {
        types: Some(TypeMeta {
            api_version: "v1".into(),
            kind: at_point.key.kind.name().into(),
        }),
        metadata: ObjectMeta {
            name: Some(at_point.key.name.clone()),
            annotations: Some([(ANNOTATION_RESTORED_BY.to_owned(), event.to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: fields,
    }
}

/// Gives the fields back to those who had them, in a patch of its own: in one with the contents the
/// server would add our entry again. A courtesy to the next apply, and not worth failing for.
async fn hand_back(
    place: Place<'_>,
    key: &ConfigKey,
    object: &Value,
    before: Option<&[Value]>,
) -> Result<(), CallError> {
    let current = managed_fields(object);
    let handed = ownership::hand_back(before.unwrap_or(&current), &current, FIELD_MANAGER);
    if handed == current {
        return Ok(());
    }
    let mut operations = preconditions(object);
    operations.push(json!({"op": "replace", "path": "/metadata/managedFields", "value": handed}));
    match patch(place, key, operations).await {
        Ok(_) => Ok(()),
        // Somebody writes it at this moment, and owns what they write.
        Err(
            CallError::Conflict { .. } | CallError::NotFound { .. } | CallError::Refused { .. },
        ) => {
            tracing::warn!(
                namespace = place.namespace,
                %key,
                "ownership of the contents could not be handed back; the next kubectl apply \
                 --server-side may need --force-conflicts once"
            );
            Ok(())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(kind: ConfigKind, object: &Value) -> Content {
        Content::of(kind, object).unwrap()
    }

    /// The object as JSON Patch leaves it, or why a test does not hold.
    fn patched(object: &Value, operations: &[Value]) -> Option<Value> {
        let mut object = object.clone();
        for operation in operations {
            let path = operation["path"].as_str()?;
            let (parent, last) = path.rsplit_once('/')?;
            let last = last.replace("~1", "/");
            let parent = object.pointer_mut(parent)?.as_object_mut()?;
            match operation["op"].as_str()? {
                "test" if parent.get(&last) == Some(&operation["value"]) => {}
                "add" => {
                    parent.insert(last, operation["value"].clone());
                }
                "replace" if parent.contains_key(&last) => {
                    parent.insert(last, operation["value"].clone());
                }
                "remove" => {
                    parent.remove(&last)?;
                }
                _ => return None,
            }
        }
        Some(object)
    }

    #[test]
    fn a_write_leaves_exactly_the_contents_of_the_point() {
        let object = json!({
            "metadata": {"name": "web", "uid": "u", "resourceVersion": "7", "labels": {"app": "web"}},
            "data": {"a": "2", "added": "x"},
            "binaryData": {"b": "AA=="},
        });
        let point = content(ConfigKind::ConfigMap, &json!({"data": {"a": "1"}}));
        let mut operations = preconditions(&object);
        operations.extend(changes(ConfigKind::ConfigMap, &object, &point));
        let after = patched(&object, &operations).unwrap();
        assert_eq!(content(ConfigKind::ConfigMap, &after), point);
        assert_eq!(after["metadata"], object["metadata"]);
    }

    #[test]
    fn a_write_is_for_this_version_of_this_object_alone() {
        let object = json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "data": {}});
        let point = content(ConfigKind::ConfigMap, &json!({"data": {"a": "1"}}));
        let mut operations = preconditions(&object);
        operations.extend(changes(ConfigKind::ConfigMap, &object, &point));
        for (field, value) in [("uid", "v"), ("resourceVersion", "8")] {
            let mut other = object.clone();
            other["metadata"][field] = json!(value);
            assert_eq!(patched(&other, &operations), None, "{field}");
        }
    }

    #[test]
    fn the_manifest_that_kubectl_remembers_goes_back_too() {
        let applied = json!({"data": {"a": "2", "added": "x"}}).to_string();
        let object = json!({
            "metadata": {"uid": "u", "resourceVersion": "7", "annotations": {ANNOTATION_LAST_APPLIED: applied}},
            "data": {"a": "2", "added": "x"},
        });
        let point = content(ConfigKind::ConfigMap, &json!({"data": {"a": "1"}}));
        let operations = changes(ConfigKind::ConfigMap, &object, &point);
        let after = patched(&object, &operations).unwrap();
        let text = after["metadata"]["annotations"][ANNOTATION_LAST_APPLIED].as_str();
        let manifest: Value = serde_json::from_str(text.unwrap()).unwrap();
        assert_eq!(manifest, json!({"data": {"a": "1"}}));
    }

    #[test]
    fn what_is_made_again_says_who_made_it_and_has_no_label() {
        let at_point = ConfigRef {
            immutable: true,
            ..ConfigRef::absent(ConfigKey::secret("db"), false)
        };
        let point = content(
            ConfigKind::Secret,
            &json!({"type": "kubernetes.io/basic-auth", "data": {"password": "MQ=="}}),
        );
        let made = serde_json::to_value(made(&at_point, &point, "web-1")).unwrap();
        assert_eq!(
            made,
            json!({
                "apiVersion": "v1", "kind": "Secret", "immutable": true,
                "type": "kubernetes.io/basic-auth", "data": {"password": "MQ=="},
                "metadata": {"name": "db", "annotations": {"backstop.dev/restored-by": "web-1"}},
            })
        );
    }

    #[test]
    fn what_the_server_says_of_a_secret_is_not_repeated() {
        let message = "data.token: Invalid value: hunter2";
        assert!(!refused(ConfigKind::Secret, 422, message).contains("hunter2"));
        assert!(refused(ConfigKind::ConfigMap, 422, message).contains("hunter2"));
    }
}
