//! A route that has been read, from which it is known how to write it.

use serde_json::{Value, json};

use crate::backends::{Entry, List, Reader, share};
use crate::document::{Change, Document};
use crate::error::{Problem, RouteError};
use crate::pattern::Pattern;
use crate::provider::{AllZero, Backends, Provider, Sum};
use crate::rules;
use crate::selection::{Backend, Percent, Selection};
use crate::weights::{Place, Weight, Weights};

/// A route as it was read, with the weights of two of its backends.
#[derive(Debug)]
pub struct Route<'a> {
    documents: Vec<Document<'a>>,
    sites: Vec<Site>,
    /// What else was relied on: where it stands, and what.
    relied_on: Vec<(String, Value)>,
    weights: Weights,
    kind: String,
    object: String,
}

/// One list of backends.
#[derive(Debug)]
struct Site {
    document: usize,
    /// What is tested before it is changed.
    seen: String,
    /// Where the stable side's weight stands, unless it is what the canary leaves.
    stable: Option<String>,
    canary: String,
    as_text: bool,
}

/// What is wrong, and where in the object.
type Wrong = (String, Problem);

impl<'a> Route<'a> {
    /// Reads a route's weights.
    pub fn read(
        provider: &Provider,
        selection: &Selection,
        object: &'a Value,
    ) -> Result<Self, RouteError> {
        let name = name(object);
        let read = Reading {
            provider,
            selection,
            object,
            reader: Reader {
                backends: &provider.backends,
                any_case: provider.any_case,
                namespace: object
                    .pointer("/metadata/namespace")
                    .and_then(Value::as_str)
                    .unwrap_or_default(),
            },
        };
        read.route(&name).map_err(|(field, problem)| RouteError {
            kind: provider.kind.clone(),
            object: name,
            field,
            problem,
        })
    }

    /// The weights as they were found: what to record before the first change.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// A JSON Patch (RFC 6902) that gives the canary this share and the stable side the rest, 100 together, in every
    /// place. Empty if it is so already.
    ///
    /// It begins with tests of what was read, so that a patch of a route that somebody has edited since is refused as
    /// a whole.
    pub fn shift(&self, canary: Percent) -> Vec<Value> {
        let wanted: Vec<_> = self
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
        let now = &self.weights.places;
        if let Some(gone) = before
            .places
            .iter()
            .find(|place| self.weights.place(&place.at).is_none())
        {
            return Err(RouteError {
                kind: self.kind.clone(),
                object: self.object.clone(),
                field: gone.at.to_string(),
                problem: Problem::PlaceGone,
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
        for (number, document) in self.documents.iter().enumerate() {
            let (mut seen, mut changes, mut before) = (Vec::new(), Vec::new(), None);
            let places = self.sites.iter().zip(&self.weights.places).zip(wanted);
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

/// What is read, and how.
struct Reading<'r, 'a> {
    provider: &'r Provider,
    selection: &'r Selection,
    object: &'a Value,
    reader: Reader<'r>,
}

impl<'a> Reading<'_, 'a> {
    fn route(&self, name: &str) -> Result<Route<'a>, Wrong> {
        self.check_kind()?;
        self.check_selection()?;
        let mut relied_on = self.requirements()?;
        let rule = self.selection.rule.as_ref();
        let documents = rules::documents(self.provider, rule, self.object)?;
        let (mut sites, mut places, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for rule in rules::chosen(self.provider, rule, &documents)? {
            let document = &documents[rule.document].0;
            let value = document
                .value
                .pointer(&rule.pointer)
                .unwrap_or(&Value::Null);
            let in_object =
                |(pointer, problem): Wrong| (document.at(&pointer).to_string(), problem);
            if let Backends::Share { at, backend } = &self.provider.backends {
                relied_on.push(self.only_the_canary(backend)?);
                let (site, place) = share_of(document, rule.document, at)?;
                sites.push(site);
                places.push(place);
                continue;
            }
            let Some(list) = self.reader.list(&rule.pointer, value).map_err(in_object)? else {
                continue;
            };
            match self
                .site(document, rule.document, &list)
                .map_err(in_object)?
            {
                Some((site, place)) => {
                    sites.push(site);
                    places.push(place);
                }
                None => others.push((document.at(&list.pointer).to_string(), list)),
            }
        }
        if sites.is_empty() {
            return Err(self.not_found(&others));
        }
        Ok(Route {
            documents: documents
                .into_iter()
                .map(|(document, _)| document)
                .collect(),
            sites,
            relied_on,
            weights: Weights { places },
            kind: self.provider.kind.clone(),
            object: name.to_owned(),
        })
    }

    fn check_kind(&self) -> Result<(), Wrong> {
        let text = |field| self.object[field].as_str();
        let wanted = (self.provider.api_version(), &self.provider.kind);
        // Objects in a list have neither.
        let (Some(version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            return Ok(());
        };
        if (version, kind) == (wanted.0.as_str(), wanted.1) {
            return Ok(());
        }
        Err((
            "/kind".to_owned(),
            Problem::WrongKind {
                found: format!("{version} {kind}"),
                provider: self.provider.name.clone(),
                wanted: format!("{} {}", wanted.0, wanted.1),
            },
        ))
    }

    fn check_selection(&self) -> Result<(), Wrong> {
        let Selection { stable, canary, .. } = self.selection;
        let at = || self.backends_at();
        let has_subsets = matches!(
            &self.provider.backends,
            Backends::List {
                subset: Some(_),
                ..
            }
        );
        if let Some(backend) = [stable, canary]
            .into_iter()
            .find(|backend| backend.subset.is_some())
            && !has_subsets
        {
            let kind = self.provider.kind.clone();
            let backend = backend.clone();
            return Err((at(), Problem::NoSubsets { backend, kind }));
        }
        if self.reader.overlap(stable, canary) {
            let (stable, canary) = (stable.clone(), canary.clone());
            return Err((at(), Problem::SameBackend { stable, canary }));
        }
        Ok(())
    }

    /// Where backends are, for what is wrong with none of them in particular.
    fn backends_at(&self) -> String {
        let (Backends::List { at, .. } | Backends::Map { at } | Backends::Share { at, .. }) =
            &self.provider.backends;
        let rest = format!("{}{at}", self.provider.rules);
        match &self.provider.text {
            Some(text) => format!("{text}#{rest}"),
            None => rest,
        }
    }

    fn requirements(&self) -> Result<Vec<(String, Value)>, Wrong> {
        let mut relied_on = Vec::new();
        for requirement in &self.provider.requires {
            let found = requirement.at.first(self.object, false);
            match found {
                Some(found) if *found.value == requirement.value => {
                    relied_on.push((found.pointer, found.value.clone()));
                }
                None if requirement.optional => {}
                found => {
                    return Err((
                        requirement.at.to_string(),
                        Problem::Required {
                            found: found.map_or("not there".to_owned(), |f| f.value.to_string()),
                            wanted: requirement.value.to_string(),
                        },
                    ));
                }
            }
        }
        Ok(relied_on)
    }

    /// Stable and canary in a list; `None` if it does not have both.
    fn site(
        &self,
        document: &Document<'_>,
        number: usize,
        list: &List,
    ) -> Result<Option<(Site, Place)>, Wrong> {
        let Selection { stable, canary, .. } = self.selection;
        let (Some(stable), Some(canary)) = (self.one(list, stable)?, self.one(list, canary)?)
        else {
            return Ok(None);
        };
        let weighing = &self.provider.weights;
        let mut weights = Vec::new();
        for entry in &list.entries {
            let written = entry
                .written(weighing)
                .map_err(|problem| (entry.weight_at.clone(), problem))?;
            weights.push(Weight {
                written,
                counts: written.unwrap_or(weighing.default),
            });
        }
        if weights.iter().all(|weight| weight.counts == 0) {
            match weighing.all_zero {
                AllZero::Nobody => return Err((list.pointer.clone(), Problem::NobodyGetsTraffic)),
                AllZero::Even => weights.iter_mut().for_each(|weight| weight.counts = 1),
            }
        }
        for (position, (entry, weight)) in list.entries.iter().zip(&weights).enumerate() {
            if weight.counts > 0 && position != stable && position != canary {
                let (name, weight) = (entry.label(), weight.counts);
                return Err((
                    entry.weight_at.clone(),
                    Problem::ThirdBackend { name, weight },
                ));
            }
        }
        let sum = weights.iter().map(|weight| u64::from(weight.counts)).sum();
        if weighing.sum == Sum::Hundred && sum != 100 {
            return Err((list.pointer.clone(), Problem::NotHundred { sum }));
        }
        let site = Site {
            document: number,
            seen: list.pointer.clone(),
            stable: Some(list.entries[stable].weight_at.clone()),
            canary: list.entries[canary].weight_at.clone(),
            as_text: false,
        };
        let place = Place {
            at: document.at(&list.pointer),
            stable: weights[stable],
            canary: weights[canary],
            text: document.as_text().map(str::to_owned),
        };
        Ok(Some((site, place)))
    }

    /// The position of a backend in a list, if it is there, and there once.
    fn one(&self, list: &List, backend: &Backend) -> Result<Option<usize>, Wrong> {
        let is = |entry: &&Entry| self.reader.is(entry, backend);
        let found = list.entries.iter().position(|entry| is(&entry));
        if list.entries.iter().filter(is).count() > 1 {
            let backend = backend.clone();
            return Err((list.pointer.clone(), Problem::BackendTwice { backend }));
        }
        Ok(found)
    }

    /// What to say when no rule has both.
    fn not_found(&self, lists: &[(String, List)]) -> Wrong {
        let Selection { stable, canary, .. } = self.selection;
        let entries = || lists.iter().flat_map(|(_, list)| &list.entries);
        let is_there = |backend: &Backend| entries().any(|entry| self.reader.is(entry, backend));
        let at = match lists {
            [(only, _)] => only.clone(),
            _ => self.backends_at(),
        };
        let missing = [stable, canary]
            .into_iter()
            .find(|backend| !is_there(backend));
        let Some(missing) = missing else {
            let (stable, canary) = (stable.clone(), canary.clone());
            return (at, Problem::NotTogether { stable, canary });
        };
        let mut known: Vec<_> = entries().map(Entry::label).collect();
        known.sort();
        known.dedup();
        let backend = missing.clone();
        (at, Problem::NoSuchBackend { backend, known })
    }

    /// Sees to it that an object of the canary's has no other backend.
    fn only_the_canary(&self, pattern: &Pattern) -> Result<(String, Value), Wrong> {
        let canary = &self.selection.canary;
        let found = pattern.find(self.object, false);
        if found.is_empty() {
            let (backend, known) = (canary.clone(), Vec::new());
            let backend_at = pattern.to_string();
            return Err((backend_at, Problem::NoSuchBackend { backend, known }));
        }
        let other = found
            .iter()
            .find(|found| found.value.as_str() != Some(&canary.name));
        if let Some(other) = other {
            let problem = Problem::NotTheCanary {
                found: other.value.to_string(),
                canary: canary.clone(),
            };
            return Err((other.pointer.clone(), problem));
        }
        // All of what the pattern goes through, so that a backend that is added meanwhile is noticed too.
        let root = pattern.root();
        let value = self.object.pointer(&root).cloned().unwrap_or_default();
        Ok((root, value))
    }
}

/// The place of a number that is the canary's share by itself.
fn share_of(document: &Document<'_>, number: usize, at: &Pattern) -> Result<(Site, Place), Wrong> {
    let pointer = at.to_string();
    let found = document.value.pointer(&pointer);
    let written = found
        .map(share)
        .transpose()
        .map_err(|problem| (pointer.clone(), problem))?;
    let counts = written.unwrap_or(0);
    // That there is no number can only be tested by what is around it.
    let around = pointer.rsplit_once('/').map_or("", |(around, _)| around);
    let site = Site {
        document: number,
        seen: if found.is_some() { &pointer } else { around }.to_owned(),
        stable: None,
        canary: pointer.clone(),
        as_text: true,
    };
    let place = Place {
        at: document.at(&pointer),
        stable: Weight {
            written: None,
            counts: 100 - counts,
        },
        canary: Weight { written, counts },
        text: None,
    };
    Ok((site, place))
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
