//! The time that is measured over.

use anyhow::{Context as _, bail};
use backstop_api::{Duration, policy::ReleaseStatus};
use clap::Args;
use jiff::{SignedDuration, Timestamp};

/// The time that is measured over: that of the load test.
#[derive(Debug, Args)]
pub struct Window {
    /// When the load test began, such as 2026-11-26T14:00:00Z.
    #[arg(long, conflicts_with = "last")]
    from: Option<Timestamp>,
    /// When it ended; without it, now.
    #[arg(long, requires = "from")]
    to: Option<Timestamp>,
    /// How far back from now to measure, where --from does not say it. What was before the release had a ready pod is left
    /// out.
    #[arg(long, default_value = "15m")]
    last: Duration,
}

/// The same, for a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Window {
    /// The time over which the release is measured.
    pub fn over(&self, release: &ReleaseStatus, now: Timestamp) -> anyhow::Result<Span> {
        let ready = release.first_ready_at.with_context(|| {
            format!(
                "release {} has not had a ready pod yet, so there is nothing to measure (status.release.firstReadyAt)",
                release.hash
            )
        })?;
        let to = self.to.unwrap_or(now);
        if to > now {
            bail!("--to {to:.0} is not over yet: it is {now:.0} now");
        }
        let from = match self.from {
            Some(from) if from < ready => bail!(
                "--from {from:.0} is before release {} had a ready pod; name a time from {ready:.0} on",
                release.hash
            ),
            Some(from) => from,
            None => to
                .checked_sub(self.last.as_signed())
                .map_or(ready, |from| from.max(ready)),
        };
        if from >= to {
            bail!(
                "--from {from:.0} is not before --to {to:.0}; measure over the time of the load test"
            );
        }
        Ok(Span { from, to })
    }
}

impl Span {
    /// The part of it in which a query that looks back so far sees nothing from before it.
    pub fn within(self, reach: SignedDuration) -> Result<Self, String> {
        let from = self.from + reach;
        if from >= self.to {
            return Err(format!(
                "looks back {} s, and what is measured over is {} s long, from {:.0} to {:.0}; measure over a longer \
                 time, such as by --last",
                reach.as_secs(),
                self.to.duration_since(self.from).as_secs(),
                self.from,
                self.to
            ));
        }
        Ok(Self { from, to: self.to })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    fn release(ready: Option<i64>) -> ReleaseStatus {
        let mut release = json!({"workloadUid": "u", "hash": "0123", "since": at(0).to_string()});
        if let Some(ready) = ready {
            release["firstReadyAt"] = json!(at(ready).to_string());
        }
        serde_json::from_value(release).expect("a release")
    }

    fn window(from: Option<i64>, to: Option<i64>) -> Window {
        Window {
            from: from.map(at),
            to: to.map(at),
            last: Duration::from_mins(15),
        }
    }

    #[test]
    fn the_last_time_begins_when_the_release_was_ready_if_that_is_later() {
        let late = window(None, None)
            .over(&release(Some(10)), at(100))
            .expect("a span");
        assert_eq!((late.from, late.to), (at(10), at(100)));
        let long = window(None, None)
            .over(&release(Some(10)), at(5000))
            .expect("a span");
        assert_eq!((long.from, long.to), (at(4100), at(5000)));
    }

    #[test]
    fn a_time_that_is_not_of_the_release_is_refused_with_one_that_is() {
        let ready = release(Some(10));
        for (window, release, words) in [
            (
                window(Some(5), None),
                &ready,
                "name a time from 2027-01-15T08:00:10Z on",
            ),
            (window(Some(20), Some(200)), &ready, "is not over yet"),
            (window(Some(50), Some(40)), &ready, "is not before --to"),
            (
                window(None, None),
                &release(None),
                "has not had a ready pod yet",
            ),
        ] {
            let refused = window.over(release, at(100)).expect_err(words).to_string();
            assert!(refused.contains(words), "{words}: {refused}");
        }
    }

    #[test]
    fn what_a_query_looks_back_at_is_all_within_the_time() {
        let span = Span {
            from: at(0),
            to: at(600),
        };
        let inner = span.within(SignedDuration::from_mins(5)).expect("a span");
        assert_eq!((inner.from, inner.to), (at(300), at(600)));
        let refused = span
            .within(SignedDuration::from_mins(10))
            .expect_err("too short");
        assert!(
            refused.contains("looks back 600 s, and what is measured over is 600 s long"),
            "{refused}"
        );
    }
}
