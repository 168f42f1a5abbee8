//! The sources of triggers: what each is asked, parsed.

use backstop_api::policy::{Signal, Trigger, VulnerabilityLimits};
use jiff::SignedDuration;

use crate::{query::QueryTemplate, web::WebTemplate};

/// Where a trigger's value comes from.
#[derive(Debug)]
pub enum Source {
    /// A query.
    Prometheus {
        /// The question.
        query: QueryTemplate,
        /// Whom to ask; the operator's own Prometheus without it.
        address: Option<String>,
        /// The Secret with the credentials.
        secret_name: Option<String>,
        /// How much there must be to judge by.
        minimum: Option<Minimum>,
    },
    /// A web service.
    Web(Box<WebTemplate>),
    /// The workload's own status.
    Workload {
        /// Which signs.
        signals: Vec<Signal>,
    },
    /// Reports of vulnerabilities.
    Vulnerability(VulnerabilityLimits),
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

fn near_query(text: &str) -> Result<QueryTemplate, String> {
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

/// The source of a later version that a trigger has.
fn later_source(trigger: &Trigger) -> Option<&'static str> {
    [
        ("probe", &trigger.probe),
        ("resource", &trigger.resource),
        ("alert", &trigger.alert),
    ]
    .into_iter()
    .find_map(|(name, source)| source.as_ref().map(|_| name))
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
    let source = match (
        &trigger.prometheus,
        &trigger.workload,
        &trigger.web,
        &trigger.vulnerability,
    ) {
        (Some(prometheus), None, None, None) => {
            let query = near_query(&prometheus.query)
                .map_err(|problem| refuse("prometheus.query", prometheus.query.clone(), problem));
            let minimum = trigger.minimum_samples.as_ref().map(|minimum| {
                near_query(&minimum.query)
                    .map(|query| Minimum {
                        query,
                        at_least: minimum.at_least,
                    })
                    .map_err(|problem| {
                        refuse("minimumSamples.query", minimum.query.clone(), problem);
                    })
            });
            match (query, minimum.transpose()) {
                (Ok(query), Ok(minimum)) => Some(Source::Prometheus {
                    query,
                    address: prometheus.address.clone(),
                    secret_name: prometheus.secret_name.clone(),
                    minimum,
                }),
                _ => None,
            }
        }
        (None, Some(workload), None, None) => {
            if let Some((value, problem)) = wrong_signals(&workload.signals) {
                refuse("workload.signals", value, problem.into());
            }
            Some(Source::Workload {
                signals: workload.signals.clone(),
            })
        }
        (None, None, Some(web), None) => {
            WebTemplate::parse(web, refuse).map(|web| Source::Web(Box::new(web)))
        }
        (None, None, None, Some(limits)) => Some(Source::Vulnerability(limits.clone())),
        _ => {
            // What is asked for by name is refused by name.
            let field = later_source(trigger).unwrap_or("prometheus");
            refuse(
                field,
                trigger.name.clone(),
                "needs exactly one source; available are prometheus, workload, web and \
                 vulnerability"
                    .into(),
            );
            None
        }
    };
    if let (None, Some(minimum)) = (&trigger.prometheus, &trigger.minimum_samples) {
        refuse(
            "minimumSamples",
            minimum.query.clone(),
            "goes with prometheus only; remove it".into(),
        );
    }
    source
}
