//! The backends of one rule, whatever shape they are written in.

use serde_json::Value;

use crate::error::{Problem, Wrong};
use crate::pattern::{Pattern, below, field};
use crate::provider::{Backends, Weighing};
use crate::selection::Backend;

/// The backends of a rule.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// Where they stand in the document.
    pub(crate) pointer: String,
    /// Each of them.
    pub(crate) entries: Vec<Entry>,
}

/// One backend of a rule.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its name; with its namespace before it, if that is not the route's.
    name: String,
    subset: Option<String>,
    /// Where its weight stands, or would stand.
    pub(crate) weight_at: String,
    /// What stands there.
    weight: Option<Value>,
}

/// What helps to read a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    /// How backends are written.
    pub(crate) backends: &'a Backends,
    /// Whether names of fields may differ in case.
    pub(crate) any_case: bool,
    /// The route's namespace, and empty where it is not known.
    pub(crate) namespace: &'a str,
}

impl Reader<'_> {
    /// The backends of a rule that stands at `pointer`; `None` if it has no list of them, as a redirect has none.
    pub(crate) fn list(&self, pointer: &str, rule: &Value) -> Result<Option<List>, Wrong> {
        let at = match self.backends {
            Backends::List { at, .. } | Backends::Map { at } | Backends::Share { at, .. } => at,
        };
        let Some(found) = at.first(rule, self.any_case) else {
            return Ok(None);
        };
        let pointer = format!("{pointer}{}", found.pointer);
        let wrong = |wanted| {
            let value = found.value.to_string();
            Err(Problem::WrongType { value, wanted }.at(&pointer))
        };
        let entries = match (self.backends, found.value) {
            (_, Value::Null) => return Ok(None),
            (Backends::List { .. }, Value::Array(entries)) => entries
                .iter()
                .enumerate()
                .map(|(number, entry)| self.entry(&below(&pointer, &number.to_string()), entry))
                .collect(),
            (Backends::List { .. }, _) => return wrong("a list of backends"),
            (_, Value::Object(fields)) => fields
                .iter()
                .map(|(name, weight)| Entry {
                    name: name.clone(),
                    subset: None,
                    weight_at: below(&pointer, name),
                    weight: Some(weight.clone()),
                })
                .collect(),
            _ => return wrong("an object of backends and weights"),
        };
        Ok(Some(List { pointer, entries }))
    }

    fn entry(&self, pointer: &str, entry: &Value) -> Entry {
        let Backends::List {
            name,
            namespace,
            subset,
            host,
            weight,
            ..
        } = self.backends
        else {
            unreachable!("only lists have entries")
        };
        let text = |pattern: &Pattern| {
            let found = pattern.first(entry, self.any_case)?;
            Some(found.value.as_str()?.to_owned())
        };
        let name = text(name).unwrap_or_else(|| "without a name".to_owned());
        let elsewhere = namespace
            .as_ref()
            .and_then(text)
            .filter(|namespace| !namespace.is_empty() && namespace != self.namespace);
        let found = entry
            .as_object()
            .and_then(|fields| field(fields, weight, self.any_case));
        Entry {
            name: match elsewhere {
                Some(namespace) => format!("{namespace}/{name}"),
                None if *host => short(&name, self.namespace).to_owned(),
                None => name,
            },
            subset: subset.as_ref().and_then(text),
            weight_at: below(pointer, found.map_or(weight, |(name, _)| name)),
            weight: found
                .map(|(_, value)| value.clone())
                .filter(|value| !value.is_null()),
        }
    }

    /// Whether an entry can be this backend.
    pub(crate) fn is(&self, entry: &Entry, backend: &Backend) -> bool {
        entry.name == self.name(backend)
            && backend
                .subset
                .as_ref()
                .is_none_or(|subset| entry.subset.as_ref() == Some(subset))
    }

    /// Whether one entry could be both.
    pub(crate) fn overlap(&self, one: &Backend, other: &Backend) -> bool {
        self.name(one) == self.name(other)
            && (one.subset.is_none() || other.subset.is_none() || one.subset == other.subset)
    }

    fn name<'b>(&self, backend: &'b Backend) -> &'b str {
        match self.backends {
            Backends::List { host: true, .. } => short(&backend.name, self.namespace),
            _ => &backend.name,
        }
    }
}

/// The name of the Service, if a host is one of this namespace, whatever the cluster's domain is.
fn short<'a>(host: &'a str, namespace: &str) -> &'a str {
    let mut parts = host.splitn(4, '.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(of), None | Some("svc")) if of == namespace => name,
        _ => host,
    }
}

impl Entry {
    /// As it is shown.
    pub(crate) fn label(&self) -> String {
        Backend {
            name: self.name.clone(),
            subset: self.subset.clone(),
        }
        .to_string()
    }

    /// The number that stands there, if one does.
    pub(crate) fn written(&self, weighing: &Weighing) -> Result<Option<u32>, Problem> {
        self.weight
            .as_ref()
            .map(|value| number(value, weighing.maximum))
            .transpose()
    }
}

/// A weight as a number.
fn number(value: &Value, maximum: u32) -> Result<u32, Problem> {
    value
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number <= maximum)
        .ok_or_else(|| Problem::NoWeight {
            value: value.to_string(),
            maximum,
        })
}

/// A share in percent that is written as text.
pub(crate) fn share(value: &Value) -> Result<u32, Problem> {
    let maximum = 100;
    value
        .as_str()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .filter(|number| *number <= maximum)
        .ok_or_else(|| Problem::NoWeight {
            value: value.to_string(),
            maximum,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_short_only_within_its_own_namespace() {
        for (host, name) in [
            ("web", "web"),
            ("web.shop", "web"),
            ("web.shop.svc", "web"),
            ("web.shop.svc.cluster.local", "web"),
            ("web.shop.svc.example.internal", "web"),
            ("web.other.svc.cluster.local", "web.other.svc.cluster.local"),
            ("web.shop.example.com", "web.shop.example.com"),
        ] {
            assert_eq!(short(host, "shop"), name);
        }
    }
}
