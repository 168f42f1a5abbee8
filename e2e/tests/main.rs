//! The end-to-end tests, in one program: they share one cluster, and mostly wait.

mod admission;
mod admission_events;
mod blue_green;
mod canary;
mod cannot_start;
mod chart;
mod chart_upgrade;
mod crds;
mod docs;
mod guards;
mod incidents;
mod kills;
mod metrics;
mod metrics_auth;
mod metrics_faults;
mod metrics_modes;
mod ownership;
mod people;
mod points;
mod replicas;
mod restarts;
mod routes;
mod several;
mod testenv;
mod testenv_traffic;
