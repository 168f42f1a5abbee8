//! One workload's world with a simulated clock: its Deployment, persons, Prometheus, an executor
//! that may crash, and a shell that decides on pictures that may be old.
//!
//! Nothing here sleeps or draws numbers of its own: all chance comes out of the schedule, so every
//! run can be repeated and shrunk.

pub mod campaign;
pub mod chance;
mod drills;
pub mod executor;
mod liveness;
pub mod metrics;
pub mod monitor;
pub mod people;
pub mod policy;
pub mod schedule;
pub mod shell;
pub mod world;

use jiff::Timestamp;

/// The name of the Deployment.
pub const WORKLOAD: &str = "web";
/// The name of the policy.
pub const POLICY: &str = "web-policy";
/// How long a tick of the clock is, in seconds.
pub const TICK: i64 = 5;
/// How far back the queries look, in seconds.
pub const RANGE: i64 = 10;
/// After so many seconds without progress the Deployment controller says so.
pub const PROGRESS_DEADLINE: i64 = 60;

/// Seconds after the beginning, as a time.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

/// The identity of release number `index`.
pub fn hash(index: usize) -> String {
    format!("r{index}")
}
