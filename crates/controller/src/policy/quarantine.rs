//! The templates of releases that failed, in the policy's status: there the API server reads what it
//! refuses.

use backstop_api::{
    RollbackPoint, RollbackPolicy, point::WorkloadRelease, policy::QuarantinedTemplate,
};
use backstop_engine::{quarantine::KeptOut, snapshot::Point};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};

use crate::{calls::CallError, context::Context};

/// So many templates are held in full: every API server keeps all policies in memory.
const TEMPLATES_HELD: usize = 3;
/// And none that is longer, in bytes of JSON.
const LONGEST_TEMPLATE: usize = 65_536;

/// What the status says of what is kept out.
pub(super) async fn templates(
    context: &Context,
    object: &RollbackPolicy,
    kept_out: &[KeptOut],
) -> Result<Vec<QuarantinedTemplate>, CallError> {
    let mut said: Vec<QuarantinedTemplate> = Vec::new();
    for failed in kept_out {
        let held = said.iter().filter(|q| q.template.is_some()).count();
        let mut entry = QuarantinedTemplate {
            workload: failed.workload.clone(),
            release: failed.release.clone(),
            event: failed.event.clone(),
            point: Some(failed.point.clone()),
            reason: failed.reason.clone(),
            expires_at: Some(failed.expires_at),
            template: None,
            server_version: None,
            let_pass: failed.let_pass.clone(),
        };
        if entry.let_pass.is_none() && held >= TEMPLATES_HELD {
            entry.let_pass = Some(format!(
                "{TEMPLATES_HELD} templates are refused at most, and there are newer ones"
            ));
        }
        if entry.let_pass.is_none() {
            hold(context, object, &mut entry).await?;
        }
        said.push(entry);
    }
    Ok(said)
}

/// Puts the template into the entry, or says why it is not there.
async fn hold(
    context: &Context,
    object: &RollbackPolicy,
    entry: &mut QuarantinedTemplate,
) -> Result<(), CallError> {
    let (version, since) = context.server.get();
    let mut before = object.status.iter().flat_map(|s| &s.quarantined);
    let before = before.find(|q| q.workload == entry.workload && q.release == entry.release);
    if let Some(before) = before
        && before.server_version.as_ref() == Some(&version)
    {
        entry.template.clone_from(&before.template);
        entry.let_pass.clone_from(&before.let_pass);
        entry.server_version = Some(version);
        return Ok(());
    }
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<RollbackPoint> = Api::namespaced(context.client.clone(), &namespace);
    let point = entry.point.clone().unwrap_or_default();
    let point = match context
        .calls
        .read("get rollbackpoint", api.get(&point))
        .await
    {
        Ok(point) => point,
        Err(CallError::NotFound { .. }) => {
            entry.let_pass = Some("its record was deleted".to_owned());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let recorded_at = Point::from(&point).proved_at;
    let Some(held) = point
        .spec
        .release
        .as_ref()
        .and_then(|r| r.workload(&entry.workload))
    else {
        entry.let_pass = Some("its record does not hold the template".to_owned());
        return Ok(());
    };
    let template = if recorded_at >= since {
        held.template.clone()
    } else {
        as_returned_now(context, &namespace, held).await
    };
    entry.server_version = Some(version);
    let length = template.to_string().len();
    if length > LONGEST_TEMPLATE {
        entry.let_pass = Some(format!(
            "its template is {length} bytes long, and none over {LONGEST_TEMPLATE} is held here; what puts it \
             back is written back"
        ));
    } else {
        entry.template = Some(template);
    }
    Ok(())
}

/// The template as this version of the server returns it: with its defaults, and after its admission.
///
/// Tried on the Deployment itself, without changing it: that needs no right that the operator has not
/// got already, and admission sees what it would see.
async fn as_returned_now(context: &Context, namespace: &str, held: &WorkloadRelease) -> Value {
    let resource = ApiResource {
        group: "apps".into(),
        version: "v1".into(),
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        plural: "deployments".into(),
    };
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), namespace, &resource);
    let operations = json!([
        {"op": "test", "path": "/metadata/uid", "value": held.uid},
        {"op": "replace", "path": "/spec/template", "value": held.template},
    ]);
    let tried = context
        .calls
        .try_json_patch("dry-run deployment", &api, &held.name, &operations)
        .await;
    let template = match tried {
        Ok(object) => object.data.pointer("/spec/template").cloned(),
        Err(error) => {
            tracing::warn!(
                namespace, deployment = held.name, %error,
                "a quarantined template could not be tried on this version of the API server: it is refused as \
                 it was recorded"
            );
            None
        }
    };
    template.unwrap_or_else(|| held.template.clone())
}
