//! The story: a good release, and bad ones that go back.

use anyhow::{Context as _, bail, ensure};
use backstop_api::event::{EventPhase, Outcome};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::app::{APP, Fault, Pace, RELEASES, manifest};
use super::figures::{Case, table};
use super::narrator::Narrator;
use super::screen::{Screen, Voice};
use super::stage::{NAMESPACE, Stage};
use crate::hear::Ear;

/// Tells it, as it happens.
pub(crate) struct Story<'a> {
    stage: &'a Stage<'a>,
    screen: &'a Screen,
    ear: Ear,
    narrator: Narrator,
    /// The bad releases so far, and when each was shipped: one rollback each, in this order.
    shipped: Vec<(&'static str, Timestamp)>,
}

impl<'a> Story<'a> {
    pub(crate) fn new(stage: &'a Stage<'a>, screen: &'a Screen) -> Self {
        Self {
            stage,
            screen,
            ear: Ear::new(&stage.client, NAMESPACE),
            narrator: Narrator::default(),
            shipped: Vec::new(),
        }
    }

    pub(crate) async fn tell(&mut self) -> anyhow::Result<()> {
        let mut chapter = 0;
        for (version, fault) in RELEASES {
            if fault == Fault::Errors && self.stage.pace.scrape.is_none() {
                continue;
            }
            chapter += 1;
            self.screen
                .chapter(&format!("{chapter}. {}", title(version, fault)));
            match fault {
                Fault::None => self.good(version).await?,
                Fault::Errors | Fault::Crash => self.bad(version).await?,
            }
        }
        self.records().await?;
        self.figures();
        Ok(())
    }

    async fn good(&mut self, version: &'static str) -> anyhow::Result<()> {
        let policy = self.stage.pace.policy();
        println!("{}", indented(&policy));
        self.stage.access.apply(NAMESPACE, &policy).await?;
        self.screen.say(Voice::You, "kubectl apply -f policy.yaml");
        self.ship(version).await?;
        self.until(&format!("{version} to prove itself"), |n| {
            n.is_live(version) && n.is_good(version)
        })
        .await
    }

    async fn bad(&mut self, version: &'static str) -> anyhow::Result<()> {
        let at = self.ship(version).await?;
        self.shipped.push((version, at));
        let name = backstop_api::names::event_name(APP, self.shipped.len() as u64);
        let phase = |n: &Narrator| n.rollbacks.get(&name)?.status.as_ref()?.phase;
        self.until(&format!("RollbackEvent {name} to end"), |n| {
            phase(n).is_some_and(EventPhase::is_terminal)
        })
        .await?;
        let status = self
            .narrator
            .rollbacks
            .get(&name)
            .and_then(|e| e.status.clone());
        let status = status.with_context(|| format!("{name} has no status"))?;
        ensure!(
            status.outcome == Some(Outcome::Recovered),
            "{name} ended as {:?}: {}",
            status.outcome,
            status.message.unwrap_or_default()
        );
        let (good, _) = RELEASES[0];
        self.until(&format!("{good} to be live again"), |n| n.is_live(good))
            .await
    }

    /// Ships a release as a team would.
    async fn ship(&self, version: &str) -> anyhow::Result<Timestamp> {
        let manifest = serde_yaml_ng::to_string(&manifest(version, &self.stage.containers))?;
        let at = Timestamp::now();
        self.screen
            .say(Voice::You, &format!("kubectl apply -f web-{version}.yaml"));
        self.stage.access.apply(NAMESPACE, &manifest).await?;
        Ok(at)
    }

    /// Tells what is heard until something holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&Narrator) -> bool) -> anyhow::Result<()> {
        let patience = self.stage.patience();
        let deadline = Instant::now() + patience;
        while !holds(&self.narrator) {
            let Ok(said) = timeout_at(deadline, self.ear.next()).await else {
                bail!(
                    "waited {} s for {what}; RollbackPolicy web says: {}",
                    patience.as_secs(),
                    self.narrator.policy_says
                );
            };
            for (voice, tone, text) in self.narrator.hear(said?.what) {
                self.screen.line(voice, tone, &text);
            }
        }
        Ok(())
    }

    /// What is on record afterwards, by kubectl.
    async fn records(&self) -> anyhow::Result<()> {
        self.screen.chapter("What is on record");
        let first = backstop_api::names::event_name(APP, 1);
        let commands: [&[&str]; 3] = [
            &["get", "rbp,rbpt,rbe"],
            &["get", "rbe", "--output=wide"],
            &["describe", "rbe", &first],
        ];
        for command in commands {
            let mut args = vec!["--namespace", NAMESPACE];
            args.extend(command);
            let output = self.stage.access.kubectl(&args).await?.success()?;
            self.screen
                .verbatim(&format!("$ kubectl {}", command.join(" ")), &output);
        }
        Ok(())
    }

    /// How long everything took.
    fn figures(&self) {
        let cases: Vec<_> = self
            .shipped
            .iter()
            .zip(1..)
            .filter_map(|((version, shipped), number)| {
                let name = backstop_api::names::event_name(APP, number);
                Some(Case {
                    version,
                    shipped: *shipped,
                    event: self.narrator.rollbacks.get(&name)?,
                })
            })
            .collect();
        self.screen.chapter("How long it took");
        println!("{}", table(&cases));
        let pace = self.stage.pace;
        let metrics = pace.scrape.map_or_else(String::new, |scrape| {
            format!(
                ", asks every {scrape} s about the last {} s, and waits {} s before it believes an error rate",
                pace.range(),
                pace.for_()
            )
        });
        println!(
            "\nThe demo is in a hurry: it takes a release for good after {} s{metrics}. In production these are \
             minutes: points.soak is 5m by default.",
            Pace::SOAK
        );
    }
}

fn title(version: &str, fault: Fault) -> String {
    match fault {
        Fault::None => format!("A policy, and a good release: {version}"),
        Fault::Errors => format!(
            "A bad release: {version} answers {:.0} % of its requests with an error",
            fault.errors() * 100.0
        ),
        Fault::Crash => format!("A bad release: {version} does not start, and no metric says so"),
    }
}

fn indented(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("    {line}")).collect();
    lines.join("\n")
}
