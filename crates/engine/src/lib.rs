//! The pure part of Backstop: validating, judging triggers, deciding and planning.
//!
//! Nothing here does I/O, reads a clock or draws a random number: `now` is a parameter, and what the
//! cluster looks like is a plain value.

pub mod query;
pub mod reading;
