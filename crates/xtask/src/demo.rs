//! The demo: a real Kubernetes, a real Prometheus, Backstop, and releases that go wrong. What it says is what it sees.

mod app;
mod figures;
mod narrator;
mod screen;
mod stage;
mod story;

use std::path::Path;

use anyhow::{Context as _, bail};
use backstop_testenv::Tool;
use backstop_testenv::tools::{Stderr, ensure};
use tokio::signal::unix::{SignalKind, signal};

use crate::operator::{Profile, build};
use screen::{Screen, Voice};
use stage::{Ground, NAMESPACE, Stage};
use story::Story;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Use the cluster of this kubeconfig context instead of one of its own; it is left as it was
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Leave everything up at the end, to look around, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// With --context: the image of the pods, with sh and httpd as BusyBox has them
    #[arg(long, requires = "context", default_value = "busybox:1.37")]
    image: String,
    /// With --context: a Prometheus that this machine reaches, and that scrapes pods by their prometheus.io annotations;
    /// without it the release with the errors is left out
    #[arg(long, requires = "context", value_name = "URL")]
    prometheus: Option<String>,
    /// With --prometheus: how often that one scrapes, in seconds
    #[arg(long, requires = "prometheus", default_value_t = 15, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=300))]
    scrape_interval: u32,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // Before anything runs, so that an interrupt here needs no tidying up.
    let tools = match args.context {
        None => [&Tool::CLUSTER[..], &Tool::DEMO].concat(),
        Some(_) => vec![Tool::Kubectl, Tool::Helm],
    };
    ensure(&tools, &Stderr)?;
    eprintln!("Building Backstop ...");
    let binary = build(Profile::Dev)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(play(args, &binary))
}

async fn play(args: &Args, binary: &Path) -> anyhow::Result<()> {
    let screen = Screen::new();
    let ground = tokio::select! {
        ground = Ground::new(args.context.as_deref(), &screen) => ground?,
        () = interrupted() => bail!("interrupted"),
    };
    // A statement of its own: whatever was started ends here, before the cluster is left.
    let outcome = tokio::select! {
        outcome = perform(args, &ground, binary, &screen) => outcome,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    println!();
    let left = tokio::select! {
        left = ground.leave(&screen) => left,
        () = interrupted() => bail!("interrupted while tidying up: something may be left"),
    };
    outcome?;
    left.context("could not tidy up")?;
    screen.say(
        Voice::Demo,
        &format!("done in {:.0} s, nothing is left running", screen.seconds()),
    );
    Ok(())
}

async fn perform(
    args: &Args,
    ground: &Ground,
    binary: &Path,
    screen: &Screen,
) -> anyhow::Result<()> {
    let stage = Stage::set(ground, args, binary, screen)
        .await
        .with_context(|| ground.log_tail())?;
    if stage.pace.scrape.is_none() {
        screen.say(
            Voice::Demo,
            "no Prometheus was named (--prometheus), so the release with too many errors is left out",
        );
    }
    if let Err(error) = Story::new(&stage, screen).tell().await {
        // Before the error, which is what is read first when it stands last.
        eprintln!(
            "\nThe end of Backstop's log:\n{}",
            in_short(&stage.operator.log())
        );
        eprintln!("{}", ground.log_tail());
        return Err(error.context("the story did not go as it should"));
    }
    if args.keep {
        screen.chapter("Everything is left up. To look around, in another terminal:");
        println!(
            "    export KUBECONFIG={}\n    {} --namespace {NAMESPACE} get backstop\n\nCtrl-C here stops everything.",
            ground.access().kubeconfig_path().display(),
            Tool::Kubectl.path()?.display(),
        );
        interrupted().await;
    }
    Ok(())
}

/// The last lines of a log that say more than what was asked when.
fn in_short(log: &str) -> String {
    const LINES: usize = 20;
    let lines: Vec<_> = log.lines().filter(|l| !l.contains(" DEBUG ")).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Waits until somebody wants it to end.
async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
