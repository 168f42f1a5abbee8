//! `backstop check`: whether Backstop works in this cluster, for whoever has just installed it. It changes nothing.

use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use backstop_api::{RollbackEvent, RollbackPoint, RollbackPolicy};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, Resource, api::ListParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;

use crate::{client::client, pause::Switch, settings::Settings};

/// An answer that takes longer is none.
const CALL: Duration = Duration::from_secs(10);
/// How long to wait for a replica that leads: those that have just started may still agree on one.
const LED: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_secs(1);

/// Looks for what Backstop needs, with the rights that it has, and prints what is there. Fails with the first thing that
/// is not.
pub async fn check(settings: &Settings) -> anyhow::Result<()> {
    let client = client().await?;
    served::<RollbackPolicy>(&client, settings).await?;
    served::<RollbackPoint>(&client, settings).await?;
    served::<RollbackEvent>(&client, settings).await?;
    let holder = led(&client, settings).await?;
    println!("ok: {holder} leads");
    acts(&client, settings).await?;
    println!("ok: it is not paused");
    Ok(())
}

/// That objects of a kind can be read wherever policies are obeyed.
async fn served<K>(client: &Client, settings: &Settings) -> anyhow::Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let plural = K::plural(&());
    let some = ListParams::default().limit(1);
    if settings.watch_namespace.is_empty() {
        let api: Api<K> = Api::all(client.clone());
        in_time(api.list(&some))
            .await
            .with_context(|| format!("{plural} cannot be read; is the CRD installed?"))?;
        println!("ok: {plural} can be read in every namespace");
    }
    for namespace in &settings.watch_namespace {
        let api: Api<K> = Api::namespaced(client.clone(), namespace);
        in_time(api.list(&some)).await.with_context(|| {
            format!("{plural} cannot be read in the namespace {namespace}; does it exist?")
        })?;
        println!("ok: {plural} can be read in the namespace {namespace}");
    }
    Ok(())
}

/// Waits for a replica that leads, and returns which it is.
async fn led(client: &Client, settings: &Settings) -> anyhow::Result<String> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), &settings.leader_election_namespace);
    let looking = async {
        loop {
            let seen = match in_time(leases.get(&settings.lease_name)).await {
                Ok(lease) => holder(&lease, Timestamp::now()),
                Err(error) => Err(error),
            };
            match seen {
                Ok(holder) => return holder,
                Err(error) => eprintln!("no replica leads yet: {error:#}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let found = tokio::time::timeout(LED, looking).await;
    found.map_err(|_| {
        anyhow!(
            "no replica has held the lease {}/{} for {} s; look at the pods and their logs",
            settings.leader_election_namespace,
            settings.lease_name,
            LED.as_secs()
        )
    })
}

/// Who holds a lease that has not run out.
fn holder(lease: &Lease, now: Timestamp) -> anyhow::Result<String> {
    let spec = lease.spec.as_ref().context("the lease is empty")?;
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    ensure!(!holder.is_empty(), "nobody holds the lease");
    let renewed = spec.renew_time.as_ref().context("it was never renewed")?.0;
    let seconds = spec.lease_duration_seconds.unwrap_or_default();
    let ends = renewed + SignedDuration::from_secs(seconds.into());
    ensure!(now < ends, "the lease of {holder} has run out at {ends}");
    Ok(holder.to_owned())
}

/// That no administrator has paused Backstop. A ConfigMap that is not there pauses nothing.
async fn acts(client: &Client, settings: &Settings) -> anyhow::Result<()> {
    let namespace = &settings.leader_election_namespace;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let name = &settings.config_map;
    let map = in_time(maps.get_opt(name)).await.with_context(|| {
        format!("the ConfigMap {namespace}/{name} cannot be read, so nothing would be taken back")
    })?;
    let switch = Switch::of(map.as_ref(), &format!("{namespace}/{name}"));
    match switch.in_words() {
        Some(why) => Err(anyhow!(why)),
        None => Ok(()),
    }
}

async fn in_time<T>(call: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
    let answer = tokio::time::timeout(CALL, call).await;
    Ok(answer.map_err(|_| anyhow!("no answer within {} s", CALL.as_secs()))??)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    fn lease(holder: &str, renewed: i64) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                renew_time: Timestamp::from_second(renewed).ok().map(MicroTime),
                lease_duration_seconds: Some(15),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn a_lease_that_has_run_out_is_held_by_nobody() {
        let now = Timestamp::from_second(1_000).unwrap();
        assert_eq!(holder(&lease("a", 990), now).unwrap(), "a");
        let error = holder(&lease("a", 985), now).unwrap_err().to_string();
        assert!(error.contains("has run out"), "{error}");
        let error = holder(&lease("", 990), now).unwrap_err().to_string();
        assert_eq!(error, "nobody holds the lease");
    }
}
