//! Traces of releases of which it is known whether they are bad, and since when; and what the engine makes of them.
//!
//! A [`Trace`](trace::Trace) is what Prometheus would have scraped around one release: of the release's own pods, of
//! the release before and of other workloads. It comes out of a seed and a [`Shape`](shape::Shape), so the same ones
//! can be made again. [`replay`] lets the engine live through it by a simulated clock, and [`reference`] judges the
//! same measurements by the rules of others.
//!
//! Everything here is pure: there is no clock, no network and no chance but that of the seed.
//!
//! ```
//! use backstop_corpus::{class::Class, generate::trace, replay::replay, shape::Shape};
//!
//! let bad = trace(Class::StepError, true, &Shape::tuning(), 1);
//! let verdict = replay(&bad).expect("the policy is valid");
//! assert!(verdict.taken_back_at >= bad.bad_since);
//! ```

pub mod class;
pub mod generate;
pub mod measure;
pub mod promql;
pub mod reference;
pub mod replay;
pub mod score;
pub mod shape;
pub mod trace;
