//! The strategy of a policy, parsed.

use std::collections::BTreeSet;

use backstop_api::{
    RollbackPolicySpec,
    policy::{Action, CanaryParameters, StrategyType},
};
use jiff::SignedDuration;

use super::FieldError;
use crate::condition::Condition;

/// How a release is taken back.
#[derive(Debug)]
pub enum ValidStrategy {
    /// Write the good templates, and let the Deployments roll.
    Rolling,
    /// Stop, restore, start.
    Recreate,
    /// Swap a Service's selector.
    BlueGreen {
        /// The Service.
        service: String,
        /// Whether the stack that failed keeps its pods.
        preserve_failed: bool,
    },
    /// Shift a route's weights.
    Canary(Box<ValidCanary>),
}

/// The parameters of a canary.
#[derive(Debug)]
pub struct ValidCanary {
    /// As written: the Deployments, and the route.
    pub parameters: CanaryParameters,
    /// How far back a gradual rollback has gone after each step, in percent, rising to 100.
    pub steps: Vec<u8>,
    /// How long it waits between them.
    pub step_interval: SignedDuration,
    /// When it need go no further.
    pub stop_when: Option<Condition>,
}

impl ValidStrategy {
    /// Its name.
    #[must_use]
    pub fn type_(&self) -> StrategyType {
        match self {
            Self::Rolling => StrategyType::Rolling,
            Self::Recreate => StrategyType::Recreate,
            Self::BlueGreen { .. } => StrategyType::BlueGreen,
            Self::Canary(_) => StrategyType::Canary,
        }
    }
}

/// Parses the strategy, or adds what is wrong with it.
pub(super) fn validate(
    spec: &RollbackPolicySpec,
    errors: &mut Vec<FieldError>,
) -> Option<ValidStrategy> {
    let before = errors.len();
    let mut refuse = |field: &str, value: String, problem: &str| {
        errors.push(FieldError {
            field: field.to_owned(),
            value,
            problem: problem.to_owned(),
        });
    };
    let strategy = &spec.strategy;
    let mut names = BTreeSet::new();
    for name in spec.deployments() {
        if !names.insert(name) {
            refuse(
                "spec.workloads",
                name.to_owned(),
                "is named twice; name each Deployment once",
            );
        }
    }
    let own = matches!(
        strategy.type_,
        StrategyType::BlueGreen | StrategyType::Canary
    );
    if own && !spec.workloads.is_empty() {
        refuse(
            "spec.workloads",
            format!("{} entries", spec.workloads.len()),
            "must be left out with BlueGreen and Canary, whose strategy names the Deployments",
        );
    }
    if !own && spec.workloads.is_empty() {
        refuse(
            "spec.workloads",
            "[]".into(),
            "names no Deployment; name at least one",
        );
    }
    if strategy.type_ != StrategyType::Rolling {
        for (index, trigger) in spec.triggers.iter().enumerate() {
            let problem = match trigger.action {
                Some(Action::ScaleAndRollback) => {
                    "goes with strategy Rolling only: the others bring the capacity that they need"
                }
                Some(Action::IsolateAndRollback) => {
                    "goes with strategy Rolling only: Recreate stops the pods first, and BlueGreen and \
                     Canary take the requests away from them by themselves"
                }
                _ => continue,
            };
            refuse(
                &format!("spec.triggers[{index}].action"),
                trigger
                    .action
                    .map_or_else(String::new, |a| format!("{a:?}")),
                problem,
            );
        }
    }
    let valid = match strategy.type_ {
        StrategyType::Rolling => Some(ValidStrategy::Rolling),
        StrategyType::Recreate => Some(ValidStrategy::Recreate),
        StrategyType::BlueGreen => match &strategy.blue_green {
            Some(parameters) if parameters.stacks.len() == 2 => Some(ValidStrategy::BlueGreen {
                service: parameters.service.clone(),
                preserve_failed: parameters.preserve_failed,
            }),
            found => {
                refuse(
                    "spec.strategy.blueGreen",
                    format!("{} stacks", found.as_ref().map_or(0, |b| b.stacks.len())),
                    "must name the Service and its two stacks",
                );
                None
            }
        },
        StrategyType::Canary => {
            if let Some(parameters) = &strategy.canary {
                canary(parameters, &mut refuse)
            } else {
                refuse(
                    "spec.strategy.canary",
                    String::new(),
                    "is missing; name the stable and the canary Deployment and the route",
                );
                None
            }
        }
    };
    valid.filter(|_| errors.len() == before)
}

fn canary(
    parameters: &CanaryParameters,
    refuse: &mut impl FnMut(&str, String, &str),
) -> Option<ValidStrategy> {
    let steps = &parameters.steps;
    let rising = steps.windows(2).all(|pair| pair[0] < pair[1]);
    if !rising || steps.last() != Some(&100) {
        refuse(
            "spec.strategy.canary.steps",
            format!("{steps:?}"),
            "must rise and end with 100, as in [25, 50, 75, 100]",
        );
    }
    let stop_when = match parameters.stop_when.as_deref().map(Condition::parse) {
        None => None,
        Some(Ok(condition)) => Some(condition),
        Some(Err(problem)) => {
            refuse(
                "spec.strategy.canary.stopWhen",
                parameters.stop_when.clone().unwrap_or_default(),
                &problem,
            );
            return None;
        }
    };
    Some(ValidStrategy::Canary(Box::new(ValidCanary {
        steps: steps.clone(),
        step_interval: parameters.step_interval.as_signed(),
        stop_when,
        parameters: parameters.clone(),
    })))
}
