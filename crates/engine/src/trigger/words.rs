//! What is so, in words.

use std::fmt::Write as _;

use crate::{policy::ValidTrigger, state::TriggerMemory};

/// What was measured, what it was compared with, and what follows. `holds`: whether the condition
/// does; `comparison`: what the comparison of samples says.
pub(super) fn in_words(
    trigger: &ValidTrigger,
    memory: &TriggerMemory,
    value: f64,
    holds: bool,
    comparison: Option<&str>,
) -> String {
    let mut words = measured(trigger, memory, value);
    let condition = &trigger.condition;
    for (uses, name, number_of) in [
        (condition.uses_baseline(), "baseline", memory.baseline),
        (condition.uses_stable(), "stable", memory.stable),
    ] {
        if let Some(value) = number_of.filter(|_| uses) {
            let _ = write!(words, ", {name} = {}", number(value));
        }
    }
    if trigger.is_conditional() {
        let holds = if holds { "holds" } else { "does not hold" };
        let _ = write!(words, ": '{}' {holds}", condition.text());
    }
    if let Some(comparison) = comparison {
        let _ = write!(words, "; {comparison}");
    }
    words
}

fn measured(trigger: &ValidTrigger, memory: &TriggerMemory, value: f64) -> String {
    let (Some(ratio), Some(tally)) = (trigger.ratio(), &memory.tally) else {
        return format!("value = {}", number(value));
    };
    format!(
        "{} of {} are bad, which is a share of {} at least, {} % sure: value = {2}",
        number(tally.bad),
        number(tally.total),
        number(value),
        number(100.0 * (1.0 - ratio.error))
    )
}

/// What the cluster said, behind the figures.
pub(super) fn with_details(mut words: String, memory: &TriggerMemory) -> String {
    if let Some(first) = memory.details.first() {
        words.push_str("; ");
        words.push_str(first);
        if memory.details.len() > 1 {
            let _ = write!(words, " (and {} more)", memory.details.len() - 1);
        }
    }
    words
}

/// A number for people: four significant digits, no noise.
#[must_use]
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a logarithm of an f64 fits"
    )]
    let magnitude = value.abs().log10().floor() as i32;
    if !(-4..=9).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let decimals = usize::try_from(3 - magnitude).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.071_234, "0.07123"),
            (1.0, "1"),
            (12.5, "12.5"),
            (1234.56, "1235"),
            (123_456.0, "123456"),
            (1.0e12, "1.000e12"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
