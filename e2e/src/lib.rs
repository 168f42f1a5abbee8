//! Black-box tests of Backstop against a real API server, and what they share.

pub mod chart;
pub mod crds;
pub mod install;
pub mod metrics;
pub mod moments;
pub mod operator;
pub mod people;
pub mod raw;
pub mod real;
pub mod receiver;
pub mod reports;
pub mod shared_out;
pub mod stage;
pub mod strategies;
pub mod world;

pub use install::{Operator, install};
