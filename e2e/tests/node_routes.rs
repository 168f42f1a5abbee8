//! Weights of routes, through a real Traefik to real pods.

use std::time::Duration;

use anyhow::ensure;
use backstop_e2e::real::{self, RealApp};
use backstop_e2e::shared_out::{http_route, traefik_service};
use backstop_testenv::{Cluster, LoadGenerator, LoadOptions, Node, Responses, Traefik, eventually};

const SOON: Duration = Duration::from_mins(1);
/// A share that is off by more than this is not the weight.
const TOLERANCE: f64 = 0.05;
/// So many answers make a share.
const SAMPLE: usize = 300;

/// The proxy that these tests share, and two real releases, `stable` and `canary`.
async fn releases(prefix: &str) -> anyhow::Result<Option<(&'static Traefik, String)>> {
    if Node::shared().await?.is_none() {
        return Ok(None);
    }
    let cluster = Cluster::shared().await?;
    let traefik = real::traefik(cluster).await?;
    let (client, namespace) = (cluster.client().await?, cluster.namespace(prefix).await?);
    let sides = ["stable", "canary"].map(|side| RealApp::new(side, side).replicas(1));
    for side in &sides {
        cluster.apply(&namespace, &side.manifests()?).await?;
    }
    for side in &sides {
        side.rolled_out(&client, &namespace).await?;
    }
    Ok(Some((traefik, namespace)))
}

/// Waits until the route is there, and then until the shares are the weights.
async fn shares_follow(
    load: &LoadGenerator,
    stable: f64,
    logs: impl Fn() -> String,
) -> anyhow::Result<Responses> {
    // Counted from the first answer of an application that comes from now on.
    let mut from = load.now();
    eventually("shares that are the weights", SOON, async || {
        let seen = load.responses().after(from);
        ensure!(seen.len() >= SAMPLE, "{} answers", seen.len());
        let (is, rest) = (seen.share("stable"), seen.share("canary"));
        if (is - stable).abs() > TOLERANCE || (rest - (1.0 - stable)).abs() > TOLERANCE {
            // Some of these may be from before the route: the next ones count.
            from = load.now();
            anyhow::bail!("{:?}\n{}", seen.shares(), logs());
        }
        Ok(seen)
    })
    .await
}

async fn weights_are_followed(
    prefix: &str,
    route: impl Fn(u16, &str, u32) -> String,
) -> anyhow::Result<()> {
    let Some((traefik, namespace)) = releases(prefix).await? else {
        return Ok(());
    };
    let cluster = Cluster::shared().await?;
    let host = format!("{namespace}.test");
    let options = LoadOptions {
        host: Some(host.clone()),
        keep_alive: true,
        ..LoadOptions::default()
    };
    let load = LoadGenerator::start(&traefik.url(), options)?;
    let logs = || traefik.log_tail(5);
    let set = async |stable: u32| {
        let manifests = route(traefik.port(), &host, stable);
        cluster.apply(&namespace, &manifests).await
    };
    set(80).await?;
    shares_follow(&load, 0.8, logs).await?;
    set(30).await?;
    let changed = shares_follow(&load, 0.3, logs).await?;
    ensure!(
        changed.failed_share() == 0.0,
        "{:?}",
        changed.failed().next()
    );
    set(0).await?;
    shares_follow(&load, 0.0, logs).await?;
    Ok(())
}

/// Both Services, with the stable one's share in percent.
fn backends(stable: u32) -> [(&'static str, u32); 2] {
    [("stable", stable), ("canary", 100 - stable)]
}

#[tokio::test]
async fn node_requests_follow_the_weights_of_an_http_route() -> anyhow::Result<()> {
    weights_are_followed("gateway", |port, host, stable| {
        http_route(port, host, backends(stable))
    })
    .await
}

#[tokio::test]
async fn node_requests_follow_the_weights_of_a_traefik_service() -> anyhow::Result<()> {
    weights_are_followed("traefik", |_, host, stable| {
        traefik_service(host, backends(stable))
    })
    .await
}
