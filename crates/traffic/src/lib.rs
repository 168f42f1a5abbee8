//! Reads and writes the weights of two backends in a team's own route.
//!
//! Kinds of routes differ in where their lists of backends are, what a backend is called there, and what a weight
//! means. That is data, a [`Provider`]; the [`Table`] has those that are known, and a user can add more. Everything
//! else is the same for all: [`Route::read`] finds the weights, [`Route::shift`] and [`Route::restore`] make a JSON
//! Patch. Nothing here does I/O.
//!
//! ```
//! use backstop_traffic::{Percent, Route, Selection, Table};
//! use serde_json::json;
//!
//! let object = json!({
//!     "apiVersion": "gateway.networking.k8s.io/v1",
//!     "kind": "HTTPRoute",
//!     "metadata": {"name": "web", "namespace": "shop"},
//!     "spec": {"rules": [{"backendRefs": [
//!         {"name": "web", "port": 80, "weight": 75},
//!         {"name": "web-canary", "port": 80, "weight": 25},
//!     ]}]},
//! });
//! let table = Table::builtin();
//! let provider = table.get("gateway-httproute")?;
//! let route = Route::read(provider, &Selection::new("web", "web-canary"), &object)?;
//! let before = route.weights().clone();
//! assert_eq!(before.percent().get(), 25);
//!
//! let patch = route.shift(Percent::NONE);
//! assert_eq!(patch[0]["op"], "test");
//! assert_eq!(patch[1]["path"], "/spec/rules/0/backendRefs/0/weight");
//! assert_eq!(patch[1]["value"], 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backends;
mod document;
mod error;
mod pattern;
mod provider;
mod providers;
mod reading;
mod route;
mod rules;
mod selection;
mod table;
mod weights;

pub use error::{Problem, RouteError, UnknownProvider};
pub use pattern::{Pattern, PatternError};
pub use provider::{AllZero, Backends, Provider, Requirement, Sum, Weighing};
pub use route::Route;
pub use selection::{Backend, Percent, PercentError, Rule, Selection};
pub use table::Table;
pub use weights::{At, Place, Weight, Weights};
