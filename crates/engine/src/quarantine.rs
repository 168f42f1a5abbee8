//! Which releases that failed are kept out, and for how long.
//!
//! A release that failed is never gone back to, as long as its record is there. That it cannot be
//! deployed again either is for a time only: what made it fail may be mended around it.

use std::collections::BTreeSet;

use backstop_api::{
    point::Verdict,
    policy::{Mode, OnConflict},
};
use jiff::Timestamp;

use crate::{
    policy::ValidPolicy,
    snapshot::{Point, PointWorkload, Snapshot},
    target,
};

/// How many templates a status names.
const SHOWN: usize = 8;
/// The longest reason that is repeated to whoever is refused.
const LONGEST_REASON: usize = 300;

/// A Deployment's template of a release that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptOut {
    /// The Deployment.
    pub workload: String,
    /// Identity of the release.
    pub release: String,
    /// The record that holds the template.
    pub point: String,
    /// The rollback that took it back; empty where its record is gone.
    pub event: String,
    /// Why it was taken back, in one line.
    pub reason: Option<String>,
    /// Until when it is kept out.
    pub expires_at: Timestamp,
    /// Why it is let pass all the same.
    pub let_pass: Option<String>,
}

/// The templates that are kept out, newest first.
#[must_use]
pub fn kept_out(policy: &ValidPolicy, seen: &Snapshot, now: Timestamp) -> Vec<KeptOut> {
    let good = good_templates(seen);
    let mut records: Vec<(&Point, &str, Timestamp)> = seen
        .points
        .iter()
        .filter(|p| p.verdict == Verdict::Quarantined)
        .filter_map(|p| Some((p, p.release.as_deref()?, expires(policy, p))))
        .filter(|(_, _, expires_at)| now < *expires_at)
        .collect();
    records.sort_by(|(a, ..), (b, ..)| (b.proved_at, &b.name).cmp(&(a.proved_at, &a.name)));
    let of = |(point, release, expires_at): (&Point, &str, Timestamp)| {
        let event = seen
            .events
            .iter()
            .filter(|e| e.from_hash() == Some(release))
            .max_by_key(|e| (e.created, &e.name));
        let entry = |workload: &str, let_pass: Option<String>| KeptOut {
            workload: workload.to_owned(),
            release: release.to_owned(),
            point: point.name.clone(),
            event: event.map_or_else(String::new, |e| e.name.clone()),
            reason: event.and_then(|e| e.spec.reason.as_deref()).map(one_line),
            expires_at,
            let_pass,
        };
        let failed: Vec<KeptOut> = live(point)
            .filter(|w| policy.deployments.contains(&w.name))
            .filter(|w| !good.contains(&(w.name.as_str(), w.release.as_str())))
            .map(|w| entry(&w.name, not_refused(policy)))
            .collect();
        if !failed.is_empty() {
            return failed;
        }
        let why = "a good release has the same template: what failed is its configuration, or \
                   what was selected";
        vec![entry(policy.primary(), Some(why.to_owned()))]
    };
    records.into_iter().flat_map(of).take(SHOWN).collect()
}

/// Whether a release failed and is kept out.
#[must_use]
pub fn keeps_out(policy: &ValidPolicy, seen: &Snapshot, release: &str, now: Timestamp) -> bool {
    not_refused(policy).is_none()
        && seen.points.iter().any(|p| {
            p.verdict == Verdict::Quarantined
                && p.release.as_deref() == Some(release)
                && now < expires(policy, p)
        })
}

/// Why the policy keeps nothing out, if so.
fn not_refused(policy: &ValidPolicy) -> Option<String> {
    if policy.mode != Mode::Enforce {
        return Some(format!("mode {:?} changes nothing", policy.mode));
    }
    (policy.on_conflict == OnConflict::Notify)
        .then(|| "gitops.onConflict is Notify: whoever puts it back has it".to_owned())
}

fn expires(policy: &ValidPolicy, record: &Point) -> Timestamp {
    let ends = record.proved_at.checked_add(policy.quarantine_for);
    ends.unwrap_or(Timestamp::MAX)
}

/// The Deployments' templates of releases that may be gone back to. Such a template has proved
/// itself: where a release with it fails, it is not what failed.
fn good_templates(seen: &Snapshot) -> BTreeSet<(&str, &str)> {
    target::good_points(seen)
        .into_iter()
        .filter(|p| {
            p.release
                .as_deref()
                .is_some_and(|r| !target::is_quarantined(seen, r))
        })
        .flat_map(live)
        .map(|w| (w.name.as_str(), w.release.as_str()))
        .collect()
}

/// The Deployments of a release that were live. An idle stack is on record beside them, and has neither
/// proved itself nor failed.
fn live(point: &Point) -> impl Iterator<Item = &PointWorkload> {
    let stack = point.stack.as_ref().map(|s| s.workload.as_str());
    let workloads = point.workloads.iter();
    workloads.filter(move |w| stack.is_none_or(|stack| stack == w.name))
}

/// A reason as it can stand in a refusal: without line breaks, and not too long.
fn one_line(reason: &str) -> String {
    let words: Vec<&str> = reason.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= LONGEST_REASON {
        return line;
    }
    let head: String = line.chars().take(LONGEST_REASON - 1).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_that_is_not_too_long() {
        assert_eq!(one_line("it\ncrashes\t again"), "it crashes again");
        let long = one_line(&"é ".repeat(1000));
        assert_eq!(long.chars().count(), LONGEST_REASON);
        assert!(long.ends_with('…'));
    }
}
