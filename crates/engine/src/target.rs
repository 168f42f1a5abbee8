//! Which release to go back to: the newest good one that may be gone back to.

use std::collections::BTreeSet;

use backstop_api::point::{Origin, Verdict};

use crate::snapshot::{Measured, Point, Snapshot};

/// Whether a release is on record as one that failed. That outranks a good point of it.
#[must_use]
pub fn is_quarantined(seen: &Snapshot, release: &str) -> bool {
    seen.points
        .iter()
        .any(|p| p.verdict == Verdict::Quarantined && p.release.as_deref() == Some(release))
}

/// The good points, newest proof first.
#[must_use]
pub fn good_points(seen: &Snapshot) -> Vec<&Point> {
    let mut points: Vec<_> = seen
        .points
        .iter()
        .filter(|p| p.verdict == Verdict::Good && p.release.is_some())
        .collect();
    points.sort_by(|a, b| (b.proved_at, &b.name).cmp(&(a.proved_at, &a.name)));
    points
}

/// The points that may be gone back to from `live`, best first, and the floor that ends them.
#[must_use]
pub fn candidates<'a>(
    seen: &'a Snapshot,
    live: &str,
    failed: &BTreeSet<String>,
) -> (Vec<&'a Point>, Option<&'a str>) {
    let mut may = Vec::new();
    for point in good_points(seen) {
        let Some(release) = point.release.as_deref() else {
            continue;
        };
        if release != live && !failed.contains(release) && !is_quarantined(seen, release) {
            may.push(point);
        }
        if let Some(floor) = point.floor.as_deref() {
            return (may, Some(floor));
        }
    }
    (may, None)
}

/// What a trigger measured when the release before proved itself, and the point that says so.
///
/// A release that was restored is compared with itself as it was when it was good, and so is one
/// that proved itself where no other did. With a release that failed since no other is compared. What
/// a person or a pipeline captured of a release comes before what it measured while it soaked,
/// whenever that was.
#[must_use]
pub fn baseline<'a>(
    seen: &'a Snapshot,
    live: &str,
    restored: bool,
    trigger: &str,
) -> Option<(&'a Point, &'a Measured)> {
    let of = |itself: bool| {
        let there: Vec<_> = good_points(seen)
            .into_iter()
            .filter(|p| {
                let release = p.release.as_deref().unwrap_or_default();
                itself == (release == live) && (itself || !is_quarantined(seen, release))
            })
            .filter_map(|p| Some((p, p.baselines.get(trigger)?)))
            .collect();
        let newest = there.first()?;
        let mut of_that_release = there.iter().filter(|(p, _)| p.release == newest.0.release);
        let chosen = of_that_release.find(|(p, _)| p.origin != Origin::Soak);
        Some(*chosen.unwrap_or(newest))
    };
    of(restored).or_else(|| of(!restored))
}
