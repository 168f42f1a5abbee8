//! What is asked before a release: the part that Backstop reckons. The API server holds new templates against it.

use backstop_api::{
    condition::{self, ConditionStatus},
    policy::{BaselineGate, Gates, GatesStatus, Health, VulnerabilityLimits},
    text::cut,
};
use jiff::Timestamp;

use crate::{
    baseline::{self, Live},
    decide::Said,
    freeze::ValidFreeze,
    health,
    policy::ValidPolicy,
    rollout,
    snapshot::{Snapshot, Workload},
    state::State,
    target,
    vulnerability::{self, Reports},
};

/// Gates that can be reckoned with.
#[derive(Debug)]
pub struct ValidGates {
    /// How many vulnerabilities an image may have.
    pub vulnerabilities: Option<VulnerabilityLimits>,
    /// Whether there must be something to compare a release with.
    pub baseline: BaselineGate,
    /// When nothing is released.
    pub freeze: Option<ValidFreeze>,
}

impl ValidGates {
    /// Parses the gates; what is wrong is told to `refuse` by field, value and problem.
    pub fn parse(gates: &Gates, refuse: &mut impl FnMut(String, String, &str)) -> Option<Self> {
        let freeze = match &gates.freeze {
            Some(freeze) => Some(ValidFreeze::parse(freeze, refuse)?),
            None => None,
        };
        Some(Self {
            vulnerabilities: gates.vulnerabilities.clone(),
            baseline: gates.baseline,
            freeze,
        })
    }
}

/// What new templates are held against; `None` where the policy has no gates or is not in force.
#[must_use]
pub fn status(
    policy: &ValidPolicy,
    state: &State,
    seen: &Snapshot,
    now: Timestamp,
) -> Option<GatesStatus> {
    let gates = policy.gates.as_ref().filter(|_| seen.conflict.is_none())?;
    let no_reports = unreadable(gates, seen).map(str::to_owned);
    let (vulnerable_images, further_vulnerable_images) =
        match (&gates.vulnerabilities, &seen.reports) {
            (Some(limits), Reports::Known { reports, .. }) => {
                vulnerability::over_limits(limits, reports)
            }
            _ => (Vec::new(), 0),
        };
    Some(GatesStatus {
        no_baseline: match (gates.baseline, &seen.workload) {
            (BaselineGate::Required, Some(workload)) => {
                no_baseline(policy, state, seen, workload, now)
            }
            _ => None,
        },
        freezes: gates.freeze.as_ref().map_or_else(Vec::new, |f| f.next(now)),
        no_reports,
        vulnerable_images,
        further_vulnerable_images,
    })
}

/// Why nothing can be told of vulnerabilities, where that is asked for.
fn unreadable<'a>(gates: &ValidGates, seen: &'a Snapshot) -> Option<&'a str> {
    gates.vulnerabilities.as_ref()?;
    match &seen.reports {
        Reports::Unavailable(why) => Some(why),
        Reports::NotWatched => Some("no reports are watched yet"),
        Reports::Known { .. } => None,
    }
}

/// What the next release could not be compared with, and what to do. Nothing where the live release fails: there is
/// nothing to wait for then, and what comes next is the fix.
fn no_baseline(
    policy: &ValidPolicy,
    state: &State,
    seen: &Snapshot,
    workload: &Workload,
    now: Timestamp,
) -> Option<String> {
    let lack = lack(policy, seen, now)?;
    let health = health::health(policy, state, workload);
    if health == Health::Failing || rollout::start_failure(workload).is_some() {
        return None;
    }
    let release = &workload.release;
    let proved = target::good_points(seen)
        .into_iter()
        .any(|point| point.release.as_ref() == Some(release));
    let healthy = state.release.as_ref().and_then(|r| r.healthy_since);
    let when = healthy.and_then(|since| since.checked_add(policy.soak).ok());
    Some(match when {
        _ if proved => format!(
            "{lack}; release {release} has proved itself already: measure it anew by kubectl backstop baseline capture {}",
            policy.name
        ),
        Some(when) => format!(
            "{lack}; release {release} is healthy, and proves itself at {when:.0} if it stays so"
        ),
        None => format!(
            "{lack}; release {release} is {health:?}, and proves itself when it has been healthy for {} s \
             (points.soak)",
            policy.soak.as_secs()
        ),
    })
}

/// So many characters of what is wrong with baselines are said. The API server gives a refusal without its reason where
/// that takes more than 5 KiB.
const MOST_SAID: usize = 2048;

/// What is missing, or no good to compare the next release with.
fn lack(policy: &ValidPolicy, seen: &Snapshot, now: Timestamp) -> Option<String> {
    let (mut missing, mut unusable) = (Vec::new(), Vec::new());
    let comparing: Vec<_> = policy
        .triggers
        .iter()
        .filter(|trigger| trigger.compares_with_a_point())
        .collect();
    for trigger in &comparing {
        match baseline::held(trigger, seen, Live::NEXT, now) {
            None => missing.push(trigger.name.as_str()),
            Some(held) => unusable.extend(held.problem.map(|problem| {
                format!(
                    "the baseline of {} in RollbackPoint {} {problem}",
                    trigger.name, held.point.name
                )
            })),
        }
    }
    if !missing.is_empty() {
        let names = missing.join(", ");
        unusable.insert(
            0,
            format!("no release has proved itself with a value of {names} on record"),
        );
    }
    if !unusable.is_empty() {
        return Some(cut(&unusable.join("; "), MOST_SAID));
    }
    let there = target::good_points(seen).into_iter().any(|point| {
        let release = point.release.as_deref().unwrap_or_default();
        !point.baselines.is_empty() && !target::is_quarantined(seen, release)
    });
    (comparing.is_empty() && !there)
        .then(|| "no release has proved itself with its values on record".to_owned())
}

/// Whether the gates can be judged, for whoever reads the policy's conditions.
#[must_use]
pub fn said(status: &GatesStatus) -> Said {
    let (holds, reason, message) = match &status.no_reports {
        Some(why) => (
            false,
            "NoReports",
            format!(
                "spec.gates.vulnerabilities: {why}; every release is refused until that is mended or the gate is \
                 taken away. {}",
                in_words(status)
            ),
        ),
        None => (true, "Judged", in_words(status)),
    };
    Said {
        type_: condition::GATES_READY,
        status: ConditionStatus::from(holds),
        reason: reason.to_owned(),
        message,
    }
}

fn in_words(status: &GatesStatus) -> String {
    let mut words = Vec::new();
    if let Some(why) = &status.no_baseline {
        words.push(format!("baseline: {why}"));
    }
    if let Some(next) = status.freezes.first() {
        words.push(format!(
            "freeze: {} from {:.0} to {:.0}",
            next.name, next.from, next.until
        ));
    }
    match status.vulnerable_images.len() {
        0 => {}
        n if status.further_vulnerable_images == 0 => {
            words.push(format!("vulnerabilities: {n} images are over the limits"));
        }
        n => words.push(format!(
            "vulnerabilities: {n} images are refused, and {} more are over the limits and do not fit into the \
             status",
            status.further_vulnerable_images
        )),
    }
    let words = if words.is_empty() {
        "nothing stands against a release".to_owned()
    } else {
        words.join("; ")
    };
    format!(
        "{words}. Asked in namespaces with the label backstop.dev/gates: enforce, and with warn said only"
    )
}
