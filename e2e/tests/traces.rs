//! What the operator does is exported as spans, and all that it does for a rollback is one trace.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use backstop_e2e::world::{App, World, quick_policy};
use kube::ResourceExt as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::{TcpListener, TcpSocket};

/// Takes spans in, as a collector does.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

impl Collector {
    /// Where it is.
    async fn start(&self) -> anyhow::Result<String> {
        let router = Router::new().route("/v1/traces", post(take));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = router.with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(url)
    }

    /// The spans of a trace, oldest first.
    fn trace(&self, id: &str) -> Vec<Span> {
        let all = self.0.lock().unwrap();
        let of_it = all
            .iter()
            .filter(|(_, span)| hex::encode(&span.trace_id) == id);
        let mut spans: Vec<_> = of_it.map(|(_, span)| span.clone()).collect();
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }
}

async fn take(State(collector): State<Collector>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    for group in request.resource_spans {
        let attributes = group.resource.map(|r| r.attributes).unwrap_or_default();
        let service = attributes.iter().find(|a| a.key == "service.name");
        let service = format!("{:?}", service.and_then(|a| a.value.as_ref()));
        let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
        let mut all = collector.0.lock().unwrap();
        all.extend(spans.map(|span| (service.clone(), span)));
    }
    StatusCode::OK
}

/// Has a release that crashes taken back.
async fn take_back(world: &World) -> anyhow::Result<String> {
    world.deploy(&App::version("v1")).await?;
    world.policy(quick_policy()).await?;
    world.good_point(1).await?;
    let event = world.crashes_and_goes_back().await?;
    Ok(event.uid().context("no UID")?.replace('-', ""))
}

#[tokio::test]
async fn all_that_is_done_for_a_rollback_is_one_trace_that_is_found_by_its_uid()
-> anyhow::Result<()> {
    let collector = Collector::default();
    let url = collector.start().await?;
    let world = World::with("traces", &["--otlp-endpoint".to_owned(), url]).await?;
    let id = take_back(&world).await?;
    world
        .eventually("the whole trace", async || {
            let spans = collector.trace(&id);
            let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
            let mut rest = names.iter();
            for name in [
                "reconcile RollbackEvent",
                "QuarantineRelease",
                "WriteTemplate",
                "patch deployment",
                "HandBackOwnership",
                "AwaitRollout",
            ] {
                ensure!(rest.any(|n| *n == name), "{name} is not next in {names:?}");
            }
            Ok(())
        })
        .await?;
    let all = collector.0.lock().unwrap();
    ensure!(all.iter().all(|(service, _)| service.contains("backstop")));
    // What the operator asks and decides all the time is of traces of its own.
    let names: Vec<&str> = all.iter().map(|(_, span)| span.name.as_str()).collect();
    ensure!(names.contains(&"reconcile RollbackPolicy"), "{names:?}");
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_away_holds_nothing_up_and_is_counted() -> anyhow::Result<()> {
    // Nobody listens there, and nobody else can meanwhile.
    let taken = TcpSocket::new_v4()?;
    taken.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let url = format!("http://{}", taken.local_addr()?);
    let world = World::with("traces-away", &["--otlp-endpoint".to_owned(), url]).await?;
    take_back(&world).await?;
    world
        .eventually("what is lost to be counted", async || {
            let text = world.operator.answer("/metrics").await?.2;
            let counted = r#"backstop_span_exports_total{outcome="unreachable"}"#;
            ensure!(text.contains(counted), "{text}");
            Ok(())
        })
        .await
}
