//! Several Deployments, two stacks, a canary: what was there when a release was good, and what is.

#![allow(dead_code, reason = "no test needs all of it")]

use std::collections::BTreeMap;

use backstop_api::{
    event::StepStatus,
    point::{Stack, Verdict},
    policy::Action,
};
use backstop_engine::{
    plan::{Order, plan},
    policy::ValidPolicy,
    snapshot::{Point, PointWorkload, Route, Service, Snapshot, Workload},
    subject::{Absent, Parts, live},
};
use serde_json::{Value, json};

use crate::common::{at, errors, point, policy, workload};

/// What a policy speaks of, as it was when it was good and as it is.
#[derive(Clone, Debug)]
pub struct Stage {
    pub fields: Value,
    pub was: Parts,
    pub now: Parts,
}

/// A Deployment that is rolled out, with a label that only its own pods have.
pub fn deployment(name: &str, release: &str, replicas: i32) -> Workload {
    let mut it = Workload {
        name: name.into(),
        uid: format!("uid-{name}"),
        release: release.into(),
        labels: BTreeMap::from([
            ("app".to_owned(), "shop".to_owned()),
            ("side".to_owned(), name.to_owned()),
        ]),
        ..workload()
    };
    size(&mut it, replicas);
    it
}

/// So many replicas are wanted, and there.
pub fn size(it: &mut Workload, replicas: i32) {
    it.desired = replicas;
    it.replicas = replicas;
    it.updated = replicas;
    it.ready = replicas;
    it.available = replicas;
    it.pods.ready = replicas;
}

/// A Service that selects the pods of this Deployment.
pub fn service(of: &str) -> Service {
    Service {
        name: "shop".into(),
        uid: "uid-service".into(),
        selector: BTreeMap::from([
            ("app".to_owned(), "shop".to_owned()),
            ("side".to_owned(), of.to_owned()),
        ]),
        last_writer: Some("kubectl".into()),
    }
}

/// A route in which the canary has this share.
pub fn route(share: u8) -> Route {
    Route {
        name: "shop".into(),
        uid: "uid-route".into(),
        share,
        last_writer: Some("kubectl".into()),
    }
}

impl Stage {
    /// Deployments that are live together, each as it was.
    pub fn several(strategy: &str, names: &[&str]) -> Self {
        let refs: Vec<Value> = names.iter().map(|n| json!({"name": n})).collect();
        let deployments = names.iter().map(|n| deployment(n, &format!("good-{n}"), 3));
        let parts = Parts {
            deployments: deployments.collect(),
            ..Parts::default()
        };
        Self {
            fields: json!({"workloads": refs, "strategy": {"type": strategy}}),
            was: parts.clone(),
            now: parts,
        }
    }

    /// Two stacks: blue was live, green is, and blue waits with all its pods.
    pub fn stacks() -> Self {
        let blue = deployment("blue", "good-blue", 3);
        let was = Parts {
            deployments: vec![blue.clone(), deployment("green", "old-green", 3)],
            service: Some(service("blue")),
            ..Parts::default()
        };
        Self {
            fields: json!({"workloads": [], "strategy": {"type": "BlueGreen", "blueGreen": {
                "service": "shop", "stacks": ["blue", "green"],
            }}}),
            now: Parts {
                deployments: vec![blue, deployment("green", "bad-green", 3)],
                service: Some(service("green")),
                ..Parts::default()
            },
            was,
        }
    }

    /// A stable side, and a canary that has this share of the requests and had none.
    pub fn canary(share: u8) -> Self {
        let stable = deployment("stable", "good-stable", 4);
        let parts = |canary: &str, replicas: i32, share: u8| Parts {
            deployments: vec![stable.clone(), deployment("canary", canary, replicas)],
            route: Some(Ok(route(share))),
            ..Parts::default()
        };
        Self {
            fields: json!({"workloads": [], "strategy": {"type": "Canary", "canary": {
                "stable": "stable", "canary": "canary",
                "route": {"provider": "gateway-httproute", "name": "shop"},
            }}}),
            was: parts("old-canary", 1, 0),
            now: parts("bad-canary", 2, share),
        }
    }

    /// With these fields in the strategy's parameters.
    pub fn set(mut self, of: &str, field: &str, value: Value) -> Self {
        match of {
            "" => self.fields["strategy"][field] = value,
            of => self.fields["strategy"][of][field] = value,
        }
        self
    }

    /// With a bad template in a Deployment.
    pub fn changed(mut self, name: &str) -> Self {
        self.there(name).release = format!("bad-{name}");
        self
    }

    /// A Deployment as it is.
    pub fn there(&mut self, name: &str) -> &mut Workload {
        find(&mut self.now, name)
    }

    /// A Deployment as it was.
    pub fn before(&mut self, name: &str) -> &mut Workload {
        find(&mut self.was, name)
    }

    pub fn policy(&self) -> ValidPolicy {
        policy(&[errors()], self.fields.clone())
    }

    pub fn live(&self) -> Result<Workload, Absent> {
        live(&self.policy(), &self.now)
    }

    /// The point of what was there.
    pub fn point(&self) -> Point {
        let policy = self.policy();
        let it = live(&policy, &self.was).unwrap();
        let names = policy.deployments.iter();
        let workloads = names.filter_map(|name| it.deployment(name)).map(held);
        Point {
            name: "good".into(),
            workloads: workloads.collect(),
            stack: self.was.service.as_ref().map(|service| Stack {
                workload: it.live()[0].name.clone(),
                selector: service.selector.clone(),
            }),
            proved_at: at(-3600),
            ..point(&it.release, Verdict::Good)
        }
    }

    /// What is seen of it.
    pub fn seen(&self) -> Snapshot {
        Snapshot {
            workload: Some(self.live().unwrap()),
            service: self.now.service.clone(),
            route: self.now.route.clone().and_then(Result::ok),
            points: vec![self.point()],
            ..Snapshot::default()
        }
    }

    /// What the planner makes of it.
    pub fn plan(&self, action: Action, quarantine: bool) -> Result<Vec<StepStatus>, String> {
        let seen = self.seen();
        plan(&Order {
            policy: &self.policy(),
            seen: &seen,
            workload: seen.workload.as_ref().unwrap(),
            point: &seen.points[0],
            action,
            quarantine,
        })
    }
}

fn held(it: &Workload) -> PointWorkload {
    PointWorkload {
        name: it.name.clone(),
        release: it.release.clone(),
        replicas: it.desired,
    }
}

fn find<'a>(parts: &'a mut Parts, name: &str) -> &'a mut Workload {
    let mut all = parts.deployments.iter_mut();
    all.find(|w| w.name == name).unwrap()
}
