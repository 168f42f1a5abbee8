//! The table of providers: those that come with Backstop, and those that a user adds.

use std::collections::BTreeSet;

use backstop_engine::policy::FieldError;
use serde::Deserialize;

use crate::error::UnknownProvider;
use crate::provider::{Backends, Provider};
use crate::providers::BUILTIN;

/// Every provider that is known, each under a name of its own.
#[derive(Clone, Debug)]
pub struct Table {
    providers: Vec<Provider>,
}

/// The file in which a user adds providers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    providers: Vec<serde_json::Value>,
}

impl Table {
    /// Those that come with Backstop.
    pub fn builtin() -> Self {
        let providers = BUILTIN
            .iter()
            .map(|entry| serde_yaml_ng::from_str(entry).expect("a test reads each of them"))
            .collect();
        Self { providers }
    }

    /// These and more. A name that is taken is refused: an entry that comes with Backstop is not replaced.
    pub fn with(mut self, entries: Vec<Provider>) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        for (number, entry) in entries.into_iter().enumerate() {
            let at = format!("providers[{number}]");
            errors.extend(wrong(&at, &entry));
            if self.providers.iter().any(|other| other.name == entry.name) {
                errors.push(error(
                    format!("{at}.name"),
                    &entry.name,
                    "is taken; choose another name",
                ));
            }
            self.providers.push(entry);
        }
        if errors.is_empty() {
            Ok(self)
        } else {
            Err(errors)
        }
    }

    /// These and those of a YAML file with a list `providers`.
    pub fn with_file(self, text: &str) -> Result<Self, Vec<FieldError>> {
        let file: File = serde_yaml_ng::from_str(text).map_err(|problem| {
            vec![error(
                "providers".to_owned(),
                "the file",
                &format!("is no list of providers: {problem}"),
            )]
        })?;
        let (mut entries, mut errors) = (Vec::new(), Vec::new());
        for (number, value) in file.providers.into_iter().enumerate() {
            let shown = value["name"]
                .as_str()
                .unwrap_or("without a name")
                .to_owned();
            match serde_json::from_value(value) {
                Ok(entry) => entries.push(entry),
                Err(problem) => errors.push(error(
                    format!("providers[{number}]"),
                    &shown,
                    &format!("is no provider: {problem}"),
                )),
            }
        }
        if errors.is_empty() {
            self.with(entries)
        } else {
            Err(errors)
        }
    }

    /// The provider of this name.
    pub fn get(&self, name: &str) -> Result<&Provider, UnknownProvider> {
        self.iter()
            .find(|provider| provider.name == name)
            .ok_or_else(|| UnknownProvider {
                name: name.to_owned(),
                known: self.iter().map(|provider| provider.name.clone()).collect(),
            })
    }

    /// All of them, in the order in which they are tried and shown.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.providers.iter()
    }
}

fn error(field: String, value: &str, problem: &str) -> FieldError {
    FieldError {
        field,
        value: value.to_owned(),
        problem: problem.to_owned(),
    }
}

/// What is wrong with an entry that could be read.
fn wrong(at: &str, entry: &Provider) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut refuse = |field: &str, value: &str, problem: &str| {
        errors.push(error(format!("{at}.{field}"), value, problem));
    };
    let label = |text: &str| {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !text.is_empty() && text.len() <= 63 && text.bytes().all(fits)
    };
    if !label(&entry.name) {
        refuse(
            "name",
            &entry.name,
            "must be of lower-case letters, digits and '-', and 63 long at most",
        );
    }
    for (field, value) in [
        ("version", &entry.version),
        ("kind", &entry.kind),
        ("plural", &entry.plural),
    ] {
        if value.is_empty() {
            refuse(field, value, "must not be empty; see the kind's CRD");
        }
    }
    let mut plain = BTreeSet::new();
    if let Some(name) = &entry.rule_name {
        plain.insert(("ruleName", name.to_string(), name.is_plain()));
    }
    for requirement in &entry.requires {
        let at = &requirement.at;
        plain.insert(("requires.at", at.to_string(), at.is_plain()));
    }
    let weighing = &entry.weights;
    if weighing.maximum < 100 {
        refuse(
            "weights.maximum",
            &weighing.maximum.to_string(),
            "must be 100 or more, because weights are written that add up to 100",
        );
    }
    match &entry.backends {
        Backends::List {
            at,
            name,
            namespace,
            subset,
            weight,
            ..
        } => {
            plain.insert(("backends.at", at.to_string(), at.is_plain()));
            plain.insert(("backends.name", name.to_string(), name.is_plain()));
            for (field, path) in [
                ("backends.namespace", namespace),
                ("backends.subset", subset),
            ] {
                if let Some(path) = path {
                    plain.insert((field, path.to_string(), path.is_plain()));
                }
            }
            if weight.is_empty() || weight.contains('/') {
                refuse(
                    "backends.weight",
                    weight,
                    "must be the name of one field, such as weight",
                );
            }
        }
        Backends::Map { at } => {
            plain.insert(("backends.at", at.to_string(), at.is_plain()));
        }
        Backends::Share { at, .. } => {
            plain.insert(("backends.at", at.to_string(), at.is_plain()));
            if entry.text.is_some() || !entry.rules.to_string().is_empty() {
                refuse(
                    "backends.shape",
                    "Share",
                    "is one number in the object; it goes with neither text nor rules",
                );
            }
        }
    }
    for (field, path, is_plain) in plain {
        if !is_plain {
            refuse(
                field,
                &path,
                "must lead to one place; it may not have a '*'",
            );
        }
    }
    errors
}
