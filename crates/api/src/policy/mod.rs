//! RollbackPolicy: what to watch on which workload, and what to do about it.

mod gitops;
mod source;
mod spec;
mod status;
mod strategy;
mod trigger;
mod window;

pub use gitops::{GitOps, OnConflict};
pub use source::{MinimumSamples, PrometheusSource, Signal, WebHeader, WebSource, WorkloadSource};
pub use spec::{Limits, Mode, Points, RollbackPolicy, RollbackPolicySpec, WorkloadRef};
pub use status::{
    Health, Phase, QuarantinedTemplate, ReleaseStatus, RollbackPolicyStatus, Suspended,
    TriggerState, TriggerStatus,
};
pub use strategy::{
    BackendParameters, BlueGreenParameters, CanaryParameters, DeploymentName, IntOrPercent,
    IsolateParameters, Isolation, RollingParameters, RouteParameters, ScaleParameters, Strategy,
    StrategyType,
};
pub use trigger::{Action, NoDataPolicy, Severity, Trigger};
pub use window::Window;
