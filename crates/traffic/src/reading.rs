//! Reading a route: from an object to the places that have both backends.

use serde_json::Value;

use crate::backends::{Entry, List, Reader, share};
use crate::document::Document;
use crate::error::{Problem, Wrong};
use crate::pattern::Pattern;
use crate::provider::{AllZero, Backends, Provider, Sum};
use crate::rules;
use crate::selection::{Backend, Selection};
use crate::weights::{Place, Weight, Weights};

/// What was found in a route.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// The object, or the texts in it.
    pub(crate) documents: Vec<Document<'a>>,
    /// The lists that have both backends.
    pub(crate) sites: Vec<Site>,
    /// Their weights, in the same order.
    pub(crate) weights: Weights,
    /// What else was relied on: where it stands, and what.
    pub(crate) relied_on: Vec<(String, Value)>,
}

/// One list of backends: what is needed to write it.
#[derive(Debug)]
pub(crate) struct Site {
    /// In which document.
    pub(crate) document: usize,
    /// Where that stands there which is tested before it is changed.
    pub(crate) seen: String,
    /// Where the stable side's weight stands, unless it is what the canary leaves.
    pub(crate) stable: Option<String>,
    /// Where the canary's weight stands.
    pub(crate) canary: String,
    /// Whether numbers are written as text.
    pub(crate) as_text: bool,
}

/// What is read, and how.
pub(crate) struct Reading<'r, 'a> {
    provider: &'r Provider,
    selection: &'r Selection,
    object: &'a Value,
    reader: Reader<'r>,
}

impl<'r, 'a> Reading<'r, 'a> {
    /// Reads an object as a route of this provider.
    pub(crate) fn new(provider: &'r Provider, selection: &'r Selection, object: &'a Value) -> Self
    where
        'a: 'r,
    {
        Self {
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
        }
    }

    /// Everything that is needed to write it, or the first thing that is wrong with it.
    pub(crate) fn all(&self) -> Result<Found<'a>, Wrong> {
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
            let in_object = |wrong: Wrong| wrong.place(|at| document.at(at).to_string());
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
        Ok(Found {
            documents: documents
                .into_iter()
                .map(|(document, _)| document)
                .collect(),
            sites,
            relied_on,
            weights: Weights { places },
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
        Err(Problem::WrongKind {
            found: format!("{version} {kind}"),
            provider: self.provider.name.clone(),
            wanted: format!("{} {}", wanted.0, wanted.1),
        }
        .at("/kind"))
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
            return Err(Problem::NoSubsets { backend, kind }.at(at()));
        }
        if self.reader.overlap(stable, canary) {
            let (stable, canary) = (stable.clone(), canary.clone());
            return Err(Problem::SameBackend { stable, canary }.at(at()));
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
        // A route that was deleted and made again is another one.
        let uid = "/metadata/uid";
        let uid = self
            .object
            .pointer(uid)
            .map(|is| (uid.to_owned(), is.clone()));
        let mut relied_on: Vec<_> = uid.into_iter().collect();
        for requirement in &self.provider.requires {
            let found = requirement.at.first(self.object, false);
            match found {
                Some(found) if *found.value == requirement.value => {
                    relied_on.push((found.pointer, found.value.clone()));
                }
                None if requirement.optional => {
                    let at = requirement.at.to_string();
                    let around = around(&at);
                    let value = self.object.pointer(around);
                    relied_on.extend(value.map(|value| (around.to_owned(), value.clone())));
                }
                found => {
                    return Err(Problem::Required {
                        found: found.map_or("not there".to_owned(), |f| f.value.to_string()),
                        wanted: requirement.value.to_string(),
                    }
                    .at(requirement.at.to_string()));
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
                .map_err(|problem| problem.at(&entry.weight_at))?;
            weights.push(Weight {
                written,
                counts: written.unwrap_or(weighing.default),
            });
        }
        if weights.iter().all(|weight| weight.counts == 0) {
            match weighing.all_zero {
                AllZero::Nobody => return Err(Problem::NobodyGetsTraffic.at(&list.pointer)),
                AllZero::Even => weights.iter_mut().for_each(|weight| weight.counts = 1),
            }
        }
        for (position, (entry, weight)) in list.entries.iter().zip(&weights).enumerate() {
            if weight.counts > 0 && position != stable && position != canary {
                let (name, weight) = (entry.label(), weight.counts);
                return Err(Problem::ThirdBackend { name, weight }.at(&entry.weight_at));
            }
        }
        let sum = weights.iter().map(|weight| u64::from(weight.counts)).sum();
        if weighing.sum == Sum::Hundred && sum != 100 {
            return Err(Problem::NotHundred { sum }.at(&list.pointer));
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
            return Err(Problem::BackendTwice { backend }.at(&list.pointer));
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
            return Problem::NotTogether { stable, canary }.at(at);
        };
        let mut known: Vec<_> = entries().map(Entry::label).collect();
        known.sort();
        known.dedup();
        let backend = missing.clone();
        Problem::NoSuchBackend { backend, known }.at(at)
    }

    /// Sees to it that an object of the canary's has no other backend.
    fn only_the_canary(&self, pattern: &Pattern) -> Result<(String, Value), Wrong> {
        let canary = &self.selection.canary;
        let found = pattern.find(self.object, false);
        if found.is_empty() {
            let (backend, known) = (canary.clone(), Vec::new());
            let backend_at = pattern.to_string();
            return Err(Problem::NoSuchBackend { backend, known }.at(backend_at));
        }
        let other = found
            .iter()
            .find(|found| found.value.as_str() != Some(&canary.name));
        if let Some(other) = other {
            let problem = Problem::NotTheCanary {
                found: other.value.to_string(),
                canary: canary.clone(),
            };
            return Err(problem.at(&other.pointer));
        }
        // All of what the pattern goes through, so that a backend that is added meanwhile is noticed too.
        let root = pattern.root();
        let value = self.object.pointer(&root).cloned().unwrap_or_default();
        Ok((root, value))
    }
}

/// What a field stands in: that there is no such field can only be tested by what is around it.
fn around(pointer: &str) -> &str {
    pointer.rsplit_once('/').map_or("", |(around, _)| around)
}

/// The place of a number that is the canary's share by itself.
fn share_of(document: &Document<'_>, number: usize, at: &Pattern) -> Result<(Site, Place), Wrong> {
    let pointer = at.to_string();
    let found = document.value.pointer(&pointer);
    let written = found
        .map(share)
        .transpose()
        .map_err(|problem| problem.at(&pointer))?;
    let counts = written.unwrap_or(0);
    let seen = if found.is_some() {
        pointer.as_str()
    } else {
        around(&pointer)
    };
    let site = Site {
        document: number,
        seen: seen.to_owned(),
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
