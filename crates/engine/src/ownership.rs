//! Field ownership: what a rollback writes must not stay Backstop's.
//!
//! A write to the template takes its fields from their managers, and the next server-side apply of
//! the owner meets a conflict, or leaves behind what it no longer names. So the owners that the
//! fields had at the point are put back, and with them the template's part of kubectl's last-applied
//! annotation, by which the next client-side apply knows what to delete.

use backstop_api::{names::ANNOTATION_LAST_APPLIED, point::Ownership};
use serde_json::{Map, Value, json};

/// `/spec/template` in a field set.
const TEMPLATE: [&str; 2] = ["f:spec", "f:template"];
/// `/spec/strategy` in a field set.
const STRATEGY: [&str; 2] = ["f:spec", "f:strategy"];
/// kubectl's annotation in a field set.
fn last_applied_path() -> [String; 3] {
    [
        "f:metadata".into(),
        "f:annotations".into(),
        format!("f:{ANNOTATION_LAST_APPLIED}"),
    ]
}

/// Who owns the template now, to be kept with a point.
#[must_use]
pub fn capture(managed_fields: &[Value], last_applied: Option<&str>) -> Ownership {
    let annotation = last_applied_path();
    let annotation: Vec<&str> = annotation.iter().map(String::as_str).collect();
    Ownership {
        managed_fields: cut(managed_fields, &[&TEMPLATE, &annotation]),
        last_applied_template: last_applied
            .and_then(|text| serde_json::from_str::<Value>(text).ok())
            .and_then(|manifest| manifest.pointer("/spec/template").cloned()),
    }
}

/// Who owns the strategy now.
#[must_use]
pub fn strategy_owners(managed_fields: &[Value]) -> Vec<Value> {
    cut(managed_fields, &[&STRATEGY])
}

/// Who owns the field at `path` now.
#[must_use]
pub fn owners(managed_fields: &[Value], path: &[&str]) -> Vec<Value> {
    cut(managed_fields, &[path])
}

/// The managedFields after the field at `path` has been given back to `owners`; `manager`, who wrote
/// it, owns nothing of it.
#[must_use]
pub fn give_back(current: &[Value], path: &[&str], owners: &[Value], manager: &str) -> Vec<Value> {
    let mut entries = current.to_vec();
    for entry in &mut entries {
        let main = entry.get("subresource").is_none_or(Value::is_null);
        if main && let Some(fields) = entry.get_mut("fieldsV1") {
            remove(fields, path);
        }
    }
    return_to(entries, owners, manager)
}

/// The entries, each with only these paths; those that have none of them are left out. The status
/// subresource is nobody's business here.
fn cut(managed_fields: &[Value], paths: &[&[&str]]) -> Vec<Value> {
    managed_fields
        .iter()
        .filter(|entry| entry.get("subresource").is_none_or(Value::is_null))
        .filter_map(|entry| {
            let mut kept = Value::Object(Map::new());
            for path in paths {
                if let Some(found) = get(entry.get("fieldsV1")?, path) {
                    put(&mut kept, path, found.clone());
                }
            }
            if kept.as_object()?.is_empty() {
                return None;
            }
            let mut entry = entry.clone();
            entry["fieldsV1"] = kept;
            Some(entry)
        })
        .collect()
}

/// The managedFields after ownership has been handed back: the template's fields belong to whom
/// they belonged at the point, the strategy's (where given) to whom they belonged before, and
/// `manager`, who wrote them, owns nothing of either.
#[must_use]
pub fn hand_back(
    current: &[Value],
    ownership: &Ownership,
    strategy_owners: Option<&[Value]>,
    manager: &str,
) -> Vec<Value> {
    let annotation = last_applied_path();
    let annotation: Vec<&str> = annotation.iter().map(String::as_str).collect();
    let annotation_was_owned = ownership.managed_fields.iter().any(|e| {
        e.get("fieldsV1")
            .is_some_and(|f| get(f, &annotation).is_some())
    });
    let entries: Vec<Value> = current
        .iter()
        .cloned()
        .map(|mut entry| {
            if entry.get("subresource").is_none_or(Value::is_null)
                && let Some(fields) = entry.get_mut("fieldsV1")
            {
                remove(fields, &TEMPLATE);
                if annotation_was_owned || entry_manager(&entry) == Some(manager) {
                    remove(&mut entry["fieldsV1"], &annotation);
                }
                if strategy_owners.is_some() {
                    remove(&mut entry["fieldsV1"], &STRATEGY);
                }
            }
            entry
        })
        .collect();
    let back: Vec<Value> = ownership
        .managed_fields
        .iter()
        .chain(strategy_owners.unwrap_or_default())
        .cloned()
        .collect();
    return_to(entries, &back, manager)
}

/// The entries with these beside or in them, without those that are left with nothing.
fn return_to(mut entries: Vec<Value>, owners: &[Value], manager: &str) -> Vec<Value> {
    for back in owners {
        if entry_manager(back) == Some(manager) {
            continue;
        }
        match entries.iter_mut().find(|e| same_entry(e, back)) {
            Some(entry) => merge(&mut entry["fieldsV1"], &back["fieldsV1"]),
            None => entries.push(back.clone()),
        }
    }
    entries.retain(|e| {
        e.get("fieldsV1")
            .and_then(Value::as_object)
            .is_some_and(|fields| !fields.is_empty())
    });
    entries
}

/// kubectl's annotation with the template that it had at the point; `None` where it needs no
/// change. A person who applied from the client's side only since the point gets the whole
/// restored template, so that the next apply removes what it does not name.
#[must_use]
pub fn last_applied(current: &str, ownership: &Ownership, restored: &Value) -> Option<String> {
    let mut manifest: Value = serde_json::from_str(current).ok()?;
    let template = ownership.last_applied_template.as_ref().unwrap_or(restored);
    let place = manifest.pointer_mut("/spec/template")?;
    if place == template {
        return None;
    }
    *place = template.clone();
    Some(format!("{manifest}\n"))
}

fn entry_manager(entry: &Value) -> Option<&str> {
    entry.get("manager")?.as_str()
}

/// Entries are told apart by manager, operation, version and subresource.
fn same_entry(a: &Value, b: &Value) -> bool {
    ["manager", "operation", "apiVersion", "subresource"]
        .iter()
        .all(|key| {
            let (a, b) = (
                a.get(key).unwrap_or(&Value::Null),
                b.get(key).unwrap_or(&Value::Null),
            );
            a == b
        })
}

fn get<'a>(fields: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(fields, |value, key| value.get(key))
}

fn put(fields: &mut Value, path: &[&str], value: Value) {
    let (last, parents) = path.split_last().expect("a path has a last part");
    let mut place = fields;
    for key in parents {
        place = place
            .as_object_mut()
            .expect("field sets are objects")
            .entry(*key)
            .or_insert_with(|| json!({}));
    }
    place[*last] = value;
}

/// Removes a path, and the parents that are left empty.
fn remove(fields: &mut Value, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    let Some(map) = fields.as_object_mut() else {
        return;
    };
    if rest.is_empty() {
        map.remove(*first);
        return;
    }
    if let Some(child) = map.get_mut(*first) {
        remove(child, rest);
        if child
            .as_object()
            .is_some_and(|c| c.is_empty() || (c.len() == 1 && c.contains_key(".")))
        {
            map.remove(*first);
        }
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert_with(|| json!({})), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn the_template_goes_back_to_whom_it_belonged_and_the_rest_stays() {
        let at_the_point = [
            entry(
                "kubectl",
                "Apply",
                &json!({"f:spec": {"f:replicas": {}, "f:template": {"f:a": {}, "f:old": {}}}}),
            ),
            entry("kcm", "Update", &json!({"f:spec": {"f:template": {}}})),
        ];
        let ownership = capture(&at_the_point, None);
        let after_the_write = [
            entry(
                "kubectl",
                "Apply",
                &json!({"f:spec": {"f:minReadySeconds": {}, "f:template": {"f:new": {}}}}),
            ),
            entry(
                "set-image",
                "Update",
                &json!({"f:spec": {"f:template": {"f:image": {}}}}),
            ),
            entry(
                "backstop",
                "Update",
                &json!({"f:spec": {"f:template": {"f:a": {}}}}),
            ),
        ];
        let handed = hand_back(&after_the_write, &ownership, None, "backstop");
        assert_eq!(
            handed[0]["fieldsV1"],
            json!({"f:spec": {"f:minReadySeconds": {}, "f:template": {"f:a": {}, "f:old": {}}}})
        );
        assert!(
            handed
                .iter()
                .all(|e| e["manager"] != "backstop" && e["manager"] != "set-image")
        );
    }

    #[test]
    fn the_last_applied_manifest_gets_its_template_back_and_nothing_else() {
        let ownership = Ownership {
            managed_fields: vec![],
            last_applied_template: Some(json!({"spec": {"image": "v1"}})),
        };
        let now =
            json!({"spec": {"replicas": 3, "template": {"spec": {"image": "v2"}}}}).to_string();
        let back = last_applied(&now, &ownership, &json!({})).unwrap();
        let back: Value = serde_json::from_str(&back).unwrap();
        assert_eq!(
            back,
            json!({"spec": {"replicas": 3, "template": {"spec": {"image": "v1"}}}})
        );
        assert_eq!(
            last_applied(&back.to_string(), &ownership, &json!({})),
            None
        );
    }
}
