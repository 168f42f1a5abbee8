//! Signatures by which a receiver knows that a message is Backstop's and new: those of Standard
//! Webhooks, for which there are libraries in most languages.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;

/// What stands before a key that is written in base64.
const PREFIX: &str = "whsec_";
/// A key that is shorter could be guessed.
const SHORTEST: usize = 16;

/// The key that messages are signed with.
pub(crate) struct SigningKey(SecretBox<Vec<u8>>);

impl SigningKey {
    /// `whsec_` and base64, or any other text as it is.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let key = match text.strip_prefix(PREFIX) {
            Some(encoded) => BASE64_STANDARD
                .decode(encoded)
                .map_err(|_| "begins with whsec_ and is not base64 after it")?,
            None => text.as_bytes().to_vec(),
        };
        if key.len() < SHORTEST {
            return Err("is shorter than 16 bytes");
        }
        Ok(Self(SecretBox::new(Box::new(key))))
    }

    /// The signature of a message, as the header `webhook-signature` has it.
    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let key = self.0.expose_secret();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that Standard Webhooks gives.
    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a key");
        let signature = key.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_key_that_could_be_guessed_is_refused() {
        for (key, why) in [
            ("short", "is shorter than 16 bytes"),
            ("whsec_%%", "begins with whsec_ and is not base64 after it"),
        ] {
            assert_eq!(SigningKey::parse(key).err(), Some(why));
        }
    }
}
