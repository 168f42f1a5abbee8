//! Configuration: which ConfigMaps and Secrets are part of a release, and when they may be put back.
//!
//! Pure, as everything here: contents come in as values and go out as values. Nothing in this module
//! shows contents when it is printed.
//!
//! - [`references`](references::references): what a pod template references.
//! - [`Content`](content::Content): contents, and their identity under a key.
//! - [`identity`](identity::identity): of a release with its configuration.
//! - [`users`](users::users): who else uses an object.
//! - [`restorable`](restore::restorable): whether an object may be put back.
//! - [`hand_back`](ownership::hand_back): whose its fields are afterwards.

use backstop_api::config::ConfigRef;

pub mod content;
pub mod identity;
pub mod ownership;
pub mod references;
pub mod restore;
pub mod users;

/// What of a release's configuration is not kept, and why, in words; `None` where all of it is.
#[must_use]
pub fn not_captured(references: &[ConfigRef]) -> Option<String> {
    let words: Vec<String> = references
        .iter()
        .filter_map(|r| Some(format!("{}: {}", r.key, r.not_captured.as_ref()?)))
        .collect();
    (!words.is_empty()).then(|| words.join("; "))
}

#[cfg(test)]
mod tests {
    use backstop_api::config::ConfigKey;

    use super::*;

    #[test]
    fn what_is_not_kept_is_named_and_what_is_not_there_is_not() {
        let absent = ConfigRef::absent(ConfigKey::config_map("web"), true);
        assert_eq!(not_captured(std::slice::from_ref(&absent)), None);
        let refused = |name: &str| ConfigRef {
            not_captured: Some("Backstop may not read it (403)".into()),
            ..ConfigRef::absent(ConfigKey::secret(name), false)
        };
        assert_eq!(
            not_captured(&[absent, refused("a"), refused("b")]).unwrap(),
            "Secret a: Backstop may not read it (403); Secret b: Backstop may not read it (403)"
        );
    }
}
