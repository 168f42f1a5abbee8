//! How far back a query looks.

use std::time::Duration;

use jiff::SignedDuration;
use promql_parser::parser::{AtModifier, Expr, Offset, VectorSelector};

use super::QueryError;

/// The longest way back from the evaluation time to a sample, at least zero.
pub(super) fn longest_range(expr: &Expr) -> Result<SignedDuration, QueryError> {
    let mut longest = SignedDuration::ZERO;
    let mut open = vec![(expr, SignedDuration::ZERO)];
    while let Some((expr, before)) = open.pop() {
        match expr {
            Expr::VectorSelector(selector) => longest = longest.max(moved(before, selector)?),
            Expr::MatrixSelector(matrix) => {
                let start = moved(before, &matrix.vs)?.saturating_add(signed(matrix.range));
                longest = longest.max(start);
            }
            Expr::Subquery(inner) => {
                refuse_pinned(inner.at.as_ref())?;
                let start = before.saturating_add(shift(inner.offset.as_ref()));
                open.push((&inner.expr, start.saturating_add(signed(inner.range))));
            }
            Expr::Aggregate(inner) => {
                open.push((&inner.expr, before));
                open.extend(inner.param.as_deref().map(|param| (param, before)));
            }
            Expr::Binary(inner) => open.extend([(&*inner.lhs, before), (&*inner.rhs, before)]),
            Expr::Unary(inner) => open.push((&inner.expr, before)),
            Expr::Paren(inner) => open.push((&inner.expr, before)),
            Expr::Call(call) => open.extend(call.args.args.iter().map(|arg| (&**arg, before))),
            Expr::Extension(inner) => {
                open.extend(inner.expr.children().iter().map(|child| (child, before)));
            }
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {}
        }
    }
    Ok(longest)
}

fn moved(before: SignedDuration, selector: &VectorSelector) -> Result<SignedDuration, QueryError> {
    refuse_pinned(selector.at.as_ref())?;
    Ok(before.saturating_add(shift(selector.offset.as_ref())))
}

fn refuse_pinned(at: Option<&AtModifier>) -> Result<(), QueryError> {
    at.map_or(Ok(()), |_| Err(QueryError::PinnedTime))
}

fn shift(offset: Option<&Offset>) -> SignedDuration {
    match offset {
        None => SignedDuration::ZERO,
        Some(Offset::Pos(back)) => signed(*back),
        Some(Offset::Neg(ahead)) => -signed(*ahead),
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
