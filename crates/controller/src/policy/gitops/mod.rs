//! The object of a GitOps tool that applies a workload is suspended while it would undo a rollback.
//!
//! What is to be done is written into the policy's status first, and done at the next look. Nothing else waits for it
//! or fails by it.

mod objects;
pub(crate) mod orphans;

use std::time::Duration;

use backstop_api::{
    RollbackPolicy,
    condition::ConditionStatus,
    policy::{SuspendState, Suspended},
};
use backstop_engine::{
    decide::Rest,
    gitops::{
        mark::{self, Mark},
        object::{self, Kind, Owner},
        wanted,
    },
};
use jiff::{SignedDuration, Timestamp};
use kube::{Resource, ResourceExt};
use objects::Place;

use crate::{calls::CallError, context::Context, observe::Observer};

/// How often it is looked whether something else is wanted by now.
const LOOKED_AT: SignedDuration = SignedDuration::from_secs(15);
/// A tool writes its own objects all the time: a lost race is run again at once, so many times.
const ATTEMPTS: usize = 5;

/// Why something was not done.
enum Trouble {
    /// It cannot be, until somebody changes something.
    No(String),
    /// It may be possible later.
    Later(CallError),
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotFound { .. } | CallError::Refused { .. } => Self::No(error.to_string()),
            error => Self::Later(error),
        }
    }
}

/// Does what is wanted, and says what is so then.
pub(super) async fn follow(
    context: &Context,
    policy: &RollbackPolicy,
    observer: &Observer,
    rest: &Rest,
    now: Timestamp,
) -> Vec<Suspended> {
    let mut entries = before(policy);
    let (event, why) = match rest {
        Rest::AsItIs => return entries,
        Rest::No => return release(context, policy).await,
        Rest::Yes { event, why } => (event.as_str(), why.as_str()),
    };
    let rests = |entry: &Suspended| entry.state == SuspendState::Suspended;
    if entries.iter().all(|e| !rests(e) && e.event != event) {
        return intended(context, observer, event).await;
    }
    let due = observer.looks_at_gitops(now, LOOKED_AT);
    for entry in &mut entries {
        if !rests(entry) && entry.event != event {
            // Whoever decided otherwise did so about another rollback.
            *entry = Suspended {
                event: event.to_owned(),
                state: SuspendState::Intended,
                since: None,
                revision: None,
                message: None,
                ..entry.clone()
            };
        }
        let fresh = entry.state == SuspendState::Intended && entry.message.is_none();
        match entry.state {
            SuspendState::Intended | SuspendState::NotSuspended if due || fresh => {
                suspend(context, policy, entry, why, now).await;
            }
            SuspendState::Suspended if due => look(context, policy, entry).await,
            _ => {}
        }
    }
    entries
}

/// Makes everything work again that is suspended for this policy. What could not be is returned.
pub(super) async fn release(context: &Context, policy: &RollbackPolicy) -> Vec<Suspended> {
    let mut left = Vec::new();
    for mut entry in before(policy) {
        let resumed = match Place::of(&entry) {
            Some(place) => resume(context, &place, &whose(policy)).await,
            None => Ok(false),
        };
        match resumed {
            Ok(false) => {}
            Ok(true) => {
                let note = format!("{} works again", named(&entry));
                say(context, policy, false, "GitOpsResumed", &note).await;
            }
            Err(error) => {
                tracing::warn!(%error, object = named(&entry), "what is suspended could not be made to work again");
                let message =
                    format!("could not be made to work again, resume it by hand: {error}");
                entry.message = Some(message);
                left.push(entry);
            }
        }
    }
    left
}

/// When to look again at the latest.
pub(super) fn again(entries: &[Suspended]) -> Option<Duration> {
    let open = |entry: &Suspended| match entry.state {
        SuspendState::Intended | SuspendState::Suspended | SuspendState::NotSuspended => true,
        SuspendState::Resumed | SuspendState::LeftAlone => false,
    };
    entries.iter().any(open).then(|| LOOKED_AT.unsigned_abs())
}

/// Status, reason and message of the policy's condition; `None` where nothing is to be suspended.
pub(super) fn condition(entries: &[Suspended]) -> Option<(ConditionStatus, &'static str, String)> {
    let rank = |entry: &&Suspended| match entry.state {
        SuspendState::NotSuspended => 0,
        SuspendState::Intended => 1,
        SuspendState::LeftAlone => 2,
        SuspendState::Resumed => 3,
        SuspendState::Suspended => 4,
    };
    let (status, reason) = match entries.iter().min_by_key(rank)?.state {
        SuspendState::NotSuspended => (false, "NotSuspended"),
        SuspendState::Intended => (false, "Intended"),
        SuspendState::LeftAlone => (false, "LeftAlone"),
        SuspendState::Resumed => (false, "Resumed"),
        SuspendState::Suspended => (true, "Suspended"),
    };
    let words = entries.iter().map(|entry| {
        let words = entry.message.clone().unwrap_or_else(|| match entry.state {
            SuspendState::Intended => "is about to be suspended".to_owned(),
            _ => format!("is suspended because of RollbackEvent {}", entry.event),
        });
        format!("{}: {words}", named(entry))
    });
    Some((status.into(), reason, words.collect::<Vec<_>>().join("; ")))
}

fn before(policy: &RollbackPolicy) -> Vec<Suspended> {
    let status = policy.status.iter();
    status.flat_map(|s| s.suspended.clone()).collect()
}

/// The namespaces in which a policy of this one may have objects suspended. Safety rule 11.
fn reach(context: &Context, own: &str) -> Vec<String> {
    let listed = context.gitops_namespaces.iter().cloned();
    std::iter::once(own.to_owned()).chain(listed).collect()
}

/// What applies the live Deployments, as far as they say so.
async fn intended(context: &Context, observer: &Observer, event: &str) -> Vec<Suspended> {
    let mut entries: Vec<Suspended> = Vec::new();
    for name in &observer.policy.deployments {
        let Some(deployment) = observer.deployment(name) else {
            continue;
        };
        let map = |path: &str| {
            let found = deployment.pointer(path).cloned();
            found
                .and_then(|map| serde_json::from_value(map).ok())
                .unwrap_or_default()
        };
        let Some(owner) = object::owner(&map("/metadata/labels"), &map("/metadata/annotations"))
        else {
            continue;
        };
        let entry = Suspended {
            kind: owner.kind.name().to_owned(),
            namespace: locate(context, observer, &owner, name).await,
            name: owner.name,
            workload: name.clone(),
            event: event.to_owned(),
            state: SuspendState::Intended,
            since: None,
            revision: None,
            message: None,
        };
        if !entries.iter().any(|e| named(e) == named(&entry)) {
            entries.push(entry);
        }
    }
    entries
}

/// The namespace of the object that a Deployment names. Argo CD does not say its own.
async fn locate(context: &Context, observer: &Observer, owner: &Owner, workload: &str) -> String {
    let own = &observer.namespace;
    if let Some(namespace) = &owner.namespace {
        return namespace.clone();
    }
    for namespace in reach(context, own) {
        let place = Place::new(owner.kind, &namespace, &owner.name);
        let found = place.read(context).await;
        if found.is_ok_and(|found| object::applies(owner.kind, &found, own, workload)) {
            return namespace;
        }
    }
    own.clone()
}

/// Suspends it, if it may be.
async fn suspend(
    context: &Context,
    policy: &RollbackPolicy,
    entry: &mut Suspended,
    why: &str,
    now: Timestamp,
) {
    match try_to_suspend(context, policy, entry, why).await {
        Ok(Some((mark, patched))) => {
            entry.state = SuspendState::Suspended;
            entry.since = Some(now);
            entry.revision = Some(mark.revision);
            entry.message = None;
            if patched {
                let note = format!("{} is suspended: {why}", named(entry));
                tracing::warn!(event = entry.event, "{note}");
                say(context, policy, true, "GitOpsSuspended", &note).await;
            }
        }
        Ok(None) => {
            entry.state = SuspendState::LeftAlone;
            entry.message =
                Some("somebody else has suspended it, and it stays as it is".to_owned());
        }
        Err(Trouble::Later(error)) => {
            tracing::warn!(%error, object = named(entry), "could not be suspended yet");
            entry.message = Some(format!("could not be suspended yet: {error}"));
        }
        Err(Trouble::No(why)) => {
            let message = Some(format!("is not suspended: {why}"));
            if entry.state != SuspendState::NotSuspended || entry.message != message {
                let note = format!("{} is not suspended: {why}", named(entry));
                tracing::warn!(event = entry.event, "{note}");
                say(context, policy, true, "GitOpsNotSuspended", &note).await;
            }
            entry.state = SuspendState::NotSuspended;
            entry.message = message;
        }
    }
}

/// The mark that is on the object now, and whether it was put there only now; `None` where the object rests by somebody
/// else's wish.
async fn try_to_suspend(
    context: &Context,
    policy: &RollbackPolicy,
    entry: &Suspended,
    why: &str,
) -> Result<Option<(Mark, bool)>, Trouble> {
    let own = policy.namespace().unwrap_or_default();
    let place = Place::of(entry).ok_or_else(|| Trouble::No("its kind is not known".into()))?;
    let reach = reach(context, &own);
    if !reach.contains(&entry.namespace) {
        return Err(Trouble::No(format!(
            "namespace {} is neither the policy's nor one of the operator's --gitops-namespaces; suspend it by hand, or \
             have the namespace listed",
            entry.namespace
        )));
    }
    let mut attempt = 1;
    loop {
        let object = place.read(context).await?;
        if !object::applies(place.kind, &object, &own, &entry.workload) {
            return Err(Trouble::No(format!(
                "it does not say that it applies Deployment {} of namespace {own}",
                entry.workload
            )));
        }
        if mark::rests(place.kind, &object) {
            return match Mark::of(&object) {
                None => Ok(None),
                // Done already, before a crash.
                Some(mark) if mark.policy == whose(policy) => Ok(Some((mark, false))),
                Some(mark) => Err(Trouble::No(format!(
                    "RollbackEvent {} of RollbackPolicy {} has suspended it, and makes it work again",
                    mark.event, mark.policy
                ))),
            };
        }
        let mark = Mark {
            policy: whose(policy),
            event: entry.event.clone(),
            revision: wanted(context, &place, &object, &reach).await?,
            automated: None,
        };
        let why = format!("RollbackEvent {own}/{}: {why}", entry.event);
        let Some(patch) = mark::suspend(place.kind, &object, &mark, &why) else {
            return Ok(None);
        };
        match place.patch(context, &patch).await {
            Ok(()) => return Ok(Some((mark, true))),
            Err(CallError::Conflict { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Looks whether something else is wanted by now, or somebody has made it work again.
async fn look(context: &Context, policy: &RollbackPolicy, entry: &mut Suspended) {
    let Some(place) = Place::of(entry) else {
        return;
    };
    let (state, message) = match look_at(context, policy, entry, &place).await {
        Ok(None) => {
            entry.message = None;
            return;
        }
        Ok(Some(changed)) => changed,
        Err(Trouble::Later(error)) => {
            // It is suspended as before, and looked at again soon.
            tracing::warn!(%error, object = named(entry), "what is suspended could not be looked at");
            return;
        }
        Err(Trouble::No(why)) => {
            let message = format!(
                "is suspended, and it cannot be told whether Git was mended, so resume it by hand then: {why}"
            );
            entry.message = Some(message);
            return;
        }
    };
    entry.state = state;
    let note = format!("{}: {message}", named(entry));
    entry.message = Some(message);
    let reason = match state {
        SuspendState::Resumed => "GitOpsResumed",
        _ => "GitOpsLeftAlone",
    };
    say(context, policy, false, reason, &note).await;
}

/// What is so by now, where that is not that it is suspended.
async fn look_at(
    context: &Context,
    policy: &RollbackPolicy,
    entry: &Suspended,
    place: &Place,
) -> Result<Option<(SuspendState, String)>, Trouble> {
    let left_alone = |words: &str| Ok(Some((SuspendState::LeftAlone, words.to_owned())));
    let object = match place.read(context).await {
        Err(CallError::NotFound { .. }) => return left_alone("it is not there any more"),
        read => read?,
    };
    let whose = whose(policy);
    let ours = Mark::of(&object).is_some_and(|mark| mark.policy == whose);
    match (ours, mark::rests(place.kind, &object)) {
        (false, true) => return left_alone("somebody else wants it suspended, and it stays so"),
        (false, false) => return left_alone("somebody has made it work again"),
        (true, false) => {
            resume(context, place, &whose).await?;
            return left_alone("somebody has made it work again");
        }
        (true, true) => {}
    }
    let reach = reach(context, &policy.namespace().unwrap_or_default());
    let wanted = wanted(context, place, &object, &reach).await?;
    if entry.revision.as_ref() == Some(&wanted) {
        return Ok(None);
    }
    resume(context, place, &whose).await?;
    let message = format!("it works again, since it would apply something else now: {wanted}");
    Ok(Some((SuspendState::Resumed, message)))
}

/// Makes an object work again as before, if it is suspended for this policy. Returns whether it was.
async fn resume(context: &Context, place: &Place, whose: &str) -> Result<bool, CallError> {
    let mut attempt = 1;
    loop {
        let object = match place.read(context).await {
            Err(CallError::NotFound { .. }) => return Ok(false),
            read => read?,
        };
        if Mark::of(&object).is_none_or(|mark| mark.policy != whose) {
            return Ok(false);
        }
        let Some(patch) = mark::resume(place.kind, &object) else {
            return Ok(false);
        };
        match place.patch(context, &patch).await {
            Ok(()) => return Ok(true),
            Err(CallError::Conflict { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// What an object would apply. Where that cannot be seen, nobody would see that Git was mended.
async fn wanted(
    context: &Context,
    place: &Place,
    object: &serde_json::Value,
    reach: &[String],
) -> Result<String, Trouble> {
    let Some(from) = wanted::source(place.kind, object) else {
        return match place.kind {
            Kind::Application => Ok(wanted::revision(place.kind, object, None)),
            _ => Err(Trouble::No(
                "what it applies comes from no source that is known".into(),
            )),
        };
    };
    let named = format!("its source, {} {}/{}", from.kind, from.namespace, from.name);
    if !reach.contains(&from.namespace) {
        return Err(Trouble::No(format!(
            "{named}, is neither in the policy's namespace nor in one of the operator's --gitops-namespaces"
        )));
    }
    match objects::source(context, &from).await {
        Ok(source) => Ok(wanted::revision(place.kind, object, Some(&source))),
        Err(error) => Err(match error.into() {
            Trouble::No(why) => Trouble::No(format!("{named}, cannot be read: {why}")),
            later @ Trouble::Later(_) => later,
        }),
    }
}

/// A policy, as marks name it.
fn whose(policy: &RollbackPolicy) -> String {
    format!(
        "{}/{}",
        policy.namespace().unwrap_or_default(),
        policy.name_any()
    )
}

fn named(entry: &Suspended) -> String {
    format!("{} {}/{}", entry.kind, entry.namespace, entry.name)
}

async fn say(context: &Context, policy: &RollbackPolicy, warning: bool, reason: &str, note: &str) {
    let about = [policy.object_ref(&())];
    let teller = &context.teller;
    teller.say(&about, warning, reason, "Rollback", note).await;
}
