//! Where a trigger's value comes from: each kind of source in a file of its own.

mod alert;
mod probe;
mod prometheus;
mod ratio;
mod resource;
mod vulnerability;
mod web;
mod workload;

pub use alert::{AlertHeartbeat, AlertMatcher, AlertSource, MatchType};
pub use probe::{GrpcProbe, HttpProbe, Port, ProbeMeasure, ProbeScheme, ProbeSource};
pub use prometheus::{MinimumSamples, PrometheusSource};
pub use ratio::Ratio;
pub use resource::{Aggregate, ResourceMeasure, ResourceName, ResourceSource};
pub use vulnerability::VulnerabilityLimits;
pub use web::{WebHeader, WebSource};
pub use workload::{Signal, WorkloadSource};
