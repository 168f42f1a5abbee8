//! The placeholders, where they stand in a template, and the values that replace them.

use std::fmt;

use super::QueryError;

/// Kubernetes cuts the generated part's prefix of a pod's name here, so that with five random
/// characters the name fits into 63 (`names.SimpleNameGenerator`).
pub(super) const LONGEST_POD_PREFIX: usize = 58;

/// What a `pod-template-hash` may be: the digits and the letters without vowels that Kubernetes
/// writes hashes with (`rand.SafeEncodeString`). So the pods of `web` are not those of `web-api`.
const ANY_HASH: &str = "[b-df-hj-np-tv-xz24-9]{1,10}";

/// What a template can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// `{{ workload }}`: the workload's name, as it is; of several a regular expression.
    Workload,
    /// `{{ namespace }}`: the workload's namespace, as it is.
    Namespace,
    /// `{{ pods }}`: a regular expression for the names of the release's pods.
    Pods,
    /// `{{ hash }}`: a regular expression for the release's values of `pod-template-hash`.
    Hash,
    /// `{{ release }}`: Backstop's own identity of the release, as it is.
    Release,
}

impl Placeholder {
    /// All placeholders, in the order in which they are named to people.
    pub const ALL: [Self; 5] = [
        Self::Workload,
        Self::Namespace,
        Self::Pods,
        Self::Hash,
        Self::Release,
    ];

    /// The name between the braces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Namespace => "namespace",
            Self::Pods => "pods",
            Self::Hash => "hash",
            Self::Release => "release",
        }
    }

    pub(super) fn known() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Value(Placeholder),
}

/// Cuts a template at its placeholders.
pub(super) fn split(text: &str) -> Result<Vec<Part>, QueryError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inside, behind)) = after.split_once("}}") else {
            let text = format!("{{{{{}", after.chars().take(20).collect::<String>());
            return Err(QueryError::UnclosedPlaceholder { text });
        };
        parts.push(Part::Text(before.to_owned()));
        parts.push(Part::Value(named(inside)?));
        rest = behind;
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

fn named(inside: &str) -> Result<Placeholder, QueryError> {
    let name = inside.trim();
    if let Some(known) = Placeholder::ALL
        .into_iter()
        .find(|known| known.name() == name)
    {
        return Ok(known);
    }
    let is_a_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    Err(if is_a_name {
        QueryError::UnknownPlaceholder {
            name: name.to_owned(),
        }
    } else {
        QueryError::MalformedPlaceholder {
            text: format!("{{{{{inside}}}}}"),
        }
    })
}

/// Puts a template together again, with a value in each placeholder's place.
pub(super) fn fill(
    parts: &[Part],
    value: impl Fn(Placeholder) -> Result<String, QueryError>,
) -> Result<String, QueryError> {
    parts.iter().try_fold(String::new(), |mut query, part| {
        match part {
            Part::Text(text) => query.push_str(text),
            Part::Value(placeholder) => query.push_str(&value(*placeholder)?),
        }
        Ok(query)
    })
}

/// The release that a query asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryContext {
    /// The names of the Deployments: those that are live for the policy.
    pub workloads: Vec<String>,
    /// Its namespace.
    pub namespace: String,
    /// The `pod-template-hash` of each ReplicaSet of the release: several after a restart, which
    /// changes the template but not the release.
    pub template_hashes: Vec<String>,
    /// Backstop's hash of the release.
    pub release: String,
}

impl QueryContext {
    /// Whether a pod of this name is one of the release's.
    pub fn has_pod(&self, pod: &str) -> Result<bool, QueryError> {
        self.pods_show_their_release()?;
        let is_random = |rest: &str| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            !rest.is_empty() && rest.chars().all(plain)
        };
        Ok(self.workloads.iter().any(|name| {
            let mut hashes = self.template_hashes.iter();
            hashes.any(|hash| {
                let rest = pod.strip_prefix(&format!("{name}-{hash}-"));
                rest.is_some_and(is_random)
            })
        }))
    }

    /// Refuses workloads whose names are so long that those of their pods are cut.
    fn pods_show_their_release(&self) -> Result<(), QueryError> {
        let hashes = self.template_hashes.iter();
        let hash = hashes.map(String::len).max().unwrap_or_default();
        let is_cut = |name: &&String| name.len() + 1 + hash + 1 > LONGEST_POD_PREFIX;
        match self.workloads.iter().find(is_cut).cloned() {
            Some(workload) => Err(QueryError::PodNamesCut { workload }),
            None => Ok(()),
        }
    }

    /// The text for a placeholder: safe in single and double quotes, without any backslash.
    ///
    /// An empty value is refused: `pod=~""` would select every series without that label.
    pub(super) fn value(&self, placeholder: Placeholder) -> Result<String, QueryError> {
        let checked = |value: &str| checked(placeholder, value);
        match placeholder {
            Placeholder::Workload => Ok(match self.names(placeholder)?.as_slice() {
                // Plain: a query may compare it as it is.
                [one] => one.clone(),
                several => any_of(several),
            }),
            Placeholder::Namespace => checked(&self.namespace),
            Placeholder::Release => checked(&self.release),
            Placeholder::Hash => Ok(any_of(&self.hashes(placeholder)?)),
            Placeholder::Pods => {
                let names = self.names(placeholder)?;
                let hashes = self.hashes(placeholder)?;
                self.pods_show_their_release()?;
                let (names, hashes) = (any_of(&names), any_of(&hashes));
                Ok(format!("{names}-{hashes}-[a-z0-9]+"))
            }
        }
    }

    /// The same for whatever release was live at another time: of the release's own values only the
    /// workload's name is known of it.
    pub(super) fn value_of_any(&self, placeholder: Placeholder) -> Result<String, QueryError> {
        match placeholder {
            Placeholder::Workload | Placeholder::Namespace => self.value(placeholder),
            Placeholder::Hash => Ok(ANY_HASH.to_owned()),
            Placeholder::Pods => {
                // Refuses names that are cut, as for a release that is known.
                self.value(placeholder)?;
                let names = any_of(&self.names(placeholder)?);
                Ok(format!("{names}-{ANY_HASH}-[a-z0-9]+"))
            }
            Placeholder::Release => Err(QueryError::MissingValue { placeholder }),
        }
    }

    fn names(&self, placeholder: Placeholder) -> Result<Vec<String>, QueryError> {
        all_checked(placeholder, &self.workloads)
    }

    fn hashes(&self, placeholder: Placeholder) -> Result<Vec<String>, QueryError> {
        all_checked(placeholder, &self.template_hashes)
    }
}

fn all_checked(placeholder: Placeholder, values: &[String]) -> Result<Vec<String>, QueryError> {
    if values.is_empty() {
        return Err(QueryError::MissingValue { placeholder });
    }
    let values = values.iter();
    values.map(|value| checked(placeholder, value)).collect()
}

fn checked(placeholder: Placeholder, value: &str) -> Result<String, QueryError> {
    if value.is_empty() {
        return Err(QueryError::MissingValue { placeholder });
    }
    let is_safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if value.chars().all(is_safe) {
        Ok(value.to_owned())
    } else {
        Err(QueryError::UnsafeValue { placeholder })
    }
}

/// A group keeps alternatives together wherever the template puts them.
fn any_of(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| escaped(name)).collect();
    match names.as_slice() {
        [one] => one.clone(),
        several => format!("(?:{})", several.join("|")),
    }
}

/// A dot is the only character of a Kubernetes name that a regular expression reads otherwise.
fn escaped(name: &str) -> String {
    name.replace('.', "[.]")
}
