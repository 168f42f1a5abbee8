//! Rights that the operator keeps although no request in the logs makes use of them, and requests that may be refused.

use super::log::Line;
use crate::generate::rbac::Right;

/// Why a right is kept that no request uses.
pub(super) fn reason(right: &Right) -> Option<&'static str> {
    match (right.group.as_str(), right.resource.as_str(), right.verb) {
        ("networking.k8s.io", "networkpolicies", "create") => {
            Some("the API server asks for it where an apply, which is a patch, makes the object")
        }
        _ => None,
    }
}

/// Why a request of the operator may be refused.
pub(super) fn refusal(line: &Line) -> Option<&'static str> {
    line.message()
        .contains("because it is being terminated")
        .then_some("a namespace that goes takes no new object, whoever makes it")
}
