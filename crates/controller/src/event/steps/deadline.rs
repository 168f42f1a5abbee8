//! How long a step has taken, and whether that is too long.

use backstop_api::event::Step;
use jiff::{SignedDuration, Timestamp};

use super::Progress;

/// When step `index` began; one that begins only now has begun now.
pub(super) fn began(progress: &Progress<'_>, index: usize, now: Timestamp) -> Timestamp {
    progress.status.steps[index].started_at.unwrap_or(now)
}

/// That the time of step `index` is over while it is as `state` says, in words; `None` as long as it
/// is not.
pub(super) fn late(
    progress: &Progress<'_>,
    index: usize,
    step: &Step,
    state: &str,
    now: Timestamp,
) -> Option<String> {
    let timeout = step
        .timeout
        .map_or(SignedDuration::ZERO, backstop_api::Duration::as_signed);
    (now.duration_since(began(progress, index, now)) >= timeout)
        .then(|| format!("{state}, and {} s are over", timeout.as_secs()))
}
