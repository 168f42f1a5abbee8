//! How fast Backstop reacts: from a crash loop that is visible in a pod's status to the good template's being written.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop_api::event::{EventPhase, Outcome};
use backstop_api::{RollbackEvent, RollbackPolicy};
use backstop_e2e::operator::Running;
use backstop_e2e::world::{APP, App, quick_policy};
use backstop_testenv::{Cluster, fate};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::time::timeout;

use super::table::{Table, percentile};
use crate::hear::{Ear, What};
use crate::operator::{Profile, build};

/// Most of a run is the wait for the proof that the rollback holds.
const RUN_DEADLINE: Duration = Duration::from_mins(1);
/// What half of the reactions should not exceed.
const TARGET: SignedDuration = SignedDuration::from_millis(200);
/// The variable that makes each bad release another one.
const RUN: &str = "RUN";
/// A run that is not counted: connections are made and caches are filled in it.
const WARM_UP: usize = 1;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
}

/// When things were seen in one run.
#[derive(Default)]
struct Run {
    visible: Option<Timestamp>,
    recorded: Option<Timestamp>,
    executing: Option<Timestamp>,
    written: Option<Timestamp>,
    ended: Option<RollbackEvent>,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    eprintln!("Building the operator as it is shipped ...");
    let binary = build(Profile::Release)?;
    eprintln!("Starting a control plane ...");
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("bench").await?;
    let operator = Running::start_binary(&binary, cluster, &namespace, "bench", &[]).await?;
    operator.leads().await?;
    let client = cluster.client().await?;
    let bench = Bench {
        ear: Ear::new(&client, &namespace),
        client,
        namespace,
    };
    let total = usize::from(args.runs) + WARM_UP;
    let runs = bench
        .measure(total)
        .await
        .with_context(|| format!("the operator said:\n{}", operator.log_tail()))?;
    report(&runs[WARM_UP..])
}

struct Bench {
    ear: Ear,
    client: Client,
    namespace: String,
}

impl Bench {
    async fn measure(mut self, total: usize) -> anyhow::Result<Vec<Run>> {
        self.deploy(&App::version("v1")).await?;
        self.policy().await?;
        timeout(RUN_DEADLINE, self.point())
            .await
            .context("v1 did not become a point to go back to")??;
        let mut runs = Vec::with_capacity(total);
        for n in 1..=total {
            let run = n.to_string();
            let bad = App::version("v2").fate(fate::CRASH_LOOP).env(RUN, &run);
            self.deploy(&bad).await?;
            let mut seen = Run::default();
            timeout(RUN_DEADLINE, self.follow(n, &run, &mut seen))
                .await
                .with_context(|| format!("run {n} did not end in time"))??;
            let reaction = between(seen.visible, seen.written);
            eprintln!(
                "run {n} of {total}: {}",
                reaction.map_or_else(
                    || "incomplete".to_owned(),
                    |d| format!("{} ms", d.as_millis())
                )
            );
            runs.push(seen);
        }
        Ok(runs)
    }

    async fn deploy(&self, app: &App) -> anyhow::Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = PatchParams::apply("kubectl").force();
        api.patch(APP, &params, &Patch::Apply(app.manifest()))
            .await?;
        Ok(())
    }

    async fn policy(&self) -> anyhow::Result<()> {
        let api: Api<RollbackPolicy> = Api::namespaced(self.client.clone(), &self.namespace);
        let policy = json!({
            "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackPolicy",
            "metadata": {"name": APP}, "spec": quick_policy(),
        });
        let params = PatchParams::apply("bench");
        api.patch(APP, &params, &Patch::Apply(policy)).await?;
        Ok(())
    }

    async fn point(&mut self) -> anyhow::Result<()> {
        while !matches!(self.ear.next().await?.what, What::Point(_)) {}
        Ok(())
    }

    /// Hears of everything in one run, until its rollback has ended.
    async fn follow(&mut self, n: usize, run: &str, seen: &mut Run) -> anyhow::Result<()> {
        let name = backstop_api::names::event_name(APP, n as u64);
        while seen.ended.is_none() {
            let said = self.ear.next().await?;
            match said.what {
                What::Pod(pod) if is_of(&pod, run) && crash_loops(&pod) => {
                    seen.visible.get_or_insert(said.at);
                }
                What::Deployment(deployment) => {
                    let bad = variable(&deployment).is_some();
                    if seen.visible.is_some() && !bad {
                        seen.written.get_or_insert(said.at);
                    }
                }
                What::Rollback(event) if event.name_any() == name => {
                    seen.recorded.get_or_insert(said.at);
                    let phase = event.status.as_ref().and_then(|s| s.phase);
                    if phase == Some(EventPhase::Executing) {
                        seen.executing.get_or_insert(said.at);
                    }
                    if phase.is_some_and(EventPhase::is_terminal) {
                        let outcome = event.status.as_ref().and_then(|s| s.outcome);
                        ensure!(
                            outcome == Some(Outcome::Recovered),
                            "{name} ended with {outcome:?}"
                        );
                        seen.ended = Some(*event);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_of(pod: &Pod, run: &str) -> bool {
    let containers = pod.spec.iter().flat_map(|s| &s.containers);
    let mut variables = containers.flat_map(|c| c.env.iter().flatten());
    variables.any(|v| v.name == RUN && v.value.as_deref() == Some(run))
}

fn variable(deployment: &Deployment) -> Option<&str> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let mut variables = pod.containers.iter().flat_map(|c| c.env.iter().flatten());
    variables.find(|v| v.name == RUN)?.value.as_deref()
}

fn crash_loops(pod: &Pod) -> bool {
    let statuses = pod
        .status
        .iter()
        .flat_map(|s| s.container_statuses.iter().flatten());
    let mut waiting =
        statuses.filter_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    waiting.any(|reason| reason == "CrashLoopBackOff")
}

fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<SignedDuration> {
    Some(to?.duration_since(from?))
}

fn report(runs: &[Run]) -> anyhow::Result<()> {
    let first_write = |r: &Run| r.ended.as_ref()?.status.as_ref()?.times.first_write;
    let mut table = Table::default();
    let mut row = |name: &str, of: &dyn Fn(&Run) -> Option<SignedDuration>| {
        table.row(name, runs.iter().filter_map(of));
    };
    row(
        "crash loop visible -> good template seen in the Deployment",
        &|r| between(r.visible, r.written),
    );
    row("crash loop visible -> `status.times.firstWrite`", &|r| {
        between(r.visible, first_write(r))
    });
    row("of that: visible -> RollbackEvent recorded", &|r| {
        between(r.visible, r.recorded)
    });
    row("of that: recorded -> Executing", &|r| {
        between(r.recorded, r.executing)
    });
    row("of that: Executing -> template written", &|r| {
        between(r.executing, r.written)
    });
    println!("\n{}", table.text());
    println!("{} runs, on {}.", runs.len(), machine());
    let mut reactions: Vec<_> = runs
        .iter()
        .filter_map(|r| between(r.visible, r.written))
        .collect();
    reactions.sort();
    ensure!(
        reactions.len() == runs.len(),
        "{} of {} runs could be measured",
        reactions.len(),
        runs.len()
    );
    let p50 = percentile(&reactions, 50).context("no runs")?;
    ensure!(
        p50 <= TARGET,
        "the target is a p50 of {} ms at most; measured: {} ms",
        TARGET.as_millis(),
        p50.as_millis()
    );
    println!(
        "The target, a p50 of {} ms at most, is met.",
        TARGET.as_millis()
    );
    Ok(())
}

/// What it was measured on.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let fields: BTreeMap<_, _> = info.lines().filter_map(|l| l.split_once(':')).collect();
    let model = fields
        .iter()
        .find(|(name, _)| name.trim() == "model name")
        .map(|(_, model)| format!(" ({})", model.trim()));
    format!("{cores} cores{}", model.unwrap_or_default())
}
