//! Whether a log is whole: no line removed, changed, put elsewhere or put in.

use std::io::{self, BufRead};

use thiserror::Error;

use crate::chain::{Head, take_apart};

/// A log that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many lines it has.
    pub lines: u64,
    /// Where it ends.
    pub head: Head,
}

/// What is wrong with a line; lines of the file are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// It is not one that was written by Backstop.
    #[error("line {line} is no line of an audit log: it was changed or put in")]
    NoLine {
        /// Which.
        line: u64,
    },
    /// Its hash is not that of its contents.
    #[error(
        "line {line} (number {sequence}) was changed: its contents do not have the hash that it carries"
    )]
    Changed {
        /// Which.
        line: u64,
        /// The number that it carries.
        sequence: u64,
    },
    /// Numbers are left out before it.
    #[error("before line {line} (number {sequence}) lines are missing: numbers {first} to {last}")]
    Missing {
        /// Before which.
        line: u64,
        /// The number that it carries.
        sequence: u64,
        /// The first that is missing.
        first: u64,
        /// The last that is missing.
        last: u64,
    },
    /// Its number is not above that of the line before it.
    #[error("line {line} (number {sequence}) is out of place: it stands after number {after}")]
    OutOfPlace {
        /// Which.
        line: u64,
        /// The number that it carries.
        sequence: u64,
        /// The number of the line before it.
        after: u64,
    },
    /// It has the right number, and follows another line than the one before it.
    #[error(
        "line {line} (number {sequence}) does not follow the line before it: one of the two was replaced"
    )]
    DoesNotFollow {
        /// Which.
        line: u64,
        /// The number that it carries.
        sequence: u64,
    },
    /// It ends before the line that is known to be its last.
    #[error(
        "the log ends with number {ends}, and number {known} is known to be in it: lines are missing at the end"
    )]
    CutOff {
        /// The number of its last line.
        ends: u64,
        /// The number that is known.
        known: u64,
    },
    /// The line that is known has another hash here.
    #[error(
        "number {sequence} is not the line that is known by that number: the log was written anew"
    )]
    WrittenAnew {
        /// Which number.
        sequence: u64,
    },
}

/// Why a log is not whole, or could not be read.
#[derive(Debug, Error)]
pub enum Found {
    /// It could not be read.
    #[error("the log could not be read: {0}")]
    Unreadable(#[from] io::Error),
    /// Everything that is wrong with it, in its order; at least one.
    #[error("{}", in_words(.0))]
    Problems(Vec<Problem>),
}

fn in_words(problems: &[Problem]) -> String {
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    words.join("\n")
}

/// Reads a log from its first line, and says whether it is whole. Lines that are gone from its end show only by a head
/// that is `known` from elsewhere.
///
/// A log that begins in the middle is not whole.
pub fn verify(log: impl BufRead, known: Option<&Head>) -> Result<Verified, Found> {
    let mut problems = Vec::new();
    let (mut head, mut lines, mut met) = (Head::default(), 0, false);
    for text in log.split(b'\n') {
        let text = text?;
        lines += 1;
        let line = lines;
        let taken = std::str::from_utf8(&text).ok().and_then(take_apart);
        let Some((place, said, has)) = taken else {
            problems.push(Problem::NoLine { line });
            continue;
        };
        let sequence = place.sequence;
        if said != has {
            problems.push(Problem::Changed { line, sequence });
        }
        if sequence <= head.sequence {
            let after = head.sequence;
            problems.push(Problem::OutOfPlace {
                line,
                sequence,
                after,
            });
        } else if sequence > head.sequence + 1 {
            let (first, last) = (head.sequence + 1, sequence - 1);
            problems.push(Problem::Missing {
                line,
                sequence,
                first,
                last,
            });
        } else if place.previous != head.hash {
            problems.push(Problem::DoesNotFollow { line, sequence });
        }
        if let Some(known) = known.filter(|known| known.sequence == sequence) {
            met = true;
            if known.hash != said {
                problems.push(Problem::WrittenAnew { sequence });
            }
        }
        head = Head {
            sequence,
            hash: said.to_owned(),
        };
    }
    if let Some(known) = known.filter(|known| !met && known.sequence > head.sequence) {
        problems.push(Problem::CutOff {
            ends: head.sequence,
            known: known.sequence,
        });
    }
    if problems.is_empty() {
        Ok(Verified { lines, head })
    } else {
        Err(Found::Problems(problems))
    }
}

/// Where a log ends, by its last whole line; `None` where it has none. `text` is its end, from anywhere.
pub fn last(text: &str) -> Option<Head> {
    text.lines().rev().find_map(|line| {
        let (place, said, has) = take_apart(line)?;
        (said == has).then(|| Head {
            sequence: place.sequence,
            hash: said.to_owned(),
        })
    })
}
