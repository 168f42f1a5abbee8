//! Rights that the operator keeps although no test makes use of them, and refusals that tests bring about.

use crate::generate::rbac::Right;

/// Why a right is kept that no test uses.
pub(super) fn reason(_right: &Right) -> Option<&'static str> {
    None
}

/// Why a request may be refused that is one of the operator's.
pub(super) fn refusal(_line: &super::log::Line) -> Option<&'static str> {
    None
}
