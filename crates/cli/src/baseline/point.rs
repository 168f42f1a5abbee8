//! The RollbackPoint that holds a baseline: made, filled by Backstop, or removed again.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, bail};
use backstop_api::{
    RollbackPoint, RollbackPointSpec,
    condition::{ANOTHER_RELEASE, CAPTURED, ConditionStatus},
    names,
    point::{Origin, Verdict},
    policy::WorkloadRef,
};
use backstop_engine::snapshot::Measured;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use kube::api::{DeleteParams, PostParams, Preconditions};

use super::live::Live;
use crate::cluster::Namespace;

/// Who writes, by the object's managedFields.
const MANAGER: &str = "kubectl-backstop";
/// So often it is looked whether Backstop has recorded the release.
const EVERY: Duration = Duration::from_millis(500);

/// The point to be made.
#[derive(Debug, Args)]
pub struct NewPoint {
    /// The name of the RollbackPoint; without it one with the time in it.
    #[arg(long)]
    name: Option<String>,
    /// Who names the release good.
    #[arg(long, value_enum, ignore_case = true, default_value = "Manual")]
    origin: Who,
    /// Why, in a sentence.
    #[arg(long)]
    reason: Option<String>,
}

/// Who names a release good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Who {
    /// A person.
    #[value(name = "Manual")]
    Manual,
    /// A pipeline.
    #[value(name = "Pipeline")]
    Pipeline,
}

impl NewPoint {
    /// The point of the live release with what was measured of it.
    pub fn of(&self, live: &Live, measured: BTreeMap<String, Measured>) -> RollbackPoint {
        let workload = live.policy.primary();
        let name = self.name.clone();
        let name = name.unwrap_or_else(|| names::baseline_name(workload, Timestamp::now()));
        let reason = self.reason.clone();
        let reason = reason.unwrap_or_else(|| "its baseline was measured under load".to_owned());
        let mut spec = RollbackPointSpec {
            workload: WorkloadRef {
                name: workload.to_owned(),
            },
            origin: match self.origin {
                Who::Manual => Origin::Manual,
                Who::Pipeline => Origin::Pipeline,
            },
            verdict: Verdict::Good,
            reason: Some(reason),
            release: None,
            measured_of: Some(live.about.release.clone()),
            baselines: BTreeMap::new(),
            distributions: BTreeMap::new(),
        };
        for (trigger, measured) in measured {
            spec.baselines.insert(trigger.clone(), measured.value);
            spec.distributions
                .extend(measured.distribution.map(|spread| (trigger, spread)));
        }
        RollbackPoint::new(&name, spec)
    }
}

/// Asks the API server whether it would let the point in.
pub async fn try_out(
    namespace: &Namespace,
    point: &RollbackPoint,
) -> anyhow::Result<RollbackPoint> {
    create(namespace, point, true).await
}

/// Makes the point, and waits until Backstop has recorded the release in it that was measured. If that does not happen
/// the point is removed again.
pub async fn make(
    namespace: &Namespace,
    point: &RollbackPoint,
    release: &str,
    limit: Duration,
) -> anyhow::Result<RollbackPoint> {
    let made = create(namespace, point, false).await?;
    let why = tokio::select! {
        filled = filled(namespace, &made, release, limit) => match filled {
            Ok(point) => return Ok(point),
            Err(why) => why,
        },
        _ = tokio::signal::ctrl_c() => anyhow::anyhow!("it was interrupted"),
    };
    let name = made.metadata.name.as_deref().unwrap_or_default();
    let only_this = DeleteParams {
        preconditions: Some(Preconditions {
            uid: made.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match namespace
        .api::<RollbackPoint>()
        .delete(name, &only_this)
        .await
    {
        Ok(_) => Err(why.context(format!("RollbackPoint {name} is removed again"))),
        Err(error) => Err(why.context(format!(
            "RollbackPoint {name} is no good, and could not be removed ({error}); delete it"
        ))),
    }
}

async fn create(
    namespace: &Namespace,
    point: &RollbackPoint,
    dry_run: bool,
) -> anyhow::Result<RollbackPoint> {
    let name = point.metadata.name.as_deref().unwrap_or_default();
    let params = PostParams {
        dry_run,
        field_manager: Some(MANAGER.to_owned()),
    };
    match namespace.api().create(&params, point).await {
        Ok(created) => Ok(created),
        Err(kube::Error::Api(status)) if status.is_already_exists() => bail!(
            "RollbackPoint {name} is there already, and stays as it is; choose another name with --name"
        ),
        Err(error) => Err(error).with_context(|| format!("RollbackPoint {name} could not be made")),
    }
}

/// Waits until Backstop has recorded this release in the point.
async fn filled(
    namespace: &Namespace,
    made: &RollbackPoint,
    release: &str,
    limit: Duration,
) -> anyhow::Result<RollbackPoint> {
    let name = made.metadata.name.as_deref().unwrap_or_default();
    let begun = tokio::time::Instant::now();
    loop {
        let said = match namespace.get::<RollbackPoint>(name).await {
            Ok(point) => {
                if says(&point, ConditionStatus::True).is_some() {
                    return Ok(point);
                }
                let said = says(&point, ConditionStatus::False);
                if let Some(said) = said.as_ref().filter(|it| it.starts_with(ANOTHER_RELEASE)) {
                    bail!("{said}");
                }
                said
            }
            // It may be there again in a moment.
            Err(error) => Some(format!("{error:#}")),
        };
        if begun.elapsed() >= limit {
            let nothing = || "it has said nothing about it; does the operator run?".to_owned();
            bail!(
                "Backstop has not recorded release {release} within {limit:?}: {}",
                said.unwrap_or_else(nothing)
            );
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What Backstop says of a point, where it says this.
fn says(point: &RollbackPoint, status: ConditionStatus) -> Option<String> {
    let conditions = point.status.iter().flat_map(|s| &s.conditions);
    let mut captured = conditions.filter(|c| c.type_ == CAPTURED && c.status == status);
    captured
        .next()
        .map(|c| format!("{}: {}", c.reason, c.message))
}
