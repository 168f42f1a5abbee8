//! The pure part of Backstop: validating, judging triggers, deciding and planning.
//!
//! Nothing here does I/O, reads a clock or draws a random number: `now` is a parameter, and what the
//! cluster looks like is a plain value, the [`Snapshot`](snapshot::Snapshot).
//!
//! A policy is parsed once into a [`ValidPolicy`](policy::ValidPolicy). From then on everything goes
//! through [`decide`](decide::decide):
//!
//! ```text
//! track the release -> judge the triggers -> compare with peers -> health -> the rollback that is under way, or
//! guards -> target -> a new rollback -> what to say
//! ```

mod aggregate;
pub mod alert;
pub mod baseline;
pub mod compare;
pub mod condition;
pub mod config;
pub mod daily;
pub mod decide;
pub mod freeze;
pub mod gates;
pub mod gitops;
pub mod gradual;
pub mod guards;
pub mod health;
pub mod hysteresis;
pub mod image;
pub mod incident;
pub mod json_path;
pub mod lifecycle;
pub mod monitored;
pub mod overrides;
pub mod ownership;
pub mod peers;
pub mod plan;
pub mod policy;
pub mod probe;
pub mod quarantine;
pub mod query;
pub mod reading;
pub mod release;
pub mod resource;
pub mod rollout;
pub mod score;
pub mod snapshot;
pub mod state;
pub mod statistics;
pub mod strategy;
pub mod subject;
pub mod tally;
pub mod target;
pub mod track;
pub mod trigger;
pub mod votes;
pub mod vulnerability;
pub mod web;
