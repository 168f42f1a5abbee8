//! What a trigger's values are compared with, and how samples are compared, parsed.

use backstop_api::policy::{BaselineFrom, BaselineSource, Trigger};
use jiff::SignedDuration;

use super::Source;
use crate::{compare::ValidComparison, condition::Condition, query::Placeholder};

/// What a trigger's values are compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidBaseline {
    /// Where it comes from.
    pub against: Against,
    /// How many samples one that was captured must have been made of.
    pub minimum_samples: u64,
    /// How old one that was captured may be.
    pub max_age: Option<SignedDuration>,
    /// How wild its samples may be: their coefficient of variation.
    pub max_variation: f64,
}

/// Where a baseline comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Against {
    /// The point of the release to go back to.
    LastHealthy,
    /// The same question, so long ago.
    Offset(SignedDuration),
    /// The same question about the side that is not released to, now.
    Stable,
    /// A number.
    Static(f64),
}

/// Parses the baseline, or tells `refuse` what is wrong with it.
pub(super) fn baseline(
    trigger: &Trigger,
    source: Option<&Source>,
    condition: Option<&Condition>,
    refuse: &mut impl FnMut(&str, String, String),
) -> ValidBaseline {
    let written = trigger.baseline.clone().unwrap_or_default();
    let against = against(&written, refuse);
    if let Some(source) = source {
        match against {
            Against::Offset(_) => offset_fits(source, refuse),
            Against::Stable => stable_fits(source, "baseline.from", "Stable", refuse),
            Against::LastHealthy | Against::Static(_) => {}
        }
        if let Some(condition) = condition.filter(|c| c.uses_stable()) {
            stable_fits(source, "condition", condition.text(), refuse);
        }
    }
    if matches!(against, Against::Static(_)) && trigger.compare.is_some() {
        refuse(
            "baseline.from",
            "Static".into(),
            "is one number, and compare needs samples: use LastHealthy, Offset or Stable".into(),
        );
    }
    ValidBaseline {
        against,
        minimum_samples: written.minimum_samples.into(),
        max_age: written.max_age.map(backstop_api::Duration::as_signed),
        max_variation: written.max_variation,
    }
}

fn against(written: &BaselineSource, refuse: &mut impl FnMut(&str, String, String)) -> Against {
    match (written.from, written.offset, written.value) {
        (BaselineFrom::LastHealthy, None, None) => Against::LastHealthy,
        (BaselineFrom::Stable, None, None) => Against::Stable,
        (BaselineFrom::Offset, Some(offset), None) => Against::Offset(offset.as_signed()),
        (BaselineFrom::Static, None, Some(value)) => Against::Static(value),
        (from, _, _) => {
            refuse(
                "baseline",
                format!("{from:?}"),
                "needs an offset with Offset, a value with Static, and neither with the others"
                    .into(),
            );
            Against::LastHealthy
        }
    }
}

/// Whether the source can be asked about another time.
fn offset_fits(source: &Source, refuse: &mut impl FnMut(&str, String, String)) {
    let mut no = |problem: &str| refuse("baseline.from", "Offset".into(), problem.to_owned());
    match source {
        Source::Prometheus { ratio: Some(_), .. } => {
            no("does not go with a ratio, whose counts only grow; use LastHealthy or Stable");
        }
        Source::Prometheus { query, minimum, .. } => {
            let minimum = minimum.as_ref().map(|m| &m.query);
            let mut queries = minimum.into_iter().chain([query]);
            if queries.any(|q| q.uses(Placeholder::Release)) {
                no(
                    "cannot ask about {{ release }}, since another release was live then; use {{ pods }} or {{ hash }}",
                );
            }
        }
        _ => no("goes with prometheus only: the others cannot be asked about another time"),
    }
}

/// Whether the source can be asked about the other side.
fn stable_fits(
    source: &Source,
    field: &str,
    value: &str,
    refuse: &mut impl FnMut(&str, String, String),
) {
    let mut no = |problem: &str| refuse(field, value.to_owned(), problem.to_owned());
    let Source::Prometheus {
        query,
        ratio,
        minimum,
        ..
    } = source
    else {
        return no("asks the stable side, which goes with prometheus only");
    };
    let beside = minimum.as_ref().map(|m| &m.query);
    let beside = beside.into_iter().chain(ratio.as_ref().map(|r| &r.total));
    let queries: Vec<_> = beside.chain([query]).collect();
    if queries.iter().any(|q| q.uses(Placeholder::Release)) {
        no("asks the stable side, whose {{ release }} is not known; use {{ pods }} or {{ hash }}");
    } else if !query.is_scoped() {
        no(
            "asks the stable side, and the query does not tell the two sides apart: limit every selector in it to the \
             release, as by pod=~\"{{ pods }}\"",
        );
    }
}

/// Parses the comparison, or tells `refuse` what is wrong with it.
pub(super) fn comparison(
    trigger: &Trigger,
    source: &Source,
    interval: SignedDuration,
    refuse: &mut impl FnMut(&str, String, String),
) -> Option<ValidComparison> {
    let written = trigger.compare.as_ref()?;
    let in_words = || format!("samples: {}", written.samples);
    let range = match source {
        Source::Prometheus {
            ratio: None, query, ..
        } => query.longest_range(),
        Source::Web(web) => web.range,
        _ => {
            refuse(
                "compare",
                in_words(),
                "goes with prometheus.query and web only: the others do not measure samples".into(),
            );
            return None;
        }
    };
    if interval.is_zero() {
        // Refused by itself.
        return None;
    }
    ValidComparison::new(written, range, interval)
        .map_err(|problem| refuse("compare", in_words(), problem))
        .ok()
}
