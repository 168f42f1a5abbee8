//! People with different rights in one namespace.

use std::time::Duration;

use backstop_testenv::{Cluster, eventually};
use kube::Client;
use serde_json::json;

use crate::install::{Operator, install};
use crate::raw::{Raw, policy};

const SOON: Duration = Duration::from_secs(30);

/// Both may do with Backstop's objects whatever RBAC can allow, and patch configuration and autoscalers. Alice may patch
/// the Deployment `web` besides.
const PEOPLE: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: backstop}
rules:
- {apiGroups: [backstop.dev], resources: ["*"], verbs: ["*"]}
- {apiGroups: [""], resources: [configmaps, secrets], verbs: [patch]}
- {apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: backstop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: backstop}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: alice}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: bob}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: web}
rules:
- {apiGroups: [apps], resources: [deployments], resourceNames: [web], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: web}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: web}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: alice}
"#;

/// What a person may patch: of these groups and resources those of these names; all where none is named.
#[derive(Clone, Copy, Debug)]
pub struct Right<'a> {
    group: &'a str,
    resource: &'a str,
    names: &'a [&'a str],
}

/// The right to patch what has these names, or everything of the kind where none is named.
pub const fn right<'a>(group: &'a str, resource: &'a str, names: &'a [&'a str]) -> Right<'a> {
    Right {
        group,
        resource,
        names,
    }
}

/// The rights to what a policy reaches without naming it.
pub const UNNAMED: [Right<'static>; 3] = [
    right("", "configmaps", &[]),
    right("", "secrets", &[]),
    right("autoscaling", "horizontalpodautoscalers", &[]),
];

/// A namespace with people in it.
pub struct People {
    /// The cluster.
    pub cluster: &'static Cluster,
    /// The namespace.
    pub namespace: String,
    /// Who the operator is.
    pub operator_is: Operator,
    /// May do anything that admission lets pass.
    pub admin: Client,
    /// Backstop.
    pub operator: Client,
    /// May patch the Deployment `web`.
    pub alice: Client,
    /// May not.
    pub bob: Client,
}

impl People {
    /// Puts the people into a namespace of their own.
    pub async fn new() -> anyhow::Result<Self> {
        let cluster = Cluster::shared().await?;
        let operator_is = install(cluster).await?;
        let namespace = cluster.namespace("admission").await?;
        cluster.apply(&namespace, PEOPLE).await?;
        let operator = cluster
            .client_for_service_account(&operator_is.namespace, &operator_is.service_account)
            .await?;
        let people = Self {
            cluster,
            namespace,
            operator_is,
            admin: cluster.client().await?,
            operator,
            alice: cluster.client_for("alice", &[]).await?,
            bob: cluster.client_for("bob", &[]).await?,
        };
        // The authorizer learns of roles by watching.
        eventually("alice's and bob's rights", SOON, async || {
            Raw::policies(&people.alice, &people.namespace)
                .get("none")
                .await?;
            Raw::policies(&people.bob, &people.namespace)
                .get("none")
                .await
        })
        .await?;
        // Only tried: admission would go on knowing a policy for a while after it was deleted.
        eventually("alice's right to patch web", SOON, async || {
            let policies = Raw::policies(&people.alice, &people.namespace);
            policies.try_to_create("first", policy("web")).await
        })
        .await?;
        Ok(people)
    }

    /// Somebody who may write Backstop's objects, and patch this besides.
    pub async fn person(&self, name: &str, rights: &[Right<'_>]) -> anyhow::Result<Client> {
        let mut rules =
            vec![json!({"apiGroups": ["backstop.dev"], "resources": ["*"], "verbs": ["*"]})];
        for right in rights {
            let mut rule = json!({
                "apiGroups": [right.group], "resources": [right.resource], "verbs": ["patch"],
            });
            if !right.names.is_empty() {
                rule["resourceNames"] = json!(right.names);
            }
            rules.push(rule);
        }
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name},
            "rules": rules,
        });
        let group = "rbac.authorization.k8s.io";
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": name}],
        });
        let both = format!("{role}\n---\n{binding}\n");
        self.cluster.apply(&self.namespace, &both).await?;
        self.cluster.client_for(name, &[]).await
    }

    /// The policies, as one of the people sees them.
    pub fn policies(&self, client: &Client) -> Raw {
        Raw::policies(client, &self.namespace)
    }

    /// The points, as one of the people sees them.
    pub fn points(&self, client: &Client) -> Raw {
        Raw::points(client, &self.namespace)
    }

    /// The events, as one of the people sees them.
    pub fn events(&self, client: &Client) -> Raw {
        Raw::events(client, &self.namespace)
    }
}
