//! The fixtures: for each provider one route, and what is known of it.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use backstop_traffic::{Percent, Provider, Route, RouteError, Selection, Table};
use serde::Deserialize;
use serde_json::Value;

/// One provider's fixture.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The provider, which the file is called after.
    #[serde(skip)]
    pub name: String,
    /// What is asked for.
    pub selection: Selection,
    /// The weights as they stand, by place, the stable side's first.
    pub found: Vec<[Option<u32>; 2]>,
    /// The canary's share, where the weights do not say it by themselves.
    pub share: Option<u8>,
    /// What stands where, once the canary has 25 %.
    pub after25: BTreeMap<String, Value>,
    /// Ways to break the route.
    pub refused: Vec<Broken>,
    /// The route.
    pub object: Value,
}

/// A way to break a route.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broken {
    /// What is broken.
    pub name: String,
    /// How.
    pub patch: json_patch::Patch,
    /// Where the error has to point.
    pub field: String,
    /// A part of what it has to say.
    pub says: String,
}

impl Case {
    /// Its provider.
    pub fn provider(&self) -> &'static Provider {
        static TABLE: LazyLock<Table> = LazyLock::new(Table::builtin);
        TABLE.get(&self.name).unwrap()
    }

    /// Reads some form of its object.
    pub fn read<'a>(&self, object: &'a Value) -> Result<Route<'a>, RouteError> {
        Route::read(self.provider(), &self.selection, object)
    }

    /// Reads what has to be readable.
    pub fn route<'a>(&self, object: &'a Value) -> Route<'a> {
        self.read(object)
            .unwrap_or_else(|error| panic!("{}: {error}\n{object:#}", self.name))
    }

    /// The object after the canary got a share.
    pub fn shifted(&self, share: u8) -> Value {
        patched(&self.object, self.route(&self.object).shift(percent(share)))
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The names of the fixtures.
pub fn names() -> BTreeSet<String> {
    let files = std::fs::read_dir(folder()).unwrap();
    files
        .map(|file| file.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// All fixtures.
pub fn cases() -> &'static [Case] {
    static CASES: LazyLock<Vec<Case>> = LazyLock::new(load);
    &CASES
}

fn load() -> Vec<Case> {
    names()
        .into_iter()
        .map(|name| {
            let text = std::fs::read_to_string(folder().join(format!("{name}.yaml"))).unwrap();
            let case: Case =
                serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            Case { name, ..case }
        })
        .collect()
}

/// A share that is one.
pub fn percent(number: u8) -> Percent {
    Percent::try_from(number).unwrap()
}

/// An object after a patch, as the API server would apply it.
pub fn patched(object: &Value, patch: Vec<Value>) -> Value {
    let mut object = object.clone();
    apply(&mut object, patch).unwrap();
    object
}

/// Applies a patch, or leaves the object as it is.
pub fn apply(object: &mut Value, patch: Vec<Value>) -> Result<(), json_patch::PatchError> {
    let patch: json_patch::Patch = serde_json::from_value(patch.into()).unwrap();
    json_patch::patch(object, &patch)
}
