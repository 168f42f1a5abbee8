//! Validation: a policy as written becomes a [`ValidPolicy`], once, and is the single input from
//! there on.

use std::{collections::BTreeSet, fmt};

use backstop_api::{
    Duration, RollbackPolicySpec,
    config::{ConfigCapture, SecretCapture},
    policy::{IntOrPercent, IsolateParameters, Mode, OnConflict, RollingParameters, Window},
};
use jiff::SignedDuration;

use crate::{
    gates::ValidGates,
    strategy::{self, Strategy},
};

mod affected;
mod baseline;
mod peers;
mod source;
mod trigger;
mod votes;

pub use affected::ValidAffectedUsers;
pub use baseline::{Against, ValidBaseline};
pub use peers::{Alike, ValidPeers};
pub(crate) use peers::{HOLD_FOR, SHARE};
pub(crate) use source::LONGEST_REACH;
pub use source::{Minimum, Source, ValidRatio};
pub use trigger::ValidTrigger;
pub use votes::ValidVote;

/// A policy that can be carried out.
#[derive(Debug)]
pub struct ValidPolicy {
    /// Its name.
    pub name: String,
    /// The Deployments, in the policy's order; the first stands for all of them in names.
    pub deployments: Vec<String>,
    /// How a release is taken back.
    pub strategy: Box<dyn Strategy>,
    /// Whether Backstop acts.
    pub mode: Mode,
    /// How long a release may be blamed after its rollout; `None` for as long as it is live.
    pub window: Option<SignedDuration>,
    /// `rollingUpdate` for the time of a rollback.
    pub rolling: Option<RollingParameters>,
    /// How much capacity ScaleAndRollback adds first.
    pub scale_by: IntOrPercent,
    /// How IsolateAndRollback keeps requests from the pods of the release that failed.
    pub isolate: IsolateParameters,
    /// How long the rollout of the restored release may take.
    pub timeout: SignedDuration,
    /// What is watched.
    pub triggers: Vec<ValidTrigger>,
    /// Triggers that decide together.
    pub votes: Vec<ValidVote>,
    /// So many rollbacks in one incident.
    pub max_attempts: u32,
    /// So long without another rollback.
    pub cooldown: SignedDuration,
    /// How long a release must be healthy to prove itself.
    pub soak: SignedDuration,
    /// How many points made by soaking are kept.
    pub keep: usize,
    /// Whether configuration belongs to a release.
    pub config: ConfigCapture,
    /// Whether Secrets do, if configuration does.
    pub secrets: SecretCapture,
    /// Annotations of the template that say nothing about the release.
    pub ignore_annotations: Vec<String>,
    /// What is done when a release that failed is put back.
    pub on_conflict: OnConflict,
    /// For how long a release that failed is kept out.
    pub quarantine_for: SignedDuration,
    /// What is asked before a release.
    pub gates: Option<ValidGates>,
    /// How many users a release that is taken back has reached.
    pub affected_users: Option<ValidAffectedUsers>,
}

impl ValidPolicy {
    /// The Deployment by whose name the policy's points are found.
    #[must_use]
    pub fn primary(&self) -> &str {
        self.deployments.first().map_or("", String::as_str)
    }

    /// The Deployments, for people.
    #[must_use]
    pub fn names(&self) -> String {
        self.deployments.join(", ")
    }
}

/// What is wrong with a policy: the field, its value, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The path of the field, such as `spec.triggers[0].condition`.
    pub field: String,
    /// What stands there.
    pub value: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: '{}' {}", self.field, self.value, self.problem)
    }
}

/// What becomes of a release that failed.
fn gitops(spec: &RollbackPolicySpec, refuse: &mut impl FnMut(String, String, &str)) {
    let kept_out = spec.gitops.quarantine_for;
    if !(Duration::from_secs(1)..=LONGEST_QUARANTINE).contains(&kept_out) {
        refuse(
            "spec.gitops.quarantineFor".into(),
            kept_out.to_string(),
            "must be from 1s to 720h, for example 24h",
        );
    }
}

/// A release that failed is kept out for so long at most.
const LONGEST_QUARANTINE: Duration = Duration::from_mins(720 * 60);

/// Parses a policy, or says everything that is wrong with it.
pub fn validate(name: &str, spec: &RollbackPolicySpec) -> Result<ValidPolicy, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut refuse = |field: String, value: String, problem: &str| {
        errors.push(FieldError {
            field,
            value,
            problem: problem.to_owned(),
        });
    };
    if let Some(rolling) = &spec.strategy.rolling {
        let zero = |value: &Option<IntOrPercent>| {
            value
                .as_ref()
                .is_some_and(|v| ["0", "0%"].contains(&v.to_string().as_str()))
        };
        if zero(&rolling.max_unavailable) && zero(&rolling.max_surge) {
            refuse(
                "spec.strategy.rolling".into(),
                "maxUnavailable: 0, maxSurge: 0".into(),
                "cannot both be 0, or the rollout could never move; set maxSurge: 1",
            );
        }
    }
    gitops(spec, &mut refuse);
    if spec.limits.max_attempts == 0 {
        refuse(
            "spec.limits.maxAttempts".into(),
            "0".into(),
            "must be 1 or more; to roll nothing back write mode: Observe",
        );
    }
    let mut names = BTreeSet::new();
    let mut triggers = Vec::new();
    for (index, trigger) in spec.triggers.iter().enumerate() {
        if !names.insert(&trigger.name) {
            errors.push(FieldError {
                field: format!("spec.triggers[{index}].name"),
                value: trigger.name.clone(),
                problem: "is there twice; every trigger needs a name of its own".into(),
            });
        }
        match trigger::validate(index, trigger) {
            Ok(valid) => triggers.push(valid),
            Err(mut found) => errors.append(&mut found),
        }
    }
    let votes = votes::validate(spec.decision.as_ref(), &triggers, &mut errors);
    let gates = spec.gates.as_ref().and_then(|gates| {
        ValidGates::parse(gates, &mut |field, value, problem: &str| {
            errors.push(FieldError {
                field,
                value,
                problem: problem.to_owned(),
            });
        })
    });
    let affected_users = affected::validate(spec.affected_users.as_ref(), &mut errors);
    let strategy = strategy::parse(spec, &mut errors);
    let Some(strategy) = strategy.filter(|_| errors.is_empty()) else {
        return Err(errors);
    };
    Ok(ValidPolicy {
        name: name.to_owned(),
        deployments: spec.deployments().into_iter().map(str::to_owned).collect(),
        strategy,
        mode: spec.mode,
        window: match spec.window {
            Window::For(length) => Some(length.as_signed()),
            Window::Always => None,
        },
        rolling: spec.strategy.rolling.clone(),
        isolate: spec.strategy.isolate.clone().unwrap_or_default(),
        scale_by: spec
            .strategy
            .scale
            .as_ref()
            .map_or_else(|| IntOrPercent::Percent("50%".into()), |s| s.by.clone()),
        timeout: spec.strategy.timeout.as_signed(),
        triggers,
        votes,
        max_attempts: spec.limits.max_attempts,
        cooldown: spec.limits.cooldown.as_signed(),
        soak: spec.points.soak.as_signed(),
        keep: spec.points.keep as usize,
        config: spec.points.config,
        secrets: spec.points.secrets,
        ignore_annotations: spec.ignore_annotations.clone(),
        on_conflict: spec.gitops.on_conflict,
        quarantine_for: spec.gitops.quarantine_for.as_signed(),
        gates,
        affected_users,
    })
}
