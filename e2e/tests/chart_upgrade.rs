//! What becomes of the CRDs, and of what people made with them, when the chart is upgraded and uninstalled.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use backstop_e2e::chart;
use backstop_testenv::{Cluster, ClusterOptions};

/// A chart as it was before a column was added.
fn older_chart(folder: &Path) -> anyhow::Result<()> {
    let from = chart::root().join("charts/backstop");
    copy(&from, folder)?;
    let crd = folder.join("files/crds/rollbackevents.yaml");
    let mut object = chart::documents(&fs::read_to_string(&crd)?)?
        .pop()
        .context("a CRD")?;
    let columns = object["spec"]["versions"][0]["additionalPrinterColumns"]
        .as_array_mut()
        .context("columns")?;
    columns.retain(|column| column["name"] != "Outcome");
    fs::write(crd, chart::yaml([&object])?)?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_upgrade_brings_new_crds_and_an_uninstall_keeps_the_records() -> anyhow::Result<()> {
    // Of its own, since a release is of the whole cluster.
    let cluster = Cluster::start(ClusterOptions::default()).await?;
    let folder = tempfile::tempdir()?;
    let older = folder.path().join("backstop");
    older_chart(&older)?;
    let columns = async || {
        let path = "--output=jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}";
        let crd = "crd/rollbackevents.backstop.dev";
        cluster.kubectl(&["get", crd, path]).await?.success()
    };
    let release = ["--namespace", chart::NAMESPACE, "backstop"];
    let helm = async |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(release);
        cluster.helm(&all).await?.success()
    };
    let (chart_now, chart_then) = (chart::path(), older.display().to_string());
    let mut install = vec!["install", "--create-namespace"];
    install.extend(release);
    install.push(&chart_then);
    let notes = cluster.helm(&install).await?.success()?;
    ensure!(
        notes.contains("It changes nothing until a policy asks it to."),
        "{notes}"
    );
    ensure!(!columns().await?.contains("Outcome"));
    let mut upgrade = vec!["upgrade"];
    upgrade.extend(release);
    upgrade.push(&chart_now);
    cluster.helm(&upgrade).await?.success()?;
    ensure!(columns().await?.contains("Outcome"), "{}", columns().await?);

    let web = chart::root()
        .join("manifests/samples/web.yaml")
        .display()
        .to_string();
    cluster
        .kubectl(&["apply", "--filename", &web])
        .await?
        .success()?;
    helm(&["uninstall"]).await?;
    let left = cluster.kubectl(&["get", "rollbackpolicy", "web"]).await?;
    left.success()
        .context("the policy went away with the release")?;
    let policies = ["get", "validatingadmissionpolicies", "--output=name"];
    let left = cluster.kubectl(&policies).await?.success()?;
    ensure!(left.is_empty(), "left behind: {left}");
    Ok(())
}
