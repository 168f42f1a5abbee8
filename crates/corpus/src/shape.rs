//! From which ranges the traces of a corpus are drawn.

/// A range: the lowest and the highest value.
pub type Range = (f64, f64);

/// The ranges of a corpus.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Seconds between two scrapes.
    pub scrape: i64,
    /// Pods of a release.
    pub pods: Range,
    /// Requests per second, of all pods.
    pub rate: Range,
    /// The same where there is little traffic.
    pub low_rate: Range,
    /// The same of both sides beside a canary of 1 %.
    pub canary_rate: Range,
    /// The share of requests that always fails.
    pub errors: Range,
    /// The middle of the latencies, in seconds.
    pub latency: Range,
    /// How narrow the latencies are: the exponent of their log-logistic distribution.
    pub narrow: Range,
    /// The share of requests that fails from the step on, of a bad release.
    pub step: Range,
    /// How many times longer answers take, of a bad release.
    pub slower: Range,
    /// How many times its memory a bad release takes after half an hour.
    pub leak: Range,
    /// How much more traffic there is by day than by night, in times.
    pub day: Range,
    /// Seconds after the first ready pod in which a bad release becomes bad.
    pub onset: Range,
}

impl Shape {
    /// The corpus that policies and the engine may be tuned to.
    pub fn tuning() -> Self {
        Self {
            scrape: 15,
            pods: (3.0, 6.0),
            rate: (20.0, 300.0),
            low_rate: (0.01, 0.1),
            canary_rate: (200.0, 1000.0),
            errors: (0.0, 0.005),
            latency: (0.03, 0.3),
            narrow: (3.0, 5.0),
            step: (0.08, 0.4),
            slower: (1.9, 4.0),
            leak: (2.0, 4.0),
            day: (2.0, 6.0),
            onset: (0.0, 600.0),
        }
    }

    /// Other applications, scraped otherwise, and smaller steps. Policies and the engine were looked at with it since, so
    /// it is no longer one that nothing is tuned to.
    pub fn others() -> Self {
        Self {
            scrape: 10,
            pods: (2.0, 12.0),
            rate: (5.0, 800.0),
            low_rate: (0.005, 0.3),
            canary_rate: (100.0, 3000.0),
            errors: (0.0, 0.015),
            latency: (0.005, 1.0),
            narrow: (2.0, 7.0),
            step: (0.06, 0.9),
            slower: (1.7, 6.0),
            leak: (1.8, 6.0),
            day: (1.5, 12.0),
            onset: (0.0, 900.0),
        }
    }

    /// The corpus that was drawn up last, after every figure of the policy and of the engine had been settled. Those
    /// before it found what was wrong (see `docs/benchmarks.md`), so they had served their time.
    pub fn afterwards() -> Self {
        Self {
            scrape: 13,
            pods: (2.0, 20.0),
            rate: (4.0, 1500.0),
            low_rate: (0.006, 0.2),
            canary_rate: (100.0, 4000.0),
            errors: (0.0, 0.014),
            latency: (0.002, 2.0),
            narrow: (2.1, 8.0),
            step: (0.06, 0.95),
            slower: (1.7, 8.0),
            leak: (1.8, 8.0),
            day: (1.2, 20.0),
            onset: (0.0, 900.0),
        }
    }
}
