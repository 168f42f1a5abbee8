//! The fields of an object: a table, the rules over them, and then the objects within.

use std::fmt::Write as _;

use serde_json::Value;

use super::enums::{Enums, one_line};

/// A section for an object with fields, and one for each such object within it.
pub(super) fn section(text: &mut String, path: &str, schema: &Value, enums: &Enums) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let _ = writeln!(text, "\n### {path}");
    if let Some(description) = schema["description"].as_str() {
        let _ = writeln!(text, "{description}");
    }
    text.push_str("\n| field | type | default | meaning |\n|---|---|---|---|\n");
    let required: Vec<_> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in properties {
        let _ = writeln!(
            text,
            "| `{name}` | {} | {} | {} |",
            type_of(&format!("{path}.{name}"), field),
            default_of(field, required.contains(&name.as_str())),
            meaning(field, enums)
        );
    }
    let rules: Vec<_> = schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|rule| rule["message"].as_str())
        .collect();
    if !rules.is_empty() {
        text.push_str("\nRefused:\n");
        for rule in rules {
            let _ = writeln!(text, "- {rule}");
        }
    }
    for (name, field) in properties {
        let path = format!("{path}.{name}");
        section(text, &path, field, enums);
        section(text, &path, &field["additionalProperties"], enums);
        section(text, &format!("{path}[]"), &field["items"], enums);
    }
}

fn meaning(field: &Value, enums: &Enums) -> String {
    let mut text = one_line(field["description"].as_str().unwrap_or_default());
    let choices = field["enum"]
        .as_array()
        .or(field["items"]["enum"].as_array());
    if let Some(choices) = choices {
        let described = enums.describe(choices).unwrap_or_else(|| {
            let plain: Vec<_> = choices
                .iter()
                .filter_map(Value::as_str)
                .map(|choice| format!("`{choice}`"))
                .collect();
            format!("One of {}.", plain.join(", "))
        });
        let _ = write!(text, "<br>{described}");
    }
    text
}

fn default_of(field: &Value, required: bool) -> String {
    match &field["default"] {
        Value::Null if required => "**required**".to_owned(),
        Value::Null => String::new(),
        Value::String(text) => format!("`{text}`"),
        // Its fields say theirs.
        Value::Object(_) => "its fields' own".to_owned(),
        Value::Array(items) if items.is_empty() => String::new(),
        other => format!("`{other}`"),
    }
}

fn type_of(path: &str, field: &Value) -> String {
    let anchor = || path.to_lowercase().replace(['.', '[', ']'], "");
    if field["x-kubernetes-int-or-string"] == true {
        let pattern = field["pattern"].as_str().unwrap_or_default();
        let otherwise = if pattern.contains('%') {
            "share such as `25%`"
        } else {
            "name"
        };
        return format!("integer or {otherwise}");
    }
    match field["type"].as_str().unwrap_or("any") {
        "array" => {
            let items = &field["items"];
            let item = if items["properties"].is_object() {
                format!("[objects](#{})", anchor())
            } else if items["type"] == "object" {
                "objects".to_owned()
            } else {
                format!("{}s", type_of(path, items))
            };
            let bounds = bounds(&field["minItems"], &field["maxItems"]);
            format!("list of {item}{bounds}")
        }
        "object" if field["properties"].is_object() => format!("[object](#{})", anchor()),
        "object" if field["additionalProperties"].is_object() => {
            let of = type_of(path, &field["additionalProperties"]);
            format!("map of {of}s by name")
        }
        "string" => string(field),
        other => format!("{other}{}", bounds(&field["minimum"], &field["maximum"])),
    }
}

fn string(field: &Value) -> String {
    if field["format"] == "date-time" {
        return "time".to_owned();
    }
    match field["pattern"].as_str() {
        Some(pattern) if pattern.contains("(ns|us|") => {
            let or = if pattern.contains("Always") {
                " or `Always`"
            } else {
                ""
            };
            format!("duration{or}")
        }
        _ => match field["maxLength"].as_u64() {
            Some(longest) => format!("string, at most {longest} characters"),
            None => "string".to_owned(),
        },
    }
}

fn bounds(lowest: &Value, highest: &Value) -> String {
    match (lowest.as_f64(), highest.as_f64()) {
        (Some(lowest), Some(highest)) => format!(", {lowest} to {highest}"),
        (Some(lowest), None) => format!(", {lowest} or more"),
        (None, Some(highest)) => format!(", at most {highest}"),
        (None, None) => String::new(),
    }
}
