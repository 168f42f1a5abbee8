//! Kubeconfig files.

use std::net::SocketAddr;

use anyhow::Context as _;
use k8s_openapi::ByteString;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::pki::Pair;

/// The text of a kubeconfig for whoever holds `certificate`, at `server`.
pub(crate) fn render(server: &str, authority: &str, certificate: &Pair) -> anyhow::Result<String> {
    const NAME: &str = "backstop-testenv";
    // Kubernetes' own type for bytes writes them as base64.
    let encode = |pem: &str| ByteString(pem.as_bytes().to_vec());
    let user = json!({
        "client-certificate-data": encode(&certificate.certificate),
        "client-key-data": encode(&certificate.key),
    });
    let cluster = json!({"server": server, "certificate-authority-data": encode(authority)});
    Ok(serde_yaml_ng::to_string(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": cluster}],
        "users": [{"name": NAME, "user": user}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
        "current-context": NAME,
    }))?)
}

/// The same kubeconfig for whoever bears `token`.
pub(crate) fn with_token(kubeconfig: &str, token: &str) -> anyhow::Result<String> {
    let mut value: Value = serde_yaml_ng::from_str(kubeconfig)?;
    let name = value["users"][0]["name"].take();
    value["users"] = json!([{"name": name, "user": {"token": token}}]);
    Ok(serde_yaml_ng::to_string(&value)?)
}

/// The same kubeconfig for whoever reaches the API server at `address`, which is not in its certificate.
pub(crate) fn at(kubeconfig: &str, address: SocketAddr) -> anyhow::Result<String> {
    let mut value: Value = serde_yaml_ng::from_str(kubeconfig)?;
    let cluster = &mut value["clusters"][0]["cluster"];
    cluster["server"] = json!(format!("https://{address}"));
    cluster["tls-server-name"] = json!("localhost");
    Ok(serde_yaml_ng::to_string(&value)?)
}

/// The address of the API server in a kubeconfig that holds one context.
pub(crate) fn server(kubeconfig: &str) -> anyhow::Result<String> {
    let value: Value = serde_yaml_ng::from_str(kubeconfig)?;
    value["clusters"][0]["cluster"]["server"]
        .as_str()
        .map(str::to_owned)
        .context("the context names no API server")
}

/// A client for the calling runtime.
pub(crate) async fn client(text: &str) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(text)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
