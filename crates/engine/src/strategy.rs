//! Strategies: what is live under each, and how that is taken back.
//!
//! A strategy is a file beside this one and a line in [`parse`]. The rest of the engine asks [`Strategy`].

use std::{collections::BTreeSet, fmt::Debug};

use backstop_api::{
    RollbackPolicySpec,
    event::Step,
    policy::{Action, StrategyType},
};

use crate::{
    plan::Order,
    policy::{FieldError, ValidPolicy},
    snapshot::{Event, Workload},
    subject::{Absent, Parts},
};

mod blue_green;
mod canary;
mod recreate;
mod rolling;

pub use canary::Canary;

/// A strategy with the parameters that a policy gives it.
pub trait Strategy: Debug + Send + Sync {
    /// Its name.
    fn type_(&self) -> StrategyType;

    /// What is live, of all that is there.
    fn live(&self, policy: &ValidPolicy, parts: &Parts) -> Result<Workload, Absent>;

    /// Identity of what is live, without configuration, once what `event` has written is there. It has written a
    /// template of a Deployment of the policy. `None` where none of them is live.
    fn restored(
        &self,
        policy: &ValidPolicy,
        workload: Option<&Workload>,
        event: &Event,
    ) -> Option<String>;

    /// The steps by which it is taken back, or why there can be none.
    fn plan(&self, order: &Order<'_>) -> Result<Vec<Step>, String>;

    /// The Service that has to be watched to tell what is live.
    fn service(&self) -> Option<&str> {
        None
    }

    /// The canary whose route has to be watched to tell what is live.
    fn canary(&self) -> Option<&Canary> {
        None
    }
}

/// The strategy of a policy; or nothing, and what is wrong with it among `errors`.
pub(crate) fn parse(
    spec: &RollbackPolicySpec,
    errors: &mut Vec<FieldError>,
) -> Option<Box<dyn Strategy>> {
    let mut refusals = Refusals(Vec::new());
    let mut names = BTreeSet::new();
    for name in spec.deployments() {
        if !names.insert(name) {
            let problem = "is named twice; name each Deployment once";
            refusals.add("spec.workloads", name, problem);
        }
    }
    let parsed = match spec.strategy.type_ {
        StrategyType::Rolling => Some(rolling::parse(spec, &mut refusals)),
        StrategyType::Recreate => Some(recreate::parse(spec, &mut refusals)),
        StrategyType::BlueGreen => blue_green::parse(spec, &mut refusals),
        StrategyType::Canary => canary::parse(spec, &mut refusals),
    };
    let parsed = parsed.filter(|_| refusals.0.is_empty());
    errors.append(&mut refusals.0);
    parsed
}

/// What is wrong with a strategy.
struct Refusals(Vec<FieldError>);

impl Refusals {
    fn add(&mut self, field: &str, value: impl Into<String>, problem: &str) {
        self.0.push(FieldError {
            field: field.to_owned(),
            value: value.into(),
            problem: problem.to_owned(),
        });
    }

    /// For a strategy whose Deployments are those of `spec.workloads`.
    fn without_workloads(&mut self, spec: &RollbackPolicySpec) {
        if spec.workloads.is_empty() {
            let problem = "names no Deployment; name at least one";
            self.add("spec.workloads", "[]", problem);
        }
    }

    /// For a strategy that names its Deployments itself.
    fn with_workloads(&mut self, spec: &RollbackPolicySpec) {
        if !spec.workloads.is_empty() {
            let problem =
                "must be left out with BlueGreen and Canary, whose strategy names the Deployments";
            let value = format!("{} entries", spec.workloads.len());
            self.add("spec.workloads", value, problem);
        }
    }

    /// For a strategy other than Rolling.
    fn actions_of_rolling(&mut self, spec: &RollbackPolicySpec) {
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
            let value = trigger
                .action
                .map_or_else(String::new, |a| format!("{a:?}"));
            self.add(&format!("spec.triggers[{index}].action"), value, problem);
        }
    }
}
