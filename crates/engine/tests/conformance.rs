//! Every strategy keeps every rule: its plans are executed step by step in a small world, by an
//! operator that may be killed at any moment and does the step again.

mod common;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use backstop_api::{
    event::{StepKind, StepStatus},
    policy::{Action, Isolation, StrategyType},
};
use backstop_engine::{
    plan::check::violations,
    snapshot::Point,
    subject::{Parts, live},
};
use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};
use stage::{Stage, deployment, size};

/// Each strategy in turn: a new one does not compile until it is here.
fn after(strategy: Option<StrategyType>) -> Option<StrategyType> {
    match strategy {
        None => Some(StrategyType::Rolling),
        Some(StrategyType::Rolling) => Some(StrategyType::Recreate),
        Some(StrategyType::Recreate) => Some(StrategyType::BlueGreen),
        Some(StrategyType::BlueGreen) => Some(StrategyType::Canary),
        Some(StrategyType::Canary) => None,
    }
}

fn strategies() -> Vec<StrategyType> {
    std::iter::successors(after(None), |s| after(Some(*s))).collect()
}

fn actions(strategy: StrategyType) -> Vec<Action> {
    match strategy {
        StrategyType::Rolling => vec![
            Action::Rollback,
            Action::GradualRollback,
            Action::ScaleAndRollback,
            Action::IsolateAndRollback,
        ],
        StrategyType::Recreate | StrategyType::BlueGreen | StrategyType::Canary => {
            vec![Action::Rollback, Action::GradualRollback]
        }
    }
}

/// When the operator is killed while it does a step.
#[derive(Clone, Copy, Debug)]
enum Kill {
    Before,
    AfterFound,
    AfterEffect,
}

/// What chance chooses.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "chance tosses coins")]
struct Draw {
    strategy: Index,
    action: Index,
    quarantine: bool,
    count: usize,
    wanted: Vec<i32>,
    was_wanted: Vec<i32>,
    changed: Vec<bool>,
    share: u8,
    steps: Index,
    scale: u8,
    by_percent: bool,
    flag: bool,
    in_place: bool,
    held: bool,
    kills: Vec<Vec<Kill>>,
}

prop_compose! {
    fn draw()(
        (strategy, action, steps) in any::<(Index, Index, Index)>(),
        (quarantine, by_percent, flag, in_place, held) in any::<(bool, bool, bool, bool, bool)>(),
        count in 1..=4usize,
        wanted in prop::collection::vec(0..7i32, 4),
        was_wanted in prop::collection::vec(0..7i32, 4),
        changed in prop::collection::vec(any::<bool>(), 4),
        share in prop_oneof![Just(0u8), Just(1), Just(100), 0..=100u8],
        scale in 1..=100u8,
        kills in prop::collection::vec(prop::collection::vec(
            prop_oneof![Just(Kill::Before), Just(Kill::AfterFound), Just(Kill::AfterEffect)], 0..3), 40),
    ) -> Draw {
        Draw {
            strategy, action, quarantine, count, wanted, was_wanted, changed, share, steps, scale,
            by_percent, flag, in_place, held, kills,
        }
    }
}

const NAMES: [&str; 4] = ["web", "worker", "mail", "cron"];

/// The steps that a gradual rollback of a canary may have.
const STEPS: [&[u8]; 5] = [
    &[25, 50, 75, 100],
    &[100],
    &[10, 100],
    &[1, 2, 3, 99, 100],
    &[33, 66, 100],
];

impl Draw {
    fn strategy(&self) -> StrategyType {
        *self.strategy.get(&strategies())
    }

    fn action(&self) -> Action {
        *self.action.get(&actions(self.strategy()))
    }

    /// What there is, and was.
    fn stage(&self) -> Stage {
        let mut stage = match self.strategy() {
            StrategyType::Rolling => {
                let by = if self.by_percent {
                    json!(format!("{}%", self.scale))
                } else {
                    json!(self.scale)
                };
                let stage = self.several("Rolling").set("", "scale", json!({"by": by}));
                if self.flag {
                    let stage = stage.set("", "isolate", json!({"isolation": "Immediate"}));
                    stage.set("", "rolling", json!({"maxUnavailable": 0}))
                } else {
                    stage
                }
            }
            StrategyType::Recreate => self.several("Recreate"),
            StrategyType::BlueGreen => self.stacks(),
            StrategyType::Canary => self.canary(),
        };
        // Somebody else's, with the same labels.
        let other = deployment("bystander", "other", 2);
        stage.was.deployments.push(other.clone());
        stage.now.deployments.push(other);
        stage
    }

    fn several(&self, strategy: &str) -> Stage {
        let names = &NAMES[..self.count];
        let mut stage = Stage::several(strategy, names);
        let none = !self.changed[..self.count].contains(&true);
        for (i, name) in names.iter().enumerate() {
            size(stage.before(name), self.was_wanted[i]);
            size(stage.there(name), self.wanted[i]);
            if self.changed[i] || (none && i == 0) {
                stage = stage.changed(name);
            }
        }
        stage
    }

    fn stacks(&self) -> Stage {
        let mut stage = Stage::stacks().set("blueGreen", "preserveFailed", json!(self.flag));
        size(stage.before("blue"), self.was_wanted[0]);
        size(stage.there("blue"), self.wanted[0]);
        size(stage.there("green"), self.wanted[1]);
        if self.in_place {
            stage.now.service.clone_from(&stage.was.service);
            stage = stage.changed("blue");
        } else if !self.held {
            stage.was.deployments.retain(|w| w.name != "green");
        }
        stage
    }

    fn canary(&self) -> Stage {
        let steps = *self.steps.get(&STEPS);
        let mut stage = Stage::canary(self.share).set("canary", "steps", json!(steps));
        size(stage.before("stable"), self.was_wanted[0]);
        size(stage.before("canary"), self.was_wanted[1]);
        size(stage.there("stable"), self.wanted[0]);
        size(stage.there("canary"), self.wanted[1]);
        if self.share == 0 {
            return stage.changed("stable");
        }
        if !self.changed[0] {
            stage.there("canary").release = "old-canary".into();
        }
        if !self.held {
            stage.was.deployments.retain(|w| w.name != "canary");
        }
        stage
    }
}

/// A Deployment of the small world.
#[derive(Clone, Debug, PartialEq)]
struct Deployment {
    release: String,
    wanted: i32,
    ready: i32,
    strategy: Value,
    /// Whether its replicas, or its autoscaler's minimum, are still as Scale made them.
    borrowed: bool,
    /// Pods of the release that failed and that no ReplicaSet holds any more.
    detached: i32,
    /// Those of them that get no requests any more.
    isolated: i32,
}

/// Everything that a plan may change, and what is on record.
#[derive(Clone, Debug, PartialEq)]
struct World {
    deployments: BTreeMap<String, Deployment>,
    selector: Option<BTreeMap<String, String>>,
    share: Option<u8>,
    /// What each Scale found, by the number of the step.
    found: BTreeMap<usize, i32>,
    /// The releases that are recorded as ones that failed.
    failed: BTreeSet<String>,
}

macro_rules! must {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}

impl World {
    fn of(parts: &Parts) -> Self {
        let deployments = parts.deployments.iter().map(|w| {
            let it = Deployment {
                release: w.release.clone(),
                wanted: w.desired,
                ready: w.ready,
                strategy: w.strategy.clone(),
                borrowed: false,
                detached: 0,
                isolated: 0,
            };
            (w.name.clone(), it)
        });
        Self {
            deployments: deployments.collect(),
            selector: parts.service.as_ref().map(|s| s.selector.clone()),
            share: parts
                .route
                .as_ref()
                .and_then(|r| r.as_ref().ok())
                .map(|r| r.share),
            found: BTreeMap::new(),
            failed: BTreeSet::new(),
        }
    }

    /// What is there by now.
    fn parts(&self, before: &Parts) -> Parts {
        let mut parts = before.clone();
        for it in &mut parts.deployments {
            it.release.clone_from(&self.deployments[&it.name].release);
            size(it, self.deployments[&it.name].wanted);
        }
        if let (Some(service), Some(selector)) = (&mut parts.service, &self.selector) {
            service.selector.clone_from(selector);
        }
        if let (Some(Ok(route)), Some(share)) = (&mut parts.route, self.share) {
            route.share = share;
        }
        parts
    }

    /// Does a step, as the operator does it; `killed_early`: only what it writes down before.
    #[allow(clippy::too_many_lines, reason = "one arm for each kind of step")]
    fn perform(
        &mut self,
        point: &Point,
        plan: &[StepStatus],
        index: usize,
        killed_early: bool,
    ) -> Result<(), String> {
        let step = &plan[index].step;
        let held = point.workload(&step.workload).map_or(0, |w| w.replicas);
        if killed_early && step.kind != StepKind::Scale {
            return Ok(());
        }
        let name = &step.workload;
        let Some(it) = self.deployments.get_mut(name) else {
            return Err(format!("there is no Deployment {name}"));
        };
        match step.kind {
            StepKind::QuarantineRelease => {
                self.failed.insert(step.from.clone());
            }
            StepKind::WriteTemplate => {
                must!(
                    it.release == step.from || it.release == step.to,
                    "{name} holds a release that is neither"
                );
                it.release.clone_from(&step.to);
                if let Some(rolling) = &step.rolling {
                    it.strategy["rollingUpdate"] = json!(rolling);
                }
            }
            StepKind::HandBackOwnership => {
                must!(
                    it.release == step.to,
                    "ownership of {name} is handed back before its template is written"
                );
            }
            StepKind::DetachSuspects => {
                must!(
                    it.release == step.to,
                    "the suspects of {name} are detached while their release is wanted"
                );
                it.detached = it.wanted;
                it.ready = 0;
            }
            StepKind::IsolateSuspects => {
                must!(it.detached > 0, "{name} has no suspects to isolate");
                let how = step.isolate.as_ref().ok_or("no parameters")?;
                must!(
                    how.isolation == Isolation::Immediate || it.ready == it.wanted,
                    "nobody answers for {name}"
                );
                it.isolated = it.detached;
            }
            StepKind::AwaitRollout => {
                must!(
                    it.release == step.to,
                    "{name} is waited for before it is written"
                );
                it.ready = it.wanted;
            }
            StepKind::RestoreStrategy => {
                let before = step.strategy_before.clone();
                it.strategy = before.ok_or("RestoreStrategy does not say what was")?;
            }
            StepKind::Scale => {
                self.found.entry(index).or_insert(it.wanted);
                if !killed_early {
                    it.wanted = step.replicas.ok_or("Scale does not say to how many")?;
                    it.ready = it.ready.min(it.wanted);
                    it.borrowed = true;
                }
            }
            StepKind::ScaleBack => {
                let scaled = (0..index).find(|i| {
                    plan[*i].step.kind == StepKind::Scale && &plan[*i].step.workload == name
                });
                let found = scaled.and_then(|i| self.found.get(&i));
                let found = *found.ok_or("ScaleBack without a Scale")?;
                it.borrowed = false;
                // With `replicas` the pods stay, because they serve by now.
                if step.replicas.is_none() {
                    it.wanted = found;
                    it.ready = it.ready.min(it.wanted);
                }
            }
            StepKind::AwaitCapacity => {
                let wanted = step.replicas.unwrap_or(1);
                must!(it.wanted >= wanted, "{name} never has {wanted} replicas");
                // Pods of a release that fails need never be ready.
                if !step.optional {
                    it.ready = it.wanted;
                }
            }
            StepKind::AwaitStopped => {
                must!(it.wanted == 0, "{name} never stops");
                it.ready = 0;
            }
            StepKind::SwapSelector => {
                must!(it.ready >= held, "rule 6: {name} gets requests too early");
                let change = step.selector.as_ref().ok_or("no selector")?;
                let now = self.selector.as_ref();
                must!(
                    now == Some(&change.from) || now == Some(&change.to),
                    "the Service selects neither"
                );
                self.selector = Some(change.to.clone());
            }
            StepKind::AwaitEndpoints => {
                let change = step.selector.as_ref().ok_or("no selector")?;
                must!(
                    self.selector.as_ref() == Some(&change.to),
                    "endpoints are waited for before the Service selects them"
                );
                must!(
                    it.ready >= step.replicas.unwrap_or(1),
                    "the endpoints of {name} never come"
                );
            }
            StepKind::ShiftWeight => {
                must!(it.ready >= held, "rule 6: {name} gets requests too early");
                let change = step.weight.as_ref().ok_or("no weight")?;
                must!(
                    change.to < change.from,
                    "rule 6: the canary's share must fall"
                );
                must!(
                    self.share == Some(change.from) || self.share == Some(change.to),
                    "rule 6: the share is neither"
                );
                self.share = Some(change.to);
            }
            StepKind::HoldWeight => {
                let change = step.weight.as_ref().ok_or("no weight")?;
                must!(
                    self.share == Some(change.to),
                    "what is held is not what was shifted"
                );
            }
            // A kind that is new here fails every plan that has it.
            #[allow(unreachable_patterns, reason = "there may be none that is new")]
            other => return Err(format!("the small world cannot do {other:?}")),
        }
        Ok(())
    }
}

/// Executes a plan: an operator that is killed does the step again, and changes nothing by that.
fn execute(stage: &Stage, plan: &[StepStatus], kills: &[Vec<Kill>]) -> Result<World, String> {
    let mut world = World::of(&stage.now);
    let point = stage.point();
    for index in 0..plan.len() {
        for kill in kills.get(index).into_iter().flatten() {
            match kill {
                Kill::Before => {}
                Kill::AfterFound => world.perform(&point, plan, index, true)?,
                Kill::AfterEffect => world.perform(&point, plan, index, false)?,
            }
        }
        world.perform(&point, plan, index, false)?;
        let once = world.clone();
        world.perform(&point, plan, index, false)?;
        must!(
            world == once,
            "rule 2: {:?} done twice is not {:?} done once",
            plan[index].step.kind,
            plan[index].step.kind
        );
    }
    Ok(world)
}

/// How many replicas there must be at the end.
fn replicas(stage: &Stage, name: &str) -> i32 {
    let was = stage.point().workload(name).map(|w| w.replicas);
    let mut stage = stage.clone();
    let now = stage.there(name).desired;
    let serves = |side: &str| {
        let service = stage.now.service.as_ref();
        service.is_some_and(|s| s.selector["side"] == side)
    };
    match stage.policy().strategy.type_() {
        // Replicas belong to whom they belonged.
        StrategyType::Rolling | StrategyType::Recreate => now,
        StrategyType::BlueGreen => match name {
            _ if serves("blue") => now,
            "blue" => now.max(was.unwrap()).max(1),
            "green" if stage.fields["strategy"]["blueGreen"]["preserveFailed"] == false => 0,
            _ => now,
        },
        StrategyType::Canary => match name {
            _ if matches!(&stage.now.route, Some(Ok(route)) if route.share == 0) => now,
            "stable" => now.max(was.unwrap()).max(1),
            "canary" => was.unwrap_or(0),
            _ => now,
        },
    }
}

/// Everything that is so of every strategy.
fn conforms(
    stage: &Stage,
    plan: &[StepStatus],
    kills: &[Vec<Kill>],
    quarantine: bool,
) -> Result<(), String> {
    let wrong = violations(&stage.seen(), plan);
    must!(wrong.is_empty(), "the checker says {wrong:?}");
    executes(stage, plan, kills, quarantine)
}

/// The same without the checker: each finds the mistakes by itself.
fn executes(
    stage: &Stage,
    plan: &[StepStatus],
    kills: &[Vec<Kill>],
    quarantine: bool,
) -> Result<(), String> {
    let policy = stage.policy();
    let seen = stage.seen();
    let point = stage.point();
    let subject = seen.workload.as_ref().unwrap();
    for step in plan.iter().map(|s| &s.step) {
        must!(
            policy.deployments.contains(&step.workload),
            "rule 1: {} is not the policy's",
            step.workload
        );
        if step.kind == StepKind::WriteTemplate {
            let now = subject.deployment(&step.workload).unwrap();
            let was = point.workload(&step.workload);
            must!(
                was.is_some_and(|was| was.release == step.to),
                "rule 3: {} gets what no point holds",
                step.workload
            );
            must!(
                now.release != step.to,
                "rule 4: {} was not changed and is written",
                step.workload
            );
        }
    }

    let world = execute(stage, plan, kills)?;
    must!(
        world == execute(stage, plan, &[])?,
        "rule 2: being killed makes another world"
    );
    let end = live(&policy, &world.parts(&stage.now)).map_err(|e| format!("{e:?}"))?;
    must!(
        Some(&end.release) == point.release.as_ref(),
        "rule 3: what is live is not what the point holds"
    );
    must!(
        world.share.is_none_or(|share| share == 0),
        "rule 6: the canary is left with a share"
    );
    let before = World::of(&stage.now);
    for (name, it) in &world.deployments {
        let wanted = if policy.deployments.contains(name) {
            replicas(stage, name)
        } else {
            before.deployments[name].wanted
        };
        must!(
            it.wanted == wanted,
            "rule 7: {name} wants {} replicas and not {wanted}",
            it.wanted
        );
        must!(
            it.detached == it.isolated,
            "suspects of {name} are left without a ReplicaSet and with their requests"
        );
        must!(
            it.strategy == before.deployments[name].strategy,
            "{name} is left with another rollingUpdate"
        );
    }
    for it in end.live() {
        must!(
            !world.deployments[&it.name].borrowed,
            "rule 7: the replicas of {} are not given back to whom they belong",
            it.name
        );
    }
    let recorded: Vec<_> = world.failed.iter().collect();
    let failed = vec![&subject.release];
    must!(
        recorded == if quarantine { failed } else { Vec::new() },
        "rule 3: recorded as failed is {recorded:?}"
    );
    in_order(stage, plan)
}

/// The order of the Deployments: what depends on others goes first.
fn in_order(stage: &Stage, plan: &[StepStatus]) -> Result<(), String> {
    let policy = stage.policy();
    let of = |kind: StepKind| -> Vec<usize> {
        let steps = plan.iter().filter(|s| s.step.kind == kind);
        let place = |name: &String| policy.deployments.iter().position(|n| n == name);
        steps.filter_map(|s| place(&s.step.workload)).collect()
    };
    match policy.strategy.type_() {
        StrategyType::Rolling => {
            let written = of(StepKind::WriteTemplate);
            must!(
                written.is_sorted_by(|a, b| a > b),
                "the last Deployment of the policy goes first"
            );
        }
        StrategyType::Recreate => {
            let kinds: Vec<StepKind> = plan.iter().map(|s| s.step.kind).collect();
            let last_stop = kinds.iter().rposition(|k| *k == StepKind::AwaitStopped);
            let first_write = kinds.iter().position(|k| *k == StepKind::WriteTemplate);
            must!(
                last_stop < first_write,
                "a template is written while something runs"
            );
            must!(
                of(StepKind::Scale).is_sorted_by(|a, b| a > b),
                "the last Deployment of the policy is stopped first"
            );
            must!(
                of(StepKind::ScaleBack).is_sorted_by(|a, b| a < b),
                "the first Deployment of the policy is started first"
            );
        }
        StrategyType::BlueGreen | StrategyType::Canary => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_strategy_keeps_every_rule(draw in draw()) {
        let stage = draw.stage();
        let plan = stage.plan(draw.action(), draw.quarantine).unwrap();
        let conforms = conforms(&stage, &plan, &draw.kills, draw.quarantine);
        prop_assert_eq!(conforms, Ok(()), "{:#?}", plan.iter().map(|s| &s.step).collect::<Vec<_>>());
    }
}

/// A plan for each strategy that has all that the strategy may need.
fn example(strategy: StrategyType) -> (Stage, Vec<StepStatus>) {
    let (stage, action) = match strategy {
        StrategyType::Rolling => {
            let stage = Stage::several("Rolling", &NAMES[..3]).changed("web");
            let rolling = json!({"maxUnavailable": 0});
            let stage = stage.changed("mail").set("", "rolling", rolling);
            (stage, Action::ScaleAndRollback)
        }
        StrategyType::Recreate => {
            let stage = Stage::several("Recreate", &NAMES[..3]).changed("web");
            (stage.changed("mail"), Action::Rollback)
        }
        StrategyType::BlueGreen => {
            let mut stage = Stage::stacks().set("blueGreen", "preserveFailed", json!(false));
            size(stage.there("blue"), 0);
            (stage, Action::Rollback)
        }
        StrategyType::Canary => {
            let mut stage = Stage::canary(80);
            size(stage.there("stable"), 1);
            (stage, Action::GradualRollback)
        }
    };
    let plan = stage.plan(action, true).unwrap();
    assert_eq!(conforms(&stage, &plan, &[], true), Ok(()));
    (stage, plan)
}

/// No step may be left out without the checker or the small world noticing. What is said not to be
/// noticed here is named, with the reason.
#[test]
fn a_plan_from_which_a_step_is_missing_does_not_conform() {
    for strategy in strategies() {
        let (stage, plan) = example(strategy);
        for index in 0..plan.len() {
            let mut without = plan.clone();
            let left_out = without.remove(index).step.kind;
            // After the last step that has an effect nothing but the look at it is lost; a pause
            // between two shifts is a matter of time, of which this world has none.
            let only_waits = [StepKind::AwaitEndpoints, StepKind::HoldWeight];
            if only_waits.contains(&left_out) {
                continue;
            }
            assert!(
                conforms(&stage, &without, &[], true).is_err(),
                "{strategy:?} without {left_out:?} ({index}) conforms"
            );
        }
    }
}

/// Each of these breaks one rule, and the small world alone, without the checker, says which.
#[test]
fn the_small_world_finds_what_is_wrong_by_itself() {
    type Mutation = fn(&mut Vec<StepStatus>);
    fn at(plan: &[StepStatus], kind: StepKind) -> usize {
        plan.iter().position(|s| s.step.kind == kind).unwrap()
    }
    let cases: Vec<(StrategyType, &str, Mutation)> = vec![
        (StrategyType::Rolling, "rule 1", |p| {
            p[1].step.workload = "bystander".into();
        }),
        (StrategyType::Rolling, "rule 3: mail gets", |p| {
            let i = at(p, StepKind::WriteTemplate);
            p[i].step.to = "another".into();
        }),
        (StrategyType::Rolling, "rule 4", |p| {
            let i = at(p, StepKind::WriteTemplate);
            p[i].step.workload = "worker".into();
            p[i].step.to = "good-worker".into();
        }),
        (StrategyType::Rolling, "rule 7", |p| {
            p.remove(at(p, StepKind::ScaleBack));
        }),
        (StrategyType::Rolling, "rollingUpdate", |p| {
            p.remove(at(p, StepKind::RestoreStrategy));
        }),
        (StrategyType::Rolling, "the last Deployment", |p| {
            let middle = (p.len() - 1) / 2;
            p[1..].rotate_left(middle);
        }),
        (StrategyType::Rolling, "recorded as failed", |p| {
            p.remove(at(p, StepKind::QuarantineRelease));
        }),
        (
            StrategyType::Rolling,
            "rule 3: what is live is not what the point holds",
            |p| {
                p.retain(|s| s.step.workload != "web");
                let (stage, _) = example(StrategyType::Rolling);
                let mut record = stage.plan(Action::Rollback, true).unwrap();
                record.truncate(1);
                if p[0].step.kind != StepKind::QuarantineRelease {
                    p.insert(0, record.remove(0));
                }
            },
        ),
        (StrategyType::Recreate, "never stops", |p| {
            p.remove(at(p, StepKind::Scale));
        }),
        (StrategyType::Recreate, "while something runs", |p| {
            let step = p.remove(at(p, StepKind::AwaitStopped));
            let i = at(p, StepKind::WriteTemplate);
            p.insert(i + 1, step);
        }),
        (StrategyType::Recreate, "is started first", |p| {
            let i = at(p, StepKind::ScaleBack);
            p[i..].rotate_left(2);
        }),
        (StrategyType::BlueGreen, "rule 6", |p| {
            p.remove(at(p, StepKind::AwaitCapacity));
        }),
        (StrategyType::BlueGreen, "never has", |p| {
            p.remove(at(p, StepKind::Scale));
        }),
        (StrategyType::BlueGreen, "selects neither", |p| {
            let i = at(p, StepKind::SwapSelector);
            p[i].step.selector.as_mut().unwrap().from.clear();
        }),
        (StrategyType::BlueGreen, "rule 7: green wants", |p| {
            p.pop();
        }),
        (StrategyType::BlueGreen, "rule 7: blue wants 0", |p| {
            let i = at(p, StepKind::ScaleBack);
            p[i].step.replicas = None;
        }),
        (StrategyType::Canary, "stable are not given back", |p| {
            p.remove(at(p, StepKind::ScaleBack));
        }),
        (StrategyType::Canary, "rule 6: stable gets", |p| {
            p.remove(at(p, StepKind::AwaitCapacity));
        }),
        (StrategyType::Canary, "share must fall", |p| {
            let i = at(p, StepKind::ShiftWeight);
            p[i].step.weight.as_mut().unwrap().to = 90;
        }),
        (StrategyType::Canary, "the share is neither", |p| {
            p.remove(at(p, StepKind::ShiftWeight));
            p.remove(at(p, StepKind::HoldWeight));
        }),
        (StrategyType::Canary, "rule 7", |p| {
            p.pop();
        }),
    ];
    for (strategy, expected, mutate) in cases {
        let (stage, mut plan) = example(strategy);
        mutate(&mut plan);
        let said = executes(&stage, &plan, &[], true);
        assert!(
            said.as_ref().is_err_and(|why| why.contains(expected)),
            "{strategy:?}: expected '{expected}', and it is {said:?}"
        );
    }
}
