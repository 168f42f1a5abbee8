//! Encrypting and decrypting: AES-256-GCM.

use std::fmt;

use aes_gcm::{
    Aes256Gcm, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use backstop_api::config::ConfigKey;
use secrecy::zeroize::Zeroizing;
use thiserror::Error;

use super::keys::{KeyError, KeyRing};

/// How long a nonce is, in bytes.
pub const NONCE_LENGTH: usize = 12;
/// Goes into what is authenticated, so that another form of it cannot be taken for this one.
const FORM: &str = "backstop.dev/sealed/v1";

/// Which object contents are of. What was encrypted as one object's is not decrypted as another's,
/// wherever somebody may have moved it.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The object's namespace.
    pub namespace: &'a str,
    /// The object.
    pub key: &'a ConfigKey,
    /// Its UID.
    pub uid: &'a str,
}

impl Binding<'_> {
    /// Each part with its length before it, so that no two bindings are the same bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [
            FORM,
            self.namespace,
            self.key.kind.name(),
            &self.key.name,
            self.uid,
        ] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        bytes
    }
}

/// Encrypted contents.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The key that they are encrypted with.
    pub key_id: String,
    /// Random, and never used twice with a key.
    pub nonce: [u8; NONCE_LENGTH],
    /// The contents, with the tag by which a change of them is noticed.
    pub ciphertext: Vec<u8>,
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// Why contents could not be encrypted or decrypted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// They were changed, are another object's, or were encrypted with another key of that name.
    #[error("it does not decrypt with key {key_id}: it was changed, or the key was")]
    Broken {
        /// The key.
        key_id: String,
    },
}

impl KeyRing {
    /// Encrypts with the newest key.
    pub fn seal(&self, binding: Binding<'_>, contents: &[u8]) -> Result<Envelope, SealError> {
        let key_id = self.encrypts_with()?.to_owned();
        let mut nonce = [0; NONCE_LENGTH];
        getrandom::fill(&mut nonce).map_err(|_| KeyError::NoRandomness)?;
        let payload = Payload {
            msg: contents,
            aad: &binding.bytes(),
        };
        let ciphertext = Aes256Gcm::new(self.key(&key_id)?.into())
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| SealError::Broken {
                key_id: key_id.clone(),
            })?;
        Ok(Envelope {
            key_id,
            nonce,
            ciphertext,
        })
    }

    /// Decrypts, if nothing was changed. What comes out is wiped when it is dropped.
    pub fn open(
        &self,
        binding: Binding<'_>,
        envelope: &Envelope,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let payload = Payload {
            msg: &envelope.ciphertext,
            aad: &binding.bytes(),
        };
        Aes256Gcm::new(self.key(&envelope.key_id)?.into())
            .decrypt(&Nonce::from(envelope.nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| SealError::Broken {
                key_id: envelope.key_id.clone(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::keys::tests::ring, *};

    const CONTENTS: &[u8] = b"hunter2 and more";

    fn binding<'a>(namespace: &'a str, key: &'a ConfigKey, uid: &'a str) -> Binding<'a> {
        Binding {
            namespace,
            key,
            uid,
        }
    }

    fn old_and_new() -> KeyRing {
        ring(&[
            ("identity", &[0; 32]),
            ("2026-01-01", &[1; 32]),
            ("2026-04-01", &[2; 32]),
        ])
        .unwrap()
    }

    #[test]
    fn what_was_encrypted_with_an_older_key_still_opens() {
        let key = ConfigKey::secret("db");
        let here = binding("shop", &key, "u");
        let before = ring(&[("identity", &[0; 32]), ("2026-01-01", &[1; 32])]).unwrap();
        let envelope = before.seal(here, CONTENTS).unwrap();
        assert_eq!(envelope.key_id, "2026-01-01");
        assert_eq!(
            old_and_new().open(here, &envelope).unwrap().as_slice(),
            CONTENTS
        );
        let after = old_and_new().seal(here, CONTENTS).unwrap();
        assert_eq!(after.key_id, "2026-04-01");
        assert_eq!(
            before.open(here, &after),
            Err(SealError::Key(KeyError::Unknown {
                id: "2026-04-01".into()
            }))
        );
    }

    #[test]
    fn what_is_one_objects_does_not_open_as_anothers() {
        let key = ConfigKey::secret("db");
        let ring = old_and_new();
        let envelope = ring.seal(binding("shop", &key, "u"), CONTENTS).unwrap();
        let config_map = ConfigKey::config_map("db");
        let other = ConfigKey::secret("db2");
        for wrong in [
            binding("bank", &key, "u"),
            binding("shop", &config_map, "u"),
            binding("shop", &other, "u"),
            binding("shop", &key, "v"),
            binding("sho", &key, "pu"),
        ] {
            let opened = ring.open(wrong, &envelope);
            assert!(matches!(opened, Err(SealError::Broken { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn every_change_is_noticed() {
        let key = ConfigKey::secret("db");
        let (ring, here) = (old_and_new(), binding("shop", &key, "u"));
        let envelope = ring.seal(here, CONTENTS).unwrap();
        for at in 0..envelope.ciphertext.len() {
            let mut changed = envelope.clone();
            changed.ciphertext[at] ^= 1;
            assert!(ring.open(here, &changed).is_err(), "byte {at}");
        }
        let mut changed = envelope.clone();
        changed.nonce[0] ^= 1;
        assert!(ring.open(here, &changed).is_err());
        let mut changed = envelope;
        changed.key_id = "2026-01-01".into();
        assert_eq!(
            ring.open(here, &changed),
            Err(SealError::Broken {
                key_id: "2026-01-01".into()
            })
        );
    }

    #[test]
    fn the_same_contents_never_look_the_same() {
        let key = ConfigKey::secret("db");
        let (ring, here) = (old_and_new(), binding("shop", &key, "u"));
        let [a, b] = [(); 2].map(|()| ring.seal(here, CONTENTS).unwrap());
        assert_ne!(a.nonce, b.nonce);
        assert_ne!(a.ciphertext, b.ciphertext);
        let shown = String::from_utf8_lossy(&a.ciphertext).into_owned();
        assert!(!shown.contains("hunter2"));
    }

    /// Test case 16 of the paper that defines GCM (McGrew and Viega), with the key of 256 bits: the
    /// cipher is what it is called.
    #[test]
    fn it_is_aes_256_gcm() {
        let bytes = |text: &str| hex::decode(text).unwrap();
        let key: [u8; 32] =
            bytes("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
                .try_into()
                .unwrap();
        let nonce: [u8; NONCE_LENGTH] = bytes("cafebabefacedbaddecaf888").try_into().unwrap();
        let plain = bytes(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let aad = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let payload = Payload {
            msg: &plain,
            aad: &aad,
        };
        let out = Aes256Gcm::new(&key.into())
            .encrypt(&Nonce::from(nonce), payload)
            .unwrap();
        assert_eq!(
            hex::encode(out),
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
        );
    }
}
