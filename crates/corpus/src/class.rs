//! The kinds of things that happen around a release.

/// What a trace is about. Most have good and bad releases: what happens is no sign of a bad release by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing happens.
    GoodRelease,
    /// Memory grows without end; the good ones fill a cache.
    SlowLeak,
    /// More requests fail from one moment on; with the good ones a few more.
    StepError,
    /// Answers take longer from one moment on; with the good ones a little longer.
    LatencyShift,
    /// Hardly any requests; of the good ones some fail by chance.
    LowTraffic,
    /// Prometheus could not scrape for minutes.
    Gaps,
    /// Nobody asks for minutes, so that ratios are 0 / 0.
    NotANumber,
    /// The release comes at another time of the day than the one before proved itself at.
    DayAndNight,
    /// Another program slows some of the pods down, the release's and others, for some minutes.
    NoisyNeighbour,
    /// All workloads fail at once, for some minutes. Good releases are not to blame for it; bad ones fail beside it.
    EverythingDown,
    /// Pods restart, and their counters begin at 0 again.
    CounterReset,
    /// The release gets 1 % of the requests, beside the release before.
    SmallCanary,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::GoodRelease,
        Self::SlowLeak,
        Self::StepError,
        Self::LatencyShift,
        Self::LowTraffic,
        Self::Gaps,
        Self::NotANumber,
        Self::DayAndNight,
        Self::NoisyNeighbour,
        Self::EverythingDown,
        Self::CounterReset,
        Self::SmallCanary,
    ];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::GoodRelease => "good release",
            Self::SlowLeak => "slow leak",
            Self::StepError => "step error",
            Self::LatencyShift => "latency shift",
            Self::LowTraffic => "low traffic",
            Self::Gaps => "gaps",
            Self::NotANumber => "NaN",
            Self::DayAndNight => "day and night",
            Self::NoisyNeighbour => "noisy neighbour",
            Self::EverythingDown => "everything down",
            Self::CounterReset => "counter reset",
            Self::SmallCanary => "canary of 1 %",
        }
    }

    /// Whether there are bad releases of this class.
    pub fn has_bad(self) -> bool {
        self != Self::GoodRelease
    }
}
