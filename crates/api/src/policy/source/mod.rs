//! Where a trigger's value comes from: each kind of source in a file of its own.

mod prometheus;
mod vulnerability;
mod web;
mod workload;

pub use prometheus::{MinimumSamples, PrometheusSource};
pub use vulnerability::VulnerabilityLimits;
pub use web::{WebHeader, WebSource};
pub use workload::{Signal, WorkloadSource};
