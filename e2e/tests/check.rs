//! `backstop check`, which `helm test` runs: what it says where Backstop works, and where it does not.

use anyhow::ensure;
use backstop_e2e::world::World;

#[tokio::test]
async fn an_operator_that_leads_is_found_by_its_lease() -> anyhow::Result<()> {
    let world = World::new("check").await?;
    let one = format!("--watch-namespace={}", world.namespace);
    for flags in [&[][..], &[one]] {
        let output = world.check(flags).await?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{output:?}");
        ensure!(said.contains("ok: rollbackevents can be read in"), "{said}");
        ensure!(said.contains("ok: a leads"), "{said}");
        ensure!(said.contains("ok: it is not paused"), "{said}");
    }
    Ok(())
}
