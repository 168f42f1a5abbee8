use jiff::SignedDuration;

use super::{LONGEST_QUERY, Placeholder, QueryContext, QueryError, QueryTemplate};

fn context() -> QueryContext {
    QueryContext {
        workloads: vec!["web".into()],
        namespace: "shop".into(),
        template_hashes: vec!["7d9f8c5b6".into()],
        release: "3f2a".into(),
    }
}

fn parsed(text: &str) -> QueryTemplate {
    QueryTemplate::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> QueryError {
    QueryTemplate::parse(text).expect_err(text)
}

fn rendered(text: &str, context: &QueryContext) -> String {
    parsed(text)
        .render(context)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn every_placeholder_is_replaced() {
    let query = rendered(
        r#"x{w="{{ workload }}",n='{{namespace}}',p=~"{{ pods }}",h=~`{{ hash }}`,r="{{ release }}"}"#,
        &context(),
    );
    assert_eq!(
        query,
        r#"x{w="web",n='shop',p=~"web-7d9f8c5b6-[a-z0-9]+",h=~`7d9f8c5b6`,r="3f2a"}"#
    );
}

#[test]
fn a_query_without_placeholders_stays_as_it_is() {
    let text = r#"sum(rate(http_requests_total{code=~"5.."}[1m]))"#;
    assert_eq!(rendered(text, &context()), text);
    assert_eq!(parsed(text).as_str(), text);
}

#[test]
fn several_hashes_stay_together_within_a_longer_pattern() {
    let both = QueryContext {
        template_hashes: vec!["7d9f8c5b6".into(), "5c8d7f9b4".into()],
        ..context()
    };
    assert_eq!(
        rendered(r#"x{pod=~"{{ pods }}"}"#, &both),
        r#"x{pod=~"web-(?:7d9f8c5b6|5c8d7f9b4)-[a-z0-9]+"}"#
    );
    assert_eq!(
        rendered(r#"x{rs=~"web-{{ hash }}"}"#, &both),
        r#"x{rs=~"web-(?:7d9f8c5b6|5c8d7f9b4)"}"#
    );
}

#[test]
fn several_deployments_are_all_meant() {
    let several = QueryContext {
        workloads: vec!["web".into(), "web.worker".into()],
        template_hashes: vec!["7d9f8c5b6".into(), "5c8d7f9b4".into()],
        ..context()
    };
    assert_eq!(
        rendered(r#"x{pod=~"{{ pods }}"}"#, &several),
        r#"x{pod=~"(?:web|web[.]worker)-(?:7d9f8c5b6|5c8d7f9b4)-[a-z0-9]+"}"#
    );
    assert_eq!(
        rendered(r#"x{app=~"{{ workload }}"}"#, &several),
        r#"x{app=~"(?:web|web[.]worker)"}"#
    );
}

#[test]
fn a_dot_in_a_name_matches_only_a_dot() {
    let dotted = QueryContext {
        workloads: vec!["web.v1".into()],
        ..context()
    };
    assert_eq!(
        rendered(r#"x{pod=~"{{ pods }}"}"#, &dotted),
        r#"x{pod=~"web[.]v1-7d9f8c5b6-[a-z0-9]+"}"#
    );
}

#[test]
fn the_pattern_for_pods_matches_them_and_no_others() {
    let query = rendered(r#"x{pod=~"{{ pods }}"}"#, &context());
    let pattern = query.split('"').nth(1).unwrap_or_default();
    let matcher = promql_parser::label::Matcher::new_matcher(
        promql_parser::parser::token::T_EQL_REGEX,
        "pod".into(),
        pattern.into(),
    )
    .expect("a valid pattern");
    assert!(matcher.is_match("web-7d9f8c5b6-x2x4z"));
    assert!(!matcher.is_match("web-5c8d7f9b4-x2x4z"));
    assert!(!matcher.is_match("web-worker-7d9f8c5b6-x2x4z"));
    assert!(!matcher.is_match("other-web-7d9f8c5b6-x2x4z"));
}

#[test]
fn an_unknown_placeholder_is_named_with_the_known_ones() {
    assert_eq!(
        refused(r#"x{pod=~"{{ pod }}"}"#).to_string(),
        "unknown placeholder `pod`; known: workload, namespace, pods, hash, release"
    );
}

#[test]
fn only_plain_names_are_placeholders() {
    assert_eq!(
        refused(r#"x{pod=~"{{ pods | upper }}"}"#).to_string(),
        "`{{ pods | upper }}` is not a placeholder: write one name, such as `{{ pods }}`; \
         known: workload, namespace, pods, hash, release"
    );
    for text in [
        "{{ }}",
        "{{}}",
        "{{ pods if release else hash }}",
        "{{ 'a' }}",
    ] {
        assert!(matches!(
            refused(&format!(r#"x{{pod=~"{text}"}}"#)),
            QueryError::MalformedPlaceholder { .. }
        ));
    }
}

#[test]
fn an_unclosed_placeholder_is_shown() {
    assert_eq!(
        refused(r#"x{pod=~"{{ pods"}"#).to_string(),
        "`{{` is not closed at `{{ pods\"}`: write `{{ pods }}`"
    );
}

#[test]
fn a_placeholder_outside_of_a_string_is_refused() {
    for text in [
        r"{{ workload }}_errors_total",
        r"sum by ({{ workload }}) (x)",
    ] {
        assert_eq!(refused(text), QueryError::OutsideString, "{text}");
    }
}

#[test]
fn invalid_promql_is_refused_in_the_parsers_words() {
    assert_eq!(
        refused(r#"rate(x{pod=~"{{ pods }}"})"#).to_string(),
        "invalid PromQL: expected type matrix in call to function 'rate', got vector"
    );
    assert_eq!(
        refused("foo(x)").to_string(),
        "invalid PromQL: unknown function with name 'foo'"
    );
    for text in [
        "",
        "sum(",
        "x{",
        "x / / y",
        r#"x{pod=~"({{ pods }}"}"#,
        r#"x{a="\{{ pods }}"}"#,
    ] {
        assert!(
            matches!(refused(text), QueryError::InvalidPromQl { .. }),
            "{text}"
        );
    }
}

#[test]
fn a_range_and_a_string_are_no_answer_for_a_trigger() {
    assert_eq!(
        refused("x[5m]").to_string(),
        "the query gives a range of samples; a trigger needs an instant vector or a scalar"
    );
    assert!(matches!(
        refused(r#""text""#),
        QueryError::NotAnInstant { kind: "string" }
    ));
}

#[test]
fn hostile_queries_neither_panic_nor_overflow_the_stack() {
    for text in [
        "x[1e30]",
        "x offset 1e30",
        "x[5m:1e30]",
        "x @ 1e300",
        "\u{e002}\u{e012}",
    ] {
        refused(text);
    }
    assert!(matches!(
        refused(&"x".repeat(LONGEST_QUERY + 1)),
        QueryError::TooLong { .. }
    ));
    let nest = |open: &str, close: &str| {
        let depth = (LONGEST_QUERY - 1) / (open.len() + close.len());
        format!("{}x{}", open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [("(", ")"), ("-", ""), ("x+", ""), ("x^", ""), ("abs(", ")")] {
        assert!(!parsed(&nest(open, close)).is_scoped(), "{open}");
    }
}

#[test]
fn a_pattern_compared_literally_is_refused() {
    assert_eq!(
        refused(r#"x{pod="{{ pods }}"}"#).to_string(),
        "`pod` is compared literally with `{{ pods }}`, which is a regular expression: use =~ or !~"
    );
    assert!(matches!(
        refused(r#"x{rs!="web-{{ hash }}"}"#),
        QueryError::LiteralPattern {
            placeholder: Placeholder::Hash,
            ..
        }
    ));
}

#[test]
fn a_query_limited_to_the_release_everywhere_is_scoped() {
    for text in [
        r#"x{pod=~"{{ pods }}"}"#,
        r#"x{pod=~"{{ pods }}|{{ pods }}-debug"}"#,
        r#"x{pod=~"({{ pods }})"}"#,
        r#"x{pod=~"(?:{{ pods }}|{{ hash }})"}"#,
        r#"x{rs=~"{{ workload }}-{{ hash }}"}"#,
        r#"x{rs=~".*-{{ hash }}.*"}"#,
        r#"x{release="{{ release }}"}"#,
        r#"x{release="v-{{ release }}"}"#,
        r#"sum(rate(x{pod=~"{{ pods }}",code=~"5.."}[1m])) / sum(rate(x{pod=~"{{ pods }}"}[1m]))"#,
        r"max_over_time(sum(x{pod=~'{{ pods }}'})[5m:])",
        r#"histogram_quantile(0.99, sum by (le) (rate(x{pod=~"{{ pods }}"}[5m]))) or vector(0)"#,
        r#"-(x{pod=~"{{ pods }}"})"#,
        r#"x{pod=~"{{ pods }}"} and on (job, instance) up offset 1m == 1"#,
        r#"0 * x{pod=~"{{ pods }}"} and on (instance) (up{job="app"} == 1) or x{pod=~"{{ pods }}"}"#,
    ] {
        assert!(parsed(text).is_scoped(), "{text}");
    }
}

#[test]
fn a_query_that_can_read_other_series_is_not_scoped() {
    for text in [
        "x",
        "vector(1)",
        "1",
        r#"x{workload="{{ workload }}",namespace="{{ namespace }}"}"#,
        r#"x{pod!~"{{ pods }}"}"#,
        r#"x{release!="{{ release }}"}"#,
        r#"x{pod=~"{{ pods }}|.*"}"#,
        r#"x{pod=~"{{ pods }}|"}"#,
        r#"x{pod=~"({{ pods }})?"}"#,
        r#"x{pod=~"({{ pods }})*"}"#,
        r#"x{pod=~"({{ pods }}){0,2}"}"#,
        r#"x{pod=~"[{{ hash }}]+"}"#,
        r#"x{pod=~"[^{{ hash }}]+"}"#,
        r#"x{pod=~"{{ workload }}-.*"}"#,
        r#"x{pod=~"{{ pods }}"} / x"#,
        r#"x{pod=~"{{ pods }}"} / on() group_left y{namespace="{{ namespace }}"}"#,
        r#"sum(x{pod=~"{{ pods }}"}) / sum(rate(x[1m]))"#,
        r#"topk(scalar(y), x{pod=~"{{ pods }}"})"#,
        r#"label_replace(x, "pod", "{{ pods }}", "", "")"#,
        r#"x{pod=~"{{ pods }}" or job="api"}"#,
        // Of somebody else, the other way round, and another series.
        r#"x{pod=~"{{ pods }}"} and on () up == 1"#,
        r#"x{pod=~"{{ pods }}"} and up == 1"#,
        r#"x{pod=~"{{ pods }}"} and ignoring (instance) up == 1"#,
        r#"x{pod=~"{{ pods }}"} and on (instance) up == 0"#,
        r#"x{pod=~"{{ pods }}"} and on (instance) up"#,
        r#"x{pod=~"{{ pods }}"} and on (instance) up == bool 1"#,
        r#"x{pod=~"{{ pods }}"} and on (instance) y == 1"#,
        r#"x{pod=~"{{ pods }}"} unless on (instance) up == 1"#,
        r#"x{pod=~"{{ pods }}"} or on (instance) up == 1"#,
        r"x and on (instance) up == 1",
        r"vector(1) and on (instance) up == 1",
    ] {
        assert!(!parsed(text).is_scoped(), "{text}");
    }
}

#[test]
fn alternatives_that_are_all_limited_are_scoped() {
    assert!(parsed(r#"x{pod=~"{{ pods }}" or release="{{ release }}"}"#).is_scoped());
}

#[test]
fn the_longest_range_adds_up_nested_ones() {
    let minutes = SignedDuration::from_mins;
    for (text, range) in [
        ("x", minutes(0)),
        ("1", minutes(0)),
        ("time()", minutes(0)),
        ("rate(x[1m])", minutes(1)),
        ("rate(x[90])", SignedDuration::from_secs(90)),
        ("rate(x[1h30m])", minutes(90)),
        ("x offset 1w", SignedDuration::from_hours(7 * 24)),
        ("rate(x[5m] offset 1h)", minutes(65)),
        ("rate(x[5m] offset -2m)", minutes(3)),
        ("x offset -5m", minutes(0)),
        (
            "x - (x offset 1m or 0 * x and on (instance) up offset 2m == 1)",
            minutes(2),
        ),
        (
            "(sum(rate(x[1m])) or 0 * sum(rate(y[1m]))) / sum(rate(y[1m]))",
            minutes(1),
        ),
        ("max_over_time(rate(x[5m])[1h:])", minutes(65)),
        (
            "max_over_time(rate(x[5m] offset 2m)[1h:1m] offset 3m)",
            minutes(70),
        ),
        ("max_over_time(rate(x[5m])[10m:] offset -1m)", minutes(14)),
        ("max_over_time(min_over_time(x[1m:])[2m:])", minutes(3)),
        ("rate(x[1m]) / rate(y[10m])", minutes(10)),
        ("sum(rate(x[1m])) + -(rate(z[3m]))", minutes(3)),
        ("topk(scalar(rate(y[7m])), x)", minutes(7)),
        ("quantile_over_time(0.9, x[4m])", minutes(4)),
    ] {
        assert_eq!(parsed(text).longest_range(), range, "{text}");
    }
}

#[test]
fn a_pinned_evaluation_time_is_refused() {
    for text in [
        "x @ 1609746000",
        "rate(x[5m] @ end())",
        "max_over_time(rate(x[5m])[1h:] @ start())",
        "sum_over_time(rate(x[5m] @ 0)[1h:])",
    ] {
        assert_eq!(refused(text), QueryError::PinnedTime, "{text}");
    }
}

#[test]
fn a_missing_value_is_refused_only_where_it_is_used() {
    let unknown = QueryContext {
        template_hashes: vec![],
        release: String::new(),
        ..context()
    };
    assert_eq!(
        rendered(r#"x{w="{{ workload }}"}"#, &unknown),
        r#"x{w="web"}"#
    );
    for (text, placeholder) in [
        (r#"x{pod=~"{{ pods }}"}"#, Placeholder::Pods),
        (r#"x{rs=~"{{ hash }}"}"#, Placeholder::Hash),
        (r#"x{r="{{ release }}"}"#, Placeholder::Release),
    ] {
        assert_eq!(
            parsed(text).render(&unknown),
            Err(QueryError::MissingValue { placeholder }),
            "{text}"
        );
    }
    let blank = QueryContext {
        template_hashes: vec![String::new()],
        ..context()
    };
    assert!(parsed(r#"x{rs=~"{{ hash }}"}"#).render(&blank).is_err());
}

#[test]
fn a_value_that_would_leave_its_string_is_refused() {
    let template = parsed(r#"x{w="{{ workload }}"}"#);
    for workload in [
        "we\"b", "we'b", "we\\b", "we`b", "we b", "web\n", "WEB", ".*", "wéb", "a|b",
    ] {
        let context = QueryContext {
            workloads: vec![workload.into()],
            ..context()
        };
        assert_eq!(
            template.render(&context),
            Err(QueryError::UnsafeValue {
                placeholder: Placeholder::Workload
            }),
            "{workload:?}"
        );
    }
}

#[test]
fn pods_whose_names_are_cut_before_the_hash_ends_cannot_be_told_apart() {
    let template = parsed(r#"x{pod=~"{{ pods }}"}"#);
    let named = |length| QueryContext {
        workloads: vec!["w".repeat(length)],
        ..context()
    };
    // 47 + "-" + 9 + "-" are the 58 characters that Kubernetes keeps.
    assert!(template.render(&named(47)).is_ok());
    assert_eq!(
        template.render(&named(48)),
        Err(QueryError::PodNamesCut {
            workload: "w".repeat(48)
        })
    );
    assert!(parsed(r#"x{rs=~"{{ hash }}"}"#).render(&named(48)).is_ok());
}
