//! Who may do what: viewer, operator and admin, and the switch that pauses all of Backstop.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::ensure;
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::policy::Phase;
use backstop_e2e::install;
use backstop_e2e::raw::{Raw, event, point, policy, refused, with};
use backstop_e2e::world::{App, World, quick_policy};
use backstop_testenv::{Cluster, eventually, fate};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

const SOON: Duration = Duration::from_mins(1);
const GROUP: &str = "rbac.authorization.k8s.io";

/// Three people, by the roles that Kubernetes itself has: Backstop's are part of them.
struct Roles {
    cluster: &'static Cluster,
    namespace: String,
    viewer: Client,
    operator: Client,
    admin: Client,
}

impl Roles {
    async fn new() -> anyhow::Result<Self> {
        let cluster = Cluster::shared().await?;
        install(cluster).await?;
        let namespace = cluster.namespace("roles").await?;
        let mut objects = String::new();
        for (user, role) in [("vera", "view"), ("otto", "edit"), ("ada", "admin")] {
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": user},
                "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": GROUP, "kind": "User", "name": user}],
            });
            writeln!(objects, "{binding}\n---")?;
        }
        cluster.apply(&namespace, &objects).await?;
        let roles = Self {
            viewer: cluster.client_for("vera", &[]).await?,
            operator: cluster.client_for("otto", &[]).await?,
            admin: cluster.client_for("ada", &[]).await?,
            cluster,
            namespace,
        };
        // Roles are aggregated, and bindings are learnt of, by watching.
        eventually("the roles", SOON, async || {
            for client in [&roles.viewer, &roles.operator, &roles.admin] {
                Raw::policies(client, &roles.namespace).get("none").await?;
            }
            Raw::points(&roles.operator, &roles.namespace)
                .create("probe", point("web"))
                .await?;
            anyhow::Ok(())
        })
        .await?;
        eventually("ada's role", SOON, async || {
            Raw::policies(&roles.admin, &roles.namespace)
                .create("web", policy("web"))
                .await
        })
        .await?;
        Ok(roles)
    }

    fn policies(&self, client: &Client) -> Raw {
        Raw::policies(client, &self.namespace)
    }

    fn points(&self, client: &Client) -> Raw {
        Raw::points(client, &self.namespace)
    }

    fn events(&self, client: &Client) -> Raw {
        Raw::events(client, &self.namespace)
    }

    /// Deploys in spite of Backstop, as this person.
    async fn overrides(&self, client: &Client, who: &str, why: &str) -> kube::Result<Deployment> {
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &self.namespace);
        let mut manifest = App::version("v1").manifest();
        manifest["metadata"]["annotations"] =
            json!({"backstop.dev/override": why, "backstop.dev/override-by": who});
        let apply = PatchParams::apply("kubectl");
        deployments
            .patch("web", &apply, &Patch::Apply(manifest))
            .await
    }
}

/// What RBAC says.
const FORBIDDEN: &str = "is forbidden";

#[tokio::test]
async fn a_viewer_reads_all_and_changes_nothing() -> anyhow::Result<()> {
    let roles = Roles::new().await?;
    let (policies, points, events) = (
        roles.policies(&roles.viewer),
        roles.points(&roles.viewer),
        roles.events(&roles.viewer),
    );
    ensure!(
        policies.get("web").await?.is_some(),
        "the policy cannot be read"
    );
    ensure!(
        points.get("probe").await?.is_some(),
        "the point cannot be read"
    );
    events.get("web-1").await?;
    refused(policies.create("mine", policy("web")).await, FORBIDDEN)?;
    refused(
        policies
            .patch("web", json!({"spec": {"mode": "Paused"}}))
            .await,
        FORBIDDEN,
    )?;
    refused(policies.delete("web").await, FORBIDDEN)?;
    refused(
        policies.status("web", json!({"attempts": 1})).await,
        FORBIDDEN,
    )?;
    refused(points.create("mine", point("web")).await, FORBIDDEN)?;
    refused(
        points
            .patch("probe", json!({"spec": {"reason": "mine"}}))
            .await,
        FORBIDDEN,
    )?;
    refused(points.delete("probe").await, FORBIDDEN)?;
    refused(events.create("mine", event("web", "vera")).await, FORBIDDEN)?;
    let drill = with(event("web", "vera"), json!({"cause": "Drill"}));
    refused(events.create("mine", drill).await, FORBIDDEN)?;
    let cancel = json!({"metadata": {"annotations": {"backstop.dev/cancel": "no"}}});
    refused(events.patch("web-1", cancel).await, FORBIDDEN)?;
    let over = json!({"phase": "Succeeded"});
    refused(events.status("web-1", over).await, FORBIDDEN)?;
    refused(events.delete("web-1").await, FORBIDDEN)?;
    for kind in [&policies, &points, &events] {
        kind.list().await?;
        refused(kind.delete_all().await, FORBIDDEN)?;
    }
    refused(
        roles.overrides(&roles.viewer, "vera", "I look on").await,
        FORBIDDEN,
    )?;
    Ok(())
}

#[tokio::test]
async fn an_operator_rolls_back_and_sets_the_mode_and_nothing_else_of_a_policy()
-> anyhow::Result<()> {
    let roles = Roles::new().await?;
    let (policies, points, events) = (
        roles.policies(&roles.operator),
        roles.points(&roles.operator),
        roles.events(&roles.operator),
    );
    points.create("good", point("web")).await?;
    points
        .patch("good", json!({"spec": {"reason": "load test passed"}}))
        .await?;
    events.create("by-hand", event("web", "otto")).await?;
    // Only what is good is taken back in a drill: that takes more.
    refused(
        events
            .create(
                "drill",
                with(event("web", "otto"), json!({"cause": "Drill"})),
            )
            .await,
        "spec.cause: 'otto' may not run drills in namespace",
    )?;
    let cancel = json!({"metadata": {"annotations": {"backstop.dev/cancel": "not needed"}}});
    events.patch("by-hand", cancel).await?;
    for mode in ["Paused", "Observe", "Enforce"] {
        policies
            .patch("web", json!({"spec": {"mode": mode}}))
            .await?;
    }
    // What says nothing of what is done is no matter.
    policies
        .patch("web", json!({"metadata": {"labels": {"team": "shop"}}}))
        .await?;

    for (field, change) in [
        ("window", json!({"window": "1h"})),
        ("triggers", json!({"triggers": []})),
        (
            "limits",
            json!({"limits": {"maxAttempts": 1}, "mode": "Paused"}),
        ),
        ("workloads", json!({"workloads": [{"name": "other"}]})),
        ("gates", json!({"gates": {"baseline": "Required"}})),
    ] {
        let said = refused(
            policies.patch("web", json!({"spec": change})).await,
            "'otto' may change spec.mode of RollbackPolicy 'web' and nothing else",
        )?;
        ensure!(said.contains(&format!("spec.{field}: ")), "{said}");
    }
    refused(policies.create("mine", policy("web")).await, FORBIDDEN)?;
    refused(policies.delete("web").await, FORBIDDEN)?;
    refused(
        policies.status("web", json!({"attempts": 1})).await,
        FORBIDDEN,
    )?;
    refused(points.delete("good").await, FORBIDDEN)?;
    refused(events.delete("by-hand").await, FORBIDDEN)?;
    refused(
        roles
            .overrides(&roles.operator, "otto", "I am in a hurry")
            .await,
        "'otto' may not override Backstop",
    )?;
    Ok(())
}

#[tokio::test]
async fn an_admin_writes_policies_overrides_and_lets_records_go() -> anyhow::Result<()> {
    let roles = Roles::new().await?;
    let (policies, points, events) = (
        roles.policies(&roles.admin),
        roles.points(&roles.admin),
        roles.events(&roles.admin),
    );
    policies
        .patch(
            "web",
            json!({"spec": {"window": "1h", "gates": {"baseline": "Required"}}}),
        )
        .await?;
    policies
        .patch("web", json!({"spec": {"gates": null}}))
        .await?;
    points.create("good", point("web")).await?;
    points.delete("good").await?;
    events.create("by-hand", event("web", "ada")).await?;
    let drill = with(event("web", "ada"), json!({"cause": "Drill"}));
    events.create("drill", drill.clone()).await?;
    refused(
        events
            .create(
                "quarantining",
                with(drill.clone(), json!({"quarantine": true})),
            )
            .await,
        "a Drill takes back what is good, and quarantines nothing",
    )?;
    refused(
        events
            .create("the-end", with(drill, json!({"endsDrill": "drill"})))
            .await,
        "spec.endsDrill: filled by Backstop alone",
    )?;
    roles.overrides(&roles.admin, "ada", "INC-17").await?;
    // Records of rollbacks stay, and what Backstop says is Backstop's.
    refused(events.delete("by-hand").await, FORBIDDEN)?;
    refused(
        policies.status("web", json!({"attempts": 1})).await,
        FORBIDDEN,
    )?;
    policies.delete("web").await?;
    Ok(())
}

#[tokio::test]
async fn who_is_given_it_pauses_backstop_and_can_touch_nothing_else_there() -> anyhow::Result<()> {
    let roles = Roles::new().await?;
    let operator_is = install(roles.cluster).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "pia"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "backstop-pause"},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": "pia"}],
    });
    roles
        .cluster
        .apply(&operator_is.namespace, &binding.to_string())
        .await?;
    let maps = |client: Client| Api::<ConfigMap>::namespaced(client, &operator_is.namespace);
    let pia = maps(roles.cluster.client_for("pia", &[]).await?);
    let params = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let pause = Patch::Merge(json!({"data": {"paused": "true"}}));
    eventually("pia's role", SOON, async || {
        pia.patch("backstop", &params, &pause).await
    })
    .await?;
    refused(
        pia.patch("backstop-routes", &params, &pause).await,
        FORBIDDEN,
    )?;
    refused(pia.list(&ListParams::default()).await, FORBIDDEN)?;
    for client in [roles.viewer, roles.operator, roles.admin] {
        refused(
            maps(client).patch("backstop", &params, &pause).await,
            FORBIDDEN,
        )?;
    }
    Ok(())
}

#[tokio::test]
async fn who_is_given_it_reads_the_operators_log_and_nothing_else_there() -> anyhow::Result<()> {
    let roles = Roles::new().await?;
    let namespace = install(roles.cluster).await?.namespace.clone();
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "lea"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "backstop-logs"},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": "lea"}],
    });
    roles
        .cluster
        .apply(&namespace, &binding.to_string())
        .await?;
    let lea = roles.cluster.client_for("lea", &[]).await?;
    let pods = |client: &Client| Api::<Pod>::namespaced(client.clone(), &namespace);
    eventually("lea's role", SOON, async || {
        pods(&lea).list(&ListParams::default()).await
    })
    .await?;
    // Whether there is such a pod is told to whoever may read its log alone.
    let read = |client: &Client| {
        let pods = pods(client);
        async move { pods.logs("nobody", &LogParams::default()).await }
    };
    refused(read(&lea).await, "not found")?;
    refused(
        pods(&lea).delete("nobody", &DeleteParams::default()).await,
        FORBIDDEN,
    )?;
    let secrets = Api::<Secret>::namespaced(lea.clone(), &namespace);
    refused(secrets.list(&ListParams::default()).await, FORBIDDEN)?;
    for client in [&roles.viewer, &roles.operator, &roles.admin] {
        refused(read(client).await, FORBIDDEN)?;
    }
    Ok(())
}

/// An operator with a switch of its own, so that other tests are not paused, and the switch.
async fn with_switch(name: &str) -> anyhow::Result<(World, Api<ConfigMap>, String)> {
    let cluster = Cluster::shared().await?;
    let operator = install(cluster).await?;
    let switch = format!("switch-of-{name}");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": switch},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [switch],
                   "verbs": ["get", "list", "watch"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": switch},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": switch},
        "subjects": [{"kind": "ServiceAccount", "name": operator.service_account, "namespace": operator.namespace}],
    });
    cluster
        .apply(&operator.namespace, &format!("{role}\n---\n{binding}\n"))
        .await?;
    let world = World::with(name, &["--config-map".to_owned(), switch.clone()]).await?;
    let api = Api::namespaced(world.client.clone(), &operator.namespace);
    Ok((world, api, switch))
}

async fn set(api: &Api<ConfigMap>, name: &str, paused: &str) -> anyhow::Result<()> {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"paused": paused},
    });
    let params = PatchParams::apply("test").force();
    api.patch(name, &params, &Patch::Apply(map)).await?;
    Ok(())
}

#[tokio::test]
async fn while_all_of_backstop_is_paused_nothing_is_taken_back() -> anyhow::Result<()> {
    let (world, api, switch) = with_switch("paused-all").await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(quick_policy()).await?;
    world.good_point(1).await?;
    let flags = [format!("--config-map={switch}")];
    let before = world.check(&flags).await?;
    ensure!(
        before.status.success(),
        "a ConfigMap that is not there pauses nothing: {before:?}"
    );
    set(&api, &switch, "true").await?;
    let checked = world.check(&flags).await?;
    let words = String::from_utf8_lossy(&checked.stderr);
    ensure!(
        !checked.status.success() && words.contains("Backstop is paused for the whole cluster"),
        "{checked:?}"
    );
    let said = world.condition("Ready", false, "BackstopPaused").await?;
    ensure!(
        said.contains(&switch) && said.contains("set it to \"false\""),
        "{said}"
    );
    world
        .policy_says("paused", |s| s.phase == Some(Phase::Paused))
        .await?;
    world
        .eventually("the log to say so", async || {
            ensure!(
                world
                    .operator
                    .log()
                    .contains("Backstop is paused for the whole cluster")
            );
            Ok(())
        })
        .await?;
    world
        .deploy(&App::version("v2").fate(fate::CRASH_LOOP))
        .await?;
    world.said("RollbackPolicy", "RollbackHeld").await?;
    world.is_left_alone().await?;
    assert_eq!(world.live().await?, "v2");
    assert!(world.events().await?.is_empty());
    set(&api, &switch, "false").await?;
    world
        .ended("web-1", EventPhase::Succeeded, Outcome::Recovered)
        .await?;
    assert_eq!(world.live().await?, "v1");
    Ok(())
}

#[tokio::test]
async fn a_switch_that_cannot_be_read_is_no_permission() -> anyhow::Result<()> {
    // Without the Role of `with_switch` the operator may not read this one.
    let flags = ["--config-map".to_owned(), "switch-of-nobody".to_owned()];
    let world = World::with("no-switch", &flags).await?;
    world.deploy(&App::version("v1")).await?;
    world.policy(quick_policy()).await?;
    let said = world.condition("Ready", false, "BackstopPaused").await?;
    ensure!(said.contains("cannot be read"), "{said}");
    world
        .deploy(&App::version("v2").fate(fate::CRASH_LOOP))
        .await?;
    world.is_left_alone().await?;
    assert!(world.events().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_pause_stops_a_rollback_that_waits_for_its_delay() -> anyhow::Result<()> {
    let (world, api, switch) = with_switch("paused-delay").await?;
    world.deploy(&App::version("v1")).await?;
    let mut policy = quick_policy();
    policy["triggers"][0]["delay"] = json!("1m");
    world.policy(policy).await?;
    world.good_point(1).await?;
    world
        .deploy(&App::version("v2").fate(fate::CRASH_LOOP))
        .await?;
    world.event_in("web-1", EventPhase::Pending).await?;
    set(&api, &switch, "true").await?;
    world
        .ended("web-1", EventPhase::Cancelled, Outcome::PolicyNotInForce)
        .await?;
    world.is_left_alone().await?;
    assert_eq!(world.live().await?, "v2");
    Ok(())
}
