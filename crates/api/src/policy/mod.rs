//! RollbackPolicy: what to watch on which workload, and what to do about it.

mod gates;
mod notification;
mod source;
mod spec;
mod status;
mod strategy;
mod trigger;
mod window;

pub use gates::{
    BaselineGate, Freeze, FreezeWindow, Frozen, Gates, GatesStatus, Once, VulnerableImage, Weekday,
    Weekly,
};
pub use notification::{
    Channel, EmailChannel, MailAddress, MailSecurity, MessageTemplate, PagerDutyChannel,
    SlackChannel, TeamsChannel, WebhookChannel,
};
pub use source::{
    MinimumSamples, PrometheusSource, Signal, VulnerabilityLimits, WebHeader, WebSource,
    WorkloadSource,
};
pub use spec::{Limits, Mode, Points, RollbackPolicy, RollbackPolicySpec, WorkloadRef};
pub use status::{
    Health, Override, Phase, QuarantinedTemplate, ReleaseStatus, RollbackPolicyStatus,
    TriggerState, TriggerStatus,
};
pub use strategy::{
    BackendParameters, BlueGreenParameters, CanaryParameters, DeploymentName, IntOrPercent,
    IsolateParameters, Isolation, RollingParameters, RouteParameters, ScaleParameters, Strategy,
    StrategyType,
};
pub use trigger::{Action, NoDataPolicy, Severity, Trigger};
pub use window::Window;
