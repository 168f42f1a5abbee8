//! Where Backstop's readings come from: queries to Prometheus and to web services, answered as typed
//! readings, and health that is asked for.
//!
//! A source answers every question with a [`Reading`]: a number, or the reason why there is none. It
//! never fails otherwise, so that a trigger cannot mistake an error for a value.
//!
//! ```no_run
//! use backstop_sources::{AllowList, Credentials, Endpoint, InstantQuery, Limits, Querier};
//!
//! # async fn ask() -> Result<(), Box<dyn std::error::Error>> {
//! let allowed = AllowList::new(None, ["https://*.monitoring.svc:9090"])?;
//! let endpoint = Endpoint {
//!     address: allowed.check("https://prom.monitoring.svc:9090")?,
//!     credentials: Credentials::none(),
//! };
//! let querier = Querier::new(Limits::default(), |took: std::time::Duration, outcome| {
//!     println!("{outcome} after {took:?}");
//! });
//! let now = jiff::Timestamp::now();
//! let reading = querier.query(&endpoint, &InstantQuery::new("sum(up)"), now).await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Reading`]: backstop_engine::reading::Reading

mod address;
mod credentials;
pub mod http;
mod outcome;
mod probe;
mod prometheus;
mod querier;
mod web;

pub use address::{Address, AddressError, AllowList, WebAddress};
pub use credentials::{Credentials, CredentialsError};
pub use outcome::{Observer, Outcome};
pub use probe::Prober;
pub use prometheus::{
    Endpoint, InstantQuery, LARGEST_ANSWER, MOST_TIMES, PrometheusClient, RangeQuery,
};
pub use querier::{Limits, Querier};
pub use web::{LARGEST_WEB_ANSWER, WebQuery};
