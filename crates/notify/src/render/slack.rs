//! Slack: blocks, and a text for notifications.
//!
//! Limits are those of Slack's reference of blocks: 150 characters in a header, 3000 in a section, 50
//! blocks in a message.

use serde_json::{Value, json};

use super::cut;
use crate::template::{Words, escape_slack};

const HEADER: usize = 150;
const SECTION: usize = 2900;
const SECTIONS: usize = 8;

pub(super) fn message(words: &Words) -> Value {
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": cut(&words.title, HEADER), "emoji": false},
    })];
    for section in sections(&words.text) {
        // Verbatim: what looks like a channel or a name in it calls nobody.
        blocks.push(json!({
            "type": "section",
            "text": {"type": "mrkdwn", "text": section, "verbatim": true},
        }));
    }
    json!({
        "text": escape_slack(&cut(&words.title, SECTION)),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// The text in pieces that fit, split between paragraphs or lines, so that no entity is torn.
fn sections(text: &str) -> Vec<String> {
    let mut sections = vec![String::new()];
    for line in text.lines() {
        let line = if line.chars().count() > SECTION {
            shortened(line)
        } else {
            line.to_owned()
        };
        let full = sections
            .last()
            .is_some_and(|s| s.chars().count() + line.chars().count() >= SECTION);
        if full {
            sections.push(String::new());
        }
        if let Some(last) = sections.last_mut() {
            if !last.is_empty() {
                last.push('\n');
            }
            last.push_str(&line);
        }
    }
    sections.retain(|s| !s.trim().is_empty());
    sections.truncate(SECTIONS);
    sections
}

/// A line that is too long, cut before an entity such as `&amp;` and not within it.
fn shortened(line: &str) -> String {
    let mut kept: String = line.chars().take(SECTION - 1).collect();
    if let Some(entity) = kept.rfind('&')
        && !kept[entity..].contains(';')
    {
        kept.truncate(entity);
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_split_between_lines_and_no_entity_is_torn() {
        let line = "x".repeat(1000);
        let text = [line.as_str(); 5].join("\n");
        let split = sections(&text);
        assert_eq!(
            split.iter().map(|s| s.lines().count()).collect::<Vec<_>>(),
            [2, 2, 1]
        );
        let torn = format!("{}&amp;{}", "x".repeat(SECTION - 3), "y".repeat(100));
        assert_eq!(sections(&torn), [format!("{}…", "x".repeat(SECTION - 3))]);
    }
}
