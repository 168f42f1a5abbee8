//! Whether all that a query reads belongs to the release.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::token::{T_EQLC, T_LAND};
use promql_parser::parser::{BinaryExpr, Expr, LabelModifier, NumberLiteral, VectorSelector};
use regex_syntax::hir::{Hir, HirKind};

use super::QueryError;
use super::placeholder::Placeholder;

/// Stands for a value that is not known yet.
///
/// Private-use characters, which no query has; the first ones differ, so that no regular expression
/// shares a prefix of two of them.
pub(super) fn mark(placeholder: Placeholder) -> &'static str {
    match placeholder {
        Placeholder::Workload => "\u{e000}\u{e010}",
        Placeholder::Namespace => "\u{e001}\u{e011}",
        Placeholder::Pods => "\u{e002}\u{e012}",
        Placeholder::Hash => "\u{e003}\u{e013}",
        Placeholder::Release => "\u{e004}\u{e014}",
    }
}

/// The placeholders that only one release has.
const OF_THE_RELEASE: [Placeholder; 3] =
    [Placeholder::Pods, Placeholder::Hash, Placeholder::Release];

/// The placeholders whose values are regular expressions.
const PATTERNS: [Placeholder; 2] = [Placeholder::Pods, Placeholder::Hash];

pub(super) fn is_scoped(expr: &Expr) -> bool {
    let selectors = selectors(expr, asks_whether_seen);
    !selectors.is_empty() && selectors.into_iter().all(is_limited)
}

/// Refuses `pod="{{ pods }}"`, which never matches, and `pod!="{{ pods }}"`, which always does.
pub(super) fn refuse_literal_patterns(expr: &Expr) -> Result<(), QueryError> {
    for matcher in selectors(expr, |_| false)
        .into_iter()
        .flat_map(all_matchers)
    {
        if let MatchOp::Equal | MatchOp::NotEqual = matcher.op
            && let Some(placeholder) = PATTERNS
                .into_iter()
                .find(|&pattern| matcher.value.contains(mark(pattern)))
        {
            let label = matcher.name.clone();
            return Err(QueryError::LiteralPattern { label, placeholder });
        }
    }
    Ok(())
}

/// Alternatives (`{a="x" or b="y"}`, which VictoriaMetrics knows) must each be limited.
fn is_limited(selector: &VectorSelector) -> bool {
    let matchers = &selector.matchers;
    let any = |group: &[Matcher]| group.iter().any(needs_the_release);
    if matchers.or_matchers.is_empty() {
        any(&matchers.matchers)
    } else {
        matchers.or_matchers.iter().all(|group| any(group))
    }
}

fn needs_the_release(matcher: &Matcher) -> bool {
    match matcher.op {
        MatchOp::Equal => has_mark(&matcher.value),
        MatchOp::Re(_) => {
            regex_syntax::parse(&matcher.value).is_ok_and(|pattern| every_match_has_mark(&pattern))
        }
        MatchOp::NotEqual | MatchOp::NotRe(_) => false,
    }
}

fn has_mark(text: &str) -> bool {
    OF_THE_RELEASE
        .into_iter()
        .any(|placeholder| text.contains(mark(placeholder)))
}

/// Whether whatever the pattern matches contains a mark: not so in `{{ pods }}|.*`.
fn every_match_has_mark(pattern: &Hir) -> bool {
    match pattern.kind() {
        HirKind::Literal(literal) => str::from_utf8(&literal.0).is_ok_and(has_mark),
        HirKind::Concat(parts) => parts.iter().any(every_match_has_mark),
        HirKind::Alternation(choices) => choices.iter().all(every_match_has_mark),
        HirKind::Capture(group) => every_match_has_mark(&group.sub),
        HirKind::Repetition(repeated) => repeated.min > 0 && every_match_has_mark(&repeated.sub),
        HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

fn all_matchers(selector: &VectorSelector) -> impl Iterator<Item = &Matcher> {
    let matchers = &selector.matchers;
    matchers
        .matchers
        .iter()
        .chain(matchers.or_matchers.iter().flatten())
}

/// Whether it is `... and on (job, instance) up == 1`: what comes of it are the series on the left, and `up` says no more
/// than whether Prometheus saw those who serve them.
fn asks_whether_seen(expr: &BinaryExpr) -> bool {
    let matching = expr.modifier.as_ref().and_then(|it| it.matching.as_ref());
    let is_of_the_same = matching.is_some_and(|matching| {
        matches!(matching, LabelModifier::Include(on) if on.labels.iter().any(|l| l == "instance"))
    });
    let Expr::Binary(seen) = within(&expr.rhs) else {
        return false;
    };
    expr.op.id() == T_LAND
        && is_of_the_same
        && seen.op.id() == T_EQLC
        && !seen.return_bool()
        && matches!(within(&seen.lhs), Expr::VectorSelector(it) if it.name.as_deref() == Some("up"))
        && matches!(
            within(&seen.rhs),
            Expr::NumberLiteral(NumberLiteral { val: 1.0 })
        )
}

fn within(mut expr: &Expr) -> &Expr {
    while let Expr::Paren(inner) = expr {
        expr = &inner.expr;
    }
    expr
}

/// All of them but those on the right of `filters`.
fn selectors(expr: &Expr, filters: impl Fn(&BinaryExpr) -> bool) -> Vec<&VectorSelector> {
    let mut found = Vec::new();
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match expr {
            Expr::VectorSelector(selector) => found.push(selector),
            Expr::MatrixSelector(matrix) => found.push(&matrix.vs),
            Expr::Aggregate(inner) => {
                open.push(&inner.expr);
                open.extend(inner.param.as_deref());
            }
            Expr::Binary(inner) if filters(inner) => open.push(&inner.lhs),
            Expr::Binary(inner) => open.extend([&*inner.lhs, &*inner.rhs]),
            Expr::Unary(inner) => open.push(&inner.expr),
            Expr::Paren(inner) => open.push(&inner.expr),
            Expr::Subquery(inner) => open.push(&inner.expr),
            Expr::Call(call) => open.extend(call.args.args.iter().map(|arg| &**arg)),
            Expr::Extension(extension) => open.extend(extension.expr.children()),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {}
        }
    }
    found
}
