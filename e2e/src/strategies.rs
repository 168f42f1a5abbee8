//! One stage set for each strategy: a good release, a bad one, and what must be so when it has gone
//! back. What holds for every strategy is tested on all of them.

use anyhow::{Context as _, ensure};
use backstop_testenv::fate;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::crds;
use crate::world::{App, World, cannot_start, quick_policy};

/// A strategy's stage set.
pub struct Set {
    name: &'static str,
    policy: Value,
    /// What is live and good.
    good: Vec<App>,
    /// What is released, and fails.
    bad: Vec<App>,
    /// What must be there in the end: Deployment, version and replicas.
    end: Vec<(&'static str, &'static str, i32)>,
    /// For BlueGreen: the stack that is selected before and after, and the one that fails.
    stacks: Option<(&'static str, &'static str)>,
    /// For Canary: the share of the bad release.
    share: Option<i64>,
    /// Whether the release brings configuration of its own.
    config: bool,
}

impl Set {
    fn new(name: &'static str, policy: Value) -> Self {
        Self {
            name,
            policy,
            good: Vec::new(),
            bad: Vec::new(),
            end: Vec::new(),
            stacks: None,
            share: None,
            config: false,
        }
    }

    /// A namespace in which the good release is live and has proved itself.
    pub async fn good_release(&self) -> anyhow::Result<World> {
        let world = World::new(self.name).await?;
        if self.config {
            set_mode(&world, "good").await?;
        }
        for app in &self.good {
            world.deploy(app).await?;
        }
        if let Some((good, _)) = self.stacks {
            select(&world, good).await?;
        }
        if self.share.is_some() {
            let crd =
                crds::published("gateway.networking.k8s.io", "httproutes")?.context("no CRD")?;
            crds::install(world.cluster, &crd).await?;
            set_share(&world, 0).await?;
        }
        world.policy(self.policy.clone()).await?;
        world.good_point(1).await?;
        Ok(world)
    }

    /// Releases what fails.
    pub async fn bad_release(&self, world: &World) -> anyhow::Result<()> {
        if self.config {
            set_mode(world, "bad").await?;
        }
        for app in &self.bad {
            world.deploy(app).await?;
        }
        if let Some((_, bad)) = self.stacks {
            select(world, bad).await?;
        }
        if let Some(share) = self.share {
            set_share(world, share).await?;
        }
        Ok(())
    }

    /// Whether everything is as it was.
    pub async fn is_back(&self, world: &World) -> anyhow::Result<()> {
        for (name, version, replicas) in &self.end {
            let now = world.version_of(name).await?;
            let deployment = world.api::<Deployment>().get(name).await?;
            let wanted = deployment.spec.and_then(|s| s.replicas);
            ensure!(
                now == *version && wanted == Some(*replicas),
                "{name} is at {now} with {wanted:?} replicas, not at {version} with {replicas}"
            );
        }
        if self.config {
            let found = world.api::<ConfigMap>().get("web-config").await?;
            let data = found.data.unwrap_or_default();
            ensure!(data.get("MODE").is_some_and(|m| m == "good"), "{data:?}");
        }
        if let Some((good, _)) = self.stacks {
            let service = world.api::<Service>().get("web").await?;
            let selector = service.spec.and_then(|s| s.selector).unwrap_or_default();
            let color = selector.get("color");
            ensure!(color.is_some_and(|c| c == good), "{color:?} is selected");
        }
        if self.share.is_some() {
            let route = routes(world).get("web").await?;
            let backends = &route.data["spec"]["rules"][0]["backendRefs"];
            ensure!(
                backends[0]["weight"] == 100 && backends[1]["weight"] == 0,
                "{backends}"
            );
        }
        Ok(())
    }
}

/// Writes the ConfigMap `web-config` with this MODE, as `kubectl apply` does.
pub async fn set_mode(world: &World, mode: &str) -> anyhow::Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web-config"},
        "data": {"MODE": mode},
    });
    let params = PatchParams::apply("kubectl").force();
    world
        .api::<ConfigMap>()
        .patch("web-config", &params, &Patch::Apply(object))
        .await?;
    Ok(())
}

async fn select(world: &World, color: &str) -> anyhow::Result<()> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"part-of": "web", "color": color}, "ports": [{"port": 80}]},
    });
    let params = PatchParams::apply("kubectl").force();
    world
        .api::<Service>()
        .patch("web", &params, &Patch::Apply(service))
        .await?;
    Ok(())
}

fn routes(world: &World) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "gateway.networking.k8s.io".into(),
        version: "v1".into(),
        api_version: "gateway.networking.k8s.io/v1".into(),
        kind: "HTTPRoute".into(),
        plural: "httproutes".into(),
    };
    Api::namespaced_with(world.client.clone(), &world.namespace, &resource)
}

async fn set_share(world: &World, share: i64) -> anyhow::Result<()> {
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "web"},
        "spec": {"parentRefs": [{"name": "public"}], "rules": [{"backendRefs": [
            {"name": "web", "port": 80, "weight": 100 - share},
            {"name": "web-canary", "port": 80, "weight": share},
        ]}]},
    });
    let params = PatchParams::apply("kubectl").force();
    routes(world)
        .patch("web", &params, &Patch::Apply(route))
        .await?;
    Ok(())
}

/// Rolling, one Deployment, with parameters of the rollout to be put back.
pub fn rolling(name: &'static str) -> Set {
    let mut policy = quick_policy();
    policy["strategy"] = json!({"rolling": {"maxUnavailable": 1, "maxSurge": 1}});
    Set {
        good: vec![App::slow("v1", "1s")],
        bad: vec![App::version("v2").fate(fate::CRASH_LOOP)],
        end: vec![("web", "v1", 2)],
        ..Set::new(name, policy)
    }
}

/// Rolling, two Deployments.
pub fn several(name: &'static str) -> Set {
    let mut policy = quick_policy();
    policy["workloads"] = json!([{"name": "web"}, {"name": "web-worker"}]);
    let worker = |app: App| app.called("web-worker");
    Set {
        good: vec![App::slow("v1", "1s"), worker(App::slow("v1", "1s"))],
        bad: vec![
            App::version("v2").fate(fate::CRASH_LOOP),
            worker(App::version("v2")),
        ],
        end: vec![("web", "v1", 2), ("web-worker", "v1", 2)],
        ..Set::new(name, policy)
    }
}

/// Rolling, with configuration that goes back as well.
pub fn with_config(name: &'static str) -> Set {
    Set {
        good: vec![App::slow("v1", "1s").config_map("web-config")],
        bad: vec![
            App::version("v2")
                .fate(fate::CRASH_LOOP)
                .config_map("web-config"),
        ],
        end: vec![("web", "v1", 2)],
        config: true,
        ..Set::new(name, quick_policy())
    }
}

/// Recreate.
pub fn recreate(name: &'static str) -> Set {
    let mut policy = quick_policy();
    policy["strategy"] = json!({"type": "Recreate"});
    Set {
        good: vec![App::slow("v1", "1s")],
        bad: vec![App::version("v2").fate(fate::CRASH_LOOP)],
        end: vec![("web", "v1", 2)],
        ..Set::new(name, policy)
    }
}

/// ScaleAndRollback.
pub fn scale_first(name: &'static str) -> Set {
    let mut policy = quick_policy();
    policy["strategy"] = json!({"timeout": "10s", "scale": {"by": 1}});
    policy["triggers"][0]["action"] = json!("ScaleAndRollback");
    Set {
        good: vec![App::slow("v1", "1s")],
        bad: vec![App::version("v2").fate(fate::CRASH_LOOP)],
        end: vec![("web", "v1", 2)],
        ..Set::new(name, policy)
    }
}

/// IsolateAndRollback.
pub fn isolate(name: &'static str) -> Set {
    let mut policy = quick_policy();
    policy["strategy"] = json!({"timeout": "30s", "isolate": {"keep": 1}});
    policy["triggers"][0]["action"] = json!("IsolateAndRollback");
    Set {
        good: vec![App::slow("v1", "1s")],
        bad: vec![App::version("v2").fate(fate::CRASH_LOOP)],
        end: vec![("web", "v1", 2)],
        ..Set::new(name, policy)
    }
}

/// BlueGreen; the good stack has been scaled to zero meanwhile.
pub fn blue_green(name: &'static str) -> Set {
    let policy = json!({
        "strategy": {"type": "BlueGreen", "timeout": "30s", "blueGreen": {
            "service": "web", "stacks": ["web-blue", "web-green"],
        }},
        "points": {"soak": "1s"},
        "limits": {"cooldown": "0s"},
        "triggers": [cannot_start()],
    });
    let stack = |name: &str, app: App| {
        app.called(name)
            .label("part-of", "web")
            .label("color", name)
    };
    let blue = || stack("web-blue", App::slow("v1", "1s"));
    let green = || stack("web-green", App::version("v2").fate(fate::CRASH_LOOP));
    Set {
        good: vec![blue(), green()],
        bad: vec![green()],
        end: vec![("web-blue", "v1", 2), ("web-green", "v2", 2)],
        stacks: Some(("web-blue", "web-green")),
        ..Set::new(name, policy)
    }
}

/// Canary, at once.
pub fn canary(name: &'static str) -> Set {
    let policy = json!({
        "strategy": {"type": "Canary", "timeout": "30s", "canary": {
            "stable": "web", "canary": "web-canary", "stepInterval": "1s",
            "route": {"provider": "gateway-httproute", "name": "web"},
        }},
        "points": {"soak": "1s"},
        "limits": {"cooldown": "0s"},
        "triggers": [cannot_start()],
    });
    let canary = |app: App| app.called("web-canary");
    Set {
        good: vec![
            App::version("v1"),
            canary(App::version("v1").replicas(Some(0))),
        ],
        bad: vec![canary(App::version("v2").fate(fate::CRASH_LOOP))],
        end: vec![("web", "v1", 2), ("web-canary", "v1", 0)],
        share: Some(20),
        ..Set::new(name, policy)
    }
}

/// Canary, step by step.
pub fn canary_step_by_step(name: &'static str) -> Set {
    let mut set = canary(name);
    set.policy["triggers"] = json!([{
        "name": "unready", "severity": "Warning", "condition": "value > 0.5",
        "workload": {"signals": ["UnreadyShare"]},
    }]);
    set.bad = vec![
        App::version("v2")
            .called("web-canary")
            .fate(fate::NEVER_READY),
    ];
    set
}
