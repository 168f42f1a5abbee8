//! Why a route is not read or written, in words that say what would be right.

use thiserror::Error;

use crate::selection::{Backend, Rule};

/// What is wrong with a route, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind} {object}: {field}: {problem}")]
pub struct RouteError {
    /// The kind of the route.
    pub kind: String,
    /// Its name.
    pub object: String,
    /// Where in it, as a JSON Pointer. Behind a `#` it goes on in the JSON that stands there as text.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: Box<Problem>,
}

/// What is wrong, and where, as long as it is not known in which object.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) at: String,
    pub(crate) problem: Box<Problem>,
}

impl Problem {
    /// The problem, where it was found.
    pub(crate) fn at(self, at: impl Into<String>) -> Wrong {
        Wrong {
            at: at.into(),
            problem: Box::new(self),
        }
    }
}

impl Wrong {
    /// The same, with the pointer made to what it is in the object.
    pub(crate) fn place(self, place: impl FnOnce(&str) -> String) -> Self {
        Self {
            at: place(&self.at),
            ..self
        }
    }
}

/// What is wrong with a route.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// The provider is for another kind.
    #[error("is {found}; the provider {provider} is for {wanted}")]
    WrongKind {
        /// The object's apiVersion and kind.
        found: String,
        /// The provider.
        provider: String,
        /// Its apiVersion and kind.
        wanted: String,
    },
    /// Stable and canary are the same.
    #[error(
        "stable is {stable} and canary is {canary}, which can be the same backend; name two, or give both a subset"
    )]
    SameBackend {
        /// The one.
        stable: Backend,
        /// The other.
        canary: Backend,
    },
    /// The kind has no subsets.
    #[error("{backend} is asked for, but {kind} has no subsets; leave the subset out")]
    NoSubsets {
        /// What was asked for.
        backend: Backend,
        /// The kind.
        kind: String,
    },
    /// There is nothing where rules should be.
    #[error("nothing is there; it should be where the backends are")]
    Nothing,
    /// There is no such rule.
    #[error("there is no rule {rule}; {}", list("the rules are", .known, "there are no rules"))]
    NoSuchRule {
        /// What was asked for.
        rule: Rule,
        /// Those that there are.
        known: Vec<String>,
    },
    /// Two rules have the name.
    #[error("{times} rules are called {rule}; choose one by its number, from 0")]
    RuleTwice {
        /// The name.
        rule: Rule,
        /// How many.
        times: usize,
    },
    /// No rule has both backends.
    #[error(
        "the backend {backend} is not there; {}",
        list("the backends are", .known, "there are no backends")
    )]
    NoSuchBackend {
        /// Which is missing.
        backend: Backend,
        /// Those that there are.
        known: Vec<String>,
    },
    /// Both are in the route, but never in the same rule.
    #[error(
        "no rule has both {stable} and {canary}; traffic is shifted between backends of one rule"
    )]
    NotTogether {
        /// The one.
        stable: Backend,
        /// The other.
        canary: Backend,
    },
    /// A backend is twice in one list.
    #[error("the backend {backend} is there twice; make one of the two")]
    BackendTwice {
        /// Which.
        backend: Backend,
    },
    /// Somebody else gets a part of the traffic.
    #[error(
        "a third backend, {name}, has the weight {weight}; give it the weight 0 or a rule of its own"
    )]
    ThirdBackend {
        /// Whose.
        name: String,
        /// How much.
        weight: u32,
    },
    /// An object that is the canary's alone leads somewhere else.
    #[error("is {found}; the object's weight is that of its one backend, which has to be {canary}")]
    NotTheCanary {
        /// What stands there, as JSON.
        found: String,
        /// What would be right.
        canary: Backend,
    },
    /// A weight that is no whole number of 0 or more.
    #[error("{value} is no weight; write a whole number from 0 to {maximum}")]
    NoWeight {
        /// What stands there, as JSON.
        value: String,
        /// The largest that there may be.
        maximum: u32,
    },
    /// They have to be 100 together, and are not.
    #[error("the weights are {sum} together; this kind of route needs 100")]
    NotHundred {
        /// What they are.
        sum: u64,
    },
    /// All weights are 0.
    #[error("all weights are 0, so that nobody gets traffic; give one of them a weight")]
    NobodyGetsTraffic,
    /// A text that should be JSON is not.
    #[error("'{text}' is no JSON ({why})")]
    NotJson {
        /// What stands there.
        text: String,
        /// What the parser says.
        why: String,
    },
    /// Something of another type.
    #[error("{value} should be {wanted}")]
    WrongType {
        /// What stands there, as JSON.
        value: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// Something else in the object has to be different.
    #[error("is {found}; without {wanted} the weights mean nothing")]
    Required {
        /// What stands there, as JSON, or that nothing does.
        found: String,
        /// What would be right, as JSON.
        wanted: String,
    },
    /// A place that was recorded is gone.
    #[error(
        "the backends were there when the weights were recorded, and are not now; set the weights by hand"
    )]
    PlaceGone,
}

fn list(are: &str, names: &[String], none: &str) -> String {
    if names.is_empty() {
        none.to_owned()
    } else {
        format!("{are} {}", names.join(", "))
    }
}

/// A provider that the table does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no provider {name}; there are {}", .known.join(", "))]
pub struct UnknownProvider {
    /// What was asked for.
    pub name: String,
    /// Those that there are.
    pub known: Vec<String>,
}
