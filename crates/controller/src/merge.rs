//! Merge patches that make one value of another.

use serde_json::{Map, Value};

/// A merge patch that makes `new` of `old`: what is gone is named as null, because a field that is left
/// out stays.
pub(crate) fn patch(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return new.clone();
    };
    let mut patch: Map<String, Value> = new
        .iter()
        .map(|(key, value)| {
            let value = old
                .get(key)
                .map_or_else(|| value.clone(), |o| self::patch(o, value));
            (key.clone(), value)
        })
        .collect();
    for key in old.keys() {
        patch.entry(key.clone()).or_insert(Value::Null);
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_gone_is_named_at_every_depth() {
        let old = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1, 2], "f": {"g": 1}});
        let new = json!({"a": 1, "b": {"c": 4}, "e": [2]});
        assert_eq!(
            patch(&old, &new),
            json!({"a": 1, "b": {"c": 4, "d": null}, "e": [2], "f": null})
        );
    }
}
