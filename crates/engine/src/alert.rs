//! What an `alert` trigger listens for: which alerts are meant, and which of them are about a release.
//!
//! Alertmanager tells when an alert fires, tells it again after its `repeat_interval`, and tells when it
//! is resolved. So an alert fires from when it is heard until it is resolved, or until it ought to have
//! been heard again. Silence by itself says nothing: only a heartbeat that is heard makes it good news.

mod matcher;

use std::{collections::BTreeMap, sync::Arc};

use backstop_api::policy::AlertSource;
use jiff::{SignedDuration, Timestamp};

use crate::query::{QueryContext, QueryError};

pub use matcher::{Matcher, Matchers};

/// An alert, as it was heard last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it says to people, in a line.
    pub summary: Option<String>,
    /// Since when it fires, by its sender's clock.
    pub starts_at: Timestamp,
    /// When it was heard first, by our clock.
    pub first_heard_at: Timestamp,
    /// When it was heard last, by our clock.
    pub heard_at: Timestamp,
    /// Whether it fires; otherwise it is resolved.
    pub firing: bool,
    /// Whether it was posted to the address of the policy's namespace.
    pub own: bool,
}

impl Alert {
    /// Since when it fires. Some senders let it begin in the future; it does not begin after it was
    /// heard.
    #[must_use]
    pub fn began(&self) -> Timestamp {
        self.starts_at.min(self.first_heard_at)
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        // Falco's alerts have a rule for a name.
        let names = ["alertname", "rule"];
        let name = names.into_iter().find_map(|n| self.labels.get(n));
        name.map_or("without a name", String::as_str)
    }
}

/// What a policy may hear of the alerts that were posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Since when this replica listens. What fired before is heard again within the time after which
    /// an alert expires.
    pub since: Timestamp,
    /// When Alertmanager last said that it left alerts out, or more came than are kept.
    pub left_out_at: Option<Timestamp>,
    /// The alerts.
    pub alerts: Vec<Arc<Alert>>,
    /// The release that is live; `None` while its pods cannot be told.
    pub about: Option<QueryContext>,
}

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A pod of the release.
    Pod,
    /// The workload, and no pod.
    Workload,
    /// Something else.
    Other,
}

/// Which alerts a trigger listens for, checked.
#[derive(Clone, Debug)]
pub struct AlertTemplate {
    matchers: Matchers,
    namespace_label: String,
    pod_label: String,
    workload_label: String,
    heartbeat: Option<Matchers>,
    /// How far back an alert's expression looks.
    pub range: SignedDuration,
    /// How long an alert that is not heard again still fires.
    pub expire_after: SignedDuration,
}

impl AlertTemplate {
    /// Checks a source; `refuse` is told what is wrong with which field.
    pub(crate) fn parse(
        source: &AlertSource,
        refuse: &mut impl FnMut(&str, String, String),
    ) -> Option<Self> {
        let matchers = Matchers::parse("alert", &source.match_labels, &source.matchers, refuse);
        let heartbeat = source.heartbeat.as_ref().map(|heartbeat| {
            let (labels, matchers) = (&heartbeat.match_labels, &heartbeat.matchers);
            Matchers::parse("alert.heartbeat", labels, matchers, refuse)
        });
        let longest = crate::policy::LONGEST_REACH;
        let range = source.range.as_signed();
        if range > longest {
            let problem = format!(
                "must be at most {}h: a release is judged only by what is measured after it began",
                longest.as_hours()
            );
            refuse("alert.range", source.range.to_string(), problem);
            return None;
        }
        let heartbeat = match heartbeat {
            Some(None) => return None,
            Some(Some(heartbeat)) => Some(heartbeat),
            None => None,
        };
        Some(Self {
            matchers: matchers?,
            heartbeat,
            namespace_label: source.namespace_label.clone(),
            pod_label: source.pod_label.clone(),
            workload_label: source.workload_label.clone(),
            range,
            expire_after: source.expire_after.as_signed(),
        })
    }

    /// Whether this alert is one of those that are meant.
    #[must_use]
    pub fn means(&self, alert: &Alert) -> bool {
        self.matchers.match_all(&alert.labels)
    }

    /// The heartbeat, if the policy names one.
    #[must_use]
    pub fn heartbeat(&self) -> Option<&Matchers> {
        self.heartbeat.as_ref()
    }

    /// What an alert is about. Whatever else its labels say, one of another namespace is not about
    /// this release.
    pub fn about(&self, alert: &Alert, release: &QueryContext) -> Result<About, QueryError> {
        const NAMESPACE: &str = "namespace";
        let here = |label: &str| alert.labels.get(label).map(|it| *it == release.namespace);
        let of_another = here(NAMESPACE) == Some(false);
        let is_here = here(&self.namespace_label).unwrap_or(alert.own);
        if of_another || !is_here {
            return Ok(About::Other);
        }
        if let Some(pod) = alert.labels.get(&self.pod_label).filter(|p| !p.is_empty()) {
            return Ok(if release.has_pod(pod)? {
                About::Pod
            } else {
                About::Other
            });
        }
        let workload = alert.labels.get(&self.workload_label);
        Ok(if workload.is_some_and(|w| release.workloads.contains(w)) {
            About::Workload
        } else {
            About::Other
        })
    }

    /// The alert in a line, for the evidence.
    #[must_use]
    pub fn tell(&self, alert: &Alert) -> String {
        let labels = &alert.labels;
        let whom = match labels.get(&self.pod_label).filter(|pod| !pod.is_empty()) {
            Some(pod) => format!("pod {pod}"),
            None => format!(
                "Deployment {}",
                labels.get(&self.workload_label).map_or("", String::as_str)
            ),
        };
        let summary = alert.summary.as_ref();
        let summary = summary.map_or_else(String::new, |summary| format!(": {summary}"));
        format!(
            "alert {} about {whom}, since {:.0}{summary}",
            alert.name(),
            alert.began()
        )
    }

    /// The question for people, as a selector of Alertmanager.
    #[must_use]
    pub fn in_words(&self) -> String {
        self.matchers.to_string()
    }
}

#[cfg(test)]
mod tests;
