//! The labels of our own metrics. Each has a closed set of values, or one that is bounded by the number of policies.

use prometheus_client::encoding::EncodeLabelSet;

/// A call to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Call {
    /// What is done, such as `patch deployment`: a closed set.
    pub operation: &'static str,
    /// How it ended: a closed set.
    pub result: &'static str,
}

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ended {
    /// One of the phases that end a rollback.
    pub phase: String,
    /// One of the outcomes.
    pub outcome: String,
}

/// A query's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answer {
    /// What came back: a closed set.
    pub outcome: &'static str,
}

/// What came of asking for health.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Probed {
    /// A closed set.
    pub result: &'static str,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StepDone {
    /// Which step.
    pub step: String,
    /// How it ended.
    pub state: String,
}

/// A policy: their number is bounded by whoever may create them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfPolicy {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub policy: String,
}

/// Who put a release back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PutBack {
    /// One of the GitOps tools, or `other`.
    pub tool: String,
}

/// An attempt to export spans.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Exported {
    /// `sent`, or why not: a closed set.
    pub outcome: &'static str,
}

/// An attempt to tell somebody.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Told {
    /// The kind of channel: a closed set.
    pub channel_kind: &'static str,
    /// `sent`, or why not: a closed set.
    pub outcome: &'static str,
}

/// A reconciler.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reconciler {
    /// `policy`, `event` or `point`.
    pub kind: &'static str,
}

/// Rollbacks, by how far they have come.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Stands {
    /// One of the phases.
    pub phase: String,
}

/// Triggers, by state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Judged {
    /// One of the states.
    pub state: String,
}

/// Policies, by the health of what they look after.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Does {
    /// One of the kinds of health.
    pub health: String,
}

/// A post of alerts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Post {
    /// How it ended: a closed set.
    pub result: &'static str,
}
