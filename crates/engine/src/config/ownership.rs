//! Whose the fields of a ConfigMap or Secret are after its contents have been put back.
//!
//! Whoever writes a field owns it, and a server-side apply of somebody else then meets a conflict.
//! So Backstop keeps nothing of what it wrote. Unlike with a pod template nothing is recorded at the
//! point for it: the object itself tells whose its contents are, and names of entries would tell
//! readers of points more of a Secret than they may know.

use std::collections::BTreeSet;

use backstop_api::names::{ANNOTATION_LAST_APPLIED, ANNOTATION_RESTORED_BY};
use serde_json::{Map, Value, json};

use super::content::Content;

/// The maps whose entries are contents.
const MAPS: [&str; 2] = ["data", "binaryData"];

/// A field that Backstop may have written: an entry of a map, or an annotation.
type Path = Vec<String>;

/// The managedFields after ownership has been handed back.
///
/// `before` are those from before the write, `after` those that the server made of it. Each field
/// goes to those who had it before. A field that came back goes to those who own other contents, or
/// else to those who applied the object: with the next apply it is theirs to keep or to drop. If
/// there is nobody, it belongs to nobody, which no apply conflicts with.
///
/// After a crash between the write and this `before` is not known any more: then `after` serves for
/// both.
#[must_use]
pub fn hand_back(before: &[Value], after: &[Value], manager: &str) -> Vec<Value> {
    let is_ours = |entry: &Value| entry["manager"].as_str() == Some(manager);
    let written: BTreeSet<Path> = after
        .iter()
        .filter(|e| is_ours(e) && is_main(e))
        .flat_map(paths)
        .collect();
    let others: Vec<&Value> = before
        .iter()
        .filter(|e| !is_ours(e) && is_main(e))
        .collect();
    let heirs = heirs(&others);
    let mut entries = after.to_vec();
    for entry in entries.iter_mut().filter(|e| is_ours(e) && is_main(e)) {
        for path in &written {
            remove(&mut entry["fieldsV1"], path);
        }
    }
    for path in &written {
        let had: Vec<&Value> = others
            .iter()
            .copied()
            .filter(|e| paths(e).any(|p| p == *path))
            .collect();
        for owner in if had.is_empty() { &heirs } else { &had } {
            give(&mut entries, owner, path);
        }
    }
    let is_empty = |e: &Value| e["fieldsV1"].as_object().is_none_or(Map::is_empty);
    if entries.iter().all(is_empty)
        && let Some(entry) = entries.iter_mut().find(|e| is_ours(e) && is_main(e))
    {
        // The server takes an object without any entry for one that was never applied, and then says
        // that everything in it is somebody's. So one entry stays, of nothing that matters.
        entry["fieldsV1"] =
            json!({"f:metadata": {"f:annotations": {field(ANNOTATION_RESTORED_BY): {}}}});
    }
    entries.retain(|e| !is_empty(e));
    entries
}

/// Who gets what nobody had.
fn heirs<'a>(others: &[&'a Value]) -> Vec<&'a Value> {
    let having = |what: &dyn Fn(&Value) -> bool| -> Vec<&'a Value> {
        others.iter().copied().filter(|e| what(e)).collect()
    };
    let contents = having(&|e| {
        MAPS.iter()
            .any(|map| e["fieldsV1"].get(field(map)).is_some())
    });
    if !contents.is_empty() {
        return contents;
    }
    let applied = having(&|e| e["operation"] == "Apply");
    if !applied.is_empty() {
        return applied;
    }
    having(&|e| paths(e).any(|p| p == last_applied_path()))
}

/// kubectl's annotation with the contents that were put back; `None` where it needs no change.
///
/// It is by this that the next client-side apply knows what to delete. It names what the applier
/// named, and what came back; entries that others had added to the object stay theirs.
#[must_use]
pub fn last_applied(current: &str, before: &Content, restored: &Content) -> Option<String> {
    let mut manifest: Value = serde_json::from_str(current).ok()?;
    let old = manifest.clone();
    let object = manifest.as_object_mut()?;
    // What was written as text is kept as data: only the names matter, and one place is enough.
    let as_text = names(old.get("stringData"));
    object.remove("stringData");
    for (map, before, restored) in [
        ("data", &before.data, &restored.data),
        ("binaryData", &before.binary_data, &restored.binary_data),
    ] {
        let mut named = names(old.get(map));
        if map == "data" {
            named.extend(as_text.iter().copied());
        }
        let entries: Map<String, Value> = restored
            .iter()
            .filter(|(name, _)| named.contains(name.as_str()) || !before.contains_key(*name))
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        if entries.is_empty() {
            object.remove(map);
        } else {
            object.insert(map.to_owned(), Value::Object(entries));
        }
    }
    (manifest != old).then(|| format!("{manifest}\n"))
}

fn names(map: Option<&Value>) -> BTreeSet<&str> {
    map.and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect()
}

fn field(name: &str) -> String {
    format!("f:{name}")
}

fn last_applied_path() -> Path {
    vec![
        field("metadata"),
        field("annotations"),
        field(ANNOTATION_LAST_APPLIED),
    ]
}

/// Whether an entry is about the object itself, and not about a subresource.
fn is_main(entry: &Value) -> bool {
    entry.get("subresource").is_none_or(Value::is_null)
}

/// The contents that an entry owns, and kubectl's annotation.
fn paths(entry: &Value) -> impl Iterator<Item = Path> {
    let fields = &entry["fieldsV1"];
    let contents = MAPS.iter().flat_map(move |map| {
        let map = field(map);
        let entries = fields.get(&map).and_then(Value::as_object);
        entries
            .into_iter()
            .flatten()
            .filter(|(name, _)| name.starts_with("f:"))
            .map(move |(name, _)| vec![map.clone(), name.clone()])
    });
    let annotation = last_applied_path();
    let owned = annotation
        .iter()
        .try_fold(fields, |value, key| value.get(key))
        .is_some();
    contents.chain(owned.then_some(annotation))
}

fn give(entries: &mut Vec<Value>, owner: &Value, path: &Path) {
    let same = |e: &Value| {
        ["manager", "operation", "apiVersion", "subresource"]
            .iter()
            .all(|key| e.get(key).unwrap_or(&Value::Null) == owner.get(key).unwrap_or(&Value::Null))
    };
    let place = entries.iter().position(same).unwrap_or_else(|| {
        let mut entry = owner.clone();
        entry["fieldsV1"] = json!({});
        entries.push(entry);
        entries.len() - 1
    });
    let mut fields = &mut entries[place]["fieldsV1"];
    for key in path {
        if !fields.is_object() {
            *fields = json!({});
        }
        fields = &mut fields[key];
    }
    *fields = json!({});
}

/// Removes a path, and the parents that are left with nothing but themselves.
fn remove(fields: &mut Value, path: &[String]) {
    let (Some((first, rest)), Some(map)) = (path.split_first(), fields.as_object_mut()) else {
        return;
    };
    if rest.is_empty() {
        map.remove(first);
        return;
    }
    let Some(child) = map.get_mut(first) else {
        return;
    };
    remove(child, rest);
    let is_left_empty = child
        .as_object()
        .is_some_and(|c| c.keys().all(|key| key == "."));
    if is_left_empty {
        map.remove(first);
    }
}

#[cfg(test)]
mod tests {
    use backstop_api::config::ConfigKind;

    use super::*;

    fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    fn owners(entries: &[Value]) -> Vec<String> {
        let mut owners: Vec<String> = entries
            .iter()
            .flat_map(|e| {
                paths(e).map(|p| format!("{} {}", e["manager"].as_str().unwrap(), p.join("/")))
            })
            .collect();
        owners.sort();
        owners
    }

    #[test]
    fn each_field_goes_back_to_whom_it_belonged() {
        let before = [
            entry(
                "kubectl",
                "Apply",
                &json!({"f:data": {"f:a": {}, "f:gone": {}}, "f:metadata": {"f:labels": {"f:app": {}}}}),
            ),
            entry(
                "injector",
                "Update",
                &json!({"f:data": {".": {}, "f:ca": {}}}),
            ),
        ];
        let after = [
            entry(
                "kubectl",
                "Apply",
                &json!({"f:metadata": {"f:labels": {"f:app": {}}}}),
            ),
            entry(
                "backstop",
                "Update",
                &json!({"f:data": {".": {}, "f:a": {}, "f:ca": {}}}),
            ),
        ];
        let handed = hand_back(&before, &after, "backstop");
        assert_eq!(
            owners(&handed),
            ["injector f:data/f:ca", "kubectl f:data/f:a"]
        );
        assert!(handed.iter().all(|e| e["manager"] != "backstop"));
        assert_eq!(
            handed[0]["fieldsV1"]["f:metadata"],
            before[0]["fieldsV1"]["f:metadata"]
        );
    }

    #[test]
    fn what_came_back_goes_to_those_who_own_the_other_contents() {
        let before = [
            entry("kubectl", "Apply", &json!({"f:data": {"f:a": {}}})),
            entry(
                "labeller",
                "Update",
                &json!({"f:metadata": {"f:labels": {"f:x": {}}}}),
            ),
        ];
        let mut after = before.to_vec();
        after.push(entry(
            "backstop",
            "Update",
            &json!({"f:data": {"f:back": {}}}),
        ));
        let handed = hand_back(&before, &after, "backstop");
        assert_eq!(
            owners(&handed),
            ["kubectl f:data/f:a", "kubectl f:data/f:back"]
        );
    }

    #[test]
    fn after_a_crash_the_one_who_applied_it_gets_everything() {
        let after = [
            entry(
                "helm",
                "Apply",
                &json!({"f:metadata": {"f:labels": {"f:app": {}}}}),
            ),
            entry(
                "backstop",
                "Update",
                &json!({"f:data": {"f:a": {}}, "f:binaryData": {"f:b": {}}}),
            ),
        ];
        let handed = hand_back(&after, &after, "backstop");
        assert_eq!(
            owners(&handed),
            ["helm f:binaryData/f:b", "helm f:data/f:a"]
        );
    }

    #[test]
    fn what_nobody_owns_belongs_to_nobody_but_some_entry_stays() {
        let annotation = json!({"f:annotations": {"f:backstop.dev/restored-by": {}}});
        let made = [entry(
            "backstop",
            "Update",
            &json!({"f:data": {"f:a": {}}, "f:metadata": annotation}),
        )];
        let handed = hand_back(&[], &made, "backstop");
        assert_eq!(owners(&handed), [] as [&str; 0]);
        assert_eq!(handed[0]["fieldsV1"], json!({"f:metadata": annotation}));
        let bare = [entry("backstop", "Update", &json!({"f:data": {"f:a": {}}}))];
        let handed = hand_back(&[], &bare, "backstop");
        assert_eq!(owners(&handed), [] as [&str; 0]);
        assert_eq!(
            handed.len(),
            1,
            "the server would take it for never applied"
        );
    }

    #[test]
    fn doing_it_twice_changes_nothing() {
        let before = [entry("kubectl", "Apply", &json!({"f:data": {"f:a": {}}}))];
        let after = [entry("backstop", "Update", &json!({"f:data": {"f:a": {}}}))];
        let once = hand_back(&before, &after, "backstop");
        assert_eq!(hand_back(&once, &once, "backstop"), once);
    }

    fn config_map(data: &Value) -> Content {
        Content::of(ConfigKind::ConfigMap, &json!({"data": data})).unwrap()
    }

    #[test]
    fn the_last_applied_manifest_names_what_the_applier_named_and_what_came_back() {
        let applied =
            json!({"metadata": {"name": "web"}, "data": {"a": "2", "added": "1"}}).to_string();
        let before = config_map(&json!({"a": "2", "added": "1", "injected": "x"}));
        let restored = config_map(&json!({"a": "1", "dropped": "1", "injected": "x"}));
        let text = last_applied(&applied, &before, &restored).unwrap();
        let manifest: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            manifest,
            json!({"metadata": {"name": "web"}, "data": {"a": "1", "dropped": "1"}})
        );
        assert_eq!(last_applied(&text, &restored, &restored), None);
    }

    #[test]
    fn what_a_secrets_manifest_named_as_text_stays_named() {
        let applied = json!({"stringData": {"token": "x"}}).to_string();
        let secret = |value: &str| {
            Content::of(ConfigKind::Secret, &json!({"data": {"token": value}})).unwrap()
        };
        let text = last_applied(&applied, &secret("Yg=="), &secret("YQ==")).unwrap();
        let manifest: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(manifest, json!({"data": {"token": "YQ=="}}));
    }

    #[test]
    fn an_annotation_that_is_no_manifest_is_left() {
        let content = config_map(&json!({}));
        assert_eq!(last_applied("not json", &content, &content), None);
    }
}
