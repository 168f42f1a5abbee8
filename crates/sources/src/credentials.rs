//! What a source is asked with: the content of a Secret.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::HeaderValue;
use reqwest::{Certificate, Identity};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const TOKEN: &str = "token";
const CA: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const KEYS: [&str; 6] = [USERNAME, PASSWORD, TOKEN, CA, CERTIFICATE, KEY];

/// How to authenticate to a source, and whom to trust as it.
///
/// Equal where the Secrets' relevant contents are equal. Nothing of it is ever shown.
#[derive(Clone)]
pub struct Credentials(Arc<Parsed>);

#[derive(Default)]
struct Parsed {
    authorization: Option<Authorization>,
    roots: Option<Vec<Certificate>>,
    identity: Option<Identity>,
    fingerprint: [u8; 32],
}

struct Authorization {
    scheme: &'static str,
    /// The header's value as it is sent.
    header: SecretString,
    /// What must not appear in any text: the password or token, and the encoded pair.
    secrets: Vec<SecretString>,
}

impl Credentials {
    /// No authentication, and the system's certificate authorities.
    pub fn none() -> Self {
        Self(Arc::default())
    }

    /// Reads the data of a Secret: `username` with `password`, or `token`; `ca.crt` to trust instead
    /// of the system's authorities; `tls.crt` with `tls.key` to authenticate by certificate.
    ///
    /// Other keys are ignored, as a service account's Secret has a `namespace`. A line break at the
    /// end of a value is taken for an accident of the shell that made it.
    pub fn from_secret(data: &BTreeMap<String, Vec<u8>>) -> Result<Self, CredentialsError> {
        if !KEYS.iter().any(|key| data.contains_key(*key)) {
            return Err(CredentialsError::NothingKnown);
        }
        let authorization = match (
            text(data, USERNAME)?,
            text(data, PASSWORD)?,
            text(data, TOKEN)?,
        ) {
            (None, None, None) => None,
            (None, None, Some(token)) => Some(Authorization::bearer(token)?),
            (Some(username), Some(password), None) => {
                Some(Authorization::basic(username, password)?)
            }
            (Some(_), None, None) => return Err(CredentialsError::missing(PASSWORD, USERNAME)),
            (None, Some(_), None) => return Err(CredentialsError::missing(USERNAME, PASSWORD)),
            (username, _, Some(_)) => {
                let other = if username.is_some() {
                    USERNAME
                } else {
                    PASSWORD
                };
                return Err(CredentialsError::Contradictory { key: TOKEN, other });
            }
        };
        let identity = match (text(data, CERTIFICATE)?, text(data, KEY)?) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(identity(certificate, key)?),
            (Some(_), None) => return Err(CredentialsError::missing(KEY, CERTIFICATE)),
            (None, Some(_)) => return Err(CredentialsError::missing(CERTIFICATE, KEY)),
        };
        let roots = text(data, CA)?.map(roots).transpose()?;
        let fingerprint = fingerprint(data);
        Ok(Self(Arc::new(Parsed {
            authorization,
            roots,
            identity,
            fingerprint,
        })))
    }

    /// Whether a request that signs in like this may come in: its `Authorization` header says what a
    /// request with these credentials would. Takes the same time whatever is wrong with it.
    ///
    /// Nobody may come in where there is neither a token nor a password.
    pub fn admit(&self, header: &[u8]) -> bool {
        let Some(authorization) = &self.0.authorization else {
            return false;
        };
        let wanted = authorization.header.expose_secret().as_bytes();
        // By hashes: comparing the texts would tell how long the right one is.
        same_scheme(header, wanted)
            && bool::from(
                Sha256::digest(secret_of(header)).ct_eq(&Sha256::digest(secret_of(wanted))),
            )
    }

    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let header = self.0.authorization.as_ref()?.header.expose_secret();
        let mut value = HeaderValue::from_str(header).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    pub(crate) fn roots(&self) -> Option<Vec<Certificate>> {
        self.0.roots.clone()
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        self.0.identity.clone()
    }

    /// The text without any of the secrets: servers and proxies repeat what they were sent.
    pub fn scrub(&self, text: String) -> String {
        let secrets = self
            .0
            .authorization
            .iter()
            .flat_map(|authorization| &authorization.secrets);
        secrets.fold(text, |text, secret| {
            text.replace(secret.expose_secret(), "***")
        })
    }
}

impl Authorization {
    fn basic(username: &str, password: &str) -> Result<Self, CredentialsError> {
        if username.contains(':') {
            return Err(CredentialsError::unusable(USERNAME, "has a `:` in it"));
        }
        let pair = BASE64_STANDARD.encode(format!("{username}:{password}"));
        Ok(Self {
            scheme: "basic",
            header: format!("Basic {pair}").into(),
            secrets: vec![pair.into(), password.into()],
        })
    }

    fn bearer(token: &str) -> Result<Self, CredentialsError> {
        if !token.chars().all(|c| c.is_ascii_graphic()) {
            return Err(CredentialsError::unusable(
                TOKEN,
                "has a space or a control character",
            ));
        }
        Ok(Self {
            scheme: "bearer",
            header: format!("Bearer {token}").into(),
            secrets: vec![token.into()],
        })
    }
}

/// The name of a scheme may be written in any case.
fn same_scheme(one: &[u8], other: &[u8]) -> bool {
    let scheme = |header: &[u8]| {
        let mut parts = header.split(|byte| *byte == b' ');
        parts.next().map(<[u8]>::to_ascii_lowercase)
    };
    scheme(one) == scheme(other)
}

/// What stands behind the scheme.
fn secret_of(header: &[u8]) -> &[u8] {
    let space = header.iter().position(|byte| *byte == b' ');
    space.map_or(&[], |space| &header[space + 1..])
}

fn text<'a>(
    data: &'a BTreeMap<String, Vec<u8>>,
    key: &'static str,
) -> Result<Option<&'a str>, CredentialsError> {
    let Some(value) = data.get(key) else {
        return Ok(None);
    };
    let value = str::from_utf8(value)
        .map_err(|_| CredentialsError::unusable(key, "is not UTF-8 text"))?
        .trim_end_matches(['\r', '\n']);
    if value.is_empty() {
        return Err(CredentialsError::unusable(key, "is empty"));
    }
    Ok(Some(value))
}

fn roots(pem: &str) -> Result<Vec<Certificate>, CredentialsError> {
    match Certificate::from_pem_bundle(pem.as_bytes()) {
        Ok(roots) if !roots.is_empty() => Ok(roots),
        _ => Err(CredentialsError::unusable(
            CA,
            "has no certificate in PEM form",
        )),
    }
}

fn identity(certificate: &str, key: &str) -> Result<Identity, CredentialsError> {
    if !certificate.contains("-----BEGIN CERTIFICATE-----") {
        return Err(CredentialsError::unusable(
            CERTIFICATE,
            "has no certificate in PEM form",
        ));
    }
    Identity::from_pem(format!("{certificate}\n{key}").as_bytes())
        .map_err(|_| CredentialsError::unusable(KEY, "has no private key in PEM form"))
}

fn fingerprint(data: &BTreeMap<String, Vec<u8>>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (index, value) in KEYS.iter().map(|key| data.get(*key)).enumerate() {
        if let Some(value) = value {
            hash.update(index.to_le_bytes());
            hash.update(value.len().to_le_bytes());
            hash.update(value);
        }
    }
    hash.finalize().into()
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.0.fingerprint == other.0.fingerprint
    }
}

impl Eq for Credentials {}

impl Hash for Credentials {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.fingerprint.hash(state);
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.authorization.as_ref().map_or("none", |it| it.scheme);
        f.debug_struct("Credentials")
            .field("authorization", &scheme)
            .field("own_roots", &self.0.roots.is_some())
            .field("client_certificate", &self.0.identity.is_some())
            .finish()
    }
}

/// Why a Secret cannot be used: names keys, never values.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CredentialsError {
    /// A half of a pair.
    #[error("the Secret has `{with}` but no `{key}`")]
    Missing {
        /// The key that is not there.
        key: &'static str,
        /// The key that needs it.
        with: &'static str,
    },
    /// Two ways to authenticate at once.
    #[error("the Secret has both `{key}` and `{other}`: only one of them can be sent")]
    Contradictory {
        /// One of them.
        key: &'static str,
        /// The other.
        other: &'static str,
    },
    /// A value that cannot be what its key says.
    #[error("`{key}` of the Secret {problem}")]
    Unusable {
        /// The key.
        key: &'static str,
        /// What is wrong with the value.
        problem: &'static str,
    },
    /// None of the keys is there.
    #[error("the Secret has none of the keys {}", KEYS.join(", "))]
    NothingKnown,
}

impl CredentialsError {
    fn missing(key: &'static str, with: &'static str) -> Self {
        Self::Missing { key, with }
    }

    fn unusable(key: &'static str, problem: &'static str) -> Self {
        Self::Unusable { key, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(entries: &[(&str, &str)]) -> Result<Credentials, CredentialsError> {
        Credentials::from_secret(
            &entries
                .iter()
                .map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec()))
                .collect(),
        )
    }

    fn header(credentials: &Credentials) -> String {
        let value = credentials.authorization().expect("a header");
        assert!(value.is_sensitive());
        value.to_str().expect("text").to_owned()
    }

    #[test]
    fn a_user_and_a_password_are_sent_as_basic() {
        let credentials = parsed(&[("username", "Aladdin"), ("password", "open sesame\n")]);
        // The example of RFC 7617.
        assert_eq!(
            header(&credentials.expect("valid")),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
    }

    #[test]
    fn a_token_is_sent_as_bearer_and_other_keys_are_ignored() {
        let credentials = parsed(&[("token", "abc\r\n"), ("namespace", "shop")]).expect("valid");
        assert_eq!(header(&credentials), "Bearer abc");
    }

    #[test]
    fn who_signs_in_with_the_same_is_admitted_and_nobody_else() {
        let token = parsed(&[("token", "s3cret")]).expect("valid");
        let password = parsed(&[("username", "Aladdin"), ("password", "open sesame")]);
        let password = password.expect("valid");
        let basic = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        for (credentials, header, admitted) in [
            (&token, "Bearer s3cret", true),
            (&token, "bearer s3cret", true),
            (&token, "Bearer s3cre", false),
            (&token, "Bearer s3cret ", false),
            (&token, "Bearer S3CRET", false),
            (&token, "Bearer", false),
            (&token, "Bearer ", false),
            (&token, "Basic s3cret", false),
            (&token, "s3cret", false),
            (&token, "", false),
            (&password, basic, true),
            (&password, "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", false),
            (&password, "Basic QWxhZGRpbjpvcGVu", false),
            (&Credentials::none(), "", false),
            (&Credentials::none(), "Bearer ", false),
        ] {
            let is = credentials.admit(header.as_bytes());
            assert_eq!(is, admitted, "{header:?}");
        }
    }

    #[test]
    fn a_partial_or_contradictory_secret_is_refused_by_its_key() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (entries, message) in [
            (
                &[("username", "a")][..],
                "the Secret has `username` but no `password`",
            ),
            (
                &[("password", "a")],
                "the Secret has `password` but no `username`",
            ),
            (
                &[("username", "a"), ("password", "b"), ("token", "c")],
                "the Secret has both `token` and `username`: only one of them can be sent",
            ),
            (
                &[("password", "b"), ("token", "c")],
                "the Secret has both `token` and `password`: only one of them can be sent",
            ),
            (
                &[("tls.crt", pem)],
                "the Secret has `tls.crt` but no `tls.key`",
            ),
            (
                &[("tls.key", "a")],
                "the Secret has `tls.key` but no `tls.crt`",
            ),
            (&[("token", "\n")], "`token` of the Secret is empty"),
            (
                &[("token", "a b")],
                "`token` of the Secret has a space or a control character",
            ),
            (
                &[("username", "a:b"), ("password", "c")],
                "`username` of the Secret has a `:` in it",
            ),
            (
                &[("ca.crt", "hello")],
                "`ca.crt` of the Secret has no certificate in PEM form",
            ),
            (
                &[("tls.crt", "x"), ("tls.key", "y")],
                "`tls.crt` of the Secret has no certificate in PEM form",
            ),
            (
                &[("tls.crt", pem), ("tls.key", "y")],
                "`tls.key` of the Secret has no private key in PEM form",
            ),
            (
                &[("Token", "a")],
                "the Secret has none of the keys username, password, token, ca.crt, tls.crt, \
                 tls.key",
            ),
        ] {
            assert_eq!(parsed(entries).expect_err(message).to_string(), message);
        }
        let binary = BTreeMap::from([("token".to_owned(), vec![0xff, 0xfe])]);
        assert_eq!(
            Credentials::from_secret(&binary)
                .expect_err("binary")
                .to_string(),
            "`token` of the Secret is not UTF-8 text"
        );
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        let credentials = parsed(&[("username", "admin"), ("password", "hunter2")]).expect("valid");
        let shown = format!("{credentials:?} {credentials:#?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("admin"),
            "{shown}"
        );
        let echoed = "no user for Basic YWRtaW46aHVudGVyMg== (hunter2)".to_owned();
        assert_eq!(credentials.scrub(echoed), "no user for Basic *** (***)");
    }

    #[test]
    fn credentials_are_equal_where_their_contents_are() {
        let token = |value| parsed(&[("token", value)]).expect("valid");
        assert_eq!(token("a"), token("a"));
        assert_ne!(token("a"), token("b"));
        assert_ne!(token("a"), Credentials::none());
        assert_eq!(Credentials::none(), Credentials::none());
    }
}
