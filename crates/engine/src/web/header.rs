//! Which headers a policy may send.

use backstop_api::policy::WebHeader;

/// Where a request goes, and how long it is, is not the policy's to say: another host behind the same
/// address would not be the one that the operator allows.
const OURS: [&str; 14] = [
    "host",
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-http-method-override",
    "x-original-url",
    "x-rewrite-url",
    "via",
];

/// Parts of the names of headers that sign in.
const SECRET: [&str; 9] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "api-key",
    "apikey",
    "access-key",
    "credential",
];

/// Says what is wrong with a header.
pub(super) fn check(header: &WebHeader) -> Result<(), String> {
    let name = header.name.to_ascii_lowercase();
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return Err("is no name of a header; write for example Accept-Language".into());
    }
    if OURS.contains(&name.as_str())
        || name.starts_with("x-forwarded-")
        || name.starts_with("proxy-")
    {
        return Err("is not for a policy to set; remove it".into());
    }
    if SECRET.iter().any(|part| name.contains(part)) {
        return Err("signs in: credentials belong in the Secret that secretName names".into());
    }
    if !header.value.chars().all(|c| (' '..='~').contains(&c)) {
        return Err("has a value with characters other than printable ASCII".into());
    }
    Ok(())
}
