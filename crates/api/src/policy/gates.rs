//! Gates: what is asked before a release, and what Backstop says of it.

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VulnerabilityLimits;
use crate::duration::Duration;

/// What is asked before a new template of the policy's Deployments is let in.
///
/// In force in namespaces with the label `backstop.dev/gates: enforce`; with `warn` a release is let in
/// and whoever makes it is warned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gates {
    /// Images of which a report is known that is over these limits are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vulnerabilities: Option<VulnerabilityLimits>,
    /// Whether there must be something to compare a release with.
    #[serde(default)]
    pub baseline: BaselineGate,
    /// Times in which nothing is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Freeze>,
}

/// Whether there must be something to compare a release with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BaselineGate {
    /// A release may come at any time.
    #[default]
    Optional,
    /// A release is refused until the one before has proved itself, with the values that the triggers
    /// compare with; unless that one fails.
    Required,
}

/// Times in which nothing is released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Freeze {
    /// In which days and times of day are meant, as `Europe/Berlin`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// The windows.
    #[schemars(length(min = 1, max = 16))]
    pub windows: Vec<FreezeWindow>,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// A time in which nothing is released: one that comes back every week, or one that comes once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.weekly) != has(self.once)")
        .message("a window is either weekly or once: set one of them"),
)]
pub struct FreezeWindow {
    /// What it is called in refusals.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Why, for whoever is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub reason: Option<String>,
    /// Every week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<Weekly>,
    /// Once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<Once>,
}

/// A window that comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.for) >= duration('1m') && duration(self.for) <= duration('168h')")
        .message("weekly.for must be from 1m to 168h"),
)]
pub struct Weekly {
    /// On which days it begins; on every day where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    pub days: Vec<Weekday>,
    /// At which time of day it begins, as `16:30`.
    #[schemars(length(max = 5), regex(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub at: String,
    /// How long it lasts.
    #[serde(rename = "for")]
    pub for_: Duration,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// A window that comes once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("timestamp(self.from) < timestamp(self.until)")
        .message("once.until must be later than once.from"),
)]
pub struct Once {
    /// When it begins (RFC 3339).
    pub from: Timestamp,
    /// When it ends (RFC 3339).
    pub until: Timestamp,
}

/// What Backstop says of a policy's gates: what the API server holds new templates against.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatesStatus {
    /// Why a new template is refused for want of a baseline, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_baseline: Option<String>,
    /// The next windows in which nothing is released, the one that is open included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub freezes: Vec<Frozen>,
    /// Why nothing can be told of vulnerabilities, if so: every new template is refused then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_reports: Option<String>,
    /// The images that are refused, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub vulnerable_images: Vec<VulnerableImage>,
    /// How many further images are over the limits and do not fit in: they are not refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub further_vulnerable_images: u32,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes what it skips by reference"
)]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// A window in which nothing is released, with its times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Frozen {
    /// The window's name.
    pub name: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends; it ends by itself then, whether Backstop runs or not.
    pub until: Timestamp,
}

/// An image that is over the limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VulnerableImage {
    /// Registry and repository, as `docker.io/library/nginx`.
    pub repository: String,
    /// Its tag; empty where the report names none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// Its digest; empty where the report names none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Critical vulnerabilities.
    pub critical: u32,
    /// High vulnerabilities.
    pub high: u32,
    /// The VulnerabilityReport that says so.
    pub report: String,
}
