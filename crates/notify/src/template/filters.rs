//! What templates can do to a value beside what Jinja does.

use minijinja::{Environment, Error, HtmlEscape, value::Value};

use super::{Format, escape_slack};

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// How many samples a drawing shows: the newest.
const DRAWN: usize = 30;

pub(super) fn add(environment: &mut Environment<'_>, format: Format) {
    environment.add_filter("number", |value: f64| number(value));
    environment.add_filter("label", |value: String| label(&value));
    environment.add_filter("time", |value: String| time(&value));
    environment.add_filter("sparkline", |samples: Vec<Value>| sparkline(&samples));
    environment.add_filter("strong", move |text: String| match format {
        Format::Plain => Value::from(text),
        Format::Slack => Value::from_safe_string(format!("*{}*", escape_slack(&text))),
        Format::Html => Value::from_safe_string(format!("<strong>{}</strong>", HtmlEscape(&text))),
    });
    environment.add_filter("code", move |text: String| match format {
        Format::Plain => Value::from(text),
        // A backtick would end it.
        Format::Slack => {
            Value::from_safe_string(format!("`{}`", escape_slack(&text.replace('`', "'"))))
        }
        Format::Html => Value::from_safe_string(format!("<code>{}</code>", HtmlEscape(&text))),
    });
}

/// A number for people: four digits that say something.
fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let before = value.abs().log10().floor();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 12"
    )]
    let decimals = (3.0 - before).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `SecurityIncident` as `SECURITY INCIDENT`.
fn label(name: &str) -> String {
    let mut label = String::new();
    for (index, c) in name.chars().enumerate() {
        if index > 0 && c.is_uppercase() {
            label.push(' ');
        }
        label.extend(c.to_uppercase());
    }
    label
}

/// A timestamp to the second.
fn time(text: &str) -> String {
    text.parse::<jiff::Timestamp>()
        .map_or_else(|_| text.to_owned(), |at| format!("{at:.0}"))
}

/// The values of samples as bars, the lowest the lowest.
fn sparkline(samples: &[Value]) -> Result<String, Error> {
    let values = samples.iter().map(|sample| {
        let value = sample.get_attr("value")?;
        f64::try_from(value)
    });
    let values = values.collect::<Result<Vec<f64>, Error>>()?;
    let shown = &values[values.len().saturating_sub(DRAWN)..];
    let finite = || shown.iter().copied().filter(|v| v.is_finite());
    let (low, high) = (
        finite().fold(f64::INFINITY, f64::min),
        finite().fold(f64::NEG_INFINITY, f64::max),
    );
    Ok(shown
        .iter()
        .map(|value| {
            if !value.is_finite() {
                return ' ';
            }
            let share = if high > low {
                (value - low) / (high - low)
            } else {
                0.0
            };
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and 7"
            )]
            let bar = (share * 7.0).round() as usize;
            BARS[bar.min(7)]
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_four_digits_that_say_something() {
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (0.051_234_5, "0.05123"),
            (1234.567, "1235"),
            (2.0, "2"),
            (-12.345_6, "-12.35"),
            (500.0, "500"),
            (123_456.0, "123456"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_category_is_shown_in_words() {
        assert_eq!(label("SecurityIncident"), "SECURITY INCIDENT");
    }
}
