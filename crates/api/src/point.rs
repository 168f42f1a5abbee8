//! RollbackPoint: a release that proved itself, or the record of one that failed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{condition::Condition, config::ConfigRef, policy::WorkloadRef, schema};

/// A release that proved itself, or the record of one that failed.
///
/// A person who names the live release good writes `workload` alone; Backstop fills in the rest.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "backstop.dev",
    version = "v1alpha1",
    kind = "RollbackPoint",
    namespaced,
    status = "RollbackPointStatus",
    derive = "PartialEq",
    shortname = "rbpt",
    category = "backstop",
    cel,
    doc = "A RollbackPoint is a release that proved itself, or the record of one that failed.",
    selectable = ".spec.workload.name",
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.workload.name"),
    printcolumn(name = "Release", type_ = "string", json_path = ".spec.release.hash"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".spec.verdict"),
    printcolumn(name = "Origin", type_ = "string", json_path = ".spec.origin"),
    printcolumn(
        name = "Image",
        type_ = "string",
        json_path = ".spec.release.workloads[0].images[0].image"
    ),
    printcolumn(
        name = "Floor",
        type_ = "string",
        json_path = ".spec.release.floor",
        priority = "1"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".spec.reason",
        priority = "1"
    ),
    printcolumn(
        name = "Captured",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Captured\")].status",
        priority = "1"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.workload == oldSelf.workload && self.verdict == oldSelf.verdict && self.origin == oldSelf.origin")
        .message("a RollbackPoint is immutable; delete it and make another"),
    validation = Rule::new("has(self.measuredOf) == has(oldSelf.measuredOf) && (!has(self.measuredOf) || self.measuredOf == oldSelf.measuredOf)")
        .message("measuredOf is immutable; delete the point and make another"),
    validation = Rule::new("!has(oldSelf.release) || (has(self.release) && self.release == oldSelf.release)")
        .message("release is immutable once it is filled; delete the point and make another"),
    validation = Rule::new("self.verdict != 'Quarantined' || has(self.release)")
        .message("a Quarantined record names the release that failed; only Backstop makes one"),
)]
pub struct RollbackPointSpec {
    /// The Deployment of this namespace.
    pub workload: WorkloadRef,
    /// Where the point comes from.
    #[serde(default)]
    pub origin: Origin,
    /// Whether the release may be gone back to.
    #[serde(default)]
    pub verdict: Verdict,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// The release. Only Backstop fills it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// Identity of the release that the baselines were measured of, as `status.askedAbout.release` of the policy says
    /// it. Backstop fills in no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub measured_of: Option<String>,
    /// The value of each trigger when the release proved itself, by the trigger's name: the middle of
    /// what was measured, and of a ratio the share that is bad at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub baselines: BTreeMap<String, f64>,
    /// What those values come from, by the trigger's name. A baseline without it is taken as it is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub distributions: BTreeMap<String, Distribution>,
}

/// What a trigger measured while a release proved itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Distribution {
    /// How many samples; of a ratio, how many were counted in all.
    pub count: u64,
    /// Their mean; of a ratio, the share that was bad.
    pub mean: f64,
    /// Their standard deviation.
    #[serde(default)]
    pub deviation: f64,
    /// The value below which 5 % of them are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p5: Option<f64>,
    /// The one in the middle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median: Option<f64>,
    /// The value below which 95 % of them are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
    /// The samples themselves, oldest first: the newest 60 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 60))]
    pub samples: Vec<f64>,
    /// The time of the oldest sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// The time of the newest sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

/// Where a point comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Origin {
    /// It was healthy for the policy's `soak`.
    Soak,
    /// A person named it good.
    #[default]
    Manual,
    /// A pipeline named it good.
    Pipeline,
    /// It failed, and was taken back.
    Quarantine,
}

/// Whether a release may be gone back to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// It may.
    #[default]
    Good,
    /// It failed, and may not. Outranks a Good point of the same release.
    Quarantined,
}

/// A release as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Identity: a hash of the pod template, without what says nothing about it; where a release is
    /// more than that, of all that it is.
    pub hash: String,
    /// The Deployments of the policy, in its order.
    #[schemars(length(min = 1, max = 8))]
    pub workloads: Vec<WorkloadRelease>,
    /// For BlueGreen: the Deployment that was live, and what the Service selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Stack>,
    /// Why this release must not be gone behind, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<String>,
    /// The ConfigMaps and Secrets that its templates reference. Their contents lie beside the point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub config: Vec<ConfigRef>,
}

impl Release {
    /// What it holds of a Deployment.
    #[must_use]
    pub fn workload(&self, name: &str) -> Option<&WorkloadRelease> {
        self.workloads.iter().find(|w| w.name == name)
    }
}

/// A Deployment as it was in a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRelease {
    /// The name of the Deployment.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// A hash of its pod template, without what says nothing about the release.
    pub hash: String,
    /// The pod template as the server returned it.
    #[schemars(schema_with = "schema::any_object")]
    pub template: Value,
    /// How many replicas were wanted then. Where a stack or a canary stands idle, it is what it is
    /// scaled up to; it is never restored over an autoscaler.
    pub replicas: i32,
    /// The images, with the digest that ran where the node told it.
    #[serde(default)]
    pub images: Vec<Image>,
    /// The Deployment's revision then: for people; an undo moves it, so it is never identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Who owned the template's fields then.
    #[serde(default)]
    pub ownership: Ownership,
}

/// What a Service selected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stack {
    /// The Deployment that was live.
    pub workload: String,
    /// The selector of the Service.
    pub selector: BTreeMap<String, String>,
}

/// Who owned the fields of the pod template, so that ownership can be handed back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ownership {
    /// The managedFields entries, cut to the template and to kubectl's last-applied annotation.
    #[serde(default)]
    #[schemars(schema_with = "schema::any_objects")]
    pub managed_fields: Vec<Value>,
    /// The pod template within kubectl's last-applied annotation, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub last_applied_template: Option<Value>,
}

/// An image of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The container.
    pub container: String,
    /// The image as the template names it.
    pub image: String,
    /// The image that ran, with its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What Backstop says of a point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackPointStatus {
    /// `Captured`: whether the release is recorded, and if not, what stands in the way. `ConfigCaptured`,
    /// where it is False: which ConfigMaps and Secrets are not kept with it, and why. `Reproducible`, from where it was
    /// False once: whether the images are still those that proved themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// When the release was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured_at: Option<Timestamp>,
    /// The key with which its Secrets are encrypted now, once they were encrypted anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_key: Option<String>,
}
