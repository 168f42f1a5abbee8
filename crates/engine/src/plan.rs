//! Plans: what is done, in order. All choices are made here; none is left for the execution.
//!
//! What is done depends on the [strategy](crate::strategy); here is what all of them have in common.

use backstop_api::{
    Duration,
    event::{Step, StepKind, StepState, StepStatus},
    policy::Action,
};
use jiff::SignedDuration;

use crate::{
    policy::ValidPolicy,
    snapshot::{Point, PointWorkload, Snapshot, Workload},
};

pub mod check;
mod config;
pub(crate) mod isolate;
pub(crate) mod template;

/// What is to be taken back, and to where.
pub struct Order<'a> {
    /// The policy.
    pub policy: &'a ValidPolicy,
    /// What is there.
    pub seen: &'a Snapshot,
    /// What is live.
    pub workload: &'a Workload,
    /// The point to go back to.
    pub point: &'a Point,
    /// How the trigger asks for it.
    pub action: Action,
    /// Whether the release is recorded as one that failed.
    pub quarantine: bool,
}

/// The plan, or why there can be none.
pub fn plan(order: &Order<'_>) -> Result<Vec<StepStatus>, String> {
    let mut steps = if order.only_config_differs() {
        order.quarantine().into_iter().collect()
    } else {
        order.policy.strategy.plan(order)?
    };
    config::add(order, &mut steps)?;
    Ok(steps.into_iter().map(waiting).collect())
}

fn waiting(step: Step) -> StepStatus {
    StepStatus {
        step,
        state: StepState::Waiting,
        started_at: None,
        finished_at: None,
        message: None,
        restored: None,
        left: Vec::new(),
        found: None,
    }
}

impl Order<'_> {
    /// A Deployment, and how the point holds it.
    pub(crate) fn pair(&self, name: &str) -> Result<(&Workload, &PointWorkload), String> {
        let there = self
            .workload
            .deployment(name)
            .ok_or_else(|| format!("there is no Deployment {name}"))?;
        let held = self
            .point
            .workload(name)
            .ok_or_else(|| format!("point {} does not hold Deployment {name}", self.point.name))?;
        Ok((there, held))
    }

    /// The Deployments whose template is not that of the point: the last one of the policy first.
    pub(crate) fn changed(&self) -> Result<Vec<(&Workload, &PointWorkload)>, String> {
        let mut changed = Vec::new();
        for name in self.policy.deployments.iter().rev() {
            let (there, held) = self.pair(name)?;
            if there.release != held.release {
                changed.push((there, held));
            }
        }
        Ok(changed)
    }

    /// A step that needs nothing more said about it.
    pub(crate) fn step(&self, kind: StepKind, there: &Workload, held: &PointWorkload) -> Step {
        Step {
            kind,
            workload: there.name.clone(),
            workload_uid: there.uid.clone(),
            from: there.release.clone(),
            to: held.release.clone(),
            point: self.point.name.clone(),
            rolling: None,
            strategy_before: None,
            strategy_owners: Vec::new(),
            timeout: None,
            replicas: None,
            selector: None,
            weight: None,
            optional: false,
            isolate: None,
            config: Vec::new(),
        }
    }

    /// Whether the point has other configuration than what is live, and nothing else.
    fn only_config_differs(&self) -> bool {
        let same = |w: &Workload| {
            let held = self.point.workload(&w.name);
            held.is_some_and(|h| h.release == w.release)
        };
        let stack = self.point.stack.as_ref().map(|s| s.workload.as_str());
        let live = self.workload.live();
        live.iter().all(same)
            && stack.is_none_or(|stack| stack == live[0].name)
            && !self.workload.tried
            && config::differs(self)
    }

    /// A step that waits, for as long as the policy says.
    pub(crate) fn wait(&self, kind: StepKind, there: &Workload, held: &PointWorkload) -> Step {
        Step {
            timeout: Some(length(self.policy.timeout)),
            ..self.step(kind, there, held)
        }
    }

    /// A step about a number of replicas.
    pub(crate) fn capacity(
        &self,
        kind: StepKind,
        there: &Workload,
        held: &PointWorkload,
        replicas: i32,
    ) -> Step {
        let step = match kind {
            StepKind::Scale | StepKind::ScaleBack => self.step(kind, there, held),
            _ => self.wait(kind, there, held),
        };
        Step {
            replicas: Some(replicas),
            ..step
        }
    }

    /// The record of the release that failed: it is about the release as a whole.
    pub(crate) fn quarantine(&self) -> Option<Step> {
        let live = &self.workload.live()[0];
        let as_a_whole = PointWorkload {
            name: live.name.clone(),
            release: self.point.release.clone().unwrap_or_default(),
            replicas: 0,
        };
        self.quarantine.then(|| Step {
            from: self.workload.release.clone(),
            ..self.step(StepKind::QuarantineRelease, live, &as_a_whole)
        })
    }
}

/// As the API writes it.
pub(crate) fn length(of: SignedDuration) -> Duration {
    Duration::from(std::time::Duration::try_from(of).unwrap_or_default())
}
