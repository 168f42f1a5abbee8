//! Triggers that decide together: how many of them fire.

use std::fmt::Write as _;

use backstop_api::policy::TriggerState;
use jiff::Timestamp;

use crate::{
    peers,
    policy::{ValidPolicy, ValidVote},
    state::State,
};

/// How a vote stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// So many must fire.
    pub needed: usize,
    /// Those that do.
    pub firing: Vec<String>,
    /// Those that do not, and are not known to be quiet either.
    pub open: Vec<String>,
    /// Those that are quiet.
    pub quiet: Vec<String>,
}

impl Tally {
    /// Whether enough of them fire.
    #[must_use]
    pub fn carries(&self) -> bool {
        self.firing.len() >= self.needed
    }

    /// Whether it could still be that enough of them fire soon: no more are quiet than may be.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.firing.len() + self.open.len() >= self.needed
    }

    /// For people.
    #[must_use]
    pub fn in_words(&self) -> String {
        let others = [
            ("quiet", &self.quiet),
            ("not judged or not firing yet", &self.open),
        ];
        let others = others.into_iter().filter(|(_, names)| !names.is_empty());
        let mut words = format!(
            "{} of {} triggers that must agree fire",
            self.firing.len(),
            self.needed
        );
        for (what, names) in others {
            // Writing into a String cannot fail.
            let _ = write!(words, "; {what}: {}", names.join(", "));
        }
        words
    }
}

/// How the vote of a trigger stands; `None` where it acts by itself.
#[must_use]
pub fn tally(policy: &ValidPolicy, state: &State, trigger: &str, now: Timestamp) -> Option<Tally> {
    let ValidVote { members, needed } = policy
        .votes
        .iter()
        .find(|vote| vote.members.iter().any(|m| m == trigger))?;
    let mut tally = Tally {
        needed: *needed,
        firing: Vec::new(),
        open: Vec::new(),
        quiet: Vec::new(),
    };
    for name in members {
        let known = policy
            .triggers
            .iter()
            .find(|t| &t.name == name)
            .zip(state.triggers.get(name));
        let place = match known {
            // What is as bad where nothing was released is no voice against the release.
            Some((trigger, memory))
                if memory.state == TriggerState::Firing
                    && peers::spared(trigger, memory, now).is_none() =>
            {
                &mut tally.firing
            }
            Some((_, memory)) if memory.is_quiet() => &mut tally.quiet,
            _ => &mut tally.open,
        };
        place.push(name.clone());
    }
    Some(tally)
}
