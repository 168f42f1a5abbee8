//! A trigger as written becomes one that can be judged.

use backstop_api::{
    Duration,
    policy::{Action, NoDataPolicy, Severity, Trigger},
};
use jiff::SignedDuration;

use super::{FieldError, Source, source::source};
use crate::condition::Condition;

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
    /// How long the condition must hold.
    pub for_: SignedDuration,
    /// How often the source is asked.
    pub interval: SignedDuration,
    /// How long to wait between firing and acting.
    pub delay: SignedDuration,
    /// What an empty answer means.
    pub no_data: NoDataPolicy,
    /// What it leads to.
    pub action: Action,
}

impl ValidTrigger {
    /// Whether it can take a release back.
    #[must_use]
    pub fn can_roll_back(&self) -> bool {
        !matches!(self.action, Action::Notify | Action::BlockDeployment)
    }

    /// Whether it is asked, at its interval. What the workload's own status says is told.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        !matches!(
            self.source,
            Source::Workload { .. } | Source::Vulnerability(_)
        )
    }

    /// How far back from its evaluation a reading looks.
    #[must_use]
    pub fn range(&self) -> SignedDuration {
        match &self.source {
            Source::Workload { .. } | Source::Vulnerability(_) => SignedDuration::ZERO,
            Source::Prometheus { query, minimum, .. } => minimum
                .as_ref()
                .map_or(SignedDuration::ZERO, |m| m.query.longest_range())
                .max(query.longest_range()),
            Source::Web(web) => web.range,
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
    let text = match (&trigger.condition, &source) {
        (Some(text), _) => text.as_str(),
        (None, Some(Source::Prometheus { .. } | Source::Web(_))) => {
            refuse(
                "condition",
                String::new(),
                "is missing; write for example: value > 0.05".into(),
            );
            "false"
        }
        (None, _) => "value > 0.0",
    };
    let condition =
        Condition::parse(text).map_err(|problem| refuse("condition", text.to_owned(), problem));
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
    match (source, condition) {
        (Some(source), Ok(condition)) if errors.is_empty() => Ok(ValidTrigger {
            name: trigger.name.clone(),
            severity: trigger.severity,
            source,
            condition,
            for_: trigger.for_.as_signed(),
            interval: trigger.interval.as_signed(),
            delay: trigger.delay.as_signed(),
            no_data: trigger.no_data,
            action,
        }),
        _ => Err(errors),
    }
}
