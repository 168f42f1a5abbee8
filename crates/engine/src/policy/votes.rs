//! Which triggers decide together.

use std::collections::BTreeSet;

use backstop_api::policy::{DecisionRules, Require, Vote};

use super::{FieldError, ValidTrigger};

/// Triggers of which so many must fire at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidVote {
    /// Who votes, by name, in the policy's order.
    pub members: Vec<String>,
    /// So many must fire.
    pub needed: usize,
}

/// Parses how triggers decide together, or says what is wrong with it.
pub(super) fn validate(
    rules: Option<&DecisionRules>,
    triggers: &[ValidTrigger],
    errors: &mut Vec<FieldError>,
) -> Vec<ValidVote> {
    let mut taken = BTreeSet::new();
    let mut votes = Vec::new();
    let rules = rules.iter().flat_map(|rules| &rules.votes);
    for (index, vote) in rules.enumerate() {
        let mut refuse = |field: &str, value: String, problem: &str| {
            errors.push(FieldError {
                field: format!("spec.decision.votes[{index}]{field}"),
                value,
                problem: problem.to_owned(),
            });
        };
        let members = members(vote, triggers, &mut refuse);
        for name in &members {
            if !taken.insert(name.clone()) {
                refuse(
                    ".triggers",
                    name.clone(),
                    "is in another vote already; a trigger is in one vote at most",
                );
            }
        }
        if members.is_empty() {
            let problem = "has no trigger that takes releases back; name some, or remove the vote";
            refuse("", format!("{:?}", vote.require), problem);
            continue;
        }
        let needed = match (vote.require, vote.at_least) {
            (Require::Any, None) => 1,
            (Require::All, None) => members.len(),
            (Require::AtLeast, Some(number)) => number as usize,
            (Require::AtLeast, None) => {
                refuse(
                    ".atLeast",
                    String::new(),
                    "is missing; write for example: 2",
                );
                continue;
            }
            (_, Some(number)) => {
                let problem = "goes with require: AtLeast; remove it";
                refuse(".atLeast", number.to_string(), problem);
                continue;
            }
        };
        if needed == 0 || needed > members.len() {
            let problem = format!(
                "must be from 1 to {}, for so many triggers vote: {}",
                members.len(),
                members.join(", ")
            );
            refuse(".atLeast", needed.to_string(), &problem);
            continue;
        }
        votes.push(ValidVote { members, needed });
    }
    votes
}

fn members(
    vote: &Vote,
    triggers: &[ValidTrigger],
    refuse: &mut impl FnMut(&str, String, &str),
) -> Vec<String> {
    let Some(names) = &vote.triggers else {
        return triggers
            .iter()
            .filter(|t| t.can_roll_back() && vote.severity.is_none_or(|s| s == t.severity))
            .map(|t| t.name.clone())
            .collect();
    };
    if vote.severity.is_some() {
        let problem = "stands beside triggers; remove one of them";
        refuse(".severity", format!("{:?}", vote.severity), problem);
    }
    let mut members = Vec::new();
    for name in names {
        match triggers.iter().find(|t| &t.name == name) {
            None => refuse(".triggers", name.clone(), "is no trigger of this policy"),
            Some(trigger) if !trigger.can_roll_back() => refuse(
                ".triggers",
                name.clone(),
                "takes no release back by its action, so it cannot vote for that",
            ),
            Some(_) => members.push(name.clone()),
        }
    }
    members
}
