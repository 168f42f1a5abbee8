//! RollbackPolicy: what to watch on which workload, and what to do about it.

mod affected;
mod baseline;
mod decision;
mod gates;
mod gitops;
mod notification;
mod peers;
mod record;
mod source;
mod spec;
mod status;
mod strategy;
mod trigger;
mod window;

pub use affected::AffectedUsersQuery;
pub use baseline::{BaselineFrom, BaselineSource, Classification, Comparison, Direction};
pub use decision::{DecisionRules, Require, Vote};
pub use gates::{
    BaselineGate, Freeze, FreezeWindow, Frozen, Gates, GatesStatus, Once, VulnerableImage, Weekday,
    Weekly,
};
pub use gitops::{GitOps, OnConflict};
pub use notification::{
    Channel, EmailChannel, MailAddress, MailSecurity, MessageTemplate, PagerDutyChannel,
    SlackChannel, TeamsChannel, WebhookChannel,
};
pub use peers::Peers;
pub use record::{CountedUntil, DailyCounts, Figures, Monitored, ReleaseVerdict, ScoreAt, Trend};
pub use source::{
    Aggregate, AlertHeartbeat, AlertMatcher, AlertSource, GrpcProbe, HttpProbe, MatchType,
    MinimumSamples, Port, ProbeMeasure, ProbeScheme, ProbeSource, PrometheusSource, Ratio,
    ResourceMeasure, ResourceName, ResourceSource, Signal, VulnerabilityLimits, WebHeader,
    WebSource, WorkloadSource,
};
pub use spec::{Limits, Mode, Points, RollbackPolicy, RollbackPolicySpec, WorkloadRef};
pub use status::{
    AskedAbout, Health, Override, PeersStatus, Phase, QuarantinedTemplate, ReleaseStatus,
    RollbackPolicyStatus, SuspendState, Suspended, Tally, TallyStart, TriggerState, TriggerStatus,
};
pub use strategy::{
    BackendParameters, BlueGreenParameters, CanaryParameters, DeploymentName, IntOrPercent,
    IsolateParameters, Isolation, RollingParameters, RouteParameters, ScaleParameters, Strategy,
    StrategyType,
};
pub use trigger::{Action, NoDataPolicy, Severity, Trigger};
pub use window::Window;
