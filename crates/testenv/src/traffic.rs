//! Made-up traffic: counters that rise in real time, as those of an application under load do.

mod follow;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::exporter::Metrics;

pub use follow::Follower;

/// Upper bounds of the latency histogram, in seconds.
const BUCKETS: [f64; 8] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Whose traffic it is. Each field becomes a label; an empty one is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The version, where a query tells versions apart by it.
    pub version: String,
}

impl Source {
    /// A pod's traffic.
    pub fn pod(namespace: &str, pod: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            version: String::new(),
        }
    }

    /// A version's traffic, whatever pods it has.
    pub fn version(namespace: &str, version: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            pod: String::new(),
            version: version.to_owned(),
        }
    }

    /// Each with a comma behind it, for more to follow.
    fn labels(&self) -> String {
        let mut text = String::new();
        let labels = [
            ("namespace", &self.namespace),
            ("pod", &self.pod),
            ("version", &self.version),
        ];
        for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(text, "{name}={value:?},");
        }
        text
    }
}

/// How much traffic, and how much of it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Requests in a second.
    pub rps: f64,
    /// The share of them that ends with code 500: from 0 to 1.
    pub errors: f64,
    /// How long each takes.
    pub latency: Duration,
}

impl Load {
    /// Traffic without errors, 20 ms each.
    pub fn healthy(rps: f64) -> Self {
        Self {
            rps,
            errors: 0.0,
            latency: Duration::from_millis(20),
        }
    }

    /// Traffic of which the share `errors` fails, 20 ms each.
    pub fn failing(rps: f64, errors: f64) -> Self {
        Self {
            errors,
            ..Self::healthy(rps)
        }
    }

    /// The same with another latency.
    #[must_use]
    pub fn slow(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }
}

/// Request counters by source, for an [`Exporter`](crate::Exporter) to serve. Clones share their counters.
///
/// They show `http_requests_total{namespace,pod,version,code}` and the histogram `http_request_duration_seconds`.
/// Counters never fall, whatever the load is changed to.
#[derive(Debug, Clone, Default)]
pub struct AppTraffic {
    counters: Arc<Mutex<BTreeMap<Source, Counters>>>,
}

#[derive(Debug)]
struct Counters {
    load: Load,
    since: Instant,
    good: f64,
    bad: f64,
    seconds: f64,
    /// As many as [`BUCKETS`], cumulative as Prometheus wants them.
    buckets: [f64; BUCKETS.len()],
}

impl Counters {
    fn new(load: Load, now: Instant) -> Self {
        Self {
            load,
            since: now,
            good: 0.0,
            bad: 0.0,
            seconds: 0.0,
            buckets: [0.0; BUCKETS.len()],
        }
    }

    /// Counts what has come in since the last time.
    fn advance(&mut self, now: Instant) {
        let requests = self.load.rps * now.saturating_duration_since(self.since).as_secs_f64();
        self.since = now;
        self.bad += requests * self.load.errors;
        self.good += requests * (1.0 - self.load.errors);
        let latency = self.load.latency.as_secs_f64();
        self.seconds += requests * latency;
        for (bound, count) in BUCKETS.iter().zip(&mut self.buckets) {
            if latency <= *bound {
                *count += requests;
            }
        }
    }

    fn write(&self, labels: &str, text: &mut Texts) {
        // Whole requests, as an application counts them. `write!` to a String cannot fail.
        let all = self.good + self.bad;
        let _ = writeln!(
            text.requests,
            "http_requests_total{{{labels}code=\"200\"}} {}",
            self.good.floor()
        );
        // As applications have it: a code that was never answered with has no series.
        if self.bad >= 1.0 {
            let _ = writeln!(
                text.requests,
                "http_requests_total{{{labels}code=\"500\"}} {}",
                self.bad.floor()
            );
        }
        let name = "http_request_duration_seconds";
        for (bound, count) in BUCKETS.iter().zip(&self.buckets) {
            let _ = writeln!(
                text.durations,
                "{name}_bucket{{{labels}le=\"{bound}\"}} {}",
                count.floor()
            );
        }
        let _ = writeln!(
            text.durations,
            "{name}_bucket{{{labels}le=\"+Inf\"}} {}",
            all.floor()
        );
        let _ = writeln!(text.durations, "{name}_sum{{{labels}}} {}", self.seconds);
        let _ = writeln!(text.durations, "{name}_count{{{labels}}} {}", all.floor());
    }
}

/// The samples of a metric have to stand together, so each collects its own.
#[derive(Default)]
struct Texts {
    requests: String,
    durations: String,
}

impl AppTraffic {
    /// Sets the load of a source from now on. Its counters go on from where they are.
    pub fn set(&self, source: Source, load: Load) {
        let now = Instant::now();
        let mut counters = self.lock();
        let entry = counters
            .entry(source)
            .or_insert_with(|| Counters::new(load, now));
        entry.advance(now);
        entry.load = load;
    }

    /// Takes a source away, as when its pod is gone: its series end.
    pub fn remove(&self, source: &Source) {
        self.lock().remove(source);
    }

    fn render_at(&self, now: Instant) -> String {
        let mut texts = Texts {
            requests: "# TYPE http_requests_total counter\n".to_owned(),
            durations: "# TYPE http_request_duration_seconds histogram\n".to_owned(),
        };
        for (source, counters) in self.lock().iter_mut() {
            counters.advance(now);
            counters.write(&source.labels(), &mut texts);
        }
        texts.requests + &texts.durations
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Source, Counters>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metrics for AppTraffic {
    fn render(&self) -> String {
        self.render_at(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(text: &str, line: &str) -> bool {
        text.lines().any(|each| each == line)
    }

    #[test]
    fn counters_rise_with_time_and_split_by_the_share_of_errors() {
        let traffic = AppTraffic::default();
        let start = Instant::now();
        traffic.lock().insert(
            Source::pod("shop", "web-1"),
            Counters::new(Load::failing(100.0, 0.25), start),
        );
        let text = traffic.render_at(start + Duration::from_secs(4));
        assert!(
            shows(
                &text,
                r#"http_requests_total{namespace="shop",pod="web-1",code="200"} 300"#
            ),
            "{text}"
        );
        assert!(
            shows(
                &text,
                r#"http_requests_total{namespace="shop",pod="web-1",code="500"} 100"#
            ),
            "{text}"
        );
    }

    #[test]
    fn a_code_that_was_never_answered_with_has_no_series() {
        let traffic = AppTraffic::default();
        let start = Instant::now();
        traffic.lock().insert(
            Source::pod("shop", "web-1"),
            Counters::new(Load::healthy(100.0), start),
        );
        let text = traffic.render_at(start + Duration::from_secs(4));
        assert!(text.contains(r#"code="200"} 400"#), "{text}");
        assert!(!text.contains(r#"code="500""#), "{text}");
    }

    #[test]
    fn a_changed_load_never_lowers_a_counter() {
        let traffic = AppTraffic::default();
        let start = Instant::now();
        let source = Source::version("shop", "v2");
        traffic
            .lock()
            .insert(source.clone(), Counters::new(Load::healthy(100.0), start));
        traffic.render_at(start + Duration::from_secs(10));
        traffic.lock().get_mut(&source).unwrap().load = Load::healthy(0.0);
        let text = traffic.render_at(start + Duration::from_secs(20));
        assert!(
            shows(
                &text,
                r#"http_requests_total{namespace="shop",version="v2",code="200"} 1000"#
            ),
            "{text}"
        );
    }

    #[test]
    fn a_slow_request_is_counted_only_in_the_buckets_above_it() {
        let traffic = AppTraffic::default();
        let start = Instant::now();
        let load = Load::healthy(10.0).slow(Duration::from_millis(300));
        traffic
            .lock()
            .insert(Source::pod("shop", "web-1"), Counters::new(load, start));
        let text = traffic.render_at(start + Duration::from_secs(1));
        let bucket = |le: &str, count: u32| {
            format!(
                r#"http_request_duration_seconds_bucket{{namespace="shop",pod="web-1",le="{le}"}} {count}"#
            )
        };
        assert!(shows(&text, &bucket("0.25", 0)), "{text}");
        assert!(shows(&text, &bucket("0.5", 10)), "{text}");
    }
}
