//! Validating: everything that is wrong with a policy, in words.

use backstop_api::RollbackPolicy;
use backstop_engine::{
    policy::{FieldError, Source, ValidPolicy, validate as valid},
    probe::ProbeQuestion,
};
use kube::ResourceExt;

use crate::context::Context;

/// The policy, parsed; or everything that is wrong with it.
pub(super) fn validate(context: &Context, object: &RollbackPolicy) -> Result<ValidPolicy, String> {
    let policy = valid(&object.name_any(), &object.spec).map_err(|errors| in_words(&errors))?;
    let mut errors = Vec::new();
    for (index, trigger) in policy.triggers.iter().enumerate() {
        let (field, checked) = match &trigger.source {
            Source::Prometheus { address, .. } => {
                let checked = match address {
                    Some(address) => context.allowed.check(address),
                    None => context.allowed.own(),
                };
                ("prometheus.address", checked.map(drop))
            }
            // With placeholders before the `?` it is known only when they are filled in.
            Source::Web(web) if web.address_is_known() => (
                "web.url",
                context.web_allowed.check_url(web.url()).map(drop),
            ),
            Source::Probe(probe) => match (probe.address(), &probe.question) {
                (Some(url), ProbeQuestion::Http { .. }) => (
                    "probe.http.url",
                    context.web_allowed.check_url(url).map(drop),
                ),
                (Some(url), ProbeQuestion::Grpc { .. }) => (
                    "probe.grpc.url",
                    context.web_allowed.check_url(url).map(drop),
                ),
                // Pods' own addresses are always allowed.
                (None, _) => continue,
            },
            Source::Alert(_) if context.alerts.is_none() => {
                errors.push(format!(
                    "spec.triggers[{index}].alert: the operator hears no alerts; set alerts.enabled in \
                     the chart's values, or --alerts-listen"
                ));
                continue;
            }
            Source::Web(_)
            | Source::Workload { .. }
            | Source::Resource(_)
            | Source::Vulnerability(_)
            | Source::Alert(_) => continue,
        };
        if let Err(error) = checked {
            // The error names the address, without a password that somebody may have put into it.
            errors.push(format!("spec.triggers[{index}].{field}: {error}"));
        }
    }
    if let Some(asked) = &policy.affected_users {
        let checked = match &asked.address {
            Some(address) => context.allowed.check(address),
            None => context.allowed.own(),
        };
        if let Err(error) = checked {
            errors.push(format!("spec.affectedUsers.address: {error}"));
        }
    }
    if let Some(canary) = policy.strategy.canary()
        && let Err(error) = context.routes.get(&canary.parameters.route.provider)
    {
        errors.push(format!("spec.strategy.canary.route.provider: {error}"));
    }
    if let Err(wrong) =
        backstop_notify::channels(&object.spec.notifications, &context.channels.allowed)
    {
        errors.extend(wrong);
    }
    if errors.is_empty() {
        Ok(policy)
    } else {
        Err(errors.join("; "))
    }
}

fn in_words(errors: &[FieldError]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
