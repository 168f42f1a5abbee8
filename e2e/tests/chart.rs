//! What the chart and the plain manifests install, by the real Helm and kubectl, into a real API server.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use backstop_api::RollbackPolicy;
use backstop_e2e::{chart, crds, install};
use backstop_testenv::{Cluster, eventually};
use backstop_traffic::Table;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// Every value set to something else than its default.
const ALL_VALUES: &str = include_str!("../../charts/backstop/tests/everything.values.yaml");

/// The entry for Gloo, as docs/routes.md has it.
const GLOO: &str = "
routes:
  providers:
  - name: gloo
    group: gateway.solo.io
    version: v1
    kind: RouteTable
    plural: routetables
    rules: /spec/routes/*
    ruleName: /name
    backends: {shape: List, at: /routeAction/multi/destinations, name: /destination/upstream/name, weight: weight}
";

fn values_file(text: &str) -> anyhow::Result<tempfile::NamedTempFile> {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    fs::write(file.path(), text)?;
    Ok(file)
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> anyhow::Result<&'a Value> {
    objects
        .iter()
        .find(|object| chart::kind(object) == kind && object["metadata"]["name"] == name)
        .with_context(|| format!("no {kind} {name}"))
}

/// Sees to it that the API server would take every object as it is, with no field that it does not know.
async fn accepted(cluster: &Cluster, objects: &[Value]) -> anyhow::Result<()> {
    let text = chart::yaml(objects)?;
    let args = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
        "--filename=-",
    ];
    let answer = cluster
        .kubectl_with(cluster.kubeconfig_path(), &args, &text)
        .await?;
    ensure!(answer.stderr.is_empty(), "{}", answer.stderr);
    let taken = answer.success()?.lines().count();
    ensure!(
        taken == objects.len(),
        "{taken} of {} objects",
        objects.len()
    );
    Ok(())
}

#[tokio::test]
async fn helm_finds_nothing_to_mend_in_the_chart() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    cluster
        .helm(&["lint", "--strict", &chart::path()])
        .await?
        .success()?;
    Ok(())
}

#[tokio::test]
async fn every_object_of_the_chart_is_taken_by_the_api_server() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    install(cluster).await?;
    let objects = chart::render(cluster, &[]).await?;
    accepted(cluster, &objects).await?;

    crds::install_monitoring(cluster).await?;
    let values = values_file(ALL_VALUES)?;
    let watched = cluster.namespace("watched").await?;
    // The API server takes Roles only into namespaces that are there.
    let there = format!("watchNamespaces={{{watched}}},gitops.namespaces={{{watched}}}");
    let args = [
        "--values",
        &values.path().display().to_string(),
        "--set",
        &there,
    ];
    let objects = chart::render(cluster, &args).await?;
    accepted(cluster, &objects).await?;

    let pod = &find(&objects, "Deployment", "stop")?["spec"]["template"]["spec"];
    let args = pod["containers"][0]["args"].as_array().context("args")?;
    for arg in [
        "--lease-name=other",
        "--log-format=json",
        "--prometheus-url=http://prometheus.monitoring:9090",
        "--prometheus-allow=https://a.example",
        "--prometheus-allow=http://b.example:9090",
        "--web-allow=https://c.example/api",
        "--otlp-endpoint=http://collector.example:4318",
        "--alerts-listen=0.0.0.0:9999",
        "--alerts-credentials=/etc/backstop-alerts/credentials",
        "--alerts-tls=/etc/backstop-alerts/tls",
        "--notifications-allow=https://d.example",
        "--notifications-allow=smtp://mail.example:587",
        "--notifications-file=/etc/backstop-notifications/channels.yaml",
        &format!("--watch-namespace={watched}"),
        "--verbose",
    ] {
        ensure!(args.contains(&arg.into()), "no {arg} in {args:?}");
    }
    // A named namespace is all that it is given rights in.
    ensure!(find(&objects, "ClusterRoleBinding", "backstop").is_err());
    let binding = find(&objects, "RoleBinding", "backstop")?;
    ensure!(binding["metadata"]["namespace"] == *watched, "{binding}");
    ensure!(find(&objects, "ClusterRole", "backstop-secrets").is_err());
    ensure!(find(&objects, "ClusterRole", "backstop-routes").is_err());
    let admission = find(&objects, "ValidatingAdmissionPolicy", "backstop-status")?;
    ensure!(
        admission
            .to_string()
            .contains("'system:serviceaccount:backstop-system:robot'")
    );
    ensure!(!admission.to_string().contains("OPERATOR_USERNAME"));
    Ok(())
}

#[tokio::test]
async fn kinds_of_routes_of_the_values_reach_the_operator() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    install(cluster).await?;
    let values = values_file(GLOO)?;
    let values = values.path().display().to_string();
    let objects = chart::render(cluster, &["--values", &values]).await?;
    accepted(cluster, &objects).await?;

    let pod = &find(&objects, "Deployment", "backstop")?["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    let args = container["args"].as_array().context("args")?;
    let file = "--routes-file=/etc/backstop/routes.yaml";
    ensure!(args.contains(&file.into()), "{args:?}");
    ensure!(container["volumeMounts"][0]["mountPath"] == "/etc/backstop");
    let volume = &pod["spec"]["volumes"][0];
    ensure!(volume["configMap"]["name"] == "backstop-routes", "{volume}");
    let map = find(&objects, "ConfigMap", "backstop-routes")?;
    let text = map["data"]["routes.yaml"].as_str().context("no file")?;
    let table = Table::builtin().with_file(text);
    let table = table.map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    ensure!(table.get("gloo")?.plural == "routetables");

    let role = find(&objects, "ClusterRole", "backstop-routes")?;
    let right = json!({
        "apiGroups": ["gateway.solo.io"], "resources": ["routetables"],
        "verbs": ["get", "list", "watch", "patch"],
    });
    ensure!(
        role["rules"].as_array().context("rules")?.contains(&right),
        "{role}"
    );
    for name in ["backstop-policies", "backstop-reach"] {
        let policy = find(&objects, "ValidatingAdmissionPolicy", name)?;
        let entry = "'gloo': 'gateway.solo.io/routetables', 'alb': ";
        ensure!(policy.to_string().contains(entry), "{name}: {policy}");
    }
    // Other kinds, other pods.
    let digest = |pod: &Value| pod["metadata"]["annotations"]["backstop.dev/routes"].clone();
    let args = [
        "--values",
        &values,
        "--set",
        "routes.providers[0].version=v2",
    ];
    let others = chart::render(cluster, &args).await?;
    let other = &find(&others, "Deployment", "backstop")?["spec"]["template"];
    ensure!(digest(pod).is_string() && digest(pod) != digest(other));
    Ok(())
}

/// The built operator. What runs these tests builds it first.
fn operator() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(2).context("no target folder")?;
    let path = folder.join("backstop");
    ensure!(
        path.exists(),
        "{} is not there; run `cargo build --workspace --bins` first",
        path.display()
    );
    Ok(path)
}

#[tokio::test]
async fn the_operator_understands_what_the_chart_tells_it() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let values = values_file(&ALL_VALUES.replace("[--verbose]", "[--concurrency=4]"))?;
    let values = values.path().display().to_string();
    let set = "watchNamespaces={shop}";
    for (args, name) in [
        (&[][..], "backstop"),
        (&["--values", values.as_str(), "--set", set], "stop"),
    ] {
        let objects = chart::render(cluster, args).await?;
        let container =
            &find(&objects, "Deployment", name)?["spec"]["template"]["spec"]["containers"][0];
        let args: Vec<_> = container["args"]
            .as_array()
            .context("args")?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        // It reads every argument before it says its version.
        let said = Command::new(operator()?)
            .args(&args)
            .arg("--version")
            .output()?;
        ensure!(
            said.status.success() && said.stdout.starts_with(b"backstop "),
            "{args:?}: {}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_value_that_is_not_there_or_cannot_be_is_refused() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    for (set, words) in [
        ("replica=3", "additional properties 'replica' not allowed"),
        (
            "prometheus.url=prometheus:9090",
            "at '/prometheus/url': 'prometheus:9090' does not match",
        ),
        ("prometheus.allow={a.example}", "at '/prometheus/allow/0'"),
        (
            "routes.providers[0].name=gloo",
            "at '/routes/providers/0': missing properties 'group', 'version', 'kind', 'plural', 'backends'",
        ),
        (
            "logging.format=xml",
            "at '/logging/format': value must be one of",
        ),
        (
            "watchNamespaces={Team A}",
            "at '/watchNamespaces/0': 'Team A' does not match",
        ),
    ] {
        match chart::render(cluster, &["--set", set]).await {
            Ok(_) => bail!("{set} was taken"),
            Err(error) => ensure!(error.to_string().contains(words), "{set}: {error}"),
        }
    }
    Ok(())
}

/// What an object is, without what says only who installed it.
fn essence(mut object: Value) -> (String, Value) {
    let key = format!(
        "{} {}/{}",
        chart::kind(&object),
        object["metadata"]["namespace"].as_str().unwrap_or_default(),
        object["metadata"]["name"].as_str().unwrap_or_default()
    );
    if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
        labels.retain(|name, _| name.starts_with("rbac.authorization.k8s.io/"));
        if labels.is_empty() {
            object["metadata"]
                .as_object_mut()
                .map(|m| m.remove("labels"));
        }
    }
    // The chart keeps its CRDs; the manifests are not uninstalled as one.
    object["metadata"]
        .as_object_mut()
        .map(|m| m.remove("annotations"));
    (key, object)
}

#[tokio::test]
async fn the_plain_manifests_install_what_the_chart_installs() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let folder = chart::root().join("manifests").display().to_string();
    let plain = cluster.kubectl(&["kustomize", &folder]).await?.success()?;
    let plain: BTreeMap<_, _> = chart::documents(&plain)?
        .into_iter()
        .filter(|object| chart::kind(object) != "Namespace")
        .map(essence)
        .collect();
    let rendered = chart::render(cluster, &[]).await?;
    let rendered: BTreeMap<_, _> = rendered.into_iter().map(essence).collect();
    ensure!(
        plain.keys().eq(rendered.keys()),
        "manifests: {:?}\nchart: {:?}",
        plain.keys(),
        rendered.keys()
    );
    for (key, object) in &plain {
        ensure!(
            *object == rendered[key],
            "{key}\nmanifests: {object}\nchart: {}",
            rendered[key]
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_plain_manifests_are_taken_by_the_api_server() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    install(cluster).await?;
    let folder = chart::root().join("manifests").display().to_string();
    let text = cluster.kubectl(&["kustomize", &folder]).await?.success()?;
    accepted(cluster, &chart::documents(&text)?).await
}

#[tokio::test]
async fn the_samples_are_taken_by_the_api_server() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    install(cluster).await?;
    let namespace = cluster.namespace("samples").await?;
    // The user that the sample of a rollback names.
    let admin = cluster.kubeconfig_for("kubernetes-admin", &["system:masters"])?;
    let folder = chart::root()
        .join("manifests/samples")
        .display()
        .to_string();
    let args = [
        "apply",
        "--namespace",
        &namespace,
        "--validate=strict",
        "--filename",
        &folder,
    ];
    let said = cluster.kubectl_with(&admin, &args, "").await?.success()?;
    for object in [
        "rollbackpolicy.backstop.dev/web",
        "rollbackpolicy.backstop.dev/orders",
        "rollbackpolicy.backstop.dev/shop",
        "rollbackpoint.backstop.dev/web-good",
        "rollbackevent.backstop.dev/web-by-hand",
    ] {
        ensure!(said.contains(&format!("{object} created")), "{said}");
    }
    // And by Backstop, which looks further: into queries and conditions.
    for sample in ["web", "several", "blue-green"] {
        let path = chart::root().join(format!("manifests/samples/{sample}.yaml"));
        let policy: RollbackPolicy = serde_yaml_ng::from_str(&fs::read_to_string(path)?)?;
        if let Err(errors) = backstop_engine::policy::validate(sample, &policy.spec) {
            bail!("{sample}: {errors:?}");
        }
    }
    Ok(())
}

/// The API server's own check finds what evaluation would stumble on only in the case that reaches it.
#[tokio::test]
async fn the_admission_policies_name_only_fields_that_there_are() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    install(cluster).await?;
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client().await?);
    eventually(
        "nine checked policies without a warning",
        SOON,
        async || {
            let mut all = policies.list(&ListParams::default()).await?.items;
            // Other tests have some of their own.
            all.retain(|policy| policy.name_any().starts_with("backstop-"));
            ensure!(all.len() == 9, "{} policies", all.len());
            for policy in all {
                let name = policy.name_any();
                let checked = policy
                    .status
                    .and_then(|status| status.type_checking)
                    .with_context(|| format!("{name} is not checked yet"))?;
                ensure!(
                    checked.expression_warnings.unwrap_or_default().is_empty(),
                    "{name} has warnings: see its status"
                );
            }
            Ok(())
        },
    )
    .await
}

async fn may(client: &Client, user: &str, attributes: Value) -> anyhow::Result<bool> {
    let review = serde_json::from_value(json!({
        "metadata": {},
        "spec": {"user": user, "groups": ["system:serviceaccounts", "system:authenticated"], "resourceAttributes": attributes},
    }))?;
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.context("no answer")?.allowed)
}

#[tokio::test]
async fn the_operator_may_do_its_work_and_nothing_beside_it() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let operator = install(cluster).await?;
    let client = cluster.client().await?;
    for (allowed, verb, group, resource, subresource, namespace) in [
        (true, "patch", "apps", "deployments", "", "shop"),
        (true, "watch", "apps", "replicasets", "", ""),
        (true, "watch", "", "pods", "", ""),
        (true, "patch", "", "services", "", "shop"),
        (
            true,
            "patch",
            "gateway.networking.k8s.io",
            "httproutes",
            "",
            "shop",
        ),
        (true, "watch", "networking.k8s.io", "ingresses", "", ""),
        (true, "get", "", "secrets", "", "shop"),
        (true, "delete", "backstop.dev", "rollbackpoints", "", "shop"),
        (true, "create", "backstop.dev", "rollbackevents", "", "shop"),
        (true, "delete", "backstop.dev", "rollbackevents", "", "shop"),
        (false, "purge", "backstop.dev", "rollbackevents", "", "shop"),
        (
            true,
            "patch",
            "backstop.dev",
            "rollbackevents",
            "status",
            "shop",
        ),
        (true, "create", "events.k8s.io", "events", "", "shop"),
        (
            true,
            "patch",
            "coordination.k8s.io",
            "leases",
            "",
            chart::NAMESPACE,
        ),
        (false, "list", "", "secrets", "", "shop"),
        (false, "watch", "", "secrets", "", ""),
        (false, "create", "", "pods", "", "shop"),
        (false, "create", "", "pods", "exec", "shop"),
        (false, "delete", "apps", "deployments", "", "shop"),
        (false, "create", "apps", "deployments", "", "shop"),
        (false, "create", "", "services", "", "shop"),
        (
            false,
            "delete",
            "networking.k8s.io",
            "ingresses",
            "",
            "shop",
        ),
        (
            false,
            "patch",
            "backstop.dev",
            "rollbackpolicies",
            "",
            "shop",
        ),
        (false, "patch", "backstop.dev", "rollbackevents", "", "shop"),
        (
            false,
            "patch",
            "coordination.k8s.io",
            "leases",
            "",
            "kube-system",
        ),
        (
            false,
            "bind",
            "rbac.authorization.k8s.io",
            "clusterroles",
            "",
            "",
        ),
        (false, "impersonate", "", "users", "", ""),
    ] {
        let attributes = json!({
            "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace,
        });
        let may = may(&client, &operator.username(), attributes.clone()).await?;
        ensure!(may == allowed, "{attributes}: {may}");
    }
    Ok(())
}
