//! Plans: what is done, in order. All choices are made here; none is left for the execution.

pub mod check;
mod rolling;

pub use rolling::rolling;
