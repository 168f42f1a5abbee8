//! The ConfigMaps and Secrets that a template references, as they are.

use backstop_api::config::{ConfigCapture, ConfigKey, ConfigKind, ConfigRef, SecretCapture};
use backstop_engine::config::{
    content::{Content, KEY_LENGTH},
    references::Reference,
    restore::{Present, kept_by},
};
use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

use super::Place;
use crate::calls::CallError;

/// An object that a release references: what a point says of it, and its contents.
///
/// Printing it shows no contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// What a point says of it: complete but for `store`.
    pub reference: ConfigRef,
    /// Its contents, where it is there and may be read.
    pub content: Option<Content>,
}

/// The objects that these references are about, as far as the policy wants them. Sorted as the
/// references are.
///
/// An object that a controller keeps is left out: it is no part of a release. One that may not be
/// read is in the list, and says so. An error means that nothing can be said now: the release must
/// not be told by what is known of the others.
pub async fn look(
    place: Place<'_>,
    secret: &[u8; KEY_LENGTH],
    references: &[Reference],
    config: ConfigCapture,
    secrets: SecretCapture,
) -> Result<Vec<Looked>, CallError> {
    let mut found = Vec::new();
    for reference in references {
        if is_wanted(reference.key.kind, config, secrets) {
            found.extend(look_at(place, secret, reference).await?);
        }
    }
    Ok(found)
}

fn is_wanted(kind: ConfigKind, config: ConfigCapture, secrets: SecretCapture) -> bool {
    config == ConfigCapture::Capture
        && (kind == ConfigKind::ConfigMap || secrets == SecretCapture::Encrypted)
}

async fn look_at(
    place: Place<'_>,
    secret: &[u8; KEY_LENGTH],
    reference: &Reference,
) -> Result<Option<Looked>, CallError> {
    match get(place, &reference.key).await {
        Ok(object) => Ok(looked(place.namespace, secret, reference, object.as_ref())),
        Err(CallError::Refused { code, .. }) => Ok(Some(Looked {
            reference: ConfigRef {
                not_captured: Some(format!("Backstop may not read it ({code})")),
                ..ConfigRef::absent(reference.key.clone(), reference.optional)
            },
            content: None,
        })),
        Err(error) => Err(error),
    }
}

/// What is to be said of an object; `None` where it is no part of a release.
///
/// Watched objects come this way as well: `object` is one as the server returned it.
#[must_use]
pub fn looked(
    namespace: &str,
    secret: &[u8; KEY_LENGTH],
    reference: &Reference,
    object: Option<&Value>,
) -> Option<Looked> {
    let key = &reference.key;
    let absent = ConfigRef::absent(key.clone(), reference.optional);
    let Some(object) = object else {
        return Some(Looked {
            reference: absent,
            content: None,
        });
    };
    if kept_by(object).is_some() {
        return None;
    }
    let Some(content) = Content::of(key.kind, object) else {
        let not_captured = Some("it is not what Kubernetes defines".to_owned());
        return Some(Looked {
            reference: ConfigRef {
                not_captured,
                ..absent
            },
            content: None,
        });
    };
    let reference = ConfigRef {
        uid: object
            .pointer("/metadata/uid")
            .and_then(Value::as_str)
            .map(str::to_owned),
        hash: Some(content.hash(secret, namespace, key)),
        immutable: is_immutable(object),
        type_: content.type_.clone(),
        ..absent
    };
    Some(Looked {
        reference,
        content: Some(content),
    })
}

/// The object as the decision about it wants it.
pub(super) fn present(
    namespace: &str,
    secret: &[u8; KEY_LENGTH],
    key: &ConfigKey,
    object: &Value,
) -> Present {
    let content = Content::of(key.kind, object);
    Present {
        // Contents that are none are nobody's: no hash is empty.
        hash: content
            .as_ref()
            .map(|c| c.hash(secret, namespace, key))
            .unwrap_or_default(),
        immutable: is_immutable(object),
        type_: content.and_then(|c| c.type_),
        kept_by: kept_by(object),
    }
}

fn is_immutable(object: &Value) -> bool {
    object.get("immutable").and_then(Value::as_bool) == Some(true)
}

/// The object, `None` where there is none.
pub(super) async fn get(place: Place<'_>, key: &ConfigKey) -> Result<Option<Value>, CallError> {
    let operation = match key.kind {
        ConfigKind::ConfigMap => "get configmap",
        ConfigKind::Secret => "get secret",
    };
    let api = place.objects(key.kind);
    match place.calls.read(operation, api.get(&key.name)).await {
        Ok(object) => Ok(Some(value(object))),
        Err(CallError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An object as the server returned it.
pub(super) fn value(object: DynamicObject) -> Value {
    let mut object = object;
    let mut value = object.data.take();
    if !value.is_object() {
        value = serde_json::json!({});
    }
    value["metadata"] = serde_json::to_value(&object.metadata).unwrap_or_default();
    debug_assert_eq!(
        value["metadata"]["name"].as_str(),
        Some(object.name_any().as_str())
    );
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: [u8; KEY_LENGTH] = [3; KEY_LENGTH];

    fn reference(key: ConfigKey) -> Reference {
        Reference {
            key,
            optional: true,
        }
    }

    #[test]
    fn an_object_is_told_by_its_contents() {
        let object = |value: &str, uid: &str| json!({"metadata": {"name": "db", "uid": uid}, "type": "Opaque", "data": {"a": value}, "immutable": true});
        let of = |value: &str, uid: &str| {
            looked(
                "shop",
                &KEY,
                &reference(ConfigKey::secret("db")),
                Some(&object(value, uid)),
            )
            .unwrap()
            .reference
        };
        let one = of("MQ==", "u");
        assert_eq!(one.hash, of("MQ==", "v").hash);
        assert_ne!(one.hash, of("Mg==", "u").hash);
        assert_eq!((one.uid.as_deref(), one.immutable), (Some("u"), true));
        assert_eq!(one.type_.as_deref(), Some("Opaque"));
        assert!(one.optional && one.store.is_none() && one.not_captured.is_none());
    }

    #[test]
    fn what_is_not_there_is_said_to_be_absent() {
        let absent = looked("shop", &KEY, &reference(ConfigKey::config_map("web")), None).unwrap();
        assert!(absent.reference.is_absent() && absent.content.is_none());
    }

    #[test]
    fn what_a_controller_keeps_is_no_part_of_a_release() {
        let certificate = json!({"metadata": {"annotations": {"cert-manager.io/certificate-name": "web"}}, "data": {}});
        let key = reference(ConfigKey::secret("tls"));
        assert_eq!(looked("shop", &KEY, &key, Some(&certificate)), None);
    }

    #[test]
    fn the_policy_says_what_is_wanted() {
        use ConfigCapture::{Capture, Ignore};
        use ConfigKind::{ConfigMap, Secret};
        let wanted =
            |config, secrets| [ConfigMap, Secret].map(|kind| is_wanted(kind, config, secrets));
        assert_eq!(wanted(Capture, SecretCapture::Encrypted), [true, true]);
        assert_eq!(wanted(Capture, SecretCapture::Ignore), [true, false]);
        assert_eq!(wanted(Ignore, SecretCapture::Encrypted), [false, false]);
    }

    #[test]
    fn what_was_looked_at_is_printed_without_contents() {
        let object = json!({"metadata": {}, "data": {"token": "aHVudGVyMg=="}});
        let key = reference(ConfigKey::secret("db"));
        let text = format!("{:?}", looked("shop", &KEY, &key, Some(&object)));
        assert!(
            !text.contains("aHVudGVyMg") && !text.contains("token"),
            "{text}"
        );
    }
}
