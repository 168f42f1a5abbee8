//! Who wrote something last, as managedFields tell it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::managed_fields;

/// The field manager that last wrote anything but the status.
pub(crate) fn of_object(object: &Value) -> Option<String> {
    managed_fields(object)
        .iter()
        .filter(|e| e.get("subresource").is_none_or(Value::is_null))
        .max_by_key(|e| e["time"].as_str().unwrap_or_default().to_owned())?["manager"]
        .as_str()
        .map(str::to_owned)
}

/// The field manager that last wrote a field of the spec.
///
/// Times are whole seconds. Of several managers of one second it is the one with more fields that nobody else has: what
/// one writes that differs is taken from the others.
pub(super) fn last(managed: &[Value], field: &str) -> Option<String> {
    let of_field = |entry: &Value| {
        let fields = entry.pointer("/fieldsV1/f:spec")?.get(field)?;
        let mut leaves = BTreeSet::new();
        collect(fields, &mut String::new(), &mut leaves);
        let time = entry["time"].as_str().unwrap_or_default().to_owned();
        Some((time, leaves, entry["manager"].as_str()?.to_owned()))
    };
    let all: Vec<_> = managed.iter().filter_map(of_field).collect();
    let alone = |index: usize, leaves: &BTreeSet<String>| {
        let others = all.iter().enumerate().filter(|(other, _)| *other != index);
        let others: BTreeSet<_> = others.flat_map(|(_, (_, leaves, _))| leaves).collect();
        leaves.iter().filter(|leaf| !others.contains(leaf)).count()
    };
    let newest = all
        .iter()
        .enumerate()
        .max_by_key(|(index, (time, leaves, _))| (time, alone(*index, leaves)))?;
    Some(newest.1.2.clone())
}

/// The paths of the fields that have no fields of their own.
fn collect(fields: &Value, path: &mut String, leaves: &mut BTreeSet<String>) {
    let below = fields.as_object().filter(|map| !map.is_empty());
    let Some(below) = below else {
        leaves.insert(path.clone());
        return;
    };
    for (name, fields) in below {
        let length = path.len();
        path.push('/');
        path.push_str(name);
        collect(fields, path, leaves);
        path.truncate(length);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, time: &str, template: &Value) -> Value {
        json!({
            "manager": manager, "time": time, "fieldsV1": {"f:spec": {"f:template": template}},
        })
    }

    #[test]
    fn the_newest_is_the_last() {
        let image = json!({"f:image": {}});
        let managed = [
            entry("kubectl", "2026-01-01T00:00:02Z", &image),
            entry("argocd-controller", "2026-01-01T00:00:01Z", &image),
        ];
        assert_eq!(last(&managed, "f:template").as_deref(), Some("kubectl"));
        assert_eq!(last(&managed, "f:selector"), None);
    }

    #[test]
    fn the_last_writer_is_who_wrote_the_object_and_not_its_status() {
        let policy = json!({"metadata": {"name": "web", "managedFields": [
            {"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-02T00:00:00Z"},
            {"manager": "helm", "operation": "Update", "time": "2026-01-01T00:00:00Z"},
            {"manager": "backstop", "operation": "Update", "time": "2026-01-03T00:00:00Z", "subresource": "status"},
        ]}});
        assert_eq!(of_object(&policy).as_deref(), Some("kubectl-edit"));
    }

    #[test]
    fn within_one_second_it_is_who_took_fields_from_the_others() {
        let time = "2026-01-01T00:00:01Z";
        let taken = entry(
            "argocd-controller",
            time,
            &json!({"f:image": {}, "f:name": {}}),
        );
        let left = entry("kubectl", time, &json!({"f:name": {}}));
        for managed in [[taken.clone(), left.clone()], [left, taken]] {
            let last = last(&managed, "f:template");
            assert_eq!(last.as_deref(), Some("argocd-controller"));
        }
    }
}
