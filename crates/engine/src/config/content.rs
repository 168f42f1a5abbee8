//! Contents of a ConfigMap or Secret, and their identity.

use std::{collections::BTreeMap, fmt};

use backstop_api::config::{ConfigKey, ConfigKind};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

/// How long the key of identities is, in bytes.
pub const KEY_LENGTH: usize = 32;

/// Says for what a key is used, so that no two uses can be taken for each other.
const PURPOSE: &str = "backstop.dev/config/v1";

/// The contents of a ConfigMap or Secret, as the server returns them.
///
/// Printing it tells how many entries there are and nothing else, not even their names.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Content {
    /// A Secret's type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// A ConfigMap's text, or a Secret's values in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// A ConfigMap's binary values in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub binary_data: BTreeMap<String, String>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("entries", &(self.data.len() + self.binary_data.len()))
            .finish_non_exhaustive()
    }
}

impl Content {
    /// The contents of this object; `None` where something in it is not as Kubernetes defines it.
    #[must_use]
    pub fn of(kind: ConfigKind, object: &Value) -> Option<Self> {
        let type_ = match kind {
            ConfigKind::ConfigMap => None,
            ConfigKind::Secret => Some(
                object
                    .get("type")
                    .and_then(Value::as_str)
                    .unwrap_or("Opaque")
                    .to_owned(),
            ),
        };
        Some(Self {
            type_,
            data: texts(object.get("data"))?,
            binary_data: match kind {
                ConfigKind::ConfigMap => texts(object.get("binaryData"))?,
                ConfigKind::Secret => BTreeMap::new(),
            },
        })
    }

    /// The contents as bytes: equal contents are equal bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Maps of text with sorted keys: this cannot fail, and has one form only.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The contents of these bytes. Says nothing of them where they are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The fields of an object that has these contents: `data`, `binaryData` and `type`.
    #[must_use]
    pub fn fields(&self) -> Value {
        let mut fields = json!({"data": self.data});
        if !self.binary_data.is_empty() {
            fields["binaryData"] = json!(self.binary_data);
        }
        if let Some(type_) = &self.type_ {
            fields["type"] = json!(type_);
        }
        fields
    }

    /// Identity of the contents of the object `key` in this namespace: HMAC-SHA256, 64 hex digits.
    ///
    /// The object is part of it. Otherwise whoever may write Secrets in one namespace could guess
    /// what is in another's, by comparing what Backstop says of both. Its UID is not: an object that
    /// was made anew with the same contents is the same configuration.
    #[must_use]
    pub fn hash(&self, secret: &[u8; KEY_LENGTH], namespace: &str, key: &ConfigKey) -> String {
        let parts: [&[u8]; 4] = [
            namespace.as_bytes(),
            key.kind.name().as_bytes(),
            key.name.as_bytes(),
            &self.to_bytes(),
        ];
        keyed(secret, PURPOSE, &parts)
    }
}

/// HMAC-SHA256 over parts, each with its length before it so that no two lists of parts are the same
/// bytes; 64 hex digits.
#[must_use]
pub fn keyed(secret: &[u8; KEY_LENGTH], purpose: &str, parts: &[&[u8]]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of whatever length");
    for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    hex::encode(mac.finalize().into_bytes())
}

fn texts(map: Option<&Value>) -> Option<BTreeMap<String, String>> {
    match map {
        None | Some(Value::Null) => Some(BTreeMap::new()),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; KEY_LENGTH] = [7; KEY_LENGTH];

    fn content(entries: &[(&str, &str)]) -> Content {
        let data: BTreeMap<_, _> = entries.iter().copied().collect();
        Content::of(ConfigKind::ConfigMap, &json!({"data": data})).unwrap()
    }

    fn hash(content: &Content) -> String {
        content.hash(&KEY, "shop", &ConfigKey::config_map("web"))
    }

    #[test]
    fn the_hash_is_the_hmac_that_others_would_compute() {
        // Computed with another implementation (Python's hmac) over the same bytes.
        let expected = "5bd81c21b09e92da75277201ac562d8a5a7b8fa076b72f96243952df1d626389";
        assert_eq!(hash(&content(&[("a", "1"), ("b", "2")])), expected);
    }

    #[test]
    fn the_same_contents_in_another_namespace_kind_or_name_are_not_recognised() {
        let one = content(&[("a", "1")]);
        let of = |namespace: &str, key: &ConfigKey| one.hash(&KEY, namespace, key);
        let all = [
            of("shop", &ConfigKey::config_map("web")),
            of("bank", &ConfigKey::config_map("web")),
            of("shop", &ConfigKey::secret("web")),
            of("shop", &ConfigKey::config_map("api")),
            one.hash(&[8; KEY_LENGTH], "shop", &ConfigKey::config_map("web")),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn text_and_binary_values_and_the_type_are_told_apart() {
        let of = |kind, object: Value| hash(&Content::of(kind, &object).unwrap());
        let text = of(ConfigKind::ConfigMap, json!({"data": {"a": "MQ=="}}));
        let binary = of(ConfigKind::ConfigMap, json!({"binaryData": {"a": "MQ=="}}));
        let opaque = of(ConfigKind::Secret, json!({"data": {"a": "MQ=="}}));
        let tls = of(
            ConfigKind::Secret,
            json!({"data": {"a": "MQ=="}, "type": "kubernetes.io/tls"}),
        );
        let different = std::collections::BTreeSet::from([&text, &binary, &opaque, &tls]);
        assert_eq!(different.len(), 4);
        assert_eq!(
            opaque,
            of(
                ConfigKind::Secret,
                json!({"data": {"a": "MQ=="}, "type": "Opaque"})
            )
        );
    }

    #[test]
    fn labels_and_versions_say_nothing_about_contents() {
        let a = json!({"metadata": {"resourceVersion": "1"}, "data": {"a": "1"}});
        let b = json!({"metadata": {"resourceVersion": "2", "labels": {"x": "y"}}, "data": {"a": "1"}, "immutable": true});
        let of = |object| Content::of(ConfigKind::ConfigMap, object).unwrap();
        assert_eq!(of(&a), of(&b));
    }

    #[test]
    fn contents_are_never_printed() {
        let secret = Content::of(
            ConfigKind::Secret,
            &json!({"data": {"token": "aHVudGVyMg=="}}),
        )
        .unwrap();
        for text in [format!("{secret:?}"), format!("{secret:#?}")] {
            assert!(!text.contains("aHVudGVyMg"), "{text}");
            assert!(!text.contains("token"), "{text}");
        }
    }

    #[test]
    fn what_is_not_text_is_no_content() {
        assert_eq!(
            Content::of(ConfigKind::ConfigMap, &json!({"data": {"a": 1}})),
            None
        );
        assert_eq!(
            Content::of(ConfigKind::ConfigMap, &json!({"data": "a"})),
            None
        );
        assert_eq!(
            Content::from_bytes(b"{\"data\":{\"a\":\"1\"},\"more\":1}"),
            None
        );
    }

    fn any_content() -> impl Strategy<Value = Content> {
        let map = || proptest::collection::btree_map("[a-c]{1,2}", ".{0,3}", 0..3);
        (proptest::option::of("[A-B]"), map(), map()).prop_map(|(type_, data, binary_data)| {
            Content {
                type_,
                data,
                binary_data,
            }
        })
    }

    proptest! {
        #[test]
        fn bytes_and_hash_tell_contents_apart_and_nothing_else(a in any_content(), b in any_content()) {
            prop_assert!(Content::from_bytes(&a.to_bytes()).as_ref() == Some(&a));
            prop_assert_eq!(a == b, hash(&a) == hash(&b));
        }

        #[test]
        fn parts_cannot_be_shifted_into_each_other(a in "[ab]{0,4}", b in "[ab]{0,4}", cut in 0_usize..5) {
            let joined = format!("{a}{b}");
            let cut = cut.min(joined.len());
            let (c, d) = joined.split_at(cut);
            let same = a == c;
            let of = |x: &str, y: &str| keyed(&KEY, "test", &[x.as_bytes(), y.as_bytes()]);
            prop_assert_eq!(of(&a, &b) == of(c, d), same);
        }
    }
}
