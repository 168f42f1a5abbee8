//! The Secrets in which contents are kept beside points. Pure.
//!
//! A store is immutable and named by what is in it, so points of releases that had the same contents
//! share one, and nobody can change what a point refers to: whatever comes out of a store is checked
//! against the hash in the point.
//!
//! A ConfigMap's contents are compressed: text shrinks to a fraction, and the largest ConfigMap that
//! Kubernetes takes still fits. They are not encrypted, so losing the keys loses no ConfigMap. A
//! Secret's are encrypted and not compressed, since their size would then tell something of them.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
};

use backstop_api::{
    config::{ConfigKind, ConfigRef, StoreRef},
    names::{
        self, ANNOTATION_CONFIG_HASH, ANNOTATION_CONFIG_NAME, ANNOTATION_CONFIG_UID,
        CONFIG_STORE_PREFIX, CONFIG_STORE_TYPE, LABEL_CONFIG_KEY, LABEL_CONFIG_KIND,
        LABEL_CONFIG_NAME,
    },
};
use backstop_engine::config::content::Content;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::api::ObjectMeta;
use secrecy::zeroize::Zeroizing;
use thiserror::Error;

use super::{
    keys::KeyRing,
    seal::{Binding, Envelope, SealError},
};

/// So many bytes are kept in a store. Kubernetes takes 1 MiB in a Secret, and etcd 1.5 MiB in a
/// request with everything around it.
pub const LIMIT: usize = 1_000_000;
/// No contents are larger than this: 1 MiB, of which each byte may take six in JSON.
const LARGEST: u64 = 8 * 1024 * 1024;

const COMPRESSED: &str = "content.gz";
const NONCE: &str = "nonce";
const CIPHERTEXT: &str = "ciphertext";

const PURPOSE: &str = "backstop.dev/config-store/v1";
/// 128 bits of the name's HMAC: enough that no two contents meet, and short enough for a column.
const DIGITS: usize = 32;

/// Why contents could not be kept, or are not to be had. Says nothing of them but their size.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// They are too large.
    #[error("they take {size} bytes, and no more than {LIMIT} can be kept")]
    TooLarge {
        /// How many bytes they take, encrypted or compressed.
        size: usize,
    },
    /// There is nothing to keep, or the point does not say where it is kept.
    #[error("there are none")]
    Nothing,
    /// The Secret is not there any more.
    #[error("Secret {name}, which kept them, is not there any more")]
    Gone {
        /// Its name.
        name: String,
    },
    /// What is in the Secret is not what the point refers to.
    #[error("Secret {name} does not hold what the point refers to; somebody has replaced it")]
    Damaged {
        /// Its name.
        name: String,
    },
    /// Encryption.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The Secret that keeps these contents, and how the point refers to it.
pub fn build(
    ring: &KeyRing,
    namespace: &str,
    reference: &ConfigRef,
    content: &Content,
) -> Result<(Secret, StoreRef), StoreError> {
    let (Some(uid), Some(hash)) = (&reference.uid, &reference.hash) else {
        return Err(StoreError::Nothing);
    };
    let bytes = Zeroizing::new(content.to_bytes());
    let (data, key_id) = match reference.key.kind {
        ConfigKind::ConfigMap => {
            let data = BTreeMap::from([(COMPRESSED.to_owned(), compress(&bytes))]);
            (data, None)
        }
        ConfigKind::Secret => {
            let sealed = ring.seal(binding(namespace, reference, uid), &bytes)?;
            let data = BTreeMap::from([
                (NONCE.to_owned(), sealed.nonce.to_vec()),
                (CIPHERTEXT.to_owned(), sealed.ciphertext),
            ]);
            (data, Some(sealed.key_id))
        }
    };
    let size = data.values().map(Vec::len).sum();
    if size > LIMIT {
        return Err(StoreError::TooLarge { size });
    }
    let store = StoreRef {
        name: name(ring, namespace, reference, uid, hash, key_id.as_deref()),
        key_id,
    };
    let secret = Secret {
        metadata: metadata(reference, &store, uid, hash),
        type_: Some(CONFIG_STORE_TYPE.to_owned()),
        immutable: Some(true),
        data: Some(
            data.into_iter()
                .map(|(entry, bytes)| (entry, ByteString(bytes)))
                .collect(),
        ),
        ..Secret::default()
    };
    Ok((secret, store))
}

/// The contents that this store keeps, if they are those that the point refers to.
pub fn open(
    ring: &KeyRing,
    namespace: &str,
    reference: &ConfigRef,
    secret: &Secret,
) -> Result<Content, StoreError> {
    let (Some(store), Some(uid), Some(hash)) = (&reference.store, &reference.uid, &reference.hash)
    else {
        return Err(StoreError::Nothing);
    };
    let damaged = || StoreError::Damaged {
        name: store.name.clone(),
    };
    let entry = |name: &str| secret.data.as_ref()?.get(name).map(|b| b.0.as_slice());
    let bytes = match &store.key_id {
        None => entry(COMPRESSED).and_then(decompress).ok_or_else(damaged)?,
        Some(key_id) => {
            let envelope = Envelope {
                key_id: key_id.clone(),
                nonce: entry(NONCE)
                    .and_then(|nonce| nonce.try_into().ok())
                    .ok_or_else(damaged)?,
                ciphertext: entry(CIPHERTEXT).ok_or_else(damaged)?.to_vec(),
            };
            ring.open(binding(namespace, reference, uid), &envelope)?
        }
    };
    let content = Content::from_bytes(&bytes).ok_or_else(damaged)?;
    if content.hash(ring.identity(), namespace, &reference.key) != *hash {
        return Err(damaged());
    }
    Ok(content)
}

/// Where else the same contents may lie, the newest key first: they are encrypted anew when another key encrypts.
pub fn elsewhere(ring: &KeyRing, namespace: &str, reference: &ConfigRef) -> Vec<ConfigRef> {
    let (Some(store), Some(uid), Some(hash)) = (&reference.store, &reference.uid, &reference.hash)
    else {
        return Vec::new();
    };
    // What is not encrypted stays where it is.
    let others = store
        .key_id
        .iter()
        .flat_map(|key| ring.names().filter(move |id| *id != key.as_str()));
    others
        .map(|id| {
            let name = name(ring, namespace, reference, uid, hash, Some(id));
            let key_id = Some(id.to_owned());
            ConfigRef {
                store: Some(StoreRef { name, key_id }),
                ..reference.clone()
            }
        })
        .collect()
}

fn binding<'a>(namespace: &'a str, reference: &'a ConfigRef, uid: &'a str) -> Binding<'a> {
    Binding {
        namespace,
        key: &reference.key,
        uid,
    }
}

/// The store's name: of the object, its contents, and the key. So after a rotation the next point
/// keeps the same contents anew, encrypted with the new key, and the old key is needed no longer
/// than the old points are.
fn name(
    ring: &KeyRing,
    namespace: &str,
    reference: &ConfigRef,
    uid: &str,
    hash: &str,
    key_id: Option<&str>,
) -> String {
    let parts: [&[u8]; 6] = [
        namespace.as_bytes(),
        reference.key.kind.name().as_bytes(),
        reference.key.name.as_bytes(),
        uid.as_bytes(),
        hash.as_bytes(),
        key_id.unwrap_or_default().as_bytes(),
    ];
    let digest = ring.keyed(PURPOSE, &parts);
    format!("{CONFIG_STORE_PREFIX}{}", &digest[..DIGITS])
}

fn metadata(reference: &ConfigRef, store: &StoreRef, uid: &str, hash: &str) -> ObjectMeta {
    let key = &reference.key;
    let mut labels = BTreeMap::from([
        (LABEL_CONFIG_KIND.to_owned(), key.kind.name().to_owned()),
        (LABEL_CONFIG_NAME.to_owned(), names::label_value(&key.name)),
    ]);
    if let Some(key_id) = &store.key_id {
        labels.insert(LABEL_CONFIG_KEY.to_owned(), names::label_value(key_id));
    }
    let annotations = [
        (ANNOTATION_CONFIG_NAME, key.name.as_str()),
        (ANNOTATION_CONFIG_UID, uid),
        (ANNOTATION_CONFIG_HASH, hash),
    ];
    ObjectMeta {
        name: Some(store.name.clone()),
        labels: Some(labels),
        annotations: Some(
            annotations
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        ),
        ..ObjectMeta::default()
    }
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("writing into memory does not fail")
}

/// `None` where it is no gzip, or larger than any contents.
fn decompress(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::new());
    let read = GzDecoder::new(bytes)
        .take(LARGEST + 1)
        .read_to_end(&mut out)
        .ok()?;
    (read as u64 <= LARGEST).then_some(out)
}

#[cfg(test)]
mod tests {
    use backstop_api::config::ConfigKey;
    use kube::ResourceExt;
    use serde_json::json;

    use super::{super::keys::tests::ring as parse, *};

    fn ring() -> KeyRing {
        parse(&[("identity", &[9; 32]), ("2026-01-01", &[1; 32])]).unwrap()
    }

    fn rotated() -> KeyRing {
        parse(&[
            ("identity", &[9; 32]),
            ("2026-01-01", &[1; 32]),
            ("2026-04-01", &[2; 32]),
        ])
        .unwrap()
    }

    fn captured(key: ConfigKey, data: &serde_json::Value) -> (ConfigRef, Content) {
        let content = Content::of(key.kind, &json!({"data": data})).unwrap();
        let reference = ConfigRef {
            uid: Some("u-1".into()),
            hash: Some(content.hash(ring().identity(), "shop", &key)),
            ..ConfigRef::absent(key, false)
        };
        (reference, content)
    }

    fn kept(ring: &KeyRing, mut reference: ConfigRef, content: &Content) -> (ConfigRef, Secret) {
        let (secret, store) = build(ring, "shop", &reference, content).unwrap();
        reference.store = Some(store);
        (reference, secret)
    }

    fn both() -> [(ConfigRef, Content); 2] {
        [
            captured(ConfigKey::config_map("web"), &json!({"a": "hunter2"})),
            captured(ConfigKey::secret("web"), &json!({"a": "aHVudGVyMg=="})),
        ]
    }

    #[test]
    fn what_is_kept_comes_back() {
        for (reference, content) in both() {
            let (reference, secret) = kept(&ring(), reference, &content);
            assert_eq!(open(&ring(), "shop", &reference, &secret), Ok(content));
            assert_eq!(secret.immutable, Some(true));
            assert_eq!(secret.type_.as_deref(), Some("backstop.dev/config"));
        }
    }

    #[test]
    fn a_secrets_contents_are_nowhere_in_the_store() {
        let [_, (reference, content)] = both();
        let (_, secret) = kept(&ring(), reference, &content);
        let shown = serde_json::to_string(&secret).unwrap();
        let raw: Vec<u8> = secret
            .data
            .iter()
            .flatten()
            .flat_map(|(_, bytes)| bytes.0.clone())
            .collect();
        let raw = String::from_utf8_lossy(&raw).into_owned();
        for contents in ["hunter2", "aHVudGVyMg"] {
            assert!(!shown.contains(contents) && !raw.contains(contents));
        }
        assert_eq!(secret.labels()[LABEL_CONFIG_KEY], "2026-01-01");
    }

    #[test]
    fn the_same_contents_are_kept_once_and_others_apart() {
        let name = |data: &serde_json::Value, uid: &str| {
            let (mut reference, content) = captured(ConfigKey::secret("web"), data);
            reference.uid = Some(uid.into());
            kept(&ring(), reference, &content).1.name_any()
        };
        let one = name(&json!({"a": "MQ=="}), "u-1");
        assert_eq!(name(&json!({"a": "MQ=="}), "u-1"), one);
        assert_ne!(name(&json!({"a": "Mg=="}), "u-1"), one);
        assert_ne!(name(&json!({"a": "MQ=="}), "u-2"), one);
    }

    #[test]
    fn after_a_rotation_secrets_are_kept_anew_and_config_maps_are_not() {
        let [config_map, secret] = both().map(|(reference, content)| {
            let before = kept(&ring(), reference.clone(), &content);
            let after = kept(&rotated(), reference, &content);
            let opened = open(&rotated(), "shop", &before.0, &before.1);
            assert_eq!(opened, Ok(content));
            before.1.name_any() == after.1.name_any()
        });
        assert!(config_map);
        assert!(!secret);
    }

    #[test]
    fn a_store_that_was_replaced_is_noticed() {
        for (reference, content) in both() {
            let (_, other) = captured(reference.key.clone(), &json!({"a": "Mg=="}));
            let mut forged_reference = reference.clone();
            forged_reference.hash = Some(other.hash(ring().identity(), "shop", &reference.key));
            let (_, forged) = kept(&ring(), forged_reference, &other);
            let (reference, _) = kept(&ring(), reference, &content);
            let opened = open(&ring(), "shop", &reference, &forged);
            assert!(
                matches!(opened, Err(StoreError::Damaged { .. })),
                "{opened:?}"
            );
            let empty = open(&ring(), "shop", &reference, &Secret::default());
            assert!(
                matches!(empty, Err(StoreError::Damaged { .. })),
                "{empty:?}"
            );
        }
    }

    #[test]
    fn the_largest_config_map_of_text_fits() {
        let line = "log_level = info # as everywhere\n";
        let text = line.repeat(1_048_576 / line.len());
        let (reference, content) = captured(ConfigKey::config_map("web"), &json!({"a": text}));
        let (reference, secret) = kept(&ring(), reference, &content);
        assert_eq!(open(&ring(), "shop", &reference, &secret), Ok(content));
    }

    #[test]
    fn what_does_not_fit_is_said_with_its_size() {
        let (reference, content) = captured(
            ConfigKey::secret("web"),
            &json!({"a": "A".repeat(1_000_000)}),
        );
        let error = build(&ring(), "shop", &reference, &content).unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            // JSON around it, and 12 bytes of nonce and 16 of tag.
            "they take 1000061 bytes, and no more than 1000000 can be kept"
        );
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = compress(&vec![0; usize::try_from(LARGEST).unwrap() + 1]);
        assert_eq!(decompress(&bomb), None);
        assert_eq!(decompress(b"no gzip"), None);
    }

    #[test]
    fn errors_say_nothing_of_contents() {
        let [_, (reference, content)] = both();
        let (mut reference, mut secret) = kept(&ring(), reference, &content);
        let mut said = Vec::new();
        let wrong_namespace = open(&ring(), "bank", &reference, &secret).unwrap_err();
        said.push(format!("{wrong_namespace} {wrong_namespace:?}"));
        let entries = secret.data.as_mut().unwrap();
        entries.insert(CIPHERTEXT.into(), ByteString(b"hunter2".to_vec()));
        let damaged = open(&ring(), "shop", &reference, &secret).unwrap_err();
        said.push(format!("{damaged} {damaged:?}"));
        reference.store.as_mut().unwrap().key_id = None;
        entries_with_plain_text(&mut secret);
        let not_json = open(&ring(), "shop", &reference, &secret).unwrap_err();
        said.push(format!("{not_json} {not_json:?}"));
        assert_eq!(said.len(), 3);
        assert!(said.iter().all(|s| !s.contains("hunter2")), "{said:?}");
    }

    fn entries_with_plain_text(secret: &mut Secret) {
        let plain = ByteString(compress(b"{\"data\": hunter2}"));
        secret.data = Some([(COMPRESSED.to_owned(), plain)].into());
    }
}
