//! The identity of a release with its configuration.

use backstop_api::config::{ConfigKey, ConfigRef};
use sha2::{Digest, Sha256};

/// As many digits as the identity of a template has.
const DIGITS: usize = 16;

/// The identity of the release that has this template and this configuration.
///
/// A release without configuration has the identity of its template, so that nothing changes for
/// workloads that have none. Objects that are not there say nothing: one that an optional reference
/// names makes another release when it comes, and the release before when it goes.
#[must_use]
pub fn identity(template: &str, configuration: &[(ConfigKey, String)]) -> String {
    if configuration.is_empty() {
        return template.to_owned();
    }
    let mut sorted: Vec<_> = configuration.iter().collect();
    sorted.sort();
    let mut hash = Sha256::new();
    for part in std::iter::once(template).chain(
        sorted
            .into_iter()
            .flat_map(|(key, hash)| [key.kind.name(), key.name.as_str(), hash.as_str()]),
    ) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())[..DIGITS].to_owned()
}

/// What of these references is part of the identity: the objects that are there and whose contents
/// are known.
#[must_use]
pub fn parts(references: &[ConfigRef]) -> Vec<(ConfigKey, String)> {
    references
        .iter()
        .filter_map(|r| Some((r.key.clone(), r.hash.clone()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_configuration_a_release_is_its_template() {
        assert_eq!(identity("0123456789abcdef", &[]), "0123456789abcdef");
        let absent = [ConfigRef::absent(ConfigKey::config_map("web"), true)];
        assert_eq!(
            identity("0123456789abcdef", &parts(&absent)),
            "0123456789abcdef"
        );
    }

    fn configuration() -> impl Strategy<Value = Vec<(ConfigKey, String)>> {
        let entry = ("[ab]{1,2}", any::<bool>(), "[01]{1,2}").prop_map(|(name, secret, hash)| {
            let key = if secret {
                ConfigKey::secret(name)
            } else {
                ConfigKey::config_map(name)
            };
            (key, hash)
        });
        proptest::collection::vec(entry, 0..4).prop_map(|mut entries| {
            entries.sort();
            entries.dedup_by(|a, b| a.0 == b.0);
            entries
        })
    }

    proptest! {
        #[test]
        fn equal_where_template_and_configuration_are_and_only_there(
            a in configuration(), b in configuration(), templates in any::<bool>(),
        ) {
            let other = if templates { "t1" } else { "t2" };
            let equal = a == b && templates;
            prop_assert_eq!(identity("t1", &a) == identity(other, &b), equal);
        }

        #[test]
        fn order_says_nothing(mut entries in configuration()) {
            let before = identity("t", &entries);
            entries.reverse();
            prop_assert_eq!(identity("t", &entries), before);
        }
    }
}
