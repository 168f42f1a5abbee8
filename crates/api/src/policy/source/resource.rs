//! What a release's pods use of CPU and memory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The CPU or memory that the pods of the release use, as `metrics.k8s.io` tells it: what
/// `kubectl top pod` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSource {
    /// What is used.
    pub name: ResourceName,
    /// What it is measured by.
    #[serde(default)]
    pub of: ResourceMeasure,
    /// One number from those of several pods; `Average` unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Aggregate>,
    /// One container of each pod; all of them unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
}

/// What is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResourceName {
    /// Processor time.
    Cpu,
    /// The working set of memory.
    Memory,
}

/// What use is measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ResourceMeasure {
    /// Nothing else: CPU in cores, memory in MB (1,000,000 bytes), of all containers of a pod
    /// together.
    #[default]
    Usage,
    /// The container's request, as a share: 1 is all of it. The highest of a pod's containers.
    Request,
    /// The container's limit, as a share: 1 is all of it. The highest of a pod's containers.
    Limit,
}

/// One number from those of several pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Aggregate {
    /// The highest: one pod is enough.
    Max,
    /// The mean.
    Average,
    /// The lowest: all pods have at least that.
    Min,
}
