//! The pure part of Backstop: validating, judging triggers, deciding and planning.
//!
//! Nothing here does I/O, reads a clock or draws a random number: `now` is a parameter, and what the
//! cluster looks like is a plain value, the [`Snapshot`](snapshot::Snapshot).
//!
//! A policy is parsed once into a [`ValidPolicy`](policy::ValidPolicy). From then on everything goes
//! through [`decide`](decide::decide):
//!
//! ```text
//! track the release -> judge the triggers -> health -> the rollback that is under way, or
//! guards -> target -> a new rollback -> what to say
//! ```

pub mod condition;
pub mod config;
pub mod decide;
pub mod gitops;
pub mod gradual;
pub mod guards;
pub mod health;
pub mod incident;
pub mod json_path;
pub mod lifecycle;
pub mod ownership;
pub mod plan;
pub mod policy;
pub mod quarantine;
pub mod query;
pub mod reading;
pub mod release;
pub mod rollout;
pub mod snapshot;
pub mod state;
pub mod subject;
pub mod target;
pub mod track;
pub mod trigger;
pub mod web;
