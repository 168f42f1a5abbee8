//! What each choice of an enum means. A CRD lists the choices alone; the schema that it is made from says more.

use std::collections::BTreeMap;

use backstop_api::event::{RollbackEventSpec, RollbackEventStatus};
use backstop_api::point::{RollbackPointSpec, RollbackPointStatus};
use backstop_api::policy::{RollbackPolicySpec, RollbackPolicyStatus};
use schemars::SchemaGenerator;
use serde_json::Value;

/// By the list of choices: what each of them means.
pub(super) struct Enums(BTreeMap<Vec<String>, Vec<String>>);

impl Enums {
    pub(super) fn new() -> Self {
        let mut generator = SchemaGenerator::default();
        generator.subschema_for::<RollbackPolicySpec>();
        generator.subschema_for::<RollbackPolicyStatus>();
        generator.subschema_for::<RollbackPointSpec>();
        generator.subschema_for::<RollbackPointStatus>();
        generator.subschema_for::<RollbackEventSpec>();
        generator.subschema_for::<RollbackEventStatus>();
        let meanings = generator
            .definitions()
            .values()
            .filter_map(|schema| {
                schema["oneOf"]
                    .as_array()?
                    .iter()
                    .map(|choice| {
                        let name = choice["const"].as_str()?.to_owned();
                        Some((name, one_line(choice["description"].as_str()?)))
                    })
                    .collect::<Option<Vec<_>>>()
            })
            .map(|choices| choices.into_iter().unzip())
            .collect();
        Self(meanings)
    }

    /// Each choice with what it means, where that is known.
    pub(super) fn describe(&self, choices: &[Value]) -> Option<String> {
        let choices: Vec<String> = choices
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let meanings = self.0.get(&choices)?;
        let lines: Vec<_> = choices
            .iter()
            .zip(meanings)
            .map(|(choice, meaning)| format!("`{choice}`: {meaning}"))
            .collect();
        Some(lines.join("<br>"))
    }
}

/// Text for a table's cell.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
