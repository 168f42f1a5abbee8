//! Kubeconfig files.

use k8s_openapi::ByteString;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

use crate::pki::Pair;

/// How a client says who it is.
pub(crate) enum Identity {
    Certificate(Pair),
    Token(String),
}

/// The text of a kubeconfig for `identity` at `server`.
pub(crate) fn render(server: &str, authority: &str, identity: &Identity) -> anyhow::Result<String> {
    const NAME: &str = "backstop-testenv";
    // Kubernetes' own type for bytes writes them as base64.
    let encode = |pem: &str| ByteString(pem.as_bytes().to_vec());
    let user = match identity {
        Identity::Certificate(pair) => json!({
            "client-certificate-data": encode(&pair.certificate),
            "client-key-data": encode(&pair.key),
        }),
        Identity::Token(token) => json!({ "token": token }),
    };
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

/// A client for the calling runtime.
pub(crate) async fn client(text: &str) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(text)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
