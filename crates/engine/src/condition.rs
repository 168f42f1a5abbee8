//! Conditions of triggers, in CEL.

use cel::{Context, Program, Value};

/// The variables that a condition may use.
pub const VARIABLES: [&str; 4] = ["value", "baseline", "stable", "workload"];

/// What a condition is evaluated on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variables {
    /// The reading.
    pub value: f64,
    /// What it is compared with, where there is such a thing.
    pub baseline: Option<f64>,
    /// The same reading of the side that is not released to, where there is one.
    pub stable: Option<f64>,
    /// The workload's numbers.
    pub workload: WorkloadNumbers,
}

/// The numbers of a workload that a condition may use, as `workload.desired` and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkloadNumbers {
    /// Replicas wanted.
    pub desired: i32,
    /// Replicas of the live release.
    pub updated: i32,
    /// Replicas that are ready.
    pub ready: i32,
    /// Replicas that are available.
    pub available: i32,
    /// The highest number of restarts of a container of the release.
    pub restarts: i32,
    /// The share of the wanted replicas that is not ready, 0 to 1.
    pub unready_share: f64,
}

impl WorkloadNumbers {
    fn to_cel(self) -> Value {
        let map: std::collections::HashMap<String, Value> = [
            ("desired", Value::Float(self.desired.into())),
            ("updated", Value::Float(self.updated.into())),
            ("ready", Value::Float(self.ready.into())),
            ("available", Value::Float(self.available.into())),
            ("restarts", Value::Float(self.restarts.into())),
            ("unreadyShare", Value::Float(self.unready_share)),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        map.into()
    }
}

/// A condition that compiles and answers yes or no.
#[derive(Debug)]
pub struct Condition {
    text: String,
    program: Program,
    uses_baseline: bool,
    uses_stable: bool,
}

impl Condition {
    /// Compiles `text`, and tries it, so that a condition that cannot work is said when the policy
    /// is written and not when a release goes bad.
    pub fn parse(text: &str) -> Result<Self, String> {
        let program = Program::compile(text).map_err(|e| {
            format!(
                "is no CEL expression: {}",
                e.to_string().replace('\n', " ").trim()
            )
        })?;
        let references = program.references();
        if let Some(unknown) = references
            .variables()
            .into_iter()
            .find(|name| !VARIABLES.contains(name))
        {
            return Err(format!(
                "uses '{unknown}'; known are {}",
                VARIABLES.join(", ")
            ));
        }
        let uses_baseline = references.has_variable("baseline");
        let uses_stable = references.has_variable("stable");
        let condition = Self {
            text: text.to_owned(),
            program,
            uses_baseline,
            uses_stable,
        };
        condition
            .holds(&Variables {
                value: 1.0,
                baseline: Some(1.0),
                stable: Some(1.0),
                workload: WorkloadNumbers::default(),
            })
            .map_err(|e| {
                format!(
                    "{e}; numbers here are doubles, so write for example: value > 1.3 * baseline"
                )
            })?;
        Ok(condition)
    }

    /// The condition as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a baseline is needed to evaluate it.
    #[must_use]
    pub fn uses_baseline(&self) -> bool {
        self.uses_baseline
    }

    /// Whether the side that is not released to is needed to evaluate it.
    #[must_use]
    pub fn uses_stable(&self) -> bool {
        self.uses_stable
    }

    /// Whether the condition holds.
    pub fn holds(&self, on: &Variables) -> Result<bool, String> {
        let mut context = Context::default();
        context.add_variable_from_value("value", on.value);
        if let Some(baseline) = on.baseline {
            context.add_variable_from_value("baseline", baseline);
        }
        if let Some(stable) = on.stable {
            context.add_variable_from_value("stable", stable);
        }
        context.add_variable_from_value("workload", on.workload.to_cel());
        match self.program.execute(&context) {
            Ok(Value::Bool(answer)) => Ok(answer),
            Ok(other) => Err(format!(
                "answers {other:?}, which is neither true nor false"
            )),
            Err(e) => Err(format!("cannot be evaluated: {e}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(value: f64) -> Variables {
        Variables {
            value,
            baseline: Some(2.0),
            stable: None,
            workload: WorkloadNumbers::default(),
        }
    }

    #[test]
    fn a_condition_compares_value_and_baseline() {
        let over = Condition::parse("value > 1.3 * baseline").unwrap();
        assert!(over.uses_baseline());
        assert_eq!(over.holds(&on(2.7)), Ok(true));
        assert_eq!(over.holds(&on(2.5)), Ok(false));
    }

    #[test]
    fn a_whole_number_may_be_compared_with_the_value() {
        let condition = Condition::parse("value > 0 && workload.unreadyShare < 1").unwrap();
        assert_eq!(condition.holds(&on(0.5)), Ok(true));
    }

    #[test]
    fn what_cannot_work_is_refused_in_words() {
        let error = |text| Condition::parse(text).unwrap_err();
        assert!(
            error("value >").contains("is no CEL expression"),
            "{}",
            error("value >")
        );
        assert!(error("error_rate > 0.05").contains("known are value, baseline, stable, workload"));
        assert!(error("value + 1.0").contains("neither true nor false"));
        assert!(error("value > workload.nonsense").contains("cannot be evaluated"));
        assert!(error("value.foo() > 1").contains("cannot be evaluated"));
    }
}
