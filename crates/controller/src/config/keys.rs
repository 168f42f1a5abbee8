//! The keys for configuration: one by which contents are told apart, and some by which Secrets are
//! encrypted. They are kept in a Secret of the operator's namespace.

use std::{collections::BTreeMap, fmt};

use backstop_api::{
    config::ConfigKind,
    names::{ANNOTATION_ENCRYPTS_WITH, CONFIG_KEYS_SECRET},
};
use backstop_engine::config::content::{self, KEY_LENGTH};
use jiff::civil::Date;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    ResourceExt,
    api::{ObjectMeta, Patch, PatchParams},
};
use secrecy::{ExposeSecret, SecretBox};
use serde_json::json;
use thiserror::Error;

use super::Place;
use crate::calls::CallError;

/// The entry of the key by which contents are told apart.
const IDENTITY: &str = "identity";
/// How long the names of days are: `2026-01-31`.
const DAY: usize = 10;

type Key = SecretBox<[u8; KEY_LENGTH]>;

/// What is wrong with a key. Says which, and never what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// An entry has not the length of a key.
    #[error(
        "Secret {CONFIG_KEYS_SECRET}: data.{entry} has {length} bytes, and a key has {KEY_LENGTH}; \
         make one with `head -c {KEY_LENGTH} /dev/urandom`"
    )]
    WrongLength {
        /// The entry.
        entry: String,
        /// How many bytes it has.
        length: usize,
    },
    /// An entry is not named as a key is.
    #[error(
        "Secret {CONFIG_KEYS_SECRET}: data.{entry} is not named like a key; begin the name with the \
         day on which the key was made, as 2026-01-31"
    )]
    NotADay {
        /// The entry.
        entry: String,
    },
    /// The key by which contents are told apart is missing.
    #[error(
        "Secret {CONFIG_KEYS_SECRET}: data.{IDENTITY} is missing; put it back from a backup, since \
         with another one every release with configuration is a new release"
    )]
    NoIdentity,
    /// There is no key to encrypt with.
    #[error("Secret {CONFIG_KEYS_SECRET} has no key to encrypt with; add one named like today")]
    NoKey,
    /// The annotation names a key that is not there.
    #[error(
        "Secret {CONFIG_KEYS_SECRET}: the annotation {ANNOTATION_ENCRYPTS_WITH} names key {id}, \
         which is not there"
    )]
    NoSuchChoice {
        /// The key that it names.
        id: String,
    },
    /// Something is encrypted with a key that is not there any more.
    #[error(
        "it is encrypted with key {id}, which is not in Secret {CONFIG_KEYS_SECRET} any more; put \
         that key back"
    )]
    Unknown {
        /// The key.
        id: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// Why the keys could not be had.
#[derive(Debug, Error)]
pub enum KeysError {
    /// The API server.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What is in the Secret.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The keys. Printing it shows their names.
pub struct KeyRing {
    identity: Key,
    /// A key that is not one costs only what is encrypted with it.
    keys: BTreeMap<String, Result<Key, KeyError>>,
    chosen: Option<String>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("keys", &self.keys.keys())
            .finish_non_exhaustive()
    }
}

impl KeyRing {
    /// The keys in a Secret: `identity`, and any number of others that are named like the day on
    /// which they were made. The last of these encrypts, or the one that the annotation names.
    pub fn parse(secret: &Secret) -> Result<Self, KeyError> {
        let data = secret.data.as_ref();
        let mut keys = BTreeMap::new();
        let mut identity = None;
        for (entry, ByteString(bytes)) in data.into_iter().flatten() {
            let key = key(entry, bytes);
            if entry == IDENTITY {
                identity = Some(key?);
            } else {
                let named = day(entry).ok_or_else(|| KeyError::NotADay {
                    entry: entry.clone(),
                });
                keys.insert(entry.clone(), named.and(key));
            }
        }
        Ok(Self {
            identity: identity.ok_or(KeyError::NoIdentity)?,
            keys,
            chosen: secret.annotations().get(ANNOTATION_ENCRYPTS_WITH).cloned(),
        })
    }

    /// The key by which contents are told apart. It never changes: see [`KeyError::NoIdentity`].
    #[must_use]
    pub fn identity(&self) -> &[u8; KEY_LENGTH] {
        self.identity.expose_secret()
    }

    /// The name of the key that encrypts.
    pub fn encrypts_with(&self) -> Result<&str, KeyError> {
        match &self.chosen {
            Some(id) if self.keys.contains_key(id) => Ok(id),
            Some(id) => Err(KeyError::NoSuchChoice { id: id.clone() }),
            // A name that is no day may sort last; it was never meant to encrypt.
            None => self
                .keys
                .keys()
                .rfind(|id| day(id).is_some())
                .map(String::as_str)
                .ok_or(KeyError::NoKey),
        }
    }

    /// The names of all keys, the newest first.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().rev().map(String::as_str)
    }

    /// The key of this name.
    pub(super) fn key(&self, id: &str) -> Result<&[u8; KEY_LENGTH], KeyError> {
        match self.keys.get(id) {
            Some(Ok(key)) => Ok(key.expose_secret()),
            Some(Err(error)) => Err(error.clone()),
            None => Err(KeyError::Unknown { id: id.to_owned() }),
        }
    }

    /// Every entry that is no key, in words.
    pub fn problems(&self) -> impl Iterator<Item = &KeyError> {
        self.keys.values().filter_map(|key| key.as_ref().err())
    }

    /// Whether it is time for a new key: the newest is so old. Never while a person has chosen which one encrypts.
    #[must_use]
    pub fn is_due(&self, today: Date, after_days: u16) -> bool {
        if self.chosen.is_some() {
            return false;
        }
        let newest = self.keys.keys().rev().find_map(|id| day(id));
        newest.is_none_or(|made| (today - made).get_days() >= i32::from(after_days))
    }

    /// HMAC-SHA256 under the key of identities.
    pub(super) fn keyed(&self, purpose: &str, parts: &[&[u8]]) -> String {
        content::keyed(self.identity(), purpose, parts)
    }
}

fn key(entry: &str, bytes: &[u8]) -> Result<Key, KeyError> {
    if bytes.len() != KEY_LENGTH {
        return Err(KeyError::WrongLength {
            entry: entry.to_owned(),
            length: bytes.len(),
        });
    }
    Ok(SecretBox::init_with_mut(|key: &mut [u8; KEY_LENGTH]| {
        key.copy_from_slice(bytes);
    }))
}

/// The day on which a key was made.
pub(super) fn day(id: &str) -> Option<Date> {
    id.get(..DAY)?.parse().ok()
}

fn random() -> Result<ByteString, KeyError> {
    let mut bytes = vec![0; KEY_LENGTH];
    getrandom::fill(&mut bytes).map_err(|_| KeyError::NoRandomness)?;
    Ok(ByteString(bytes))
}

/// A Secret with new keys.
pub fn generate(today: Date) -> Result<Secret, KeyError> {
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(CONFIG_KEYS_SECRET.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([
            (IDENTITY.to_owned(), random()?),
            (today.to_string(), random()?),
        ])),
        ..Secret::default()
    })
}

/// The keys. Where there are none yet they are made, and where the newest is old another is added;
/// old ones stay, for what is encrypted with them.
///
/// `place` is the operator's own namespace. Safe to do by several replicas at once: the one that
/// comes second takes what the first has made.
pub async fn key_ring(
    place: Place<'_>,
    today: Date,
    rotation_days: u16,
) -> Result<KeyRing, KeysError> {
    match read_again(place, today, rotation_days).await {
        Err(KeysError::Call(CallError::NotFound { .. })) => {
            let api = place.objects(ConfigKind::Secret);
            let fresh = untyped(&generate(today)?);
            let created = place.calls.create("create secret", &api, &fresh).await;
            match created {
                Ok(_) | Err(CallError::AlreadyExists { .. }) => {
                    read_again(place, today, rotation_days).await
                }
                Err(error) => Err(error.into()),
            }
        }
        read => read,
    }
}

/// The same where there have been keys: others in their place would make every release with
/// configuration a new one, so none are made.
pub(super) async fn read_again(
    place: Place<'_>,
    today: Date,
    rotation_days: u16,
) -> Result<KeyRing, KeysError> {
    let ring = read(place).await?;
    if !ring.is_due(today, rotation_days) {
        return Ok(ring);
    }
    add(place, today).await?;
    read(place).await
}

async fn read(place: Place<'_>) -> Result<KeyRing, KeysError> {
    let api = place.objects(ConfigKind::Secret);
    let found = place
        .calls
        .read("get secret", api.get(CONFIG_KEYS_SECRET))
        .await?;
    let secret: Secret = serde_json::to_value(&found)
        .and_then(serde_json::from_value)
        // An error of the parser would show what it could not parse.
        .map_err(|_| KeyError::NoIdentity)?;
    Ok(KeyRing::parse(&secret)?)
}

/// Adds a key named like today, unless somebody has.
async fn add(place: Place<'_>, today: Date) -> Result<(), KeysError> {
    let api = place.objects(ConfigKind::Secret);
    let found = place
        .calls
        .read("get secret", api.get(CONFIG_KEYS_SECRET))
        .await?;
    if found.data["data"].get(today.to_string()).is_some() {
        return Ok(());
    }
    // By the version: a key that another replica adds meanwhile must not be replaced, since
    // something may be encrypted with it already.
    let patch = json!({
        "metadata": {"resourceVersion": found.resource_version()},
        "data": {today.to_string(): random()?},
    });
    let patch = Patch::Merge(patch);
    let params = PatchParams::default();
    let patched = api.patch(CONFIG_KEYS_SECRET, &params, &patch);
    match place.calls.write("patch secret", patched).await {
        Ok(_) | Err(CallError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The Secret as an object without a type: see the module's front page.
pub(super) fn untyped(secret: &Secret) -> kube::api::DynamicObject {
    let fields = json!({
        "data": secret.data, "type": secret.type_, "immutable": secret.immutable,
    });
    kube::api::DynamicObject {
        types: Some(kube::api::TypeMeta {
            api_version: "v1".into(),
            kind: "Secret".into(),
        }),
        metadata: secret.metadata.clone(),
        data: fields,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn ring(entries: &[(&str, &[u8])]) -> Result<KeyRing, KeyError> {
        KeyRing::parse(&secret(entries))
    }

    fn secret(entries: &[(&str, &[u8])]) -> Secret {
        let data = entries
            .iter()
            .map(|(id, bytes)| ((*id).to_owned(), ByteString(bytes.to_vec())))
            .collect();
        Secret {
            data: Some(data),
            ..Secret::default()
        }
    }

    #[test]
    fn the_newest_key_encrypts_unless_another_is_chosen() {
        let mut secret = secret(&[
            ("identity", &[0; 32]),
            ("2026-11-23", &[2; 32]),
            ("2026-02-01", &[1; 32]),
            ("2026-11-23-b", &[3; 32]),
        ]);
        let ring = KeyRing::parse(&secret).unwrap();
        assert_eq!(ring.encrypts_with(), Ok("2026-11-23-b"));
        assert_eq!(ring.key("2026-02-01"), Ok(&[1; 32]));
        let choice = |id: &str| [(ANNOTATION_ENCRYPTS_WITH.to_owned(), id.to_owned())];
        secret.metadata.annotations = Some(choice("2026-02-01").into());
        let ring = KeyRing::parse(&secret).unwrap();
        assert_eq!(ring.encrypts_with(), Ok("2026-02-01"));
        secret.metadata.annotations = Some(choice("2027-01-01").into());
        let error = KeyRing::parse(&secret)
            .unwrap()
            .encrypts_with()
            .map(str::to_owned);
        assert_eq!(
            error,
            Err(KeyError::NoSuchChoice {
                id: "2027-01-01".into()
            })
        );
    }

    #[test]
    fn a_key_that_is_none_costs_only_what_is_encrypted_with_it() {
        let ring = ring(&[
            ("identity", &[0; 32]),
            ("2026-01-01", &[1; 32]),
            ("2026-02-01", &[2; 31]),
            ("zebra", &[3; 32]),
        ])
        .unwrap();
        assert_eq!(ring.key("2026-01-01"), Ok(&[1; 32]));
        let short = KeyError::WrongLength {
            entry: "2026-02-01".into(),
            length: 31,
        };
        assert!(short.to_string().contains("data.2026-02-01 has 31 bytes"));
        assert_eq!(ring.key("2026-02-01"), Err(short));
        // Not the one before: that would go back on a rotation without a word.
        assert_eq!(ring.encrypts_with(), Ok("2026-02-01"));
        assert_eq!(
            ring.key("2025-01-01"),
            Err(KeyError::Unknown {
                id: "2025-01-01".into()
            })
        );
        assert_eq!(ring.problems().count(), 2);
    }

    #[test]
    fn without_a_key_of_identities_nothing_can_be_told_apart() {
        let none = ring(&[("2026-01-01", &[1; 32])]).unwrap_err();
        assert_eq!(none, KeyError::NoIdentity);
        let short = ring(&[("identity", &[1; 16])]).unwrap_err();
        assert_eq!(
            short,
            KeyError::WrongLength {
                entry: "identity".into(),
                length: 16
            }
        );
        let only = ring(&[("identity", &[1; 32])]).unwrap();
        assert_eq!(only.encrypts_with(), Err(KeyError::NoKey));
    }

    #[test]
    fn new_keys_are_whole_and_different() {
        let today: Date = "2026-11-23".parse().unwrap();
        let [a, b] = [generate(today), generate(today)].map(|s| KeyRing::parse(&s.unwrap()));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.encrypts_with(), Ok("2026-11-23"));
        assert_ne!(a.identity(), b.identity());
        assert_ne!(a.key("2026-11-23"), b.key("2026-11-23"));
        assert_ne!(a.key("2026-11-23"), Ok(a.identity()));
    }

    #[test]
    fn a_key_is_due_after_ninety_days_and_not_while_a_person_chooses() {
        let mut secret = secret(&[("identity", &[0; 32]), ("2026-01-01", &[1; 32])]);
        let due = |secret: &Secret, today: &str| {
            KeyRing::parse(secret)
                .unwrap()
                .is_due(today.parse().unwrap(), 90)
        };
        assert!(!due(&secret, "2026-03-31"));
        assert!(due(&secret, "2026-04-01"));
        let choice = (ANNOTATION_ENCRYPTS_WITH.to_owned(), "2026-01-01".to_owned());
        secret.metadata.annotations = Some([choice].into());
        assert!(!due(&secret, "2026-04-01"));
    }

    #[test]
    fn keys_are_never_printed() {
        let key: Vec<u8> = (100..132).collect();
        let ring = ring(&[("identity", &key), ("2026-01-01", &key)]).unwrap();
        let text = format!("{ring:?} {:?}", ring.keys.values().collect::<Vec<_>>());
        assert!(!text.contains("100"), "{text}");
        assert!(!text.contains(&hex::encode(&key)), "{text}");
        assert!(text.contains("2026-01-01"), "{text}");
    }
}
