//! `backstop check`, as `helm test` runs it.

use std::process::Output;

use tokio::process::Command;

use crate::chart::NAMESPACE;
use crate::operator::binary;
use crate::world::World;

impl World {
    /// Runs it with the operator's own rights, for the operator of this world.
    pub async fn check(&self, flags: &[String]) -> anyhow::Result<Output> {
        let account = self
            .cluster
            .service_account_kubeconfig(NAMESPACE, "backstop")
            .await?;
        let mut command = Command::new(binary()?);
        command
            .env("KUBECONFIG", account)
            .arg(format!("--leader-election-namespace={NAMESPACE}"))
            .arg(format!("--lease-name=backstop-{}", self.namespace))
            .args(flags)
            .arg("check");
        Ok(command.output().await?)
    }
}
