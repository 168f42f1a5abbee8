use serde_json::{Value, json};

use super::*;

fn parsed(source: Value) -> Result<WebTemplate, Vec<String>> {
    let source: WebSource = serde_json::from_value(source).expect("a source");
    let mut problems = Vec::new();
    let mut refuse = |field: &str, value: String, problem: String| {
        problems.push(format!("{field}: '{value}' {problem}"));
    };
    WebTemplate::parse(&source, &mut refuse).ok_or(problems)
}

fn context() -> QueryContext {
    QueryContext {
        workloads: vec!["web".into()],
        namespace: "shop".into(),
        template_hashes: vec!["abc".into(), "def".into()],
        release: "r1".into(),
    }
}

#[test]
fn placeholders_are_escaped_in_the_url_and_plain_in_the_body() {
    let template = parsed(json!({
        "url": "https://status.{{ namespace }}.svc/{{ workload }}?of={{ hash }}",
        "body": r#"{"pods": "{{ pods }}"}"#, "jsonPath": "$.rate",
    }))
    .expect("a template");
    assert!(template.is_scoped());
    let question = template.render(&context()).expect("values");
    assert_eq!(
        question.url,
        "https://status.shop.svc/web?of=%28%3F%3Aabc%7Cdef%29"
    );
    assert_eq!(
        question.in_words(),
        r#"POST https://status.shop.svc/web?of=%28%3F%3Aabc%7Cdef%29 {"pods": "web-(?:abc|def)-[a-z0-9]+"}"#
    );
}

#[test]
fn a_question_is_about_a_release_only_when_it_names_it() {
    for (url, scoped) in [
        ("https://a/b", false),
        ("https://a/{{ workload }}?n={{ namespace }}", false),
        ("https://a/{{ release }}", true),
    ] {
        let template = parsed(json!({"url": url, "jsonPath": "$"})).expect(url);
        assert_eq!(template.is_scoped(), scoped, "{url}");
        assert_eq!(template.range.as_secs(), 300);
    }
}

#[test]
fn what_cannot_work_is_refused_without_repeating_secrets() {
    let with = |more: Value| {
        let mut source = json!({"url": "https://a/b", "jsonPath": "$.rate"});
        let fields = source.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        source
    };
    let header = |name: &str| with(json!({"headers": [{"name": name, "value": "hunter2"}]}));
    for (source, problem) in [
        (
            with(json!({"url": "ftp://a"})),
            "web.url: 'ftp://a' must begin with",
        ),
        (
            with(json!({"url": "https://me:hunter2@a/b"})),
            "web.url: '***@a/b' has a user name",
        ),
        (with(json!({"url": "https://a/b#c"})), "must not have a `#`"),
        (
            with(json!({"url": "https://a/b?c={{ pod }}"})),
            "unknown placeholder `pod`",
        ),
        (
            with(json!({"body": "{{ pods"})),
            "web.body: '…' `{{` is not closed",
        ),
        (
            with(json!({"jsonPath": "rate"})),
            "web.jsonPath: 'rate' is no JSONPath",
        ),
        (
            with(json!({"range": "25h"})),
            "web.range: '25h0m0s' must be at most 24h",
        ),
        (
            header("Authorization"),
            "web.headers[0]: 'Authorization' signs in",
        ),
        (header("X-Api-Key"), "web.headers[0]: 'X-Api-Key' signs in"),
        (
            header("Host"),
            "web.headers[0]: 'Host' is not for a policy to set",
        ),
        (header("X-Forwarded-Host"), "is not for a policy to set"),
        (header("Accept Language"), "is no name of a header"),
        (
            with(json!({"headers": [{"name": "A", "value": "b\r\nHost: c"}]})),
            "printable ASCII",
        ),
    ] {
        let problems = parsed(source).expect_err(problem).join("; ");
        assert!(problems.contains(problem), "{problem}: {problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
    assert!(parsed(header("Accept-Language")).is_ok());
}
