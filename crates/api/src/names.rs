//! Labels, annotations and the names of objects.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// Label: the policy that an object belongs to (cut by [`label_value`]).
pub const LABEL_POLICY: &str = "backstop.dev/policy";
/// Label: the workload that an object speaks of (cut by [`label_value`]).
pub const LABEL_WORKLOAD: &str = "backstop.dev/workload";
/// Label: the identity of the release.
pub const LABEL_RELEASE: &str = "backstop.dev/release";
/// Label: `Good` or `Quarantined`.
pub const LABEL_VERDICT: &str = "backstop.dev/verdict";
/// Label: where a point comes from: `Soak`, `Manual`, `Pipeline`, `Quarantine`.
pub const LABEL_ORIGIN: &str = "backstop.dev/origin";

/// Label on a pod of a release that failed and that no ReplicaSet holds any more: the Deployment that
/// it was of (cut by [`label_value`]).
pub const LABEL_SUSPECT: &str = "backstop.dev/suspect";
/// Label on a pod that gets no requests any more: the rollback that took its labels away (cut by
/// [`label_value`]).
pub const LABEL_ISOLATED: &str = "backstop.dev/isolated";
/// Annotation on such a pod: the labels that it had, as JSON.
pub const ANNOTATION_LABELS_BEFORE: &str = "backstop.dev/labels-before";
/// The NetworkPolicy that keeps traffic from isolated pods.
pub const ISOLATED_NETWORK_POLICY: &str = "backstop-isolated";

/// Label on a store of configuration: what kind of object its contents are of.
pub const LABEL_CONFIG_KIND: &str = "backstop.dev/config-kind";
/// Label on a store of configuration: the object's name (cut by [`label_value`]).
pub const LABEL_CONFIG_NAME: &str = "backstop.dev/config-name";
/// Label on a store of configuration: the key that its contents are encrypted with. A key that no
/// store has here is needed no more.
pub const LABEL_CONFIG_KEY: &str = "backstop.dev/config-key";

/// Annotation on a store of configuration: the object's name in full.
pub const ANNOTATION_CONFIG_NAME: &str = "backstop.dev/config-name";
/// Annotation on a store of configuration: the object's UID when it was captured.
pub const ANNOTATION_CONFIG_UID: &str = "backstop.dev/config-uid";
/// Annotation on a store of configuration: identity of the contents, an HMAC.
pub const ANNOTATION_CONFIG_HASH: &str = "backstop.dev/config-hash";
/// Annotation on a ConfigMap or Secret that was gone and that Backstop made again: the rollback that
/// needed it.
pub const ANNOTATION_RESTORED_BY: &str = "backstop.dev/restored-by";
/// Annotation on the Secret of keys: the key that encrypts, where it is not the newest.
pub const ANNOTATION_ENCRYPTS_WITH: &str = "backstop.dev/encrypts-with";

/// The Secret by which whoever posts alerts about its namespace alone signs in.
pub const ALERTS_SECRET: &str = "backstop-alerts";

/// The type of the Secrets in which configuration is kept beside points.
pub const CONFIG_STORE_TYPE: &str = "backstop.dev/config";
/// What the names of those Secrets begin with.
pub const CONFIG_STORE_PREFIX: &str = "backstop-config-";
/// The Secret, in the operator's namespace, that holds the keys for configuration.
pub const CONFIG_KEYS_SECRET: &str = "backstop-config-keys";

/// Annotation on a Deployment or its pod template: do not go behind this release, and why.
pub const ANNOTATION_FLOOR: &str = "backstop.dev/rollback-floor";
/// Annotation on a Deployment: a person has taken over, and why. Backstop leaves the workload alone,
/// and no template of it is refused.
pub const ANNOTATION_OVERRIDE: &str = "backstop.dev/override";
/// Annotation on a Deployment beside [`ANNOTATION_OVERRIDE`]: who has taken over. The API server sees to it
/// that it is the user who sets it.
pub const ANNOTATION_OVERRIDE_BY: &str = "backstop.dev/override-by";
/// Annotation on a RollbackEvent: a person calls the rollback off, and why.
pub const ANNOTATION_CANCEL: &str = "backstop.dev/cancel";
/// Annotation on a RollbackPoint: when its release last proved itself (RFC 3339).
pub const ANNOTATION_PROVED_AT: &str = "backstop.dev/proved-at";
/// Annotation on a Quarantined RollbackPoint: the rollback that made it.
pub const ANNOTATION_EVENT: &str = "backstop.dev/event";
/// Annotation on an object of a GitOps tool that is suspended: which rollback suspended it, and why. For people.
pub const ANNOTATION_SUSPENDED_BY: &str = "backstop.dev/suspended-by";
/// Annotation on an object of a GitOps tool that is suspended, as JSON: for whom, and how it was before. Without it Backstop
/// leaves the object as it is.
pub const ANNOTATION_SUSPENDED: &str = "backstop.dev/suspended";
/// Annotation of kubectl: the whole manifest that was last applied from the client's side.
pub const ANNOTATION_LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Annotation of `kubectl rollout restart`, on the template: says nothing about the release.
pub const ANNOTATION_RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// The field manager under which Backstop writes to workloads.
pub const FIELD_MANAGER: &str = "backstop";

/// The longest name of a label's value.
const LABEL_MAX: usize = 63;
/// The longest name of an object.
const NAME_MAX: usize = 253;

/// `text`, or its beginning and a hash of the whole where it is longer than `max`.
///
/// Kubernetes names are ASCII, so cutting at a byte is cutting at a character; anything else is
/// hashed whole.
fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let hash = &hex::encode(Sha256::digest(text))[..10];
    let head = text
        .get(..max - 11)
        .unwrap_or_default()
        .trim_end_matches(['-', '.']);
    format!("{head}-{hash}")
}

/// A name as a label's value: what is longer than 63 characters is cut, with a hash.
#[must_use]
pub fn label_value(name: &str) -> String {
    cut(name, LABEL_MAX)
}

/// The name of the point of a good release.
#[must_use]
pub fn point_name(workload: &str, release: &str) -> String {
    format!(
        "{}-{release}",
        cut(
            workload,
            NAME_MAX - release.len() - 1 - "-quarantined".len()
        )
    )
}

/// The name of the record of a release that failed.
#[must_use]
pub fn quarantine_name(workload: &str, release: &str) -> String {
    format!("{}-quarantined", point_name(workload, release))
}

/// The name of the point with a baseline that was captured at a time, a second after another.
#[must_use]
pub fn baseline_name(workload: &str, at: Timestamp) -> String {
    let at = at.strftime("%Y%m%d%H%M%S").to_string();
    let end = format!("-baseline-{at}");
    format!("{}{end}", cut(workload, NAME_MAX - end.len()))
}

/// The name of a policy's rollback number `number`.
#[must_use]
pub fn event_name(policy: &str, number: u64) -> String {
    format!("{}-{number}", cut(policy, NAME_MAX - 21))
}

/// The number in the name of a policy's rollback; `None` for a name that a person chose.
#[must_use]
pub fn event_number(policy: &str, name: &str) -> Option<u64> {
    let number = name
        .strip_prefix(&cut(policy, NAME_MAX - 21))?
        .strip_prefix('-')?;
    if number.starts_with('0') || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_out_of_its_name() {
        for policy in ["web", "web-2", &"x".repeat(253)] {
            let name = event_name(policy, 17);
            assert!(name.len() <= NAME_MAX);
            assert_eq!(event_number(policy, &name), Some(17));
        }
        assert_eq!(event_number("web", "web-2-17"), None);
        assert_eq!(event_number("web", "web-fix-tonight"), None);
        assert_eq!(event_number("web", "web-017"), None);
    }

    #[test]
    fn long_names_stay_apart_when_they_are_cut() {
        let (a, b) = ("a".repeat(100) + "1", "a".repeat(100) + "2");
        assert_ne!(label_value(&a), label_value(&b));
        assert!(label_value(&a).len() <= LABEL_MAX);
        assert!(quarantine_name(&"w".repeat(253), "0123456789abcdef").len() <= NAME_MAX);
        let at = "2026-11-26T14:05:09Z".parse().unwrap();
        assert_eq!(baseline_name("web", at), "web-baseline-20261126140509");
        assert_eq!(baseline_name(&"w".repeat(253), at).len(), NAME_MAX);
    }
}
