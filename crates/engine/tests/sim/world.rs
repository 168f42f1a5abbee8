//! What is really so.

use backstop_api::{
    event::EventPhase,
    point::{Origin, Verdict},
    policy::Mode,
};
use backstop_engine::snapshot::{Event, Pods, Point, PointWorkload, Workload};
use jiff::Timestamp;
use serde_json::json;

use super::{PROGRESS_DEADLINE, RANGE, TICK, WORKLOAD, at, hash, metrics};

/// What a release is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It works.
    Good,
    /// Its metric is bad from its first pod on.
    Bad,
    /// Its metric becomes bad so many seconds after its first pod.
    BadAfter(i64),
    /// Its metric is bad for so many seconds.
    BadFor(i64),
    /// Its containers crash.
    CannotStart,
    /// It works, and cannot start a second time: its image is gone.
    StartsOnce,
    /// It works, and takes so many seconds to roll out.
    Slow(i64),
}

/// One release while it was live, from one write of the template to the next.
#[derive(Clone, Debug)]
pub struct Span {
    pub release: usize,
    pub completed_at: Option<i64>,
    /// The run of badness that is going on, or was the last: its first and its last tick.
    pub bad: Option<(i64, i64)>,
    pub written_by_backstop: bool,
    /// The rollbacks that passed the point of no return while it was live, with their attempts.
    pub taken_by: Vec<(String, u32)>,
    /// A person called a rollback of it off.
    pub called_off: bool,
}

/// The Deployment.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a person's switch")]
pub struct Deployment {
    pub uid: String,
    pub release: usize,
    pub generation: i64,
    pub changed_at: i64,
    pub observed: i64,
    /// Seconds that the rollout had to make progress in.
    pub progress: i64,
    pub first_ready_at: Option<i64>,
    pub completed_at: Option<i64>,
    pub paused: bool,
    pub overridden: bool,
    pub floor: bool,
    pub cannot_start: bool,
    pub status: Status,
}

/// What the Deployment controller last wrote.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub updated: i32,
    pub replicas: i32,
    pub available: i32,
    pub completed_at: Option<Timestamp>,
    pub stuck: Option<String>,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct World {
    pub now: i64,
    pub kinds: Vec<Kind>,
    pub lag: i64,
    pub deployment: Option<Deployment>,
    pub deployments_made: u32,
    pub points: Vec<Point>,
    pub events: Vec<Event>,
    pub versions: u64,
    pub spans: Vec<Span>,
    /// What served the traffic in each tick: the release, and whether it went badly.
    pub traffic: Vec<(i64, usize, bool)>,
    pub serving: Option<usize>,
    pub dependency_down: bool,
    pub answers: metrics::Answers,
    pub mode: Mode,
    pub conflict: bool,
    /// A GitOps tool, which puts this release back at every tick.
    pub git: Option<usize>,
    /// The templates that the API server refuses, as the status names them.
    pub refused: Vec<String>,
    /// Whether it does.
    pub admission: bool,
}

/// Replicas wanted.
const DESIRED: i32 = 3;

impl World {
    /// A world in which release 0 has been live and good for long, and is a point.
    pub fn new(kinds: Vec<Kind>, lag: i64, mode: Mode) -> Self {
        let mut world = Self {
            now: 0,
            kinds,
            lag,
            deployment: None,
            deployments_made: 0,
            points: Vec::new(),
            events: Vec::new(),
            versions: 0,
            spans: Vec::new(),
            traffic: Vec::new(),
            serving: None,
            dependency_down: false,
            answers: metrics::Answers::Honest,
            mode,
            conflict: false,
            git: None,
            refused: Vec::new(),
            admission: false,
        };
        world.make_deployment(0);
        world
    }

    pub fn now(&self) -> Timestamp {
        at(self.now)
    }

    pub fn make_deployment(&mut self, release: usize) {
        self.deployments_made += 1;
        self.deployment = Some(Deployment {
            uid: format!("uid-{}", self.deployments_made),
            release,
            generation: 1,
            changed_at: self.now,
            observed: 0,
            progress: 0,
            first_ready_at: None,
            completed_at: None,
            paused: false,
            overridden: false,
            floor: false,
            cannot_start: self.cannot_start(release),
            status: Status::default(),
        });
        self.new_span(release, false);
    }

    fn cannot_start(&self, release: usize) -> bool {
        match self.kinds[release] {
            Kind::CannotStart => true,
            Kind::StartsOnce => self.spans.iter().any(|s| s.release == release),
            _ => false,
        }
    }

    fn new_span(&mut self, release: usize, written_by_backstop: bool) {
        self.spans.push(Span {
            release,
            completed_at: None,
            bad: None,
            written_by_backstop,
            taken_by: Vec::new(),
            called_off: false,
        });
    }

    /// Writes the template of a release. Nothing happens when it is there already.
    pub fn write_template(&mut self, release: usize, by_backstop: bool) {
        let now = self.now;
        let cannot_start = self.cannot_start(release);
        let Some(deployment) = &mut self.deployment else {
            return;
        };
        if deployment.release == release {
            return;
        }
        deployment.release = release;
        deployment.cannot_start = cannot_start;
        deployment.generation += 1;
        deployment.changed_at = now;
        deployment.progress = 0;
        deployment.first_ready_at = None;
        deployment.completed_at = None;
        // What the pods were good for before says nothing about them now.
        self.new_span(release, by_backstop);
    }

    pub fn span(&self) -> Option<&Span> {
        self.deployment.as_ref().and(self.spans.last())
    }

    pub fn version(&mut self) -> String {
        self.versions += 1;
        self.versions.to_string()
    }

    /// Somebody applies a release: the API server refuses one that is kept out, unless a person has
    /// taken over.
    pub fn apply(&mut self, release: usize) {
        let overridden = self.deployment.as_ref().is_some_and(|d| d.overridden);
        if overridden || !self.refused.contains(&hash(release)) {
            self.write_template(release, false);
        }
    }

    /// Lets time pass: the Deployment controller works, and traffic flows.
    pub fn tick(&mut self) {
        self.now += TICK;
        if let Some(release) = self.git {
            self.apply(release);
        }
        let now = self.now;
        let (lag, down) = (self.lag, self.dependency_down);
        let Some(deployment) = &mut self.deployment else {
            self.serving = None;
            return;
        };
        let kind = self.kinds[deployment.release];
        if now - deployment.changed_at >= lag {
            deployment.observed = deployment.generation;
            if !deployment.paused {
                deployment.progress += TICK;
            }
            deployment.roll(kind, now);
        }
        let span = self.spans.last_mut().expect("a Deployment has a span");
        if deployment.first_ready_at.is_some() {
            self.serving = Some(deployment.release);
        }
        span.completed_at = span.completed_at.or(deployment.completed_at);
        let stuck = deployment.observed == deployment.generation
            && (deployment.crashes() || deployment.status.stuck.is_some());
        if stuck {
            span.is_bad(now);
        }
        let Some(serving) = self.serving else { return };
        let age = deployment.first_ready_at.map_or(0, |ready| now - ready);
        let bad = down
            || match self.kinds[serving] {
                Kind::Bad => true,
                Kind::BadAfter(after) => age >= after && serving == deployment.release,
                Kind::BadFor(length) => age < length && serving == deployment.release,
                _ => false,
            };
        if bad && serving == deployment.release && deployment.first_ready_at.is_some() {
            span.is_bad(now);
        }
        self.traffic.push((now, serving, bad));
    }

    /// The Deployment as the API server would return it.
    pub fn workload(&self) -> Option<Workload> {
        let it = self.deployment.as_ref()?;
        let crashing = it.observed == it.generation && it.crashes();
        let crash_looping = if crashing {
            vec!["pod web-x: container app exits with 1, again and again".to_owned()]
        } else {
            Vec::new()
        };
        let ready = if it.first_ready_at.is_some() {
            it.status.updated.max(1)
        } else {
            0
        };
        Some(Workload {
            name: WORKLOAD.into(),
            uid: it.uid.clone(),
            generation: it.generation,
            observed_generation: it.observed,
            deleting: false,
            release: hash(it.release),
            revision: Some(it.generation.to_string()),
            images: Vec::new(),
            paused: it.paused,
            overridden: it.overridden.then(|| "I am on it".to_owned()),
            floor: it.floor.then(|| "schema 42".to_owned()),
            desired: DESIRED,
            replicas: it.status.replicas,
            updated: it.status.updated,
            ready: it.status.available,
            available: it.status.available,
            rollout_completed_at: it.status.completed_at,
            progress_deadline_exceeded: it.status.stuck.clone(),
            pods: Pods {
                ready,
                first_ready_at: it.first_ready_at.map(at),
                crash_looping,
                ..Pods::default()
            },
            strategy: json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}),
            strategy_owners: Vec::new(),
            last_writer: Some("kubectl".into()),
            labels: std::collections::BTreeMap::new(),
            members: Vec::new(),
            beside: Vec::new(),
            tried: false,
            config: Vec::new(),
        })
    }

    /// Records the live release as a good point, as the point reconciler does: only while it is the
    /// one that was meant, and rolled out.
    pub fn capture(&mut self, release: &str, baselines: std::collections::BTreeMap<String, f64>) {
        let now = self.now();
        let Some(workload) = self.workload() else {
            return;
        };
        if workload.release != release || !workload.can_prove_itself() {
            return;
        }
        match self
            .points
            .iter_mut()
            .find(|p| p.verdict == Verdict::Good && p.release.as_deref() == Some(release))
        {
            Some(point) => point.proved_at = now,
            None => self.points.push(Point {
                name: format!("web-{release}"),
                release: Some(release.to_owned()),
                verdict: Verdict::Good,
                origin: Origin::Soak,
                floor: workload.floor.clone(),
                proved_at: now,
                baselines,
                workloads: vec![PointWorkload {
                    name: WORKLOAD.into(),
                    release: release.to_owned(),
                    replicas: DESIRED,
                }],
                stack: None,
                config: Vec::new(),
            }),
        }
    }

    /// Records a release that failed.
    pub fn quarantine(&mut self, release: &str) {
        let proved_at = self.now();
        if !self.is_quarantined(release) {
            self.points.push(Point {
                name: format!("web-{release}-quarantined"),
                release: Some(release.to_owned()),
                verdict: Verdict::Quarantined,
                origin: Origin::Quarantine,
                floor: None,
                proved_at,
                baselines: std::collections::BTreeMap::new(),
                workloads: vec![PointWorkload {
                    name: WORKLOAD.into(),
                    release: release.to_owned(),
                    replicas: DESIRED,
                }],
                stack: None,
                config: Vec::new(),
            });
        }
    }

    pub fn is_quarantined(&self, release: &str) -> bool {
        self.points
            .iter()
            .any(|p| p.verdict == Verdict::Quarantined && p.release.as_deref() == Some(release))
    }

    pub fn event(&mut self, name: &str) -> Option<&mut Event> {
        self.events.iter_mut().find(|e| e.name == name)
    }

    pub fn executing(&self) -> Option<Event> {
        self.events
            .iter()
            .find(|e| e.status.phase == Some(EventPhase::Executing))
            .cloned()
    }

    /// Lets so many seconds pass without an operator.
    pub fn rest(&mut self, seconds: i64) {
        for _ in 0..seconds / TICK {
            self.tick();
        }
    }
}

impl Span {
    fn is_bad(&mut self, now: i64) {
        self.bad = match self.bad {
            Some((first, last)) if now - last <= RANGE => Some((first, now)),
            _ => Some((now, now)),
        };
    }
}

impl Deployment {
    /// What the Deployment controller sees and writes.
    fn roll(&mut self, kind: Kind, now: i64) {
        let start = match kind {
            Kind::Slow(length) => length,
            _ => TICK,
        };
        let starts = !self.cannot_start;
        if starts && self.progress >= start {
            self.first_ready_at.get_or_insert(now);
        }
        let complete = starts && self.progress >= start + TICK;
        if complete {
            self.completed_at.get_or_insert(now);
            self.status = Status {
                updated: DESIRED,
                replicas: DESIRED,
                available: DESIRED,
                completed_at: self.completed_at.map(at),
                stuck: None,
            };
            return;
        }
        let stuck = self.progress >= PROGRESS_DEADLINE;
        self.status = Status {
            updated: 1,
            replicas: DESIRED + 1,
            available: DESIRED,
            completed_at: None,
            stuck: stuck.then(|| "ReplicaSet web-x has timed out progressing".to_owned()),
        };
    }

    fn crashes(&self) -> bool {
        self.cannot_start && self.progress >= TICK
    }

    /// A person changes the spec, not the release.
    pub fn touch(&mut self, now: i64) {
        self.generation += 1;
        self.changed_at = now;
    }
}
