//! What the other tests take for granted about Prometheus and the traffic that it sees.

use std::time::Duration;

use anyhow::ensure;
use backstop_testenv::{
    AppTraffic, Cluster, Exporter, Load, Prometheus, PrometheusOptions, Source, eventually,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

fn value(series: &Value) -> anyhow::Result<f64> {
    Ok(series["value"][1].as_str().unwrap_or_default().parse()?)
}

/// Waits until a query gives exactly one series with a value between the bounds.
async fn settles(prometheus: &Prometheus, query: &str, from: f64, to: f64) -> anyhow::Result<()> {
    eventually(query, SOON, async || {
        let answer = prometheus.query(query).await?;
        ensure!(answer.len() == 1, "{} series", answer.len());
        let value = value(&answer[0])?;
        ensure!((from..=to).contains(&value), "{value}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn rates_and_error_shares_are_those_that_were_asked_for() -> anyhow::Result<()> {
    let traffic = AppTraffic::default();
    traffic.set(Source::version("shop", "v1"), Load::healthy(50.0));
    traffic.set(Source::version("shop", "v2"), Load::failing(50.0, 0.2));
    let exporter = Exporter::start(traffic.clone())?;
    let targets = vec![exporter.target()];
    let prometheus = Prometheus::start(PrometheusOptions {
        targets: targets.clone(),
        ..PrometheusOptions::default()
    })
    .await?;
    prometheus.scraped(&targets).await?;
    settles(
        &prometheus,
        r#"sum(rate(http_requests_total{version="v1"}[5s]))"#,
        45.0,
        55.0,
    )
    .await?;
    let share = r#"sum(rate(http_requests_total{version="v2",code="500"}[5s]))
        / sum(rate(http_requests_total{version="v2"}[5s]))"#;
    settles(&prometheus, share, 0.15, 0.25).await?;

    traffic.set(Source::version("shop", "v2"), Load::healthy(50.0));
    settles(&prometheus, share, 0.0, 0.01).await
}

#[tokio::test]
async fn prometheus_comes_back_on_its_port_with_its_data() -> anyhow::Result<()> {
    let exporter = Exporter::start(|| "answer 42\n".to_owned())?;
    let prometheus = Prometheus::start(PrometheusOptions::default()).await?;
    let targets = [exporter.target()];
    prometheus.set_targets(&targets)?;
    prometheus.scraped(&targets).await?;

    prometheus.stop();
    assert!(prometheus.query("answer").await.is_err());

    prometheus.set_targets(&[])?;
    prometheus.restart().await?;
    settles(&prometheus, "last_over_time(answer[5m])", 42.0, 42.0).await
}

#[tokio::test]
async fn ready_pods_get_traffic_and_lose_it_when_they_go() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("traffic").await?;
    let traffic = AppTraffic::default();
    let _follower = traffic.follow(cluster, &namespace, |_| Some(Load::healthy(10.0)))?;
    let exporter = Exporter::start(traffic.clone())?;
    let prometheus = Prometheus::start(PrometheusOptions {
        targets: vec![exporter.target()],
        ..PrometheusOptions::default()
    })
    .await?;
    cluster
        .kubectl(&[
            "-n",
            &namespace,
            "create",
            "deployment",
            "web",
            "--image=web:1",
            "--replicas=3",
        ])
        .await?
        .success()?;
    let pods = format!(
        "count(count by (pod) (rate(http_requests_total{{namespace={namespace:?}}}[5s]) > 0))"
    );
    settles(&prometheus, &pods, 3.0, 3.0).await?;

    cluster
        .kubectl(&[
            "-n",
            &namespace,
            "scale",
            "deployment",
            "web",
            "--replicas=1",
        ])
        .await?
        .success()?;
    settles(&prometheus, &pods, 1.0, 1.0).await
}
