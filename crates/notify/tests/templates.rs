//! A template is tried when it is read, cannot reach anything but the message, and cannot run on.

mod common;

use backstop_api::policy::Channel;
use backstop_notify::channels;
use common::{allowed, channel, messages};
use serde_json::json;

fn refused(text: &str) -> String {
    let spec: Channel = serde_json::from_value(json!({
        "name": "team", "slack": {"secretName": "s"}, "template": {"text": text},
    }))
    .expect("a channel");
    let errors = channels(&[spec], &allowed()).expect_err("it is refused");
    errors.join("; ")
}

#[test]
fn what_is_wrong_with_a_template_is_said_with_field_and_line() {
    for (text, words) in [
        ("a\n{{ wat }}", "line 2: undefined value"),
        ("a\nb\n{% if %}", "line 3: syntax error"),
        ("{{ why|shout }}", "line 1: unknown filter"),
        ("{% include 'secrets' %}", "line 1: syntax error"),
        ("{% extends 'secrets' %}", "line 1: syntax error"),
        ("{{ figures.last }}", "guard them, as with {% if figures %}"),
    ] {
        let said = refused(text);
        assert!(
            said.starts_with("spec.notifications[0].template.text: "),
            "{said}"
        );
        assert!(said.contains(words), "{text}: {said}");
    }
}

#[test]
fn a_template_that_runs_on_is_refused() {
    let nested = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
    assert!(refused(nested).contains("fuel"), "{}", refused(nested));
    for text in [
        "{{ 'x' * 9999999999 }}",
        "{{ 'x'|indent(9999999999) }}",
        "{{ 9 ** 99999 }}",
    ] {
        assert!(refused(text).contains("line 1"), "{text}");
    }
}

#[test]
fn what_is_optional_can_be_guarded() {
    let text = "{% if figures %}{{ figures.last|number }} {{ figures.samples|sparkline }}{% endif %}\
                {{ category|default('by hand') }}";
    let channel = channel(json!({"slack": {"secretName": "s"}, "template": {"text": text}}));
    for message in messages() {
        let _ = channel.render(&message);
    }
}
