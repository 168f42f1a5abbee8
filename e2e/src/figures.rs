//! Series of any name for the pods that there are, each as its version says, and a Prometheus that scrapes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backstop_testenv::{Exporter, Prometheus, PrometheusOptions};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::task::JoinHandle;

use crate::world::World;

/// Between two scrapes: ranges of a second or two have to have some samples in them.
const SCRAPED_EVERY: Duration = Duration::from_millis(250);

/// A series that every pod of a version has.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// The name of the metric.
    pub metric: &'static str,
    /// Labels besides the namespace and the pod, as `code="500"`; empty for none. `$namespace` and `$pod` stand for
    /// those of the pod.
    pub labels: &'static str,
    /// Its value.
    pub value: Number,
}

/// How a series goes.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// It stays.
    Still(f64),
    /// It rises so much in a second.
    Rising(f64),
}

/// A number that stays.
pub fn still(metric: &'static str, value: f64) -> Figure {
    Figure {
        metric,
        labels: "",
        value: Number::Still(value),
    }
}

/// A counter that rises so much in a second.
pub fn rising(metric: &'static str, labels: &'static str, per_second: f64) -> Figure {
    Figure {
        metric,
        labels,
        value: Number::Rising(per_second),
    }
}

/// The figures of a Deployment's version.
type Figures = BTreeMap<(String, String), Vec<Figure>>;

/// A pod that has series, and since when.
struct Counted {
    figures: Vec<Figure>,
    since: Instant,
}

/// By namespace and name.
type Pods = Arc<Mutex<BTreeMap<(String, String), Counted>>>;

/// An exporter for a world's pods, and the Prometheus that an operator is to ask.
pub struct Shop {
    /// Scrapes four times a second.
    pub prometheus: Prometheus,
    pods: Pods,
    // Serves for as long as it is there.
    _exporter: Exporter,
}

impl Shop {
    /// Starts both.
    pub async fn start() -> anyhow::Result<Self> {
        let pods = Pods::default();
        let shown = pods.clone();
        let exporter = Exporter::start(move || render(&shown))?;
        let targets = vec![exporter.target()];
        let prometheus = Prometheus::start(PrometheusOptions {
            scrape_interval: SCRAPED_EVERY,
            targets: targets.clone(),
            ..PrometheusOptions::default()
        })
        .await?;
        prometheus.scraped(&targets).await?;
        Ok(Self {
            prometheus,
            pods,
            _exporter: exporter,
        })
    }

    /// Gives each running pod of the world the series of its Deployment and version until what comes back is dropped.
    pub fn follow(&self, world: &World, figures: Figures) -> Follower {
        let (api, pods) = (world.api::<Pod>(), self.pods.clone());
        let namespace = world.namespace.clone();
        Follower(tokio::spawn(async move {
            loop {
                // What could not be read now is read with the next look.
                let _ = look(&api, &namespace, &figures, &pods).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }))
    }
}

/// Keeps the series in step with the pods.
pub struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn look(
    api: &Api<Pod>,
    namespace: &str,
    figures: &Figures,
    pods: &Pods,
) -> anyhow::Result<()> {
    let running: Vec<Pod> = api.list(&ListParams::default()).await?.items;
    let mut pods = pods.lock().unwrap_or_else(PoisonError::into_inner);
    pods.retain(|(of, name), _| of != namespace || running.iter().any(|p| p.name_any() == *name));
    for pod in running {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut images = containers.filter_map(|container| container.image.as_deref());
        let version = images.find_map(|image| Some(image.rsplit_once(':')?.1));
        let (Some(app), Some(version)) = (pod.labels().get("app"), version) else {
            continue;
        };
        let Some(figures) = figures.get(&(app.clone(), version.to_owned())) else {
            continue;
        };
        pods.entry((namespace.to_owned(), pod.name_any()))
            .or_insert_with(|| Counted {
                figures: figures.clone(),
                since: Instant::now(),
            });
    }
    Ok(())
}

fn render(pods: &Pods) -> String {
    let pods = pods.lock().unwrap_or_else(PoisonError::into_inner);
    let mut lines = BTreeMap::<&str, String>::new();
    for ((namespace, pod), counted) in pods.iter() {
        for figure in &counted.figures {
            let value = match figure.value {
                Number::Still(value) => value,
                Number::Rising(per_second) => per_second * counted.since.elapsed().as_secs_f64(),
            };
            let comma = if figure.labels.is_empty() { "" } else { "," };
            let labels = figure.labels.replace("$namespace", namespace);
            let labels = labels.replace("$pod", pod);
            // The lines of a metric have to stand together.
            let _ = writeln!(
                lines.entry(figure.metric).or_default(),
                "{}{{namespace={namespace:?},pod={pod:?}{comma}{labels}}} {value}",
                figure.metric
            );
        }
    }
    lines.into_values().collect()
}
