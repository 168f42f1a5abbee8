//! One number from those of several pods.

use backstop_api::policy::Aggregate;

/// It; `None` of none.
pub(crate) fn one_of(aggregate: Aggregate, values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    match aggregate {
        Aggregate::Max => values.into_iter().reduce(f64::max),
        Aggregate::Min => values.into_iter().reduce(f64::min),
        Aggregate::Average if values.is_empty() => None,
        Aggregate::Average => Some(values.iter().sum::<f64>() / count(values.len())),
    }
}

/// A number of things, to reckon with.
pub(crate) fn count(things: usize) -> f64 {
    f64::from(u32::try_from(things).unwrap_or(u32::MAX))
}
