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

    /// The corpus that nothing is tuned to: other applications, scraped otherwise, and smaller steps.
    pub fn held_out() -> Self {
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

    /// The corpus that was drawn up last, after every figure of the policy and of the engine had been settled.
    pub fn afterwards() -> Self {
        Self {
            scrape: 20,
            pods: (2.0, 20.0),
            rate: (8.0, 1500.0),
            low_rate: (0.008, 0.2),
            canary_rate: (120.0, 2000.0),
            errors: (0.0, 0.01),
            latency: (0.002, 2.0),
            narrow: (2.5, 8.0),
            step: (0.07, 0.6),
            slower: (1.8, 5.0),
            leak: (1.9, 5.0),
            day: (1.2, 20.0),
            onset: (0.0, 700.0),
        }
    }
}
