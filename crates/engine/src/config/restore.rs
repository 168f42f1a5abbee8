//! Whether a piece of configuration may be put back.

use backstop_api::config::{ConfigKey, ConfigRef};
use serde_json::Value;

use super::users::User;

/// An object as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Identity of its contents.
    pub hash: String,
    /// Whether Kubernetes refuses to change its contents.
    pub immutable: bool,
    /// A Secret's type.
    pub type_: Option<String>,
    /// The controller that writes it, if one does: see [`kept_by`].
    pub kept_by: Option<String>,
}

/// What is to be done about a piece of configuration, and why nothing is where nothing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restore {
    /// It is as it was at the point.
    Already,
    /// It is as the failed release left it: put the contents of the point back.
    Write,
    /// It is gone, and the pods of the point need it: make it again.
    ///
    /// Without the labels that it had. A tool that prunes what it once deployed finds its objects by
    /// them, and would delete it again at once.
    Create,
    /// Somebody changed or deleted it after the failed release: theirs stands.
    LeaveChangedSince {
        /// Whether it was deleted.
        deleted: bool,
    },
    /// It was not there at the point. Nothing is ever deleted.
    LeaveAdded,
    /// A workload that the policy does not look after uses it as well.
    LeaveShared {
        /// Which.
        by: Vec<User>,
    },
    /// A controller writes it, and would write it again.
    LeaveKept {
        /// Which.
        by: String,
    },
    /// Kubernetes refuses the change: the contents of an immutable object, or a Secret's type.
    ///
    /// Where configuration is immutable a change of it comes under another name. Then the template
    /// of the point references the old name, and going back to the template goes back to the
    /// configuration. So this is seen only where somebody deleted the object and made another one
    /// of that name.
    LeaveImmutable {
        /// The field.
        field: &'static str,
    },
    /// Its contents are not on record.
    NotCaptured {
        /// Why.
        reason: String,
    },
}

/// Whether a piece of configuration may be put back as it was `at_point`.
///
/// `at_failed` is the same object as it was recorded while the failed release was live; `None` where
/// that release did not reference it. `now` is the object as it is, `None` where there is none.
/// `users` are the workloads outside the policy that use it.
///
/// Only what the failed release left is ours to take back: the contents are those of the point, or
/// those that were recorded with the failed release, or somebody else has acted since. It takes no
/// more than contents to tell, so that an object which was deleted and made anew by the release is
/// put back as well.
#[must_use]
pub fn restorable(
    at_point: &ConfigRef,
    at_failed: Option<&ConfigRef>,
    now: Option<&Present>,
    users: &[User],
) -> Restore {
    let Some(now) = now else {
        return gone(at_point, at_failed, users);
    };
    if at_point.is_absent() {
        return Restore::LeaveAdded;
    }
    if at_point.hash.as_ref() == Some(&now.hash) {
        return Restore::Already;
    }
    if let Some(by) = &now.kept_by {
        return Restore::LeaveKept { by: by.clone() };
    }
    if let Some(not_captured) = not_captured(at_point) {
        return not_captured;
    }
    let left_by_the_failed_release = at_failed
        .and_then(|r| r.hash.as_ref())
        .is_some_and(|hash| *hash == now.hash);
    if !left_by_the_failed_release {
        return Restore::LeaveChangedSince { deleted: false };
    }
    if let Some(shared) = shared(users) {
        return shared;
    }
    if now.immutable {
        return Restore::LeaveImmutable { field: "data" };
    }
    if now.type_ != at_point.type_ {
        return Restore::LeaveImmutable { field: "type" };
    }
    Restore::Write
}

fn gone(at_point: &ConfigRef, at_failed: Option<&ConfigRef>, users: &[User]) -> Restore {
    if at_point.is_absent() {
        return Restore::Already;
    }
    if let Some(not_captured) = not_captured(at_point) {
        return not_captured;
    }
    // Pods start without what is optional, so whoever deleted it may have meant it.
    let was_there = at_failed.is_some_and(|r| !r.is_absent());
    if was_there && at_point.optional {
        return Restore::LeaveChangedSince { deleted: true };
    }
    shared(users).unwrap_or(Restore::Create)
}

fn not_captured(at_point: &ConfigRef) -> Option<Restore> {
    if at_point.store.is_some() {
        return None;
    }
    let reason = at_point
        .not_captured
        .clone()
        .unwrap_or_else(|| "the point says nothing of where they lie".to_owned());
    Some(Restore::NotCaptured { reason })
}

fn shared(users: &[User]) -> Option<Restore> {
    (!users.is_empty()).then(|| Restore::LeaveShared { by: users.to_vec() })
}

impl Restore {
    /// What is done about `key`, or why nothing is: for the event.
    #[must_use]
    pub fn say(&self, key: &ConfigKey) -> String {
        match self {
            Self::Already => format!("{key} is as it was"),
            Self::Write => format!("{key} is put back as it was"),
            Self::Create => {
                format!("{key} was gone and is made again, without the labels that it had")
            }
            Self::LeaveChangedSince { deleted: false } => format!(
                "{key} is left as it is: somebody changed it, and not as a part of the release that \
                 failed; look whether it fits the release that is restored"
            ),
            Self::LeaveChangedSince { deleted: true } => format!(
                "{key} stays deleted: it was there with the release that failed, and pods start \
                 without it"
            ),
            Self::LeaveAdded => format!(
                "{key} is left as it is: it came after the point, and nothing is ever deleted; \
                 delete it by hand if the release that is restored must not see it"
            ),
            Self::LeaveShared { by } => {
                let by: Vec<String> = by.iter().map(ToString::to_string).collect();
                format!(
                    "{key} is left as it is: {} outside the policy {} it as well",
                    by.join(", "),
                    if by.len() == 1 { "uses" } else { "use" }
                )
            }
            Self::LeaveKept { by } => {
                format!("{key} is left as it is: {by} keeps it, and would write it again")
            }
            Self::LeaveImmutable { field } => format!(
                "{key} is left as it is: its {field} cannot be changed in place; delete it and make \
                 it again by hand"
            ),
            Self::NotCaptured { reason } => {
                format!("{key} is left as it is: its contents are not on record, since {reason}")
            }
        }
    }

    /// Whether the object is now, or will be after the write, as it was at the point.
    #[must_use]
    pub fn restores(&self) -> bool {
        matches!(self, Self::Already | Self::Write | Self::Create)
    }
}

/// The controller that writes this ConfigMap or Secret by itself, in words; `None` where people and
/// their tools write it.
///
/// Such an object is no part of a release. A certificate that is renewed makes no new release, and
/// an expired one must never be put back.
#[must_use]
pub fn kept_by(object: &Value) -> Option<String> {
    let metadata = object.get("metadata")?;
    let owner = metadata
        .get("ownerReferences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|o| o.get("controller").and_then(Value::as_bool) == Some(true));
    if let Some(owner) = owner {
        let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or("?");
        return Some(format!("{} {}", text("kind"), text("name")));
    }
    // cert-manager sets no owner unless it is told to.
    let annotations = metadata.get("annotations");
    let annotation = |key: &str| annotations?.get(key)?.as_str();
    if let Some(certificate) = annotation("cert-manager.io/certificate-name") {
        return Some(format!("Certificate {certificate}"));
    }
    (object.get("type").and_then(Value::as_str) == Some("kubernetes.io/service-account-token"))
        .then(|| {
            let account = annotation("kubernetes.io/service-account.name").unwrap_or("?");
            format!("the token of ServiceAccount {account}")
        })
}

#[cfg(test)]
mod tests {
    use backstop_api::config::StoreRef;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn captured(hash: &str) -> ConfigRef {
        ConfigRef {
            uid: Some("u".into()),
            hash: Some(hash.into()),
            store: Some(StoreRef {
                name: format!("backstop-config-{hash}"),
                key_id: None,
            }),
            ..ConfigRef::absent(ConfigKey::config_map("web"), false)
        }
    }

    fn present(hash: &str) -> Present {
        Present {
            hash: hash.into(),
            immutable: false,
            type_: None,
            kept_by: None,
        }
    }

    fn cron_job() -> User {
        User {
            kind: "CronJob".into(),
            name: "report".into(),
        }
    }

    #[test]
    fn what_the_failed_release_left_is_put_back() {
        let restore = restorable(
            &captured("good"),
            Some(&captured("bad")),
            Some(&present("bad")),
            &[],
        );
        assert_eq!(restore, Restore::Write);
    }

    #[test]
    fn what_somebody_changed_since_is_left_and_said() {
        let restore = restorable(
            &captured("good"),
            Some(&captured("bad")),
            Some(&present("mine")),
            &[],
        );
        assert_eq!(restore, Restore::LeaveChangedSince { deleted: false });
        let said = restore.say(&ConfigKey::config_map("web"));
        assert!(said.starts_with("ConfigMap web is left as it is: somebody changed it"));
    }

    #[test]
    fn what_the_failed_release_did_not_reference_is_nobodys_to_judge() {
        let restore = restorable(&captured("good"), None, Some(&present("other")), &[]);
        assert_eq!(restore, Restore::LeaveChangedSince { deleted: false });
        let restore = restorable(&captured("good"), None, Some(&present("good")), &[]);
        assert_eq!(restore, Restore::Already);
    }

    #[test]
    fn what_was_pruned_with_the_failed_release_is_made_again() {
        assert_eq!(
            restorable(&captured("good"), None, None, &[]),
            Restore::Create
        );
        let gone_with_it = ConfigRef::absent(ConfigKey::config_map("web"), false);
        let restore = restorable(&captured("good"), Some(&gone_with_it), None, &[]);
        assert_eq!(restore, Restore::Create);
    }

    #[test]
    fn what_somebody_deleted_since_is_made_again_only_where_pods_need_it() {
        let mut at_point = captured("good");
        let restore = restorable(&at_point, Some(&captured("bad")), None, &[]);
        assert_eq!(restore, Restore::Create);
        at_point.optional = true;
        let restore = restorable(&at_point, Some(&captured("bad")), None, &[]);
        assert_eq!(restore, Restore::LeaveChangedSince { deleted: true });
    }

    #[test]
    fn what_others_use_is_not_touched_and_they_are_named() {
        let users = [cron_job()];
        let bad = captured("bad");
        let restore = restorable(&captured("good"), Some(&bad), Some(&present("bad")), &users);
        assert_eq!(
            restore.say(&ConfigKey::config_map("web")),
            "ConfigMap web is left as it is: CronJob report outside the policy uses it as well"
        );
        let made = restorable(&captured("good"), None, None, &users);
        assert!(matches!(made, Restore::LeaveShared { .. }), "{made:?}");
    }

    #[test]
    fn what_came_after_the_point_is_not_deleted() {
        let absent = ConfigRef::absent(ConfigKey::config_map("web"), true);
        let bad = captured("bad");
        let restore = restorable(&absent, Some(&bad), Some(&present("bad")), &[]);
        assert_eq!(restore, Restore::LeaveAdded);
        assert_eq!(restorable(&absent, Some(&bad), None, &[]), Restore::Already);
    }

    #[test]
    fn what_cannot_be_changed_in_place_is_left() {
        let bad = captured("bad");
        let mut now = present("bad");
        now.immutable = true;
        let restore = restorable(&captured("good"), Some(&bad), Some(&now), &[]);
        assert_eq!(restore, Restore::LeaveImmutable { field: "data" });
        let mut now = present("bad");
        now.type_ = Some("kubernetes.io/tls".into());
        let restore = restorable(&captured("good"), Some(&bad), Some(&now), &[]);
        assert_eq!(restore, Restore::LeaveImmutable { field: "type" });
    }

    #[test]
    fn contents_that_are_not_on_record_are_said_to_be_missing() {
        let too_large = ConfigRef {
            store: None,
            not_captured: Some("they are larger than 1 MB".into()),
            ..captured("good")
        };
        let bad = captured("bad");
        let restore = restorable(&too_large, Some(&bad), Some(&present("bad")), &[]);
        assert_eq!(
            restore.say(&ConfigKey::config_map("web")),
            "ConfigMap web is left as it is: its contents are not on record, since they are larger \
             than 1 MB"
        );
        let same = restorable(&too_large, Some(&bad), Some(&present("good")), &[]);
        assert_eq!(same, Restore::Already, "the hash alone is enough to tell");
    }

    #[test]
    fn what_a_controller_writes_is_its_own() {
        let sealed = json!({"metadata": {"ownerReferences": [
            {"kind": "Team", "name": "a"},
            {"kind": "SealedSecret", "name": "db", "controller": true},
        ]}});
        assert_eq!(kept_by(&sealed).as_deref(), Some("SealedSecret db"));
        let certificate =
            json!({"metadata": {"annotations": {"cert-manager.io/certificate-name": "web"}}});
        assert_eq!(kept_by(&certificate).as_deref(), Some("Certificate web"));
        let token = json!({
            "metadata": {"annotations": {"kubernetes.io/service-account.name": "web"}},
            "type": "kubernetes.io/service-account-token",
        });
        assert_eq!(
            kept_by(&token).as_deref(),
            Some("the token of ServiceAccount web")
        );
        let plain = json!({"metadata": {"annotations": {"a": "b"}, "ownerReferences": [{"kind": "Team", "name": "a"}]}});
        assert_eq!(kept_by(&plain), None);
        let mut now = present("bad");
        now.kept_by = Some("SealedSecret db".into());
        let restore = restorable(&captured("good"), Some(&captured("bad")), Some(&now), &[]);
        assert!(matches!(restore, Restore::LeaveKept { .. }), "{restore:?}");
    }

    fn reference() -> impl Strategy<Value = ConfigRef> {
        let hash = proptest::option::of("[gbm]");
        (hash, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(hash, stored, optional, typed)| {
                let Some(hash) = hash else {
                    return ConfigRef::absent(ConfigKey::config_map("web"), optional);
                };
                let mut captured = ConfigRef {
                    optional,
                    type_: typed.then(|| "Opaque".to_owned()),
                    ..captured(&hash)
                };
                if !stored {
                    captured.store = None;
                    captured.not_captured = Some("it is too large".into());
                }
                captured
            },
        )
    }

    fn object() -> impl Strategy<Value = Option<Present>> {
        let parts = ("[gbm]", any::<bool>(), any::<bool>(), any::<bool>());
        proptest::option::of(parts.prop_map(|(hash, immutable, typed, kept)| Present {
            hash,
            immutable,
            type_: typed.then(|| "Opaque".to_owned()),
            kept_by: kept.then(|| "Certificate web".to_owned()),
        }))
    }

    proptest! {
        /// The rule by itself, without looking at how it is decided.
        #[test]
        fn a_write_takes_back_the_failed_release_and_nothing_else(
            at_point in reference(),
            at_failed in proptest::option::of(reference()),
            now in object(),
            shared in any::<bool>(),
        ) {
            let users = if shared { vec![cron_job()] } else { vec![] };
            let restore = restorable(&at_point, at_failed.as_ref(), now.as_ref(), &users);
            match &restore {
                Restore::Write => {
                    let now = now.as_ref().expect("there is something to write to");
                    prop_assert_eq!(Some(&now.hash), at_failed.as_ref().and_then(|r| r.hash.as_ref()));
                    prop_assert_ne!(Some(&now.hash), at_point.hash.as_ref());
                    prop_assert!(!now.immutable && now.kept_by.is_none() && !shared);
                    prop_assert_eq!(&now.type_, &at_point.type_);
                    prop_assert!(at_point.store.is_some());
                }
                Restore::Create => {
                    prop_assert!(now.is_none() && !shared && at_point.store.is_some());
                }
                Restore::Already => {
                    prop_assert_eq!(now.as_ref().map(|n| &n.hash), at_point.hash.as_ref());
                }
                _ => prop_assert!(!restore.restores()),
            }
        }

        /// Doing it twice does no harm: after a write or a creation there is nothing left to do.
        #[test]
        fn what_was_put_back_holds(
            at_point in reference(), at_failed in proptest::option::of(reference()), now in object(),
        ) {
            let restore = restorable(&at_point, at_failed.as_ref(), now.as_ref(), &[]);
            if matches!(restore, Restore::Write | Restore::Create) {
                let after = Present {
                    hash: at_point.hash.clone().expect("what is stored has a hash"),
                    immutable: at_point.immutable,
                    type_: at_point.type_.clone(),
                    kept_by: None,
                };
                let again = restorable(&at_point, at_failed.as_ref(), Some(&after), &[]);
                prop_assert_eq!(again, Restore::Already);
            }
        }
    }
}
