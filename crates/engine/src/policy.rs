//! Validation: a policy as written becomes a [`ValidPolicy`], once, and is the single input from
//! there on.

use std::{collections::BTreeSet, fmt};

use backstop_api::{
    Duration, RollbackPolicySpec,
    config::{ConfigCapture, SecretCapture},
    policy::{
        Action, IntOrPercent, IsolateParameters, Mode, NoDataPolicy, RollingParameters, Severity,
        Signal, Window,
    },
};
use jiff::SignedDuration;

use crate::{condition::Condition, query::QueryTemplate, web::WebTemplate};

mod strategy;

pub use strategy::{ValidCanary, ValidStrategy};

/// A policy that can be carried out.
#[derive(Debug)]
pub struct ValidPolicy {
    /// Its name.
    pub name: String,
    /// The Deployments, in the policy's order; the first stands for all of them in names.
    pub deployments: Vec<String>,
    /// How a release is taken back.
    pub strategy: ValidStrategy,
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
        self.action != Action::Notify
    }

    /// Whether it is asked, at its interval. What the workload's own status says is told.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        !matches!(self.source, Source::Workload { .. })
    }

    /// How far back from its evaluation a reading looks.
    #[must_use]
    pub fn range(&self) -> SignedDuration {
        match &self.source {
            Source::Workload { .. } => SignedDuration::ZERO,
            Source::Prometheus { query, minimum, .. } => minimum
                .as_ref()
                .map_or(SignedDuration::ZERO, |m| m.query.longest_range())
                .max(query.longest_range()),
            Source::Web(web) => web.range,
        }
    }
}

/// Where a trigger's value comes from.
#[derive(Debug)]
pub enum Source {
    /// A query.
    Prometheus {
        /// The question.
        query: QueryTemplate,
        /// Whom to ask; the operator's own Prometheus without it.
        address: Option<String>,
        /// The Secret with the credentials.
        secret_name: Option<String>,
        /// How much there must be to judge by.
        minimum: Option<Minimum>,
    },
    /// A web service.
    Web(Box<WebTemplate>),
    /// The workload's own status.
    Workload {
        /// Which signs.
        signals: Vec<Signal>,
    },
}

/// How much there must be to judge by.
#[derive(Debug)]
pub struct Minimum {
    /// The question.
    pub query: QueryTemplate,
    /// Fewer than so many are NoData.
    pub at_least: f64,
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
    for (field, present) in [
        ("spec.gates", spec.gates.is_some()),
        ("spec.gitops", spec.gitops.is_some()),
    ] {
        if present {
            refuse(
                field.into(),
                "…".into(),
                "is not available in this version; remove it",
            );
        }
    }
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
        match valid_trigger(index, trigger) {
            Ok(valid) => triggers.push(valid),
            Err(mut found) => errors.append(&mut found),
        }
    }
    let strategy = strategy::validate(spec, &mut errors);
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
        max_attempts: spec.limits.max_attempts,
        cooldown: spec.limits.cooldown.as_signed(),
        soak: spec.points.soak.as_signed(),
        keep: spec.points.keep as usize,
        config: spec.points.config,
        secrets: spec.points.secrets,
        ignore_annotations: spec.ignore_annotations.clone(),
    })
}

/// How far back a query may look. A release is judged, and its restoration verified, only when all
/// that a query looks at is about it: one that looks back for a week would be of no use for a week.
pub(crate) const LONGEST_REACH: SignedDuration = SignedDuration::from_hours(24);

fn near_query(text: &str) -> Result<QueryTemplate, String> {
    let query = QueryTemplate::parse(text).map_err(|e| e.to_string())?;
    let reach = query.longest_range();
    if reach > LONGEST_REACH {
        return Err(format!(
            "looks back {} h in all (ranges and offsets), and may look back {} h at most: a release \
             is judged only by what is measured after it began",
            reach.as_hours(),
            LONGEST_REACH.as_hours()
        ));
    }
    Ok(query)
}

/// The source of a later version that a trigger has.
fn later_source(trigger: &backstop_api::policy::Trigger) -> Option<&'static str> {
    [
        ("probe", &trigger.probe),
        ("resource", &trigger.resource),
        ("alert", &trigger.alert),
        ("vulnerability", &trigger.vulnerability),
    ]
    .into_iter()
    .find_map(|(name, source)| source.as_ref().map(|_| name))
}

/// Signals that cannot be added up.
fn wrong_signals(signals: &[Signal]) -> Option<(String, &'static str)> {
    if signals.is_empty() {
        return Some((
            "[]".into(),
            "names nothing to watch; write for example CrashLoopBackOff",
        ));
    }
    let alone = [Signal::Restarts, Signal::UnreadyShare];
    let mixed = signals.len() > 1 && signals.iter().any(|s| alone.contains(s));
    mixed.then(|| {
        (
            format!("{signals:?}"),
            "mixes numbers that cannot be added up; put Restarts and UnreadyShare each in a \
             trigger of its own",
        )
    })
}

/// Where a trigger's value comes from; without one, `refuse` has been told why.
fn source(
    trigger: &backstop_api::policy::Trigger,
    refuse: &mut impl FnMut(&str, String, String),
) -> Option<Source> {
    let source = match (&trigger.prometheus, &trigger.workload, &trigger.web) {
        (Some(prometheus), None, None) => {
            let query = near_query(&prometheus.query)
                .map_err(|problem| refuse("prometheus.query", prometheus.query.clone(), problem));
            let minimum = trigger.minimum_samples.as_ref().map(|minimum| {
                near_query(&minimum.query)
                    .map(|query| Minimum {
                        query,
                        at_least: minimum.at_least,
                    })
                    .map_err(|problem| {
                        refuse("minimumSamples.query", minimum.query.clone(), problem);
                    })
            });
            match (query, minimum.transpose()) {
                (Ok(query), Ok(minimum)) => Some(Source::Prometheus {
                    query,
                    address: prometheus.address.clone(),
                    secret_name: prometheus.secret_name.clone(),
                    minimum,
                }),
                _ => None,
            }
        }
        (None, Some(workload), None) => {
            if let Some((value, problem)) = wrong_signals(&workload.signals) {
                refuse("workload.signals", value, problem.into());
            }
            Some(Source::Workload {
                signals: workload.signals.clone(),
            })
        }
        (None, None, Some(web)) => {
            WebTemplate::parse(web, refuse).map(|web| Source::Web(Box::new(web)))
        }
        _ => {
            // What is asked for by name is refused by name.
            let field = later_source(trigger).unwrap_or("prometheus");
            refuse(
                field,
                trigger.name.clone(),
                "needs exactly one source; available are prometheus, workload and web".into(),
            );
            None
        }
    };
    if let (None, Some(minimum)) = (&trigger.prometheus, &trigger.minimum_samples) {
        refuse(
            "minimumSamples",
            minimum.query.clone(),
            "goes with prometheus only; remove it".into(),
        );
    }
    source
}

fn valid_trigger(
    index: usize,
    trigger: &backstop_api::policy::Trigger,
) -> Result<ValidTrigger, Vec<FieldError>> {
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
    let action = trigger.action.unwrap_or(match trigger.severity {
        Severity::Critical => Action::Rollback,
        Severity::Warning => Action::GradualRollback,
    });
    if !matches!(
        action,
        Action::Rollback
            | Action::GradualRollback
            | Action::ScaleAndRollback
            | Action::IsolateAndRollback
            | Action::Notify
    ) {
        refuse(
            "action",
            format!("{action:?}"),
            "is not available in this version; available are Rollback, GradualRollback, \
             ScaleAndRollback, IsolateAndRollback and Notify"
                .into(),
        );
    }
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
