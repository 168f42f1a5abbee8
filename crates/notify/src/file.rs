//! The operator's own channels: a file that an administrator writes.

use backstop_api::policy::Channel;
use serde::Deserialize;

use crate::{
    Allowed,
    channel::{OPERATOR, ValidChannel, parse},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    channels: Vec<serde_json::Value>,
}

/// The channels in the text of a file; or everything that is wrong with it.
pub fn operator_channels(text: &str, allowed: &Allowed) -> Result<Vec<ValidChannel>, Vec<String>> {
    let file: File = serde_yaml_ng::from_str(text)
        .map_err(|problem| vec![format!("is no list of channels: {problem}")])?;
    let (mut channels, mut errors) = (Vec::new(), Vec::new());
    for (index, value) in file.channels.into_iter().enumerate() {
        match serde_json::from_value::<Channel>(value) {
            Ok(channel) => channels.push(channel),
            Err(problem) => errors.push(format!("channels[{index}]: is no channel: {problem}")),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    parse("channels", OPERATOR, &channels, allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<ValidChannel>, Vec<String>> {
        let allowed = Allowed::new(["https://hooks.example.com"]).expect("a valid list");
        operator_channels(text, &allowed)
    }

    #[test]
    fn the_operators_channels_have_names_of_their_own() {
        let text = "channels: [{name: ci, webhook: {url: https://hooks.example.com/x}}]";
        assert_eq!(read(text).expect("valid")[0].name, "operator/ci");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_by_its_place() {
        for (text, words) in [
            ("channel: []", "unknown field `channel`"),
            (
                "channels: [{name: a, slack: {}}]",
                "channels[0]: is no channel: missing field `secretName`",
            ),
            (
                "channels: [{name: a, webhook: {url: https://evil.example/}}]",
                "channels[0].webhook.url: `https://evil.example/` is not allowed",
            ),
            (
                "channels: [{name: a}]",
                "channels[0].name: 'a' is of no kind",
            ),
        ] {
            let said = read(text).expect_err(text).join("; ");
            assert!(said.contains(words), "{said}");
        }
    }
}
