//! Examples are what readers copy: each is given to a real API server, and policies to a running operator.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use anyhow::{Context as _, bail, ensure};
use backstop_api::{RollbackPolicy, condition};
use backstop_e2e::world::World;
use backstop_e2e::{chart, crds, install};
use backstop_testenv::{Alertmanager, Cluster};
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::markdown::{Block, pages};

/// Who does what the docs show, where they do not name anybody.
const ADMIN: &str = "admin";

fn examples() -> anyhow::Result<Vec<Block>> {
    let blocks = pages()?.into_iter().flat_map(|page| page.blocks());
    Ok(blocks.filter(|block| block.language == "yaml").collect())
}

/// A block's documents, and whether they are whole objects.
fn parsed(block: &Block) -> anyhow::Result<(Vec<Value>, bool)> {
    let documents = chart::documents(&block.text).with_context(|| block.place.clone())?;
    let whole = documents
        .iter()
        .all(|document| document.get("kind").is_some());
    ensure!(
        whole != block.fragment,
        "{}: a block is either whole objects or has <!-- fragment --> before it",
        block.place
    );
    Ok((documents, whole))
}

fn is_ours(object: &Value) -> bool {
    object["apiVersion"]
        .as_str()
        .is_some_and(|version| version.starts_with("backstop.dev/"))
}

#[tokio::test]
async fn every_example_is_accepted_by_the_api_server() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    install(cluster).await?;
    crds::install_monitoring(cluster).await?;
    let mut seen = 0;
    for block in examples()? {
        let (documents, whole) = parsed(&block)?;
        if !whole {
            continue;
        }
        // Examples use the same names over and over.
        let namespace = cluster.namespace("docs").await?;
        for object in documents {
            let user = object.pointer("/spec/requestedBy").and_then(Value::as_str);
            let kubeconfig = cluster.kubeconfig_for(user.unwrap_or(ADMIN), &["system:masters"])?;
            let mut args = vec!["create", "--namespace", &namespace, "--filename=-"];
            if !is_ours(&object) {
                args.push("--dry-run=server");
            }
            let answer = cluster
                .kubectl_with(&kubeconfig, &args, &object.to_string())
                .await?;
            answer.success().with_context(|| block.place.clone())?;
            seen += 1;
        }
    }
    ensure!(seen > 5, "only {seen} examples were found");
    Ok(())
}

/// The policies in the docs: whole ones, and those that a fragment makes.
fn policies() -> anyhow::Result<Vec<(String, Value)>> {
    let text = std::fs::read_to_string(chart::root().join("crds/rollbackpolicies.yaml"))?;
    let crd: Value = serde_yaml_ng::from_str(&text)?;
    let fields = crd
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties")
        .and_then(Value::as_object)
        .context("the CRD has no schema of spec")?;
    let mut policies = Vec::new();
    for block in examples()? {
        let (documents, _) = parsed(&block)?;
        for document in documents {
            if document["kind"] == "RollbackPolicy" {
                policies.push((block.place.clone(), document["spec"].clone()));
            } else if block.fragment
                && let Some(map) = document.as_object()
                && map.keys().all(|key| fields.contains_key(key))
                && !is_chart_values(map)
            {
                let mut spec = json!({"workloads": [{"name": "web"}]});
                for (key, value) in map {
                    spec[key] = value.clone();
                }
                policies.push((block.place.clone(), spec));
            }
        }
    }
    for folder in ["manifests/samples", "manifests/presets"] {
        for sample in std::fs::read_dir(chart::root().join(folder))? {
            let path = sample?.path();
            for document in chart::documents(&std::fs::read_to_string(&path)?)? {
                if document["kind"] == "RollbackPolicy" {
                    policies.push((path.display().to_string(), document["spec"].clone()));
                }
            }
        }
    }
    Ok(policies)
}

/// Policies and charts both have `notifications`: a list of channels, and more than that.
fn is_chart_values(map: &serde_json::Map<String, Value>) -> bool {
    map.get("notifications").is_some_and(Value::is_object)
}

/// The addresses to which a channel sends.
fn addresses(channel: &Value) -> Vec<String> {
    let at = |path: &str| channel.pointer(path).and_then(Value::as_str);
    let mut found = Vec::new();
    if let Some(server) = at("/email/server") {
        found.push(format!("smtp://{server}"));
    }
    if let Some(url) = at("/webhook/url") {
        found.push(
            url.split_once('?')
                .map_or(url, |(address, _)| address)
                .to_owned(),
        );
    }
    if channel.get("slack").is_some() {
        found.push(
            at("/slack/address")
                .unwrap_or("https://slack.com/api")
                .to_owned(),
        );
    }
    if channel.get("pagerDuty").is_some() {
        let default = "https://events.pagerduty.com";
        found.push(at("/pagerDuty/address").unwrap_or(default).to_owned());
    }
    found
}

/// Gives a policy Deployments of its own: two policies on one would be in each other's way.
fn rename(spec: &mut Value, name: &str) {
    let strategy = &spec["strategy"];
    if strategy.get("blueGreen").is_some() {
        spec["strategy"]["blueGreen"]["stacks"] =
            json!([format!("{name}-blue"), format!("{name}-green")]);
    } else if strategy.get("canary").is_some() {
        spec["strategy"]["canary"]["stable"] = json!(name);
        spec["strategy"]["canary"]["canary"] = json!(format!("{name}-canary"));
    } else {
        for (number, workload) in spec["workloads"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .enumerate()
        {
            workload["name"] = json!(format!("{name}-{number}"));
        }
    }
}

/// What the API server does not check is checked by the operator: queries, conditions, addresses.
#[tokio::test]
async fn every_policy_is_accepted_by_a_running_operator() -> anyhow::Result<()> {
    let policies = policies()?;
    ensure!(
        policies.len() > 5,
        "only {} policies were found",
        policies.len()
    );
    let mut flags = vec![
        "--prometheus-url".to_owned(),
        "http://127.0.0.1:9".to_owned(),
        "--alerts-listen=127.0.0.1:0".to_owned(),
    ];
    for (_, spec) in &policies {
        for trigger in spec["triggers"].as_array().into_iter().flatten() {
            if let Some(address) = trigger
                .pointer("/prometheus/address")
                .and_then(Value::as_str)
            {
                flags.extend(["--prometheus-allow".to_owned(), address.to_owned()]);
            }
            for url in ["/web/url", "/probe/http/url", "/probe/grpc/url"] {
                if let Some(url) = trigger.pointer(url).and_then(Value::as_str) {
                    let address = url.split_once('?').map_or(url, |(address, _)| address);
                    flags.extend(["--web-allow".to_owned(), address.to_owned()]);
                }
            }
        }
    }
    for (_, spec) in &policies {
        for channel in spec["notifications"].as_array().into_iter().flatten() {
            for address in addresses(channel) {
                flags.extend(["--notifications-allow".to_owned(), address]);
            }
        }
    }
    let world = World::with("docs", &flags).await?;
    let mut places = BTreeMap::new();
    for (number, (place, mut spec)) in policies.into_iter().enumerate() {
        let name = format!("example-{number}");
        rename(&mut spec, &name);
        world
            .named_policy(&name, spec)
            .await
            .with_context(|| place.clone())?;
        places.insert(name, place);
    }
    world
        .eventually("every policy to be accepted", async || {
            let all = world
                .api::<RollbackPolicy>()
                .list(&ListParams::default())
                .await?;
            ensure!(
                all.items.len() == places.len(),
                "{} policies",
                all.items.len()
            );
            for policy in &all {
                let place = &places[&policy.name_any()];
                let conditions = policy.status.iter().flat_map(|status| &status.conditions);
                let accepted = conditions
                    .into_iter()
                    .find(|c| c.type_ == condition::ACCEPTED);
                let accepted = accepted.with_context(|| format!("{place}: not looked at yet"))?;
                // There is no Service and no route that it could work on; what it says has been read.
                let names_others = policy.spec.workloads.is_empty();
                ensure!(
                    accepted.status == condition::ConditionStatus::True
                        || (names_others && accepted.reason == "CannotWork"),
                    "{place}: {}: {}",
                    accepted.reason,
                    accepted.message
                );
            }
            Ok(())
        })
        .await
}

/// Alertmanager itself reads what the docs tell people to give it.
#[tokio::test]
async fn every_receiver_is_accepted_by_alertmanager() -> anyhow::Result<()> {
    let mut seen = 0;
    for block in examples()?.into_iter().filter(|block| block.fragment) {
        let (documents, _) = parsed(&block)?;
        for document in documents.iter().filter(|d| d.get("receivers").is_some()) {
            Alertmanager::start(document)
                .await
                .with_context(|| block.place.clone())?;
            seen += 1;
        }
    }
    ensure!(seen > 0, "no receiver was found");
    Ok(())
}

#[tokio::test]
async fn every_piece_of_chart_values_is_accepted_by_the_chart() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let text = std::fs::read_to_string(chart::root().join("charts/backstop/values.yaml"))?;
    let known: Value = serde_yaml_ng::from_str(&text)?;
    let mut seen = 0;
    for block in examples()?.into_iter().filter(|block| block.fragment) {
        let (documents, _) = parsed(&block)?;
        let are_values = documents.iter().all(|document| {
            document.as_object().is_some_and(|map| {
                map.keys().all(|key| known.get(key).is_some())
                    && (map.get("notifications").is_none() || is_chart_values(map))
            })
        });
        if are_values {
            let mut file = tempfile::NamedTempFile::new()?;
            file.write_all(block.text.as_bytes())?;
            let path = file.path().display().to_string();
            chart::render(cluster, &["--values", &path])
                .await
                .with_context(|| block.place.clone())?;
            seen += 1;
        }
    }
    ensure!(seen > 0, "no chart values were found");
    Ok(())
}

/// The kubectl commands in the docs, each as its words.
fn commands() -> anyhow::Result<Vec<(String, Vec<String>)>> {
    let mut lines = Vec::new();
    for page in pages()? {
        for block in page
            .blocks()
            .into_iter()
            .filter(|block| block.language == "sh")
        {
            let joined = block.text.replace("\\\n", " ");
            lines.extend(
                joined
                    .lines()
                    .map(|line| (block.place.clone(), line.to_owned())),
            );
        }
        lines.extend(
            page.spans()
                .into_iter()
                .map(|span| (page.path.clone(), span)),
        );
    }
    let commands = lines.into_iter().filter_map(|(place, line)| {
        let rest = line.trim().strip_prefix("kubectl ")?;
        Some((place, unquoted(rest)))
    });
    // Named where it is said what is not there yet.
    Ok(commands
        .filter(|(_, words)| words[0] != "backstop")
        .collect())
}

/// Words, where quotes keep several together.
fn unquoted(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.trim().chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ' ') => words.push(String::new()),
            (_, c) => words.last_mut().expect("never empty").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[tokio::test]
async fn every_kubectl_command_in_the_docs_exists() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    install(cluster).await?;
    let names = our_names(cluster).await?;
    let everywhere = cluster.kubectl(&["options"]).await?.success()?;
    let commands = commands()?;
    ensure!(
        commands.len() > 20,
        "only {} commands were found",
        commands.len()
    );
    for (place, words) in commands {
        let mut command = words[0].clone();
        let mut help = help(cluster, &[&command], &place).await?;
        if help.contains("Available Commands:")
            && let Some(second) = words.get(1).filter(|word| !word.starts_with('-'))
        {
            let is_there = help.contains(&format!("\n  {second} "));
            ensure!(is_there, "{place}: kubectl {command} has no {second}");
            help = self::help(cluster, &[&command, second], &place).await?;
            command = format!("{command} {second}");
        }
        for word in &words[1..] {
            let flag = word.split('=').next().unwrap_or_default();
            if flag.starts_with("--") {
                let known = format!("{flag}=");
                let is_known = help.contains(&known) || everywhere.contains(&known);
                ensure!(is_known, "{place}: kubectl {command} has no {flag}");
                continue;
            }
            let kinds = word.split('/').next().unwrap_or_default();
            for kind in kinds.split(',') {
                let of_ours = kind.starts_with("rb") || kind.starts_with("rollback");
                ensure!(
                    !of_ours || names.contains(kind),
                    "{place}: there is no kind {kind}"
                );
            }
        }
    }
    Ok(())
}

/// What kubectl says of one of its commands, which has to be one.
async fn help(cluster: &Cluster, command: &[&str], place: &str) -> anyhow::Result<String> {
    let answer = cluster.kubectl(&[command, &["--help"]].concat()).await?;
    answer
        .success()
        .with_context(|| format!("{place}: kubectl {}", command.join(" ")))
}

/// Every name by which kubectl knows our kinds.
async fn our_names(cluster: &Cluster) -> anyhow::Result<BTreeSet<String>> {
    let crds = cluster
        .kubectl(&["get", "crd", "--output=json"])
        .await?
        .success()?;
    let crds: Value = serde_json::from_str(&crds)?;
    let mut found = BTreeSet::new();
    for crd in crds["items"].as_array().into_iter().flatten() {
        if crd["spec"]["group"] != "backstop.dev" {
            continue;
        }
        let names = &crd["spec"]["names"];
        let one = [
            &names["plural"],
            &names["singular"],
            &crd["metadata"]["name"],
        ];
        let several = [&names["shortNames"], &names["categories"]];
        let several = several.into_iter().filter_map(Value::as_array).flatten();
        found.extend(
            one.into_iter()
                .chain(several)
                .filter_map(Value::as_str)
                .map(str::to_owned),
        );
    }
    if found.is_empty() {
        bail!("the API server has none of our kinds");
    }
    Ok(found)
}
