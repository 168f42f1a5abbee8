//! The table of what was measured.

use backstop_engine::{snapshot::Measured, trigger::number};

use crate::table::{NOTHING, table};

/// What was measured is told to be doubtful from so many times what the operator measures on: that is
/// what a unit makes.
const FAR_OFF: f64 = 100.0;

/// A trigger, and what was measured.
pub struct Row {
    pub trigger: String,
    pub measured: Option<Measured>,
    /// What the operator measures of it.
    pub seen: Option<f64>,
    /// Whether a release is compared with it, in words.
    pub compared: String,
}

impl Row {
    /// Why it may not be what was meant.
    pub fn doubt(&self) -> Option<String> {
        let measured = self.measured.as_ref()?.value;
        let seen = self.seen.filter(|seen| *seen > 0.0 && measured > 0.0)?;
        let times = (measured / seen).max(seen / measured);
        (times >= FAR_OFF).then(|| {
            format!(
                "{}: {} is {} times away from the {} that Backstop measures now; is the unit right?",
                self.trigger,
                number(measured),
                number(times),
                number(seen)
            )
        })
    }
}

/// The cells of what was measured: value, mean, p95, deviation and samples.
pub fn cells(measured: Option<&Measured>) -> [String; 5] {
    let told = |number_: Option<f64>| number_.map_or_else(|| NOTHING.to_owned(), number);
    let spread = measured.and_then(|m| m.distribution.as_ref());
    [
        told(measured.map(|m| m.value)),
        told(spread.map(|s| s.mean)),
        told(spread.and_then(|s| s.p95)),
        told(spread.map(|s| s.deviation)),
        spread.map_or_else(|| NOTHING.to_owned(), |s| s.count.to_string()),
    ]
}

/// Prints the rows.
pub fn print(rows: &[Row]) {
    let rows: Vec<_> = rows.iter().map(line).collect();
    let headings = [
        "TRIGGER",
        "VALUE",
        "MEAN",
        "P95",
        "DEVIATION",
        "SAMPLES",
        "NOW",
        "COMPARED",
    ];
    print!("{}", table(headings, &rows));
}

fn line(row: &Row) -> [String; 8] {
    let [value, mean, p95, deviation, samples] = cells(row.measured.as_ref());
    [
        row.trigger.clone(),
        value,
        mean,
        p95,
        deviation,
        samples,
        row.seen.map_or_else(|| NOTHING.to_owned(), number),
        row.compared.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(measured: f64, seen: Option<f64>) -> Row {
        Row {
            trigger: "latency".into(),
            measured: Some(measured.into()),
            seen,
            compared: "yes".into(),
        }
    }

    #[test]
    fn milliseconds_for_seconds_are_doubted_and_twice_as_slow_is_not() {
        let doubt = row(24.0, Some(0.02)).doubt().expect("a doubt");
        assert_eq!(
            doubt,
            "latency: 24 is 1200 times away from the 0.02 that Backstop measures now; is the unit right?"
        );
        assert_eq!(row(0.04, Some(0.02)).doubt(), None);
        assert_eq!(row(0.04, None).doubt(), None);
        assert_eq!(row(0.04, Some(0.0)).doubt(), None);
    }
}
