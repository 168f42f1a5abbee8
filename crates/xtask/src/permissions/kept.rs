//! Rights that the operator keeps although no request in the logs makes use of them, and requests that may be refused.

use super::log::Line;
use crate::generate::rbac::Right;

/// Why a right is kept that no request uses.
pub(super) fn reason(right: &Right) -> Option<&'static str> {
    match (right.group.as_str(), right.resource.as_str(), right.verb) {
        ("networking.k8s.io", "networkpolicies", "create") => {
            Some("the API server asks for it where an apply, which is a patch, makes the object")
        }
        ("", "configmaps", "create") => Some(
            "a ConfigMap that is gone is made again; config_store:: does that with the operator's code, and a client of its own",
        ),
        ("", "secrets", "patch") => Some(
            "a key is added when the newest is 90 days old; config_store:: does that with the operator's code, and a client of its own",
        ),
        ("", "pods", "get") => Some(
            "a pod is read where the API server refuses to change it, to tell a lost race from a refusal",
        ),
        ("source.toolkit.fluxcd.io", _, "get") => Some(
            "Flux has several kinds of sources, which are read alike; the tests have two of them",
        ),
        _ => None,
    }
}

/// Why a request of the operator may be refused.
pub(super) fn refusal(line: &Line) -> Option<&'static str> {
    let message = line.message();
    if message.contains("because it is being terminated") {
        return Some("a namespace that goes takes no new object, whoever makes it");
    }
    if message.contains("configmaps \"switch-of-nobody\" is forbidden") {
        return Some(
            "a test names a ConfigMap that the operator may not read, to see that it says so",
        );
    }
    None
}
