//! The shell of Backstop: watches, reconcilers, executor, leader election, metrics.
//!
//! Three reconcilers, each a short pipeline:
//!
//! - [`policy`]: validate -> observe -> decide -> record -> say. The only one that decides.
//! - [`event`]: carries out the steps of a rollback that was decided, and tells how it ended.
//! - [`point`]: fills in the points that people make, and keeps as many as are wanted.
//!
//! Beside them, [`notify`] tells people, so that a channel that hangs holds up nothing else.
//!
//! Every call to the API server goes through [`calls`]: with a timeout, counted, and, where it
//! writes, only while this instance is the leader.

pub mod alerts;
pub mod audit;
mod cache;
pub mod calls;
mod check;
mod client;
pub mod config;
pub mod context;
pub mod event;
pub mod http;
pub mod leader;
mod merge;
pub mod metrics;
pub mod notify;
pub mod observe;
pub mod pause;
pub mod point;
pub mod policy;
mod retention;
pub mod run;
pub mod server;
pub mod settings;
mod standing;
pub mod telemetry;
pub mod tell;
mod union;

pub use check::check;
pub use run::run;
pub use settings::Settings;
