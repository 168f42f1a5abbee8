//! What one kind of route looks like: an entry of the table.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pattern::Pattern;

/// One kind of route: where its lists of backends are, and what a weight means in them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provider {
    /// By what name it is chosen, such as `gateway-httproute`.
    pub name: String,
    /// The API group of its kind.
    pub group: String,
    /// The version that is read and written.
    pub version: String,
    /// The kind, such as `HTTPRoute`.
    pub kind: String,
    /// The kind's name in URLs and in RBAC, such as `httproutes`.
    pub plural: String,
    /// Where strings stand that hold JSON: then the rules are looked for in that JSON. A rule is called what the
    /// pattern's last `name*` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Pattern>,
    /// Whether the names of fields in that JSON may differ in case, as they may for programs written in Go.
    #[serde(default)]
    pub any_case: bool,
    /// Where the rules are. Each has one list of backends. Without it there is one rule, the whole object or text.
    #[serde(default)]
    pub rules: Pattern,
    /// Where in a rule its name is, if it can have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_name: Option<Pattern>,
    /// How a rule names its backends.
    pub backends: Backends,
    /// What a weight means.
    #[serde(default)]
    pub weights: Weighing,
    /// What else has to stand in the object, or its weights mean nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Requirement>,
}

/// How a rule names its backends. Paths begin at the rule, and those of a backend's fields at the backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "shape", deny_unknown_fields)]
pub enum Backends {
    /// A list of objects, each with a name and a weight.
    List {
        /// Where the list is.
        at: Pattern,
        /// Where a backend's name is.
        name: Pattern,
        /// Where its namespace is, if it can be in another one than the route.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<Pattern>,
        /// Where the subset is that tells two backends of one name apart.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subset: Option<Pattern>,
        /// Whether the name is a host, which may be short (`web`) or whole (`web.shop.svc.cluster.local`).
        #[serde(default)]
        host: bool,
        /// The field of its weight.
        weight: String,
    },
    /// An object whose fields are called like the backends and hold their weights.
    Map {
        /// Where the object is.
        at: Pattern,
    },
    /// One number, as text, that is the canary's share in percent. What is left is the stable side's, which stands in
    /// another object.
    Share {
        /// Where the number is.
        at: Pattern,
        /// Where the object names its backend, which has to be the canary everywhere.
        backend: Pattern,
    },
}

/// What a weight means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Weighing {
    /// What counts where there is none.
    #[serde(default = "one")]
    pub default: u32,
    /// The largest that there may be.
    #[serde(default = "a_million")]
    pub maximum: u32,
    /// What the weights of a list add up to.
    #[serde(default)]
    pub sum: Sum,
    /// Who gets traffic when all weights of a list are 0.
    #[serde(default)]
    pub all_zero: AllZero,
}

impl Default for Weighing {
    fn default() -> Self {
        Self {
            default: one(),
            maximum: a_million(),
            sum: Sum::default(),
            all_zero: AllZero::default(),
        }
    }
}

fn one() -> u32 {
    1
}

fn a_million() -> u32 {
    1_000_000
}

/// What the weights of a list add up to. Backstop itself always writes 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sum {
    /// Anything: they are relative.
    #[default]
    Any,
    /// 100, or the route is not valid.
    Hundred,
}

/// Who gets traffic when all weights of a list are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AllZero {
    /// Nobody: requests fail.
    #[default]
    Nobody,
    /// All of them the same.
    Even,
}

/// What else has to stand in an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requirement {
    /// Where.
    pub at: Pattern,
    /// What.
    pub value: Value,
    /// Whether it may be missing as well.
    #[serde(default)]
    pub optional: bool,
}

impl Provider {
    /// The `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}
