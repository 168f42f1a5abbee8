//! What Alertmanager posts to a webhook: version 4 of its format.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

/// The version that is understood.
const VERSION: &str = "4";
/// So much of what an alert says to people is kept, in characters.
const LONGEST_SUMMARY: usize = 200;

/// A post: the state of a group of alerts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Post {
    version: String,
    /// So many alerts of the group are not in it.
    #[serde(default)]
    pub(super) truncated_alerts: u64,
    pub(super) alerts: Vec<Posted>,
}

/// An alert in it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Posted {
    pub(super) status: Status,
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    pub(super) starts_at: Timestamp,
}

/// Whether an alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Firing,
    Resolved,
}

impl Post {
    /// Reads a post, or says what is wrong with it.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let post: Self = serde_json::from_slice(body)
            .map_err(|e| format!("this is not what Alertmanager posts to a webhook: {e}"))?;
        if post.version == VERSION {
            Ok(post)
        } else {
            Err(format!(
                "version {:?} of the format is not understood; Alertmanager posts {VERSION:?}",
                post.version
            ))
        }
    }
}

impl Posted {
    /// What the alert says to people, on one line and not too long.
    pub(super) fn summary(&self) -> Option<String> {
        let texts = ["summary", "description", "message"];
        let text = texts
            .into_iter()
            .find_map(|key| self.annotations.get(key))?;
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let cut: String = line.chars().take(LONGEST_SUMMARY).collect();
        Some(if cut.len() < line.len() {
            format!("{cut}…")
        } else {
            cut
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Alertmanager 0.28 wrote it, its text shortened.
    const POSTED: &str = r#"{"receiver":"backstop","status":"firing","alerts":[{"status":"firing",
        "labels":{"alertname":"HighErrorRate","namespace":"shop","pod":"web-7d9f8c5b6-x2z9q","severity":"critical"},
        "annotations":{"summary":"half of the\n  requests fail"},"startsAt":"2026-11-25T20:10:00.123Z",
        "endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus/graph?g0.expr=up","fingerprint":"c1e0b5d3a8f0f6aa"},
        {"status":"resolved","labels":{"alertname":"HighErrorRate"},"annotations":{},
        "startsAt":"2026-11-25T21:10:00+01:00","endsAt":"2026-11-25T20:12:00Z","generatorURL":"","fingerprint":"e3"}],
        "groupLabels":{},"commonLabels":{"alertname":"HighErrorRate"},"commonAnnotations":{},
        "externalURL":"http://alertmanager:9093","version":"4","groupKey":"{}:{}","truncatedAlerts":3}"#;

    #[test]
    fn what_alertmanager_posts_is_read() {
        let post = Post::parse(POSTED.as_bytes()).unwrap();
        assert_eq!(post.truncated_alerts, 3);
        let [firing, resolved] = post.alerts.as_slice() else {
            panic!("{post:?}");
        };
        assert_eq!(firing.status, Status::Firing);
        assert_eq!(firing.labels["pod"], "web-7d9f8c5b6-x2z9q");
        assert_eq!(
            firing.summary().as_deref(),
            Some("half of the requests fail")
        );
        assert_eq!(resolved.status, Status::Resolved);
        assert_eq!(resolved.starts_at, "2026-11-25T20:10:00Z".parse().unwrap());
        assert_eq!(resolved.summary(), None);
    }

    #[test]
    fn a_long_summary_is_cut_between_characters() {
        let mut post = Post::parse(POSTED.as_bytes()).unwrap();
        let alert = &mut post.alerts[0];
        alert.annotations.insert("summary".into(), "é".repeat(300));
        let summary = alert.summary().unwrap();
        assert_eq!(summary.chars().count(), LONGEST_SUMMARY + 1);
    }

    #[test]
    fn anything_else_is_refused_in_words() {
        for (body, words) in [
            ("", "not what Alertmanager posts"),
            ("[]", "not what Alertmanager posts"),
            (r#"{"version": "4"}"#, "missing field `alerts`"),
            (
                r#"{"version": "3", "alerts": []}"#,
                r#"version "3" of the format is not understood; Alertmanager posts "4""#,
            ),
            (
                r#"{"version": "4", "alerts": [{"status": "odd", "labels": {}, "startsAt": "2026-01-01T00:00:00Z"}]}"#,
                "unknown variant `odd`",
            ),
        ] {
            let said = Post::parse(body.as_bytes()).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }
}
