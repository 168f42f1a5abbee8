//! A trigger as written becomes one that can be judged.

use backstop_api::{
    Duration,
    policy::{Action, NoDataPolicy, Severity, Trigger},
};
use jiff::SignedDuration;

use super::{
    Against, FieldError, Source, ValidBaseline, ValidPeers, ValidRatio, baseline, peers,
    source::source,
};
use crate::{compare::ValidComparison, condition::Condition, resource};

/// The condition of a trigger that only compares: the comparison decides.
const ALWAYS: &str = "true";

/// A trigger that can be judged.
#[derive(Debug)]
pub struct ValidTrigger {
    /// Its name.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// Where its value comes from.
    pub source: Source,
    /// When it is bad.
    pub condition: Condition,
    /// What its values are compared with.
    pub baseline: ValidBaseline,
    /// How its samples are compared, if they are; bad is then what both say that it is.
    pub compare: Option<ValidComparison>,
    /// How long the condition must hold.
    pub for_: SignedDuration,
    /// How long it fires on after its condition held for the last time.
    pub keep_firing_for: SignedDuration,
    /// When it is well again, where that is more than its condition not holding.
    pub recovery: Option<Condition>,
    /// How often the source is asked.
    pub interval: SignedDuration,
    /// How long to wait between firing and acting.
    pub delay: SignedDuration,
    /// What an empty answer means.
    pub no_data: NoDataPolicy,
    /// The same question about what was not released.
    pub peers: Option<ValidPeers>,
    /// What it leads to.
    pub action: Action,
}

impl ValidTrigger {
    /// Whether it can take a release back.
    #[must_use]
    pub fn can_roll_back(&self) -> bool {
        !matches!(self.action, Action::Notify | Action::BlockDeployment)
    }

    /// Whether it is asked, at its interval. What the workload's own status says is told, and so are
    /// alerts.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        !matches!(
            self.source,
            Source::Workload { .. } | Source::Vulnerability(_) | Source::Alert(_)
        )
    }

    /// How long its source may say nothing although all is well.
    #[must_use]
    pub fn silence(&self) -> SignedDuration {
        match &self.source {
            Source::Alert(alert) => alert.expire_after,
            _ => SignedDuration::ZERO,
        }
    }

    /// The other half of a ratio, for a trigger that judges one.
    #[must_use]
    pub fn ratio(&self) -> Option<&ValidRatio> {
        match &self.source {
            Source::Prometheus { ratio, .. } => ratio.as_deref(),
            _ => None,
        }
    }

    /// Whether there must be something to compare with.
    #[must_use]
    pub fn uses_baseline(&self) -> bool {
        self.condition.uses_baseline() || self.compare.is_some()
    }

    /// Whether its values are compared with what a point holds.
    #[must_use]
    pub fn compares_with_a_point(&self) -> bool {
        self.uses_baseline() && self.baseline.against == Against::LastHealthy
    }

    /// Whether the side that is not released to must be asked too.
    #[must_use]
    pub fn uses_stable(&self) -> bool {
        self.condition.uses_stable()
            || self.uses_baseline() && self.baseline.against == Against::Stable
    }

    /// For a baseline of an earlier time: how long ago.
    #[must_use]
    pub fn offset(&self) -> Option<SignedDuration> {
        match self.baseline.against {
            Against::Offset(offset) if self.uses_baseline() => Some(offset),
            _ => None,
        }
    }

    /// How long it takes to gather as many samples as are compared.
    #[must_use]
    pub fn gathering(&self) -> SignedDuration {
        let samples = self.compare.as_ref().map_or(0, |c| c.parameters.samples);
        self.interval * i32::try_from(samples).unwrap_or(i32::MAX)
    }

    /// Whether it has a condition, and does not only compare.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        self.condition.text() != ALWAYS
    }

    /// When it is bad, in words: the condition, the comparison, or both.
    #[must_use]
    pub fn bad_when(&self) -> String {
        match &self.compare {
            None => self.condition.text().to_owned(),
            Some(compare) if !self.is_conditional() => compare.in_words(),
            Some(compare) => format!("{} and {}", self.condition.text(), compare.in_words()),
        }
    }

    /// How far back from its evaluation a reading looks.
    #[must_use]
    pub fn range(&self) -> SignedDuration {
        match &self.source {
            Source::Workload { .. } | Source::Vulnerability(_) => SignedDuration::ZERO,
            Source::Prometheus {
                query,
                ratio,
                minimum,
                ..
            } => {
                let beside = minimum.as_ref().map(|m| &m.query);
                let beside = beside.into_iter().chain(ratio.as_ref().map(|r| &r.total));
                beside.fold(query.longest_range(), |longest, query| {
                    longest.max(query.longest_range())
                })
            }
            Source::Web(web) => web.range,
            Source::Alert(alert) => alert.range,
            Source::Probe(probe) => probe.range(),
            Source::Resource(_) => resource::REACH,
        }
    }
}

/// Parses a trigger, or says everything that is wrong with it.
pub(super) fn validate(index: usize, trigger: &Trigger) -> Result<ValidTrigger, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut refuse = |field: &str, value: String, problem: String| {
        errors.push(FieldError {
            field: format!("spec.triggers[{index}].{field}"),
            value,
            problem,
        });
    };
    let source = source(trigger, &mut refuse);
    let peers = peers::validate(trigger, &mut refuse);
    let text = match (&trigger.condition, &source) {
        (Some(text), _) => text.as_str(),
        (None, _) if trigger.compare.is_some() => ALWAYS,
        (
            None,
            None | Some(Source::Workload { .. } | Source::Vulnerability(_) | Source::Alert(_)),
        ) => "value > 0.0",
        (None, Some(source)) => {
            let example = match source {
                Source::Probe(_) => "value >= 3",
                Source::Prometheus { .. } | Source::Web(_) => "value > 0.05, or compare",
                _ => "value > 0.05",
            };
            refuse(
                "condition",
                String::new(),
                format!("is missing; write for example: {example}"),
            );
            "false"
        }
    };
    let condition =
        Condition::parse(text).map_err(|problem| refuse("condition", text.to_owned(), problem));
    let baseline = baseline::baseline(
        trigger,
        source.as_ref(),
        condition.as_ref().ok(),
        &mut refuse,
    );
    let recovery = trigger.recovery.as_ref().and_then(|text| {
        Condition::parse(text)
            .map_err(|problem| refuse("recovery", text.clone(), problem))
            .ok()
    });
    let by_default = match (&source, trigger.severity) {
        // A rollback mends no vulnerability that the release before has as well.
        (Some(Source::Vulnerability(_)), _) => Action::BlockDeployment,
        (_, Severity::Critical) => Action::Rollback,
        (_, Severity::Warning) => Action::GradualRollback,
    };
    let action = trigger.action.unwrap_or(by_default);
    if trigger.interval < Duration::from_secs(1) {
        refuse(
            "interval",
            trigger.interval.to_string(),
            "must be 1s or more".into(),
        );
    }
    let compare = source.as_ref().and_then(|source| {
        baseline::comparison(trigger, source, trigger.interval.as_signed(), &mut refuse)
    });
    match (source, condition) {
        (Some(source), Ok(condition)) if errors.is_empty() => Ok(ValidTrigger {
            name: trigger.name.clone(),
            severity: trigger.severity,
            source,
            condition,
            baseline,
            compare,
            for_: trigger.for_.as_signed(),
            keep_firing_for: trigger.keep_firing_for.as_signed(),
            recovery,
            interval: trigger.interval.as_signed(),
            delay: trigger.delay.as_signed(),
            no_data: trigger.no_data,
            peers,
            action,
        }),
        _ => Err(errors),
    }
}
