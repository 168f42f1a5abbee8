//! Weighing a number: by the condition, by what it is compared with, or by both.

use backstop_api::policy::Classification;

use super::words::{in_words, with_details};
use crate::{
    baseline::{Compared, Lack, LackKind},
    condition::Variables,
    policy::{Against, ValidTrigger},
    snapshot::Workload,
    state::TriggerMemory,
};

/// What a number means.
pub(super) enum Weighed {
    /// It is bad; `critical`: so bad that nothing is waited for.
    Bad { words: String, critical: bool },
    /// It is not.
    Good(String),
    /// There are too few samples of this release yet.
    Unsettled(String),
    /// There is nothing to compare with.
    LacksBaseline(String),
    /// It cannot be told.
    Error(String),
}

/// Weighs the newest value.
pub(super) fn weigh(
    trigger: &ValidTrigger,
    memory: &mut TriggerMemory,
    value: f64,
    compared: &Compared,
    workload: &Workload,
) -> Weighed {
    let needed = [
        (trigger.uses_baseline(), &compared.value),
        (trigger.condition.uses_stable(), &compared.stable),
    ];
    for (is_needed, found) in needed {
        if let (true, Err(lack)) = (is_needed, found) {
            return lacks(lack);
        }
    }
    let variables = Variables {
        value,
        baseline: memory.baseline,
        stable: memory.stable,
        workload: workload.numbers(),
    };
    let holds = match trigger.condition.holds(&variables) {
        Ok(holds) => holds,
        Err(problem) => {
            let text = trigger.condition.text();
            return Weighed::Error(format!("condition '{text}' {problem}"));
        }
    };
    let Some(comparison) = &trigger.compare else {
        let words = in_words(trigger, memory, value, holds, None);
        return verdict(holds, false, words, memory);
    };
    let ours: Vec<f64> = memory.samples.iter().map(|s| s.value).collect();
    let found = comparison.classify(&ours, &compared.samples);
    memory.classification = Some(found.classification);
    match found.classification {
        // What a point holds does not grow; what is measured beside does.
        Classification::Nodata
            if trigger.baseline.against == Against::LastHealthy
                && ours.len() >= comparison.parameters.samples as usize =>
        {
            Weighed::LacksBaseline(format!("cannot compare: {}", found.words))
        }
        Classification::Nodata => {
            Weighed::Unsettled(format!("cannot compare yet: {}", found.words))
        }
        classification => {
            let bad = holds && classification != Classification::Pass;
            let words = in_words(trigger, memory, value, holds, Some(&found.words));
            verdict(bad, found.critical, words, memory)
        }
    }
}

fn verdict(bad: bool, critical: bool, words: String, memory: &TriggerMemory) -> Weighed {
    if bad {
        Weighed::Bad {
            words: with_details(words, memory),
            critical,
        }
    } else {
        Weighed::Good(words)
    }
}

fn lacks(lack: &Lack) -> Weighed {
    let why = lack.why.clone();
    match lack.kind {
        LackKind::NoData => Weighed::LacksBaseline(why),
        LackKind::Error => Weighed::Error(why),
        LackKind::Over => Weighed::Good(why),
    }
}
