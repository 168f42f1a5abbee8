//! The object itself, or the JSON that stands in it as text.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::error::Problem;
use crate::pattern::Found;
use crate::weights::At;

/// Something that has rules in it.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    /// Where its text stands in the object; `None` for the object itself.
    text: Option<Text<'a>>,
    /// The object, or what the text says.
    pub(crate) value: Cow<'a, Value>,
}

#[derive(Debug)]
struct Text<'a> {
    pointer: String,
    found: &'a str,
}

/// What is to stand in a document afterwards.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// Of what field.
    pub(crate) pointer: String,
    /// What is there.
    pub(crate) from: Option<Value>,
    /// What is to be there.
    pub(crate) to: Option<Value>,
}

impl<'a> Document<'a> {
    /// The object itself.
    pub(crate) fn object(object: &'a Value) -> Self {
        Self {
            text: None,
            value: Cow::Borrowed(object),
        }
    }

    /// The JSON in a string.
    pub(crate) fn text(found: &Found<'a>) -> Result<Self, Problem> {
        let text = found.value.as_str().ok_or_else(|| Problem::WrongType {
            value: found.value.to_string(),
            wanted: "a text",
        })?;
        let value: Value = serde_json::from_str(text).map_err(|error| Problem::NotJson {
            text: text.to_owned(),
            why: error.to_string(),
        })?;
        Ok(Self {
            text: Some(Text {
                pointer: found.pointer.clone(),
                found: text,
            }),
            value: Cow::Owned(value),
        })
    }

    /// The text, where it is one.
    pub(crate) fn as_text(&self) -> Option<&'a str> {
        self.text.as_ref().map(|text| text.found)
    }

    /// A place in this document, as a place in the object.
    pub(crate) fn at(&self, pointer: &str) -> At {
        match &self.text {
            None => At {
                pointer: pointer.to_owned(),
                within: None,
            },
            Some(text) => At {
                pointer: text.pointer.clone(),
                within: Some(pointer.to_owned()),
            },
        }
    }

    /// JSON Patch operations that make the changes, after testing that `seen` (a pointer) is as it was read.
    ///
    /// A text is written anew. If that says the same as `before`, then `before` is written, so that putting weights
    /// back gives the very same text.
    pub(crate) fn operations(
        &self,
        seen: &[&str],
        changes: &[Change],
        before: Option<&str>,
    ) -> Vec<Value> {
        let Some(text) = &self.text else {
            let mut operations: Vec<_> = seen
                .iter()
                .filter_map(|pointer| {
                    let value = self.value.pointer(pointer)?;
                    Some(json!({"op": "test", "path": pointer, "value": value}))
                })
                .collect();
            operations.extend(changes.iter().map(operation));
            return operations;
        };
        let mut value = self.value.clone().into_owned();
        for change in changes {
            apply(&mut value, change);
        }
        let says_the_same =
            |text: &&str| serde_json::from_str::<Value>(text).is_ok_and(|before| before == value);
        let new = before
            .filter(says_the_same)
            .map_or_else(|| value.to_string(), str::to_owned);
        vec![
            json!({"op": "test", "path": text.pointer, "value": text.found}),
            json!({"op": "replace", "path": text.pointer, "value": new}),
        ]
    }
}

fn operation(change: &Change) -> Value {
    match (&change.from, &change.to) {
        (_, None) => json!({"op": "remove", "path": change.pointer}),
        (None, Some(to)) => json!({"op": "add", "path": change.pointer, "value": to}),
        (Some(_), Some(to)) => json!({"op": "replace", "path": change.pointer, "value": to}),
    }
}

/// Makes a change in a value. The object around the field is there, because the field was looked for in it.
fn apply(value: &mut Value, change: &Change) {
    let Some((parent, name)) = change.pointer.rsplit_once('/') else {
        return;
    };
    let name = name.replace("~1", "/").replace("~0", "~");
    if let Some(Value::Object(fields)) = value.pointer_mut(parent) {
        match &change.to {
            Some(to) => fields.insert(name, to.clone()),
            None => fields.remove(&name),
        };
    }
}
