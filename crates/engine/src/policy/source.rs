//! The sources of triggers: what each is asked, parsed.

use backstop_api::policy::{
    PrometheusSource, ResourceSource, Signal, Trigger, VulnerabilityLimits,
};
use jiff::SignedDuration;

use crate::{alert::AlertTemplate, probe::Probe, query::QueryTemplate, web::WebTemplate};

/// Where a trigger's value comes from.
#[derive(Debug)]
pub enum Source {
    /// A query, or two counts.
    Prometheus {
        /// The question; of a ratio the one about the bad ones.
        query: QueryTemplate,
        /// For a ratio: the question about all.
        ratio: Option<Box<ValidRatio>>,
        /// Whom to ask; the operator's own Prometheus without it.
        address: Option<String>,
        /// The Secret with the credentials.
        secret_name: Option<String>,
        /// How much there must be to judge by.
        minimum: Option<Minimum>,
    },
    /// A web service.
    Web(Box<WebTemplate>),
    /// The health of the release's pods, or of an address.
    Probe(Box<Probe>),
    /// What the release's pods use of CPU and memory.
    Resource(ResourceSource),
    /// Alerts that Alertmanager posts.
    Alert(Box<AlertTemplate>),
    /// The workload's own status.
    Workload {
        /// Which signs.
        signals: Vec<Signal>,
    },
    /// Reports of vulnerabilities.
    Vulnerability(VulnerabilityLimits),
}

/// The other half of a ratio.
#[derive(Debug)]
pub struct ValidRatio {
    /// The question about all, the bad ones among them.
    pub total: QueryTemplate,
    /// How probable it may be that chance alone makes a release look bad, over all looks.
    pub error: f64,
}

/// How much there must be to judge by.
#[derive(Debug)]
pub struct Minimum {
    /// The question.
    pub query: QueryTemplate,
    /// Fewer than so many are NoData.
    pub at_least: f64,
}

/// How far back a query may look. A release is judged, and its restoration verified, only when all
/// that a query looks at is about it: one that looks back for a week would be of no use for a week.
pub(crate) const LONGEST_REACH: SignedDuration = SignedDuration::from_hours(24);

pub(super) fn near_query(text: &str) -> Result<QueryTemplate, String> {
    let query = QueryTemplate::parse(text).map_err(|e| e.to_string())?;
    let reach = query.longest_range();
    if reach > LONGEST_REACH {
        return Err(format!(
            "looks back {} h in all (ranges and offsets), and may look back {} h at most: a release \
             is judged only by what is measured after it began",
            reach.as_hours(),
            LONGEST_REACH.as_hours()
        ));
    }
    Ok(query)
}

/// The sources that a trigger names.
fn named(trigger: &Trigger) -> Vec<&'static str> {
    [
        ("prometheus", trigger.prometheus.is_some()),
        ("workload", trigger.workload.is_some()),
        ("probe", trigger.probe.is_some()),
        ("resource", trigger.resource.is_some()),
        ("alert", trigger.alert.is_some()),
        ("web", trigger.web.is_some()),
        ("vulnerability", trigger.vulnerability.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
    .collect()
}

/// Signals that cannot be added up.
fn wrong_signals(signals: &[Signal]) -> Option<(String, &'static str)> {
    if signals.is_empty() {
        return Some((
            "[]".into(),
            "names nothing to watch; write for example CrashLoopBackOff",
        ));
    }
    let alone = [Signal::Restarts, Signal::UnreadyShare];
    let mixed = signals.len() > 1 && signals.iter().any(|s| alone.contains(s));
    mixed.then(|| {
        (
            format!("{signals:?}"),
            "mixes numbers that cannot be added up; put Restarts and UnreadyShare each in a \
             trigger of its own",
        )
    })
}

/// Where a trigger's value comes from; without one, `refuse` has been told why.
pub(super) fn source(
    trigger: &Trigger,
    refuse: &mut impl FnMut(&str, String, String),
) -> Option<Source> {
    let query = trigger.prometheus.as_ref().and_then(|p| p.query.as_ref());
    if let (None, Some(minimum)) = (query, &trigger.minimum_samples) {
        refuse(
            "minimumSamples",
            minimum.query.clone(),
            "goes with prometheus.query only; remove it".into(),
        );
    }
    let named = named(trigger);
    match named.as_slice() {
        ["prometheus"] => prometheus_source(trigger, trigger.prometheus.as_ref()?, refuse),
        ["workload"] => {
            let signals = trigger.workload.as_ref()?.signals.clone();
            if let Some((value, problem)) = wrong_signals(&signals) {
                refuse("workload.signals", value, problem.into());
            }
            Some(Source::Workload { signals })
        }
        ["web"] => {
            WebTemplate::parse(trigger.web.as_ref()?, refuse).map(|web| Source::Web(Box::new(web)))
        }
        ["probe"] => Probe::parse(trigger.probe.as_ref()?, trigger.interval, refuse)
            .map(|probe| Source::Probe(Box::new(probe))),
        ["resource"] => trigger.resource.clone().map(Source::Resource),
        ["alert"] => AlertTemplate::parse(trigger.alert.as_ref()?, refuse)
            .map(|alert| Source::Alert(Box::new(alert))),
        ["vulnerability"] => trigger.vulnerability.clone().map(Source::Vulnerability),
        _ => {
            refuse(
                "prometheus",
                trigger.name.clone(),
                "needs exactly one source; available are prometheus, workload, web, probe, \
                 resource, alert and vulnerability"
                    .into(),
            );
            None
        }
    }
}

/// The question, or the two of a ratio.
fn prometheus_source(
    trigger: &Trigger,
    prometheus: &PrometheusSource,
    refuse: &mut impl FnMut(&str, String, String),
) -> Option<Source> {
    let mut parsed = |field: &str, text: &str| {
        near_query(text)
            .map_err(|problem| refuse(field, text.to_owned(), problem))
            .ok()
    };
    let (query, ratio) = match (&prometheus.query, &prometheus.ratio) {
        (Some(query), None) => (parsed("prometheus.query", query), None),
        (None, Some(ratio)) => {
            let bad = parsed("prometheus.ratio.bad", &ratio.bad);
            let total = parsed("prometheus.ratio.total", &ratio.total)?;
            let error = 1.0 - ratio.confidence;
            (bad, Some(Box::new(ValidRatio { total, error })))
        }
        _ => {
            refuse(
                "prometheus",
                trigger.name.clone(),
                "needs either query, which answers with one number, or ratio, which counts bad ones and all"
                    .into(),
            );
            return None;
        }
    };
    let minimum = match &trigger.minimum_samples {
        Some(minimum) => Some(Minimum {
            query: parsed("minimumSamples.query", &minimum.query)?,
            at_least: minimum.at_least,
        }),
        None => None,
    };
    Some(Source::Prometheus {
        query: query?,
        ratio,
        address: prometheus.address.clone(),
        secret_name: prometheus.secret_name.clone(),
        minimum,
    })
}
