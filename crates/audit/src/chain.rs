//! Lines, and how one follows another.
//!
//! What is hashed are the bytes of the line as it is written, without its last field, which is the hash. So nobody has to
//! agree on how JSON is put into a canonical form.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How many hexadecimal digits a SHA-256 has.
pub(crate) const DIGITS: usize = 64;
/// Before the hash in a line.
const BEFORE: &str = ",\"hash\":\"";
/// After it.
const AFTER: &str = "\"}";

/// Where a log ends: what the next line follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of its last line; 0 where there is none.
    pub sequence: u64,
    /// That line's hash; zeros where there is none.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            sequence: 0,
            hash: "0".repeat(DIGITS),
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

impl std::str::FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "'{text}' is no head of a log; it is written as number:hash with a hash of {DIGITS} hexadecimal digits, \
                 as `audit export` and `audit verify` tell it"
            )
        };
        let (sequence, hash) = text.split_once(':').ok_or_else(wrong)?;
        let sequence = sequence.parse().map_err(|_| wrong())?;
        if !is_hash(hash) {
            return Err(wrong());
        }
        Ok(Self {
            sequence,
            hash: hash.to_owned(),
        })
    }
}

/// A line without its hash.
#[derive(Serialize)]
struct Body<'a, R> {
    sequence: u64,
    previous: &'a str,
    record: &'a R,
}

/// What a line says of its place.
#[derive(Deserialize)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) previous: String,
}

/// The line of a record after this head, without a line break, and the head from then on.
pub fn append(head: &Head, record: &impl Serialize) -> (String, Head) {
    let sequence = head.sequence + 1;
    let body = Body {
        sequence,
        previous: &head.hash,
        record,
    };
    let body = serde_json::to_string(&body).expect("records have no keys that are not text");
    let hash = hash(&body);
    let line = format!("{}{BEFORE}{hash}{AFTER}", &body[..body.len() - 1]);
    (line, Head { sequence, hash })
}

/// A line taken apart: its place, the hash that it says it has, and the one that it has. `None` where it is no such line.
pub(crate) fn take_apart(line: &str) -> Option<(Place, &str, String)> {
    let rest = line.strip_suffix(AFTER)?;
    let (body, said) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
    let body = body.strip_suffix(BEFORE)?;
    if !is_hash(said) {
        return None;
    }
    let place = serde_json::from_str(line).ok()?;
    Some((place, said, hash(&format!("{body}}}"))))
}

fn is_hash(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}
