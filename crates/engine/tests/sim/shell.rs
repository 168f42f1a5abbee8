//! The operator around the engine: it looks, decides, writes, and may be killed at any moment.

use std::collections::{BTreeMap, VecDeque};

use backstop_api::{
    RollbackPolicyStatus, condition::Condition, event::EventPhase, names, point::Verdict,
};
use backstop_engine::{
    decide::{Act, Decision, decide},
    policy::{Source, ValidPolicy},
    snapshot::{Event, Observed, Point, Snapshot, Workload},
    state::State,
};

use super::{
    POLICY,
    chance::Chance,
    metrics,
    monitor::{Monitor, Rule},
    world::World,
};

/// One operator process.
#[derive(Clone, Debug, Default)]
pub struct Operator {
    state: State,
    readings: BTreeMap<String, Observed>,
    peers: BTreeMap<String, Observed>,
    /// Not there for so many ticks.
    pub down_for: usize,
}

/// What caches may show: the newest picture last.
#[derive(Clone, Debug, Default)]
pub struct Caches {
    workload: VecDeque<Option<Workload>>,
    points: VecDeque<Vec<Point>>,
    events: VecDeque<Vec<Event>>,
}

impl Caches {
    /// Takes in how the world is now.
    pub fn refresh(&mut self, world: &World) {
        push(&mut self.workload, world.workload());
        push(&mut self.points, world.points.clone());
        push(&mut self.events, world.events.clone());
    }

    /// A picture, of which each part may be old.
    fn picture(&self, chance: &mut Chance, monitor: &mut Monitor) -> Snapshot {
        let ages = [chance.age(), chance.age(), chance.age()];
        if ages.iter().any(|age| *age > 0) {
            monitor.reached("old picture");
        }
        Snapshot {
            workload: pick(&self.workload, ages[0]),
            points: pick(&self.points, ages[1]),
            events: pick(&self.events, ages[2]),
            ..Snapshot::default()
        }
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    queue.push_back(item);
    if queue.len() > 4 {
        queue.pop_front();
    }
}

fn pick<T: Clone + Default>(queue: &VecDeque<T>, age: usize) -> T {
    let index = queue.len().saturating_sub(1 + age);
    queue.get(index).cloned().unwrap_or_default()
}

impl Operator {
    /// Starts again with what the status tells.
    pub fn start(status: &RollbackPolicyStatus) -> Self {
        Self {
            state: State::from_status(status),
            ..Self::default()
        }
    }

    /// One reconciliation: look, decide, write.
    pub fn reconcile(
        &mut self,
        policy: &ValidPolicy,
        world: &mut World,
        caches: &Caches,
        stored: &mut RollbackPolicyStatus,
        chance: &mut Chance,
        monitor: &mut Monitor,
    ) {
        if self.down_for > 0 {
            self.down_for -= 1;
            if self.down_for == 0 {
                monitor.reached("operator started again");
                *self = Self::start(stored);
            }
            return;
        }
        let mut seen = caches.picture(chance, monitor);
        self.ask(policy, world, &seen);
        seen.readings = self.readings.clone();
        seen.peers = self.peers.clone();
        seen.conflict = world.conflict.then(|| "an-older-policy".to_owned());
        let now = world.now();
        let (state, decision) = decide(policy, &self.state, &seen, now);
        monitor.decided(policy, &self.state, &seen, now, &state, &decision);
        if chance.happens(12) {
            monitor.reached("decision dropped");
            return;
        }
        for act in &decision.acts {
            apply(world, act, policy, monitor);
            if chance.happens(8) {
                monitor.reached("operator killed between two writes");
                *self = Self::start(stored);
                return;
            }
        }
        if chance.happens(24) {
            repeat(world, &decision, policy, monitor);
        }
        if chance.happens(12) {
            monitor.reached("status not written");
        } else {
            write_status(stored, policy, &state, &decision, now);
            let kept_out = decision.say.quarantined.iter();
            let refused = kept_out.filter(|k| world.admission && k.let_pass.is_none());
            world.refused = refused.map(|k| k.release.clone()).collect();
        }
        self.state = state;
    }

    /// Asks Prometheus about the release that is seen.
    fn ask(&mut self, policy: &ValidPolicy, world: &World, seen: &Snapshot) {
        let Some(workload) = &seen.workload else {
            return;
        };
        for trigger in &policy.triggers {
            if let Source::Prometheus { query, .. } = &trigger.source
                && let Some(answer) = metrics::answer(world, &workload.release, query.is_scoped())
            {
                self.readings.insert(trigger.name.clone(), answer);
            }
            if trigger.peers.is_some()
                && let Some(answer) = metrics::of_peers(world, &workload.release)
            {
                self.peers.insert(trigger.name.clone(), answer);
            }
        }
    }
}

/// Does everything once more: nothing may come of it.
fn repeat(world: &mut World, decision: &Decision, policy: &ValidPolicy, monitor: &mut Monitor) {
    monitor.reached("decision repeated");
    let before = world.clone();
    for act in &decision.acts {
        apply(world, act, policy, monitor);
    }
    let same = before.points == world.points && before.events == world.events;
    monitor.holds(Rule::Idempotence, same, || {
        format!("applied twice, these change something: {:?}", decision.acts)
    });
}

/// Writes one act, with the preconditions of the real shell.
fn apply(world: &mut World, act: &Act, policy: &ValidPolicy, monitor: &mut Monitor) {
    match act {
        Act::Capture { release, baselines } => {
            monitor.reached("captured");
            world.capture(release, baselines.clone());
        }
        Act::Start { spec, known } => {
            let there = |(uid, version): &(String, String)| {
                let mut events = world.events.iter();
                events.any(|e| &e.uid == uid && &e.version == version)
            };
            if known.len() != world.events.len() || !known.iter().all(there) {
                monitor.reached("start refused: decided on an old picture");
                return;
            }
            monitor.starts(world, policy, spec);
            let highest = world
                .events
                .iter()
                .filter_map(|e| names::event_number(POLICY, &e.name))
                .max()
                .unwrap_or(0);
            world.create(names::event_name(POLICY, highest + 1), (**spec).clone());
        }
        Act::Change(change) => {
            let Some(event) = world
                .events
                .iter()
                .find(|e| e.uid == change.uid)
                .filter(|e| e.version == change.version)
                .cloned()
            else {
                monitor.reached("change refused: decided on an old picture");
                return;
            };
            if change.status.phase == Some(EventPhase::Executing) {
                let as_known = |e: &Event| {
                    change
                        .known
                        .iter()
                        .any(|(uid, version)| *uid == e.uid && *version == e.version)
                };
                if change.known.len() != world.events.len() || !world.events.iter().all(as_known) {
                    monitor.reached("beginning refused: decided on an old picture");
                    return;
                }
                monitor.begins(world, &event, &change.status);
            }
            Monitor::ends(world, &event, &change.status);
            monitor.status_written(&event.status, &change.status);
            let version = world.version();
            let stored = world.event(&event.name).expect("it was there");
            stored.status = change.status.clone();
            stored.version = version;
        }
        Act::Block {
            release,
            event,
            version,
            ..
        } => {
            let as_decided_on = |e: &Event| &e.name == event && &e.version == version;
            if !world.events.iter().any(as_decided_on) {
                monitor.reached("block refused: decided on an old picture");
                return;
            }
            monitor.blocks(world, policy, release, event);
            if world.span().map(|s| super::hash(s.release)).as_ref() == Some(release) {
                world.quarantine(release);
            }
        }
        Act::LiftQuarantine { release, .. } => {
            monitor.reached("quarantine lifted");
            world.points.retain(|p| {
                p.verdict != Verdict::Quarantined || p.release.as_ref() != Some(release)
            });
        }
    }
}

/// The policy's status, as far as the next operator needs it.
fn write_status(
    stored: &mut RollbackPolicyStatus,
    policy: &ValidPolicy,
    state: &State,
    decision: &Decision,
    now: jiff::Timestamp,
) {
    stored.release = state.release_status(policy);
    stored.triggers = state.trigger_statuses(policy);
    stored.health_history = state.scores.iter().copied().collect();
    stored.daily.clone_from(&state.daily);
    stored.counted_until = Some(state.counted);
    stored.conditions = decision
        .say
        .conditions
        .iter()
        .map(|said| Condition {
            type_: said.type_.to_owned(),
            status: said.status,
            reason: said.reason.clone(),
            message: said.message.clone(),
            last_transition_time: now,
            observed_generation: None,
        })
        .collect();
}
