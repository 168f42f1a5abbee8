//! The release that is live, and how its policy judges it: as Backstop says it in the policy's status.

use anyhow::{Context as _, bail};
use backstop_api::{
    RollbackPolicy,
    policy::{AskedAbout, ReleaseStatus},
};
use backstop_engine::{
    policy::{ValidPolicy, ValidTrigger, validate},
    query::QueryContext,
};

use super::{Named, unmeasured};
use crate::cluster::Namespace;

/// A policy and the release that is live for it.
#[derive(Debug)]
pub struct Live {
    pub policy: ValidPolicy,
    pub release: ReleaseStatus,
    /// Whose pods the queries are about.
    pub about: AskedAbout,
    namespace: String,
    /// What each trigger last measured.
    values: Vec<(String, Option<f64>)>,
}

impl Live {
    /// Reads the policy, and what Backstop says of it.
    pub async fn read(namespace: &Namespace, named: &Named) -> anyhow::Result<Self> {
        let object: RollbackPolicy = namespace.get(&named.policy).await?;
        Self::of(&object, &namespace.name)
    }

    fn of(object: &RollbackPolicy, namespace: &str) -> anyhow::Result<Self> {
        let policy = valid(object)?;
        let name = &policy.name;
        let status = object.status.clone().unwrap_or_default();
        if status.observed_generation != object.metadata.generation {
            bail!(
                "Backstop has not looked at RollbackPolicy {name} as it is now (status.observedGeneration is {:?}, \
                 metadata.generation {:?}); try again in a moment, and see whether the operator runs",
                status.observed_generation,
                object.metadata.generation
            );
        }
        let said = status.message.clone().unwrap_or_default();
        let release = status.release.with_context(|| {
            format!("no release is live for RollbackPolicy {name} (status.release): {said}")
        })?;
        let about = status
            .asked_about
            .filter(|about| about.release == release.hash)
            .with_context(|| {
                format!(
                    "Backstop does not know yet which pods are of release {} (status.askedAbout); try again in a moment: \
                     {said}",
                    release.hash
                )
            })?;
        let values = status.triggers.into_iter().map(|t| (t.name, t.value));
        Ok(Self {
            policy,
            release,
            about,
            namespace: namespace.to_owned(),
            values: values.collect(),
        })
    }

    /// What the placeholders of queries stand for.
    pub fn context(&self) -> QueryContext {
        QueryContext {
            workloads: self.about.workloads.clone(),
            namespace: self.namespace.clone(),
            template_hashes: self.about.template_hashes.clone(),
            release: self.about.release.clone(),
        }
    }

    /// The trigger of this name.
    pub fn trigger(&self, name: &str) -> Option<&ValidTrigger> {
        self.policy.triggers.iter().find(|t| t.name == name)
    }

    /// The same, where it has to be there.
    pub fn named(&self, name: &str) -> anyhow::Result<&ValidTrigger> {
        self.trigger(name).with_context(|| {
            let names: Vec<&str> = self
                .policy
                .triggers
                .iter()
                .map(|t| t.name.as_str())
                .collect();
            format!(
                "RollbackPolicy {} has no trigger '{name}'; it has {}",
                self.policy.name,
                names.join(", ")
            )
        })
    }

    /// What the operator last measured of a trigger.
    pub fn seen(&self, trigger: &str) -> Option<f64> {
        let (_, value) = self.values.iter().find(|(name, _)| name == trigger)?;
        *value
    }

    /// The triggers that are measured: those that are named, or all that can be.
    pub fn chosen(&self, names: &[String]) -> anyhow::Result<Vec<&ValidTrigger>> {
        let triggers = &self.policy.triggers;
        if names.is_empty() {
            let mut chosen = Vec::new();
            for trigger in triggers {
                match unmeasured(trigger) {
                    None => chosen.push(trigger),
                    Some(why) => eprintln!("left out: {}: {why}", trigger.name),
                }
            }
            if chosen.is_empty() {
                bail!(
                    "RollbackPolicy {} has no trigger that can be captured: one with prometheus",
                    self.policy.name
                );
            }
            return Ok(chosen);
        }
        let mut chosen: Vec<&ValidTrigger> = Vec::new();
        for name in names {
            let trigger = self.named(name)?;
            if let Some(why) = unmeasured(trigger) {
                bail!("--trigger {name} cannot be captured: {why}");
            }
            if !chosen.iter().any(|t| t.name == trigger.name) {
                chosen.push(trigger);
            }
        }
        Ok(chosen)
    }
}

/// A policy that can be carried out.
pub fn valid(object: &RollbackPolicy) -> anyhow::Result<ValidPolicy> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    validate(name, &object.spec).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(
            "RollbackPolicy {name} is not in force: {}",
            errors.join("; ")
        )
    })
}
