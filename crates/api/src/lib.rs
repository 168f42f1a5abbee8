//! The resources of Backstop (group `backstop.dev`, version `v1alpha1`).
//!
//! - [`RollbackPolicy`] says what to watch on which workload, and what to do about it.
//! - [`RollbackPoint`] is a release that proved itself, or the record of one that failed.
//! - [`RollbackEvent`] is one rollback: write-ahead log, work item and audit record at once.
//!
//! This crate has no client: it is what the engine, the controller and the command line share.
//!
//! ```
//! use backstop_api::RollbackPolicy;
//!
//! let policy: RollbackPolicy = serde_json::from_value(serde_json::json!({
//!     "apiVersion": "backstop.dev/v1alpha1",
//!     "kind": "RollbackPolicy",
//!     "metadata": {"name": "web"},
//!     "spec": {
//!         "workloads": [{"name": "web"}],
//!         "triggers": [{"name": "cannot-start", "workload": {"signals": ["CrashLoopBackOff"]}}],
//!     },
//! }))
//! .unwrap();
//! assert_eq!(policy.spec.window.to_string(), "10m0s");
//! ```

#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a type_ and a json_path"
)]

pub mod audit;
pub mod condition;
pub mod config;
pub mod duration;
pub mod event;
pub mod names;
pub mod notification;
pub mod point;
pub mod policy;
mod schema;
pub mod text;

pub use condition::Condition;
pub use duration::Duration;
pub use event::{RollbackEvent, RollbackEventSpec, RollbackEventStatus};
pub use point::{RollbackPoint, RollbackPointSpec, RollbackPointStatus};
pub use policy::{RollbackPolicy, RollbackPolicySpec, RollbackPolicyStatus};

/// The API group of every resource here.
pub const GROUP: &str = "backstop.dev";
/// The version of every resource here.
pub const VERSION: &str = "v1alpha1";
