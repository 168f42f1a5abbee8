//! The end-to-end tests, in one program: they share one cluster, and mostly wait.

mod admission;
mod admission_events;
mod cannot_start;
mod chart;
mod chart_upgrade;
mod config_store;
mod crds;
mod docs;
mod guards;
mod incidents;
mod metrics;
mod metrics_auth;
mod metrics_faults;
mod metrics_modes;
mod ownership;
mod people;
mod points;
mod restarts;
mod testenv;
mod testenv_traffic;
