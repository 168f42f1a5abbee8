//! Black-box tests of Backstop against a real API server, and what they share.

pub mod alerts;
pub mod chart;
pub mod check;
pub mod cli;
pub mod crds;
pub mod figures;
pub mod frozen;
pub mod gitops;
pub mod gitops_objects;
pub mod inside;
pub mod install;
pub mod metrics;
pub mod moments;
pub mod operator;
pub mod people;
pub mod presets;
pub mod raw;
pub mod real;
pub mod receiver;
pub mod refusal;
pub mod reports;
pub mod shared_out;
pub mod stage;
pub mod strategies;
pub mod world;

pub use install::{Operator, install};
