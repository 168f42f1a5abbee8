//! RollbackPolicy: what to watch on which workload, and what to do about it.

mod baseline;
mod gates;
mod source;
mod spec;
mod status;
mod strategy;
mod trigger;
mod window;

pub use baseline::{BaselineFrom, BaselineSource, Classification, Comparison, Direction};
pub use gates::{
    BaselineGate, Freeze, FreezeWindow, Frozen, Gates, GatesStatus, Once, VulnerableImage, Weekday,
    Weekly,
};
pub use source::{
    MinimumSamples, PrometheusSource, Ratio, Signal, VulnerabilityLimits, WebHeader, WebSource,
    WorkloadSource,
};
pub use spec::{Limits, Mode, Points, RollbackPolicy, RollbackPolicySpec, WorkloadRef};
pub use status::{
    Health, Override, Phase, QuarantinedTemplate, ReleaseStatus, RollbackPolicyStatus, Tally,
    TallyStart, TriggerState, TriggerStatus,
};
pub use strategy::{
    BackendParameters, BlueGreenParameters, CanaryParameters, DeploymentName, IntOrPercent,
    IsolateParameters, Isolation, RollingParameters, RouteParameters, ScaleParameters, Strategy,
    StrategyType,
};
pub use trigger::{Action, NoDataPolicy, Severity, Trigger};
pub use window::Window;
