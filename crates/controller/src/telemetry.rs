//! What is written about the operator's own doings: logs, and spans that are exported by OTLP.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use opentelemetry::{
    Context, KeyValue,
    trace::{
        SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
    },
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::{Metadata, Span, Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};
use url::Url;

use crate::{metrics::Metrics, settings::LogFormat, settings::Settings};

/// No export may take longer.
const LIMIT: Duration = Duration::from_secs(10);
/// A collector has nothing to say that is longer.
const LONGEST_ANSWER: usize = 64 * 1024;
/// Where traces are posted, unless the address has a path of its own.
const PATH: &str = "/v1/traces";

/// What is still to be exported when the operator stops.
#[derive(Debug)]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Starts writing logs, and where there is a collector exporting spans. To be called within a runtime.
    pub fn start(settings: &Settings, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let provider = settings
            .otlp_endpoint
            .as_ref()
            .map(|address| provider(address, &settings.identity, metrics))
            .transpose()?;
        let spans = provider.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("backstop"))
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_filter(filter_fn(is_ours).and(LevelFilter::INFO))
        });
        tracing_subscriber::registry()
            .with(spans)
            .with(logs(settings.log_format))
            .init();
        Ok(Self(provider))
    }

    /// Exports what is left.
    pub fn end(self) {
        if let Some(provider) = self.0
            && let Err(error) = provider.shutdown_with_timeout(LIMIT)
        {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// Of the libraries below, what is called is seen in our own spans.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("backstop")
}

/// Each line of a log says by itself what it is about.
fn is_event(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
}

fn logs<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_runtime=error,kube_client=warn"));
    let filter = filter.and(filter_fn(is_event));
    let json = match format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if json {
        layer.json().flatten_event(true).with_filter(filter).boxed()
    } else {
        layer.with_filter(filter).boxed()
    }
}

fn provider(
    address: &Url,
    identity: &str,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<SdkTracerProvider> {
    let collector = Collector {
        client: reqwest::Client::builder().timeout(LIMIT).build()?,
        runtime: Handle::current(),
        metrics: metrics.clone(),
        failing: AtomicBool::new(false),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(LIMIT)
        .with_endpoint(posted_to(address))
        .build()
        .map_err(|error| anyhow::anyhow!("--otlp-endpoint {address}: {error}"))?;
    let resource = Resource::builder()
        .with_service_name("backstop")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", identity.to_owned()))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

fn posted_to(address: &Url) -> String {
    let mut address = address.clone();
    if address.path() == "/" {
        address.set_path(PATH);
    }
    address.into()
}

/// Posts to the collector. The exporter has a thread of its own, and connections belong to the runtime.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    runtime: Handle,
    metrics: Arc<Metrics>,
    failing: AtomicBool,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let posted = self.runtime.spawn(post(client, request)).await?;
        let outcome = match &posted {
            Ok(answer) if answer.status().is_success() => "sent",
            Ok(_) => "refused",
            Err(_) => "unreachable",
        };
        self.metrics.exported(outcome);
        // Once when it begins: what is lost is counted.
        let failed = outcome != "sent";
        if failed && !self.failing.swap(true, Ordering::Relaxed) {
            let why = match &posted {
                Ok(answer) => answer.status().to_string(),
                Err(error) => error.to_string(),
            };
            tracing::warn!(
                why,
                "spans cannot be exported; see backstop_span_exports_total and the collector"
            );
        } else if !failed && self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("spans are exported again");
        }
        posted
    }
}

async fn post(
    client: reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let mut answer = client
        .execute(request.try_into()?)
        .await
        .map_err(reqwest::Error::without_url)?;
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + part.len() > LONGEST_ANSWER {
            return Err("the answer is too long".into());
        }
        body.extend_from_slice(&part);
    }
    Ok(Response::builder()
        .status(answer.status())
        .body(Bytes::from(body))?)
}

/// Makes a span one of a rollback. All of them, over all reconciliations and restarts, are one trace, whose ID is the
/// UID of the RollbackEvent without dashes.
pub(crate) fn is_of_rollback(span: &Span, uid: &str) {
    let hex = uid.replace('-', "");
    let Ok(trace) = TraceId::from_hex(&hex) else {
        return;
    };
    let Ok(root) = SpanId::from_hex(hex.get(..16).unwrap_or_default()) else {
        return;
    };
    let parent = SpanContext::new(
        trace,
        root,
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    // Without a collector there is nothing that it could be of.
    let _ = span.set_parent(Context::new().with_remote_span_context(parent));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_posted_to_the_usual_path_unless_there_is_another() {
        for (given, posted) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            (
                "https://x.example/otlp/traces",
                "https://x.example/otlp/traces",
            ),
        ] {
            assert_eq!(posted_to(&given.parse().unwrap()), posted);
        }
    }
}
