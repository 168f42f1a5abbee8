//! Whole stories on a real node, seen by those who send requests all the while: nobody is let down but by the bad
//! release itself, and the shares of a route are its weights.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use backstop_api::RollbackEvent;
use backstop_api::event::{EventPhase, Outcome as Ending, StepKind, StepStatus};
use backstop_e2e::metrics::{changed, error_rate};
use backstop_e2e::real::{PORT, RealApp};
use backstop_e2e::shared_out::{http_route, traefik_service};
use backstop_e2e::stage::{SAMPLE, Stage};
use backstop_testenv::load::{Drawing, Outcome, Response, output_folder};
use backstop_testenv::{LoadGenerator, LoadOptions, Responses, Traefik};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::{Value, json};

const GOOD: &str = "v1";
const BAD: &str = "v2";
/// A share that is off by more than this is not the weight.
const TOLERANCE: f64 = 0.05;
/// What a proxy needs to hear of new weights, on a machine that is busy with other tests.
const HEARD: Duration = Duration::from_secs(1);

/// A release that works. It takes so long to answer that some requests are always under way.
fn good(name: &str) -> RealApp {
    RealApp::new(name, GOOD).env("LATENCY_MS", "20")
}

/// One that answers many requests with an error.
fn bad(name: &str) -> RealApp {
    let app = RealApp::new(name, BAD).env("LATENCY_MS", "20");
    app.env("ERROR_RATE", "0.3")
}

fn load() -> LoadOptions {
    LoadOptions {
        concurrency: 8,
        ..LoadOptions::default()
    }
}

/// With a trigger on the errors that the real Prometheus has counted in the real pods.
fn policy(strategy: &Value, severity: &str) -> Value {
    json!({
        "strategy": strategy,
        "points": {"soak": "1s"},
        "limits": {"cooldown": "0s"},
        "triggers": [changed(error_rate(), json!({"for": "2s", "severity": severity}))],
    })
}

/// The same for the Deployment `web`.
fn policy_for_web(strategy: &Value) -> Value {
    changed(
        policy(strategy, "Critical"),
        json!({"workloads": [{"name": "web"}]}),
    )
}

/// A release that was taken back, and every answer meanwhile.
struct Story {
    title: &'static str,
    released: Duration,
    event: RollbackEvent,
    all: Responses,
}

impl Story {
    /// Waits until the bad release has been taken back and everybody is answered well.
    async fn to_its_end(
        title: &'static str,
        stage: &Stage,
        load: LoadGenerator,
        released: Duration,
    ) -> anyhow::Result<Self> {
        let event = stage
            .ended("web-1", EventPhase::Succeeded, Ending::Recovered)
            .await?;
        stage.answers_after(&load, load.now()).await?;
        let story = Self {
            title,
            released,
            event,
            all: load.stop(),
        };
        println!("{}", story.figures()?);
        Ok(story)
    }

    /// A time of the event, as the record counts it.
    fn moment(&self, time: Option<Timestamp>) -> anyhow::Result<Duration> {
        let time = time.context("the event does not say when")?;
        Ok(self.all.moment(SystemTime::from(time)))
    }

    fn decided(&self) -> anyhow::Result<Duration> {
        self.moment(self.event.status.as_ref().and_then(|s| s.times.decided))
    }

    fn ended(&self) -> anyhow::Result<Duration> {
        self.moment(self.event.status.as_ref().and_then(|s| s.times.ended))
    }

    fn steps(&self, kind: StepKind) -> impl Iterator<Item = &StepStatus> {
        let steps = self.event.status.iter().flat_map(|s| &s.steps);
        steps.filter(move |s| s.step.kind == kind)
    }

    /// When the first step of a kind was done.
    fn done(&self, kind: StepKind) -> anyhow::Result<Duration> {
        let step = self.steps(kind).next();
        self.moment(step.and_then(|s| s.finished_at))
    }

    /// Whether the bad release has spoiled a request itself: then it was answered, and by nobody else.
    fn spoiled(response: &Response) -> bool {
        response.outcome == Outcome::Status(500) && response.version.as_deref() == Some(BAD)
    }

    /// What failed otherwise.
    fn lost(&self) -> Vec<&Response> {
        self.all.failed().filter(|r| !Self::spoiled(r)).collect()
    }

    /// When the proxy had heard that the bad release gets requests.
    fn served_by_bad_since(&self, applied: Duration) -> anyhow::Result<Duration> {
        let all = self.all.after(applied);
        let first = all.iter().find(|r| r.version.as_deref() == Some(BAD));
        Ok(first.context("it was never asked")?.at)
    }

    fn last_of_the_bad(&self) -> Option<Duration> {
        let of_it = self
            .all
            .iter()
            .filter(|r| r.version.as_deref() == Some(BAD));
        of_it.map(|r| r.at).max()
    }

    fn figures(&self) -> anyhow::Result<String> {
        let failed = self.all.failed().count();
        let last = self.last_of_the_bad().unwrap_or_default();
        Ok(format!(
            "{}: {} requests in {:.1} s, {failed} failed, of which {} were answered by the bad release; released to \
             decided {:.2} s; decided to its last answer {:.2} s",
            self.title,
            self.all.len(),
            self.all.iter().last().map_or(0.0, |r| r.at.as_secs_f64()),
            failed - self.lost().len(),
            self.decided()?.as_secs_f64() - self.released.as_secs_f64(),
            last.as_secs_f64() - self.decided()?.as_secs_f64(),
        ))
    }

    /// The bad release did harm, it was asked no more when it was over, and nobody else failed anybody.
    fn only_the_bad_release_failed_anybody(&self) -> anyhow::Result<()> {
        let lost = self.lost();
        ensure!(
            lost.is_empty(),
            "{} of {} were lost; decided at {:?}: {lost:#?}\n{:#?}",
            lost.len(),
            self.all.len(),
            self.decided()?,
            self.event.status
        );
        self.the_bad_release_came_and_went()
    }

    fn the_bad_release_came_and_went(&self) -> anyhow::Result<()> {
        let spoiled = self.all.iter().filter(|r| Self::spoiled(r)).count();
        ensure!(spoiled > 0, "the bad release did nothing bad");
        let before = self.all.within(Duration::ZERO..self.released);
        ensure!(before.share(GOOD) > 0.999, "{:?}", before.shares());
        let after = self.all.after(self.ended()?);
        ensure!(after.len() >= SAMPLE, "{} answers", after.len());
        ensure!(
            after.share(GOOD) > 0.999,
            "{:?} after {:?}: {:#?}",
            after.shares(),
            self.ended()?,
            after.failed().collect::<Vec<_>>()
        );
        Ok(())
    }

    fn draw(&self, file: &str, marks: &[(Duration, &str)]) -> anyhow::Result<()> {
        let mut drawing = Drawing::new(self.title)
            .mark(self.released, "released")
            .mark(self.decided()?, "decided");
        for (at, label) in marks {
            drawing = drawing.mark(*at, label);
        }
        drawing.write(&self.all, &output_folder().join(file))
    }
}

fn service(color: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{part-of: web, color: {color}}}
  ports: [{{name: http, port: {PORT}, targetPort: {PORT}}}]
"
    )
}

#[tokio::test]
async fn node_a_swap_back_to_the_good_stack_loses_no_request() -> anyhow::Result<()> {
    let Some(stage) = Stage::new("story-bg").await? else {
        return Ok(());
    };
    let stack = |app: RealApp, color| app.label("part-of", "web").label("color", color);
    let green = stack(bad("web-green"), "green");
    stage.released(&stack(good("web-blue"), "blue")).await?;
    stage.release(&green.clone().replicas(0)).await?;
    stage.apply(&service("blue")).await?;
    let load = LoadGenerator::start(&stage.url("web").await?, load())?;
    let strategy = json!({"type": "BlueGreen", "timeout": "30s", "blueGreen": {
        "service": "web", "stacks": ["web-blue", "web-green"],
    }});
    stage.policy(policy(&strategy, "Critical")).await?;
    stage.good_point(1).await?;
    stage.released(&green).await?;

    let released = load.now();
    stage.apply(&service("green")).await?;
    let title = "A bad stack, swapped back under load";
    let story = Story::to_its_end(title, &stage, load, released).await?;
    let swapped = story.done(StepKind::SwapSelector)?;
    story.draw("story-blue-green.svg", &[(swapped, "swapped")])?;
    story.only_the_bad_release_failed_anybody()
}

#[tokio::test]
async fn node_a_rolling_rollback_loses_no_request() -> anyhow::Result<()> {
    let Some(stage) = Stage::new("story-rolling").await? else {
        return Ok(());
    };
    stage.released(&good("web")).await?;
    let load = LoadGenerator::start(&stage.url("web").await?, load())?;
    stage
        .policy(policy_for_web(&json!({"timeout": "30s"})))
        .await?;
    stage.good_point(1).await?;

    let released = load.now();
    stage.release(&bad("web")).await?;
    let title = "A bad rolling update, taken back under load";
    let story = Story::to_its_end(title, &stage, load, released).await?;
    let rolled_out = story.done(StepKind::AwaitRollout)?;
    story.draw("story-rolling.svg", &[(rolled_out, "rolled out")])?;
    story.only_the_bad_release_failed_anybody()
}

/// A release that is not trusted: its pods lose their requests, none of which is lost, and one is kept.
#[tokio::test]
async fn node_suspects_lose_their_requests_and_nobody_an_answer() -> anyhow::Result<()> {
    let Some(stage) = Stage::new("story-isolate").await? else {
        return Ok(());
    };
    stage.released(&good("web")).await?;
    let load = LoadGenerator::start(&stage.url("web").await?, load())?;
    let strategy = json!({"timeout": "30s", "isolate": {"keep": 1}});
    let action = json!({"for": "2s", "action": "IsolateAndRollback"});
    let mut policy = policy_for_web(&strategy);
    policy["triggers"] = json!([changed(error_rate(), action)]);
    stage.policy(policy).await?;
    stage.good_point(1).await?;

    let released = load.now();
    stage.release(&bad("web")).await?;
    let title = "Suspect pods, isolated under load";
    let story = Story::to_its_end(title, &stage, load, released).await?;
    let isolated = story.done(StepKind::IsolateSuspects)?;
    story.draw("story-isolate.svg", &[(isolated, "isolated")])?;
    // One by one they lose the label, and an endpoint controller that stumbles over what it has just written itself waits
    // for a second before it tries again.
    let after = story.all.after(isolated + HEARD * 4);
    ensure!(after.len() > 100, "{} answers", after.len());
    ensure!(after.share(BAD) == 0.0, "{:?}", after.shares());
    story.only_the_bad_release_failed_anybody()?;
    let params = ListParams::default().labels("backstop.dev/isolated=web-1");
    let kept = stage.api::<Pod>().list(&params).await?.items;
    let runs = |pod: &Pod| {
        let status = pod.status.as_ref();
        status.and_then(|s| s.phase.as_deref()) == Some("Running")
    };
    ensure!(kept.len() == 1 && kept.iter().all(runs), "{kept:#?}");
    Ok(())
}

/// Recreate asks for an outage: it lasts from the stop to the new start, and in it nobody is answered by both.
#[tokio::test]
async fn node_a_recreated_release_is_away_only_while_it_is_restarted() -> anyhow::Result<()> {
    let Some(stage) = Stage::new("story-recreate").await? else {
        return Ok(());
    };
    stage.released(&good("web")).await?;
    // Who asks while nobody is there asks again soon, or the end of the outage would not be seen. TCP itself asks again
    // after a second, which has to be possible.
    let options = LoadOptions {
        timeout: Duration::from_secs(2),
        ..load()
    };
    let load = LoadGenerator::start(&stage.url("web").await?, options)?;
    let strategy = json!({"type": "Recreate", "timeout": "30s"});
    stage.policy(policy_for_web(&strategy)).await?;
    stage.good_point(1).await?;

    let released = load.now();
    stage.release(&bad("web")).await?;
    let title = "A bad release, stopped and restored under load";
    let story = Story::to_its_end(title, &stage, load, released).await?;
    let (stopped, started) = (
        story.done(StepKind::AwaitStopped)?,
        story.done(StepKind::AwaitRollout)?,
    );
    story.draw(
        "story-recreate.svg",
        &[(stopped, "stopped"), (started, "started")],
    )?;
    story.the_bad_release_came_and_went()?;

    let failed = story.lost();
    let first = failed.iter().map(|r| r.asked()).min();
    let first = first.context("nobody was ever away")?;
    let back = story.all.after(first);
    let back = back.iter().find(|r| r.version.as_deref() == Some(GOOD));
    let back = back.context("the good release never answered again")?.at;
    println!(
        "{title}: {} requests lost, the first answer {:.2} s after the first loss and {:.2} s before the end",
        failed.len(),
        back.as_secs_f64() - first.as_secs_f64(),
        story.ended()?.as_secs_f64() - back.as_secs_f64(),
    );
    let decided = story.decided()?;
    ensure!(
        first >= decided && failed.iter().all(|r| r.asked() < back),
        "lost from {first:?}, decided at {decided:?}, back at {back:?}: {failed:#?}"
    );
    let mixed = story.all.within(first..stopped);
    ensure!(
        mixed.share(GOOD) == 0.0,
        "the good release answered before the bad one was stopped: {:?}",
        mixed.shares()
    );
    let mixed = story.all.after(stopped);
    ensure!(
        mixed.share(BAD) == 0.0,
        "the bad release answered after it was stopped: {:?}",
        mixed.shares()
    );
    Ok(())
}

/// Two Deployments behind the proxy: the good one, and a canary without a share.
async fn canary(
    stage: &Stage,
    traefik: &Traefik,
    provider: &str,
    severity: &str,
    route: impl Fn(u32) -> String,
) -> anyhow::Result<LoadGenerator> {
    stage.released(&good("web")).await?;
    stage.released(&good("web-canary")).await?;
    stage.apply(&route(0)).await?;
    let options = LoadOptions {
        host: Some(host(stage)),
        // The proxy picks a pod for each request.
        keep_alive: true,
        ..load()
    };
    // Before the proxy knows the route it answers by itself.
    let warm = LoadGenerator::start(&traefik.url(), options.clone())?;
    stage.answers_after(&warm, Duration::ZERO).await?;
    drop(warm);
    let load = LoadGenerator::start(&traefik.url(), options)?;
    let strategy = json!({"type": "Canary", "timeout": "30s", "canary": {
        "stable": "web", "canary": "web-canary", "stepInterval": "5s",
        "route": {"provider": provider, "name": "web"},
    }});
    stage.policy(policy(&strategy, severity)).await?;
    stage.good_point(1).await?;
    stage.released(&bad("web-canary")).await?;
    Ok(load)
}

/// The Services of both sides, with the canary's share in percent.
fn backends(canary: u32) -> [(&'static str, u32); 2] {
    [("web", 100 - canary), ("web-canary", canary)]
}

fn host(stage: &Stage) -> String {
    format!("{}.test", stage.namespace)
}

/// Checks that of the answers within a span of time so many percent are the canary's.
fn shares_are(all: &Responses, span: std::ops::Range<Duration>, percent: u8) -> anyhow::Result<()> {
    let seen = all.within(span.clone());
    // The proxy deals requests out in turn, so few are enough for a share.
    ensure!(seen.len() >= 100, "{} answers in {span:?}", seen.len());
    let (share, weight) = (seen.share(BAD), f64::from(percent) / 100.0);
    println!(
        "{percent} % wanted, {:.1} % of {} answers seen",
        100.0 * share,
        seen.len()
    );
    ensure!(
        (share - weight).abs() <= TOLERANCE,
        "{:?} in {span:?}, not {weight}",
        seen.shares()
    );
    Ok(())
}

#[tokio::test]
async fn node_a_canary_that_is_called_off_loses_no_request() -> anyhow::Result<()> {
    let Some((stage, traefik)) = Stage::behind_traefik("story-canary").await? else {
        return Ok(());
    };
    let host = host(&stage);
    let route = |share| http_route(traefik.port(), &host, backends(share));
    let load = canary(&stage, traefik, "gateway-httproute", "Critical", route).await?;

    let released = load.now();
    stage.apply(&route(20)).await?;
    let applied = load.now();
    let title = "A bad canary, called off under load";
    let story = Story::to_its_end(title, &stage, load, released).await?;
    let shifted = story.done(StepKind::ShiftWeight)?;
    story.draw("story-canary.svg", &[(shifted, "shifted")])?;
    shares_are(
        &story.all,
        story.served_by_bad_since(applied)?..story.decided()?,
        20,
    )?;
    shares_are(&story.all, shifted + HEARD..Duration::MAX, 0)?;
    story.only_the_bad_release_failed_anybody()
}

#[tokio::test]
async fn node_a_canary_that_goes_back_step_by_step_has_the_share_of_each_step() -> anyhow::Result<()>
{
    let Some((stage, traefik)) = Stage::behind_traefik("story-steps").await? else {
        return Ok(());
    };
    let host = host(&stage);
    let route = |share| traefik_service(&host, backends(share));
    let load = canary(&stage, traefik, "traefik-service", "Warning", route).await?;

    let released = load.now();
    // So much that the steps lie further apart than a measured share may be off.
    stage.apply(&route(80)).await?;
    let applied = load.now();
    let title = "A bad canary, taken back step by step under load";
    let story = Story::to_its_end(title, &stage, load, released).await?;
    let steps = story.steps(StepKind::ShiftWeight).map(|s| {
        let change = s.step.weight.as_ref().context("a shift without a weight")?;
        Ok((story.moment(s.finished_at)?, change.to))
    });
    let steps: Vec<_> = steps.collect::<anyhow::Result<_>>()?;
    let labels: Vec<_> = steps
        .iter()
        .map(|(_, share)| format!("{share} %"))
        .collect();
    let marks = steps.iter().zip(&labels);
    let marks: Vec<_> = marks
        .map(|((at, _), label)| (*at, label.as_str()))
        .collect();
    story.draw("story-canary-steps.svg", &marks)?;

    let shares: Vec<_> = steps.iter().map(|(_, share)| *share).collect();
    ensure!(shares == [60, 40, 20, 0], "{shares:?}");
    let begins = steps.iter().map(|(at, _)| *at + HEARD);
    let ends = steps.iter().skip(1).map(|(at, _)| *at);
    shares_are(
        &story.all,
        story.served_by_bad_since(applied)?..story.decided()?,
        80,
    )?;
    for ((begin, end), share) in begins.zip(ends.chain([Duration::MAX])).zip(shares) {
        shares_are(&story.all, begin..end, share)?;
    }
    story.only_the_bad_release_failed_anybody()
}
