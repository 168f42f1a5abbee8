//! Configuration is kept beside points and put back, on a real API server and without an operator
//! around it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use backstop_api::{
    RollbackPoint,
    config::{ConfigCapture, ConfigKey, ConfigRef, SecretCapture},
};
use backstop_controller::{
    calls::Calls,
    config::{
        Place, anew, keep,
        keys::{KeyRing, key_ring},
        objects,
        restore::{Outcome, Wanted, restore},
    },
    leader::Leadership,
    metrics::Metrics,
};
use backstop_engine::config::references::Reference;
use backstop_testenv::{Cluster, eventually};
use jiff::civil::Date;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

/// A namespace, and what is needed to work in it.
struct Here {
    cluster: &'static Cluster,
    client: Client,
    calls: Calls,
    namespace: String,
    ring: KeyRing,
}

fn day(text: &str) -> Date {
    text.parse().expect("a day")
}

impl Here {
    async fn new(name: &str) -> anyhow::Result<Self> {
        let cluster = Cluster::shared().await?;
        let namespace = cluster.namespace(name).await?;
        let client = cluster.client().await?;
        let for_long = tokio::time::Instant::now() + Duration::from_hours(1);
        let (_, until) = tokio::sync::watch::channel(Some(for_long));
        let calls = Calls::new(Leadership::from(until), Arc::new(Metrics::default()));
        let place = Place {
            client: &client,
            calls: &calls,
            namespace: &namespace,
        };
        let ring = key_ring(place, day("2026-01-01"), 90).await?;
        Ok(Self {
            cluster,
            client,
            calls,
            namespace,
            ring,
        })
    }

    fn place(&self) -> Place<'_> {
        Place {
            client: &self.client,
            calls: &self.calls,
            namespace: &self.namespace,
        }
    }

    /// What is captured of these objects, with their contents kept.
    async fn capture(&self, keys: &[ConfigKey]) -> anyhow::Result<Vec<ConfigRef>> {
        let references: Vec<Reference> = keys
            .iter()
            .map(|key| Reference {
                key: key.clone(),
                optional: false,
            })
            .collect();
        let (config, secrets) = (ConfigCapture::Capture, SecretCapture::Encrypted);
        let identity = self.ring.identity();
        let looked = objects::look(self.place(), identity, &references, config, secrets).await?;
        let mut captured = Vec::new();
        for looked in looked {
            captured.push(keep::ensure_stored(self.place(), &self.ring, looked).await?);
        }
        Ok(captured)
    }

    async fn restore(
        &self,
        at_point: &[ConfigRef],
        at_failed: &[ConfigRef],
    ) -> anyhow::Result<Vec<Outcome>> {
        let own = BTreeSet::from(["web".to_owned()]);
        let wanted = Wanted {
            at_point,
            at_failed,
            own: &own,
            event: "web-1",
        };
        Ok(restore(self.place(), &self.ring, wanted).await?)
    }

    async fn apply(&self, object: &Value, server_side: bool) -> anyhow::Result<()> {
        let mut args = vec!["apply", "--namespace", &self.namespace, "--filename=-"];
        if server_side {
            args.push("--server-side");
        }
        let kubeconfig = self.cluster.kubeconfig_path();
        self.cluster
            .kubectl_with(kubeconfig, &args, &object.to_string())
            .await?
            .success()?;
        Ok(())
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A point of this name, which names a workload and nothing more.
    async fn point(&self, name: &str) -> anyhow::Result<RollbackPoint> {
        let point: RollbackPoint = serde_json::from_value(json!({
            "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackPoint",
            "metadata": {"name": name}, "spec": {"workload": {"name": "web"}},
        }))?;
        Ok(self.api().create(&PostParams::default(), &point).await?)
    }

    async fn data(&self) -> anyhow::Result<Value> {
        let found = self.api::<ConfigMap>().get("web").await?;
        Ok(json!(found.data))
    }
}

fn config_map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": data})
}

fn secret(token: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web"}, "stringData": {"token": token}})
}

fn web() -> [ConfigKey; 1] {
    [ConfigKey::config_map("web")]
}

#[tokio::test]
async fn replicas_that_make_keys_at_once_end_up_with_the_same() -> anyhow::Result<()> {
    let here = Here::new("config-keys").await?;
    here.api::<Secret>()
        .delete("backstop-config-keys", &DeleteParams::default())
        .await?;
    let make = || key_ring(here.place(), day("2026-01-01"), 90);
    let (a, b, c) = tokio::try_join!(make(), make(), make())?;
    assert!(a.identity() == b.identity() && b.identity() == c.identity());

    // Ninety days later another key encrypts, and the first is still there.
    let later = || key_ring(here.place(), day("2026-04-01"), 90);
    let (a, b) = tokio::try_join!(later(), later())?;
    assert_eq!(a.encrypts_with(), Ok("2026-04-01"));
    assert!(a.identity() == b.identity() && a.identity() == c.identity());
    let kept = here.api::<Secret>().get("backstop-config-keys").await?;
    let entries: Vec<String> = kept.data.unwrap_or_default().into_keys().collect();
    assert_eq!(entries, ["2026-01-01", "2026-04-01", "identity"]);
    Ok(())
}

#[tokio::test]
async fn contents_are_kept_once_and_go_with_the_last_point() -> anyhow::Result<()> {
    let here = Here::new("config-store").await?;
    backstop_e2e::install(here.cluster).await?;
    here.apply(&config_map(&json!({"level": "info"})), true)
        .await?;
    here.apply(&secret("hunter2"), true).await?;
    let keys = [ConfigKey::config_map("web"), ConfigKey::secret("web")];
    let captured = here.capture(&keys).await?;
    assert_eq!(here.capture(&keys).await?, captured, "kept once");

    let stores = here.api::<Secret>();
    let mut points = Vec::new();
    for name in ["first", "second"] {
        let point = here.point(name).await?;
        keep::own(here.place(), &point, &captured).await?;
        keep::own(here.place(), &point, &captured).await?;
        points.push(point);
    }
    for reference in &captured {
        let content = keep::load(here.place(), &here.ring, reference).await?;
        assert_eq!(
            reference.hash,
            Some(content.hash(here.ring.identity(), &here.namespace, &reference.key))
        );
        let name = &reference.store.as_ref().context("a store")?.name;
        let store = stores.get(name).await?;
        assert_eq!(store.owner_references().len(), 2);
        ensure!(!serde_json::to_string(&store)?.contains("hunter2"));
        let change = Patch::Merge(json!({"data": {"nonce": "AAAA"}}));
        let refused = stores.patch(name, &PatchParams::default(), &change).await;
        assert!(refused.is_err(), "a store can be changed");
    }

    let api = here.api::<RollbackPoint>();
    let left = async || -> anyhow::Result<usize> {
        let list = stores.list(&kube::api::ListParams::default()).await?;
        let is_store = |s: &&Secret| s.type_.as_deref() == Some("backstop.dev/config");
        Ok(list.items.iter().filter(is_store).count())
    };
    api.delete("first", &DeleteParams::default()).await?;
    eventually("one owner to be left", Duration::from_mins(2), async || {
        for store in stores.list(&kube::api::ListParams::default()).await? {
            let owners = store.owner_references().len();
            ensure!(owners < 2, "{} has {owners}", store.name_any());
        }
        anyhow::Ok(())
    })
    .await?;
    assert_eq!(left().await?, 2);
    api.delete("second", &DeleteParams::default()).await?;
    eventually(
        "the stores to be gone",
        Duration::from_mins(2),
        async || {
            let left = left().await?;
            ensure!(left == 0, "{left} are left");
            anyhow::Ok(())
        },
    )
    .await
}

#[tokio::test]
async fn a_lost_key_costs_only_what_it_encrypted() -> anyhow::Result<()> {
    let mut here = Here::new("config-lost-key").await?;
    here.apply(&config_map(&json!({"level": "info"})), true)
        .await?;
    here.apply(&secret("hunter2"), true).await?;
    let keys = [ConfigKey::config_map("web"), ConfigKey::secret("web")];
    let old = here.capture(&keys).await?;
    here.ring = key_ring(here.place(), day("2026-04-01"), 90).await?;
    here.apply(&secret("correct horse"), true).await?;
    let new = here.capture(&keys).await?;
    let id = |r: &ConfigRef| r.store.as_ref().and_then(|s| s.key_id.clone());
    assert_eq!(id(&old[1]).as_deref(), Some("2026-01-01"));
    assert_eq!(id(&new[1]).as_deref(), Some("2026-04-01"));
    keep::load(here.place(), &here.ring, &old[1]).await?;

    let gone = Patch::Merge(json!({"data": {"2026-01-01": null}}));
    let params = PatchParams::default();
    here.api::<Secret>()
        .patch("backstop-config-keys", &params, &gone)
        .await?;
    here.ring = key_ring(here.place(), day("2026-04-02"), 90).await?;
    let lost = keep::load(here.place(), &here.ring, &old[1]).await;
    let said = lost.err().context("it can be read without its key")?;
    let words =
        "it is encrypted with key 2026-01-01, which is not in Secret backstop-config-keys any more";
    ensure!(said.to_string().contains(words), "{said}");
    // ConfigMaps are not encrypted, and what the other key encrypted is there.
    for reference in [&old[0], &new[0], &new[1]] {
        keep::load(here.place(), &here.ring, reference).await?;
    }
    Ok(())
}

/// After a rotation nothing needs the old key any more: points go back to what they had without it.
#[tokio::test]
async fn what_an_old_key_encrypted_is_encrypted_anew_and_the_old_key_can_go() -> anyhow::Result<()>
{
    let mut here = Here::new("config-anew").await?;
    backstop_e2e::install(here.cluster).await?;
    here.apply(&config_map(&json!({"level": "info"})), true)
        .await?;
    here.apply(&secret("hunter2"), true).await?;
    let keys = [ConfigKey::config_map("web"), ConfigKey::secret("web")];
    let old = here.capture(&keys).await?;
    let mut points = Vec::new();
    for name in ["first", "second"] {
        let mut point = here.point(name).await?;
        keep::own(here.place(), &point, &old).await?;
        // As the cache has it: only Backstop may fill releases in.
        point.spec.release = Some(serde_json::from_value(json!({
            "hash": "0123", "workloads": [], "config": old,
        }))?);
        points.push(point);
    }
    here.ring = key_ring(here.place(), day("2026-04-01"), 90).await?;

    let secrets = here.api::<Secret>();
    let name = |r: &ConfigRef| r.store.as_ref().map(|s| s.name.clone()).context("no store");
    let (of_map, of_secret) = (name(&old[0])?, name(&old[1])?);
    let first = anew::encrypt(here.place(), &here.ring, &points[0]).await?;
    assert_eq!((first.encrypted, first.left), (1, Vec::new()));
    let left = secrets.get(&of_secret).await?;
    let owners: Vec<_> = left.owner_references().iter().map(|o| &o.name).collect();
    assert_eq!(owners, ["second"], "the other point still has it");
    let again = anew::encrypt(here.place(), &here.ring, &points[0]).await?;
    assert_eq!(
        (again.encrypted, again.left),
        (1, Vec::new()),
        "it can be done twice"
    );
    anew::encrypt(here.place(), &here.ring, &points[1]).await?;
    eventually(
        "the old store to be gone",
        Duration::from_mins(2),
        async || {
            let old = secrets.get_opt(&of_secret).await?;
            ensure!(old.is_none(), "{:?}", old.map(|s| s.metadata));
            anyhow::Ok(())
        },
    )
    .await?;
    assert_eq!(secrets.get(&of_map).await?.owner_references().len(), 2);

    let gone = Patch::Merge(json!({"data": {"2026-01-01": null}}));
    let params = PatchParams::default();
    secrets
        .patch("backstop-config-keys", &params, &gone)
        .await?;
    here.ring = key_ring(here.place(), day("2026-04-02"), 90).await?;
    for reference in &old {
        keep::load(here.place(), &here.ring, reference).await?;
    }
    // And what was there goes back as before.
    here.apply(&secret("correct horse"), true).await?;
    let bad = here.capture(&keys).await?;
    let outcomes = here.restore(&old, &bad).await?;
    ensure!(outcomes.iter().all(|o| o.holds), "{outcomes:?}");
    let data = secrets.get("web").await?.data.unwrap_or_default();
    assert_eq!(data["token"].0, b"hunter2");
    Ok(())
}

async fn leaves_nothing_behind(name: &str, server_side: bool) -> anyhow::Result<()> {
    let here = Here::new(name).await?;
    let version = |data: Value| config_map(&data);
    here.apply(&version(json!({"a": "1", "only_v1": "x"})), server_side)
        .await?;
    let good = here.capture(&web()).await?;
    here.apply(&version(json!({"a": "2", "only_v2": "x"})), server_side)
        .await?;
    let bad = here.capture(&web()).await?;

    let outcomes = here.restore(&good, &bad).await?;
    ensure!(outcomes[0].written && outcomes[0].holds, "{outcomes:?}");
    assert_eq!(here.data().await?, json!({"a": "1", "only_v1": "x"}));
    let found = here.api::<ConfigMap>().get("web").await?;
    let managers: Vec<_> = found
        .managed_fields()
        .iter()
        .filter_map(|f| f.manager.clone())
        .collect();
    ensure!(!managers.contains(&"backstop".to_owned()), "{managers:?}");
    let again = here.restore(&good, &bad).await?;
    ensure!(!again[0].written && again[0].holds, "{again:?}");

    // Without --force-conflicts: a conflict would be an error.
    here.apply(&version(json!({"a": "3"})), server_side).await?;
    assert_eq!(here.data().await?, json!({"a": "3"}));
    Ok(())
}

#[tokio::test]
async fn after_a_restore_the_next_server_side_apply_meets_no_conflict() -> anyhow::Result<()> {
    leaves_nothing_behind("config-ssa", true).await
}

#[tokio::test]
async fn after_a_restore_the_next_client_side_apply_leaves_nothing_behind() -> anyhow::Result<()> {
    leaves_nothing_behind("config-csa", false).await
}

/// The operator died right after the contents were written: the fields are still its own.
#[tokio::test]
async fn after_a_crash_the_next_apply_meets_no_conflict_either() -> anyhow::Result<()> {
    let here = Here::new("config-crash").await?;
    here.apply(&config_map(&json!({"a": "1"})), true).await?;
    let good = here.capture(&web()).await?;
    here.apply(&config_map(&json!({"a": "2"})), true).await?;
    let bad = here.capture(&web()).await?;
    let params = PatchParams {
        field_manager: Some("backstop".into()),
        ..PatchParams::default()
    };
    let write = Patch::Merge(json!({"data": {"a": "1"}}));
    here.api::<ConfigMap>()
        .patch("web", &params, &write)
        .await?;
    let outcomes = here.restore(&good, &bad).await?;
    ensure!(outcomes[0].holds && !outcomes[0].written, "{outcomes:?}");
    here.apply(&config_map(&json!({"a": "3"})), true).await?;
    assert_eq!(here.data().await?, json!({"a": "3"}));
    Ok(())
}

#[tokio::test]
async fn a_secret_comes_back_out_of_its_encryption() -> anyhow::Result<()> {
    let here = Here::new("config-secret").await?;
    let key = [ConfigKey::secret("web")];
    let token = async || -> anyhow::Result<Vec<u8>> {
        let found = here.api::<Secret>().get("web").await?;
        let data = found.data.context("no data")?;
        Ok(data.get("token").context("no token")?.0.clone())
    };
    here.apply(&secret("hunter2"), false).await?;
    let good = here.capture(&key).await?;
    here.apply(&secret("wrong"), false).await?;
    let bad = here.capture(&key).await?;
    assert_eq!(token().await?, b"wrong");

    let outcomes = here.restore(&good, &bad).await?;
    ensure!(outcomes[0].written, "{outcomes:?}");
    assert_eq!(token().await?, b"hunter2");
    here.apply(&secret("better"), false).await?;
    assert_eq!(token().await?, b"better");
    Ok(())
}

#[tokio::test]
async fn what_may_not_be_read_is_said_and_keeps_nothing_from_going_back() -> anyhow::Result<()> {
    let mut here = Here::new("config-rights").await?;
    here.apply(&secret("hunter2"), true).await?;
    let key = [ConfigKey::secret("web")];
    let good = here.capture(&key).await?;
    here.client = here.cluster.client_for("nobody", &[]).await?;
    let captured = here.capture(&key).await?;
    assert_eq!(
        captured[0].not_captured.as_deref(),
        Some("Backstop may not read it (403)")
    );
    let outcomes = here.restore(&good, &captured).await?;
    assert_eq!(
        outcomes[0].said,
        "Secret web is left as it is: Backstop may not read it (403)"
    );
    Ok(())
}

/// Rights to ConfigMaps and Secrets, and to nothing that runs pods.
#[tokio::test]
async fn what_others_may_use_is_left_where_they_cannot_be_listed() -> anyhow::Result<()> {
    let mut here = Here::new("config-users").await?;
    here.apply(&config_map(&json!({"a": "1"})), true).await?;
    let good = here.capture(&web()).await?;
    here.apply(&config_map(&json!({"a": "2"})), true).await?;
    let bad = here.capture(&web()).await?;
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get", "patch"]}]);
    let rbac = |kind: &str, rest: Value| {
        let mut object = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "config"},
        });
        let fields = rest.as_object().cloned().unwrap_or_default();
        object.as_object_mut().expect("an object").extend(fields);
        object
    };
    here.apply(&rbac("Role", json!({"rules": rules})), true)
        .await?;
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "config"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "config-only"}],
    });
    here.apply(&rbac("RoleBinding", binding), true).await?;
    here.client = here.cluster.client_for("config-only", &[]).await?;
    eventually("the rights", Duration::from_secs(30), async || {
        let outcomes = here.restore(&good, &bad).await?;
        let said = &outcomes[0].said;
        ensure!(
            said.contains("may not list everything that runs pods (403)"),
            "{said}"
        );
        anyhow::Ok(())
    })
    .await?;
    assert_eq!(here.data().await?, json!({"a": "2"}));
    Ok(())
}

/// The API server refuses names like this one as invalid: that is no race, and is not run for ever.
#[tokio::test]
async fn what_the_server_takes_for_invalid_is_left_and_said() -> anyhow::Result<()> {
    let here = Here::new("config-invalid").await?;
    here.apply(&config_map(&json!({"a": "1"})), true).await?;
    let captured = here.capture(&web()).await?;
    // As it was captured, but under a name that Kubernetes does not take, and with a store of its own.
    let key = ConfigKey::config_map("Not_A_Name");
    let content = keep::load(here.place(), &here.ring, &captured[0]).await?;
    let hash = content.hash(here.ring.identity(), &here.namespace, &key);
    let reference = ConfigRef {
        key,
        hash: Some(hash),
        store: None,
        ..captured[0].clone()
    };
    let looked = objects::Looked {
        reference,
        content: Some(content),
    };
    let kept = keep::ensure_stored(here.place(), &here.ring, looked).await?;
    ensure!(kept.store.is_some(), "{kept:?}");
    let outcomes = here.restore(&[kept], &[]).await?;
    ensure!(
        !outcomes[0].holds && outcomes[0].said.contains("refuses the change (422)"),
        "{outcomes:?}"
    );
    Ok(())
}

#[tokio::test]
async fn what_is_gone_is_made_again_and_conflicts_with_nobody() -> anyhow::Result<()> {
    let here = Here::new("config-gone").await?;
    here.apply(&config_map(&json!({"a": "1"})), true).await?;
    let good = here.capture(&web()).await?;
    here.api::<ConfigMap>()
        .delete("web", &DeleteParams::default())
        .await?;
    let outcomes = here.restore(&good, &[]).await?;
    ensure!(outcomes[0].written && outcomes[0].holds, "{outcomes:?}");
    assert_eq!(here.data().await?, json!({"a": "1"}));
    here.apply(&config_map(&json!({"a": "2"})), true).await?;
    assert_eq!(here.data().await?, json!({"a": "2"}));
    Ok(())
}

#[tokio::test]
async fn what_others_use_or_changed_since_is_left_and_said() -> anyhow::Result<()> {
    let here = Here::new("config-left").await?;
    here.apply(&config_map(&json!({"a": "1"})), true).await?;
    let good = here.capture(&web()).await?;
    here.apply(&config_map(&json!({"a": "2"})), true).await?;
    let bad = here.capture(&web()).await?;

    let template = json!({
        "metadata": {"labels": {"app": "report"}},
        "spec": {"containers": [{"name": "c", "image": "example.test/report:1", "envFrom": [{"configMapRef": {"name": "web"}}]}]},
    });
    let other = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "report"},
        "spec": {"replicas": 0, "serviceName": "report", "selector": {"matchLabels": {"app": "report"}}, "template": template},
    });
    here.apply(&other, true).await?;
    let outcomes = here.restore(&good, &bad).await?;
    assert_eq!(
        outcomes[0].said,
        "ConfigMap web is left as it is: StatefulSet report outside the policy uses it as well"
    );
    assert_eq!(here.data().await?, json!({"a": "2"}));

    here.cluster
        .kubectl(&[
            "delete",
            "--namespace",
            &here.namespace,
            "statefulset",
            "report",
        ])
        .await?
        .success()?;
    here.apply(&config_map(&json!({"a": "mine"})), true).await?;
    let outcomes = here.restore(&good, &bad).await?;
    ensure!(
        outcomes[0].said.contains("somebody changed it"),
        "{outcomes:?}"
    );
    assert_eq!(here.data().await?, json!({"a": "mine"}));
    Ok(())
}
