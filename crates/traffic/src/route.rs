//! A route that has been read, from which it is known how to write it.

use serde_json::{Value, json};

use crate::document::Change;
use crate::error::{Problem, RouteError, Wrong};
use crate::provider::Provider;
use crate::reading::{Found, Reading, Site};
use crate::selection::{Percent, Selection};
use crate::weights::{Place, Weights};

/// A route as it was read, with the weights of two of its backends.
#[derive(Debug)]
pub struct Route<'a> {
    found: Found<'a>,
    kind: String,
    object: String,
}

impl<'a> Route<'a> {
    /// Reads a route's weights.
    pub fn read(
        provider: &Provider,
        selection: &Selection,
        object: &'a Value,
    ) -> Result<Self, RouteError> {
        let kind = provider.kind.clone();
        let name = name(object);
        match Reading::new(provider, selection, object).all() {
            Ok(found) => Ok(Self {
                found,
                kind,
                object: name,
            }),
            Err(Wrong { at, problem }) => Err(RouteError {
                kind,
                object: name,
                field: at,
                problem,
            }),
        }
    }

    /// The weights as they were found: what to record before the first change.
    pub fn weights(&self) -> &Weights {
        &self.found.weights
    }

    /// A JSON Patch (RFC 6902) that gives the canary this share and the stable side the rest, 100 together, in every
    /// place. Empty if it is so already.
    ///
    /// It begins with tests of what was read, so that a patch of a route that somebody has edited since is refused as
    /// a whole.
    pub fn shift(&self, canary: Percent) -> Vec<Value> {
        let wanted: Vec<_> = self
            .found
            .sites
            .iter()
            .map(|_| Wanted {
                stable: Some(canary.rest().get().into()),
                canary: Some(canary.get().into()),
                text: None,
            })
            .collect();
        self.patch(&wanted)
    }

    /// A JSON Patch that writes the numbers recorded in `before`, and takes away those that were not there. Empty if
    /// it is so already.
    pub fn restore(&self, before: &Weights) -> Result<Vec<Value>, RouteError> {
        let now = &self.found.weights.places;
        if let Some(gone) = before
            .places
            .iter()
            .find(|place| self.found.weights.place(&place.at).is_none())
        {
            return Err(RouteError {
                kind: self.kind.clone(),
                object: self.object.clone(),
                field: gone.at.to_string(),
                problem: Box::new(Problem::PlaceGone),
            });
        }
        let wanted: Vec<_> = now
            .iter()
            .map(|place| {
                // A place that is new since then is left as it is.
                let as_it_was = before.place(&place.at).unwrap_or(place);
                Wanted {
                    stable: as_it_was.stable.written,
                    canary: as_it_was.canary.written,
                    text: as_it_was.text.clone(),
                }
            })
            .collect();
        Ok(self.patch(&wanted))
    }

    fn patch(&self, wanted: &[Wanted]) -> Vec<Value> {
        let mut operations = Vec::new();
        for (number, document) in self.found.documents.iter().enumerate() {
            let (mut seen, mut changes, mut before) = (Vec::new(), Vec::new(), None);
            let places = self
                .found
                .sites
                .iter()
                .zip(&self.found.weights.places)
                .zip(wanted);
            for ((site, place), wanted) in places {
                let new = site.changes(place, wanted);
                if site.document == number && !new.is_empty() {
                    seen.push(site.seen.as_str());
                    changes.extend(new);
                    before = before.or(wanted.text.as_deref());
                }
            }
            if !changes.is_empty() {
                operations.extend(document.operations(&seen, &changes, before));
            }
        }
        if operations.is_empty() {
            return operations;
        }
        let tests = self
            .found
            .relied_on
            .iter()
            .map(|(pointer, value)| json!({"op": "test", "path": pointer, "value": value}));
        tests.chain(operations).collect()
    }
}

/// The numbers that are to stand in a place.
#[derive(Debug)]
struct Wanted {
    stable: Option<u32>,
    canary: Option<u32>,
    text: Option<String>,
}

impl Site {
    fn changes(&self, place: &Place, wanted: &Wanted) -> Vec<Change> {
        let stable = self
            .stable
            .iter()
            .map(|pointer| (pointer, place.stable, wanted.stable));
        let canary = std::iter::once((&self.canary, place.canary, wanted.canary));
        let value = |number: u32| {
            if self.as_text {
                json!(number.to_string())
            } else {
                json!(number)
            }
        };
        stable
            .chain(canary)
            .filter(|(_, is, wanted)| is.written != *wanted)
            .map(|(pointer, is, wanted)| Change {
                pointer: pointer.clone(),
                from: is.written.map(value),
                to: wanted.map(value),
            })
            .collect()
    }
}

/// An object's name with its namespace, for messages.
fn name(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    match (text("/metadata/namespace"), text("/metadata/name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name.to_owned(),
        _ => "without a name".to_owned(),
    }
}
