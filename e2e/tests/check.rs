//! `backstop check`, which `helm test` runs: what it says where Backstop works, and where it does not.

use std::process::Output;

use anyhow::ensure;
use backstop_e2e::chart::NAMESPACE;
use backstop_e2e::operator::binary;
use backstop_e2e::world::World;
use tokio::process::Command;

/// Runs it with the operator's own rights, as for an operator that watches these namespaces.
async fn check(world: &World, namespaces: &[&str]) -> anyhow::Result<Output> {
    let account = world
        .cluster
        .service_account_kubeconfig(NAMESPACE, "backstop")
        .await?;
    let lease = format!("--lease-name=backstop-{}", world.namespace);
    let mut command = Command::new(binary()?);
    command
        .env("KUBECONFIG", account)
        .args([&format!("--leader-election-namespace={NAMESPACE}"), &lease]);
    for namespace in namespaces {
        command.arg(format!("--watch-namespace={namespace}"));
    }
    Ok(command.arg("check").output().await?)
}

#[tokio::test]
async fn an_operator_that_leads_is_found_by_its_lease() -> anyhow::Result<()> {
    let world = World::new("check").await?;
    for namespaces in [&[][..], &[world.namespace.as_str()]] {
        let output = check(&world, namespaces).await?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{output:?}");
        ensure!(said.contains("ok: rollbackevents can be read in"), "{said}");
        ensure!(said.contains("ok: a leads"), "{said}");
        ensure!(said.contains("ok: it is not paused"), "{said}");
    }
    Ok(())
}
