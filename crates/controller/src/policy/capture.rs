//! Capturing: the live release becomes a point to go back to.

use std::collections::BTreeMap;

use backstop_api::{
    RollbackPoint, RollbackPointSpec, RollbackPolicy,
    config::ConfigRef,
    names::{
        self, ANNOTATION_PROVED_AT, LABEL_ORIGIN, LABEL_RELEASE, LABEL_VERDICT, LABEL_WORKLOAD,
    },
    point::{Origin, Release, Verdict},
    policy::WorkloadRef,
};
use backstop_engine::snapshot::Measured;
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use super::reproducible;
use crate::{
    calls::CallError,
    config::{
        Place,
        keep::{ensure_stored, own},
    },
    context::Context,
    observe::Observer,
    point::release_of,
};

/// Records that the live release has proved itself: as a new point, or as another proof of one that
/// is there.
pub(super) async fn capture(
    context: &Context,
    policy: &RollbackPolicy,
    observer: &Observer,
    hash: &str,
    measured: &BTreeMap<String, Measured>,
) -> Result<(), CallError> {
    let Some(release) = release_of(observer).filter(|r| r.hash == hash) else {
        // Another release is live by now; it was this one that proved itself.
        return Ok(());
    };
    let release = Release {
        config: store_config(context, observer).await?,
        ..release
    };
    let workload = observer.policy.primary();
    let name = names::point_name(workload, hash);
    let now = Timestamp::now();
    let mut point = RollbackPoint::new(
        &name,
        RollbackPointSpec {
            workload: WorkloadRef {
                name: workload.to_owned(),
            },
            origin: Origin::Soak,
            verdict: Verdict::Good,
            reason: Some(format!(
                "healthy for {} s under policy {}",
                observer.policy.soak.as_secs(),
                policy.name_any()
            )),
            measured_of: None,
            release: Some(release.clone()),
            baselines: measured
                .iter()
                .map(|(name, measured)| (name.clone(), measured.value))
                .collect(),
            distributions: measured
                .iter()
                .filter_map(|(name, measured)| Some((name.clone(), measured.distribution.clone()?)))
                .collect(),
        },
    );
    label(&mut point);
    point
        .annotations_mut()
        .insert(ANNOTATION_PROVED_AT.into(), now.to_string());
    let api: Api<RollbackPoint> = Api::namespaced(context.client.clone(), &observer.namespace);
    let created = context
        .calls
        .create("create rollbackpoint", &api, &point)
        .await;
    match created {
        Ok(point) => own_config(context, observer, &point, &release.config).await,
        Err(CallError::AlreadyExists { .. }) => {
            let patch = serde_json::json!({
                "metadata": {"annotations": {ANNOTATION_PROVED_AT: now.to_string()}},
            });
            context
                .calls
                .merge("patch rollbackpoint", &api, &name, patch)
                .await
                .map(drop)?;
            reproducible::say(context, &api, &name, &release).await
        }
        Err(error) => Err(error),
    }
}

/// Keeps the contents of the live release's configuration, and says what a point says of it.
pub(crate) async fn store_config(
    context: &Context,
    observer: &Observer,
) -> Result<Vec<ConfigRef>, CallError> {
    let keys = context.keys.borrow().clone();
    let mut kept = Vec::new();
    for looked in observer.config() {
        kept.push(match &keys {
            Some(Ok(ring)) => ensure_stored(place(context, observer), ring, looked).await?,
            _ => looked.reference,
        });
    }
    Ok(kept)
}

/// Ties what is kept to the point, so that it goes with the last of those that refer to it.
pub(crate) async fn own_config(
    context: &Context,
    observer: &Observer,
    point: &RollbackPoint,
    config: &[ConfigRef],
) -> Result<(), CallError> {
    own(place(context, observer), point, config).await
}

fn place<'a>(context: &'a Context, observer: &'a Observer) -> Place<'a> {
    Place {
        client: &context.client,
        calls: &context.calls,
        namespace: &observer.namespace,
    }
}

/// The labels by which points are found with kubectl.
pub(crate) fn label(point: &mut RollbackPoint) {
    let spec = point.spec.clone();
    let labels = point.labels_mut();
    labels.insert(
        LABEL_WORKLOAD.into(),
        names::label_value(&spec.workload.name),
    );
    labels.insert(LABEL_VERDICT.into(), format!("{:?}", spec.verdict));
    labels.insert(LABEL_ORIGIN.into(), format!("{:?}", spec.origin));
    if let Some(release) = spec.release {
        labels.insert(LABEL_RELEASE.into(), release.hash);
    }
}
