//! Where a trigger's value comes from: each kind of source in a file of its own.

mod alert;
mod prometheus;
mod vulnerability;
mod web;
mod workload;

pub use alert::{AlertHeartbeat, AlertMatcher, AlertSource, MatchType};
pub use prometheus::{MinimumSamples, PrometheusSource};
pub use vulnerability::VulnerabilityLimits;
pub use web::{WebHeader, WebSource};
pub use workload::{Signal, WorkloadSource};
