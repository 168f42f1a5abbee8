//! Who uses a ConfigMap or Secret beside the policy's own workloads.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use backstop_api::config::ConfigKey;
use serde_json::Value;

use super::references::references;

/// Owners of owners are followed so far: CronJob, Job, pod is the longest chain that Kubernetes has
/// itself.
const LONGEST_CHAIN: usize = 8;

/// An object of the namespace that runs pods, or is one.
#[derive(Clone, Copy, Debug)]
pub struct Runner<'a> {
    /// Its kind: what is in a list does not say it.
    pub kind: &'a str,
    /// The object as the server returned it.
    pub object: &'a Value,
}

/// A workload, for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct User {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Who references which ConfigMap or Secret, without `own`: the Deployments that the policy looks
/// after.
///
/// `runners` are all Deployments, StatefulSets, DaemonSets, ReplicaSets, CronJobs, Jobs and pods of
/// the namespace. What a controller made counts as the controller's, found by owner references: so
/// ReplicaSets and pods of the policy's own Deployments count for nothing, not even old ones, and a
/// kind of workload that is not listed here shows by its pods. Pods and Jobs that have ended use
/// nothing any more.
#[must_use]
pub fn users(
    runners: &[Runner<'_>],
    own: &BTreeSet<String>,
) -> BTreeMap<ConfigKey, BTreeSet<User>> {
    let by_uid: BTreeMap<&str, Runner<'_>> = runners
        .iter()
        .filter_map(|r| Some((text(r.object, "/metadata/uid")?, *r)))
        .collect();
    let mut users: BTreeMap<ConfigKey, BTreeSet<User>> = BTreeMap::new();
    for runner in runners {
        let Some(user) = owner_of_all(runner, &by_uid) else {
            continue;
        };
        let is_own = user.kind == "Deployment" && own.contains(&user.name);
        if is_own || has_ended(runner) {
            continue;
        }
        let Some(template) = template(runner) else {
            continue;
        };
        for reference in references(template) {
            users.entry(reference.key).or_default().insert(user.clone());
        }
    }
    users
}

/// The pod template; a pod is its own.
fn template<'a>(runner: &Runner<'a>) -> Option<&'a Value> {
    let path = match runner.kind {
        "Pod" => "",
        "CronJob" => "/spec/jobTemplate/spec/template",
        _ => "/spec/template",
    };
    runner.object.pointer(path)
}

/// The workload that a runner belongs to in the end: itself where no controller made it.
fn owner_of_all(runner: &Runner<'_>, by_uid: &BTreeMap<&str, Runner<'_>>) -> Option<User> {
    let mut top = *runner;
    for _ in 0..LONGEST_CHAIN {
        let Some(controller) = controller(top.object) else {
            break;
        };
        let owner = text(controller, "/uid").and_then(|uid| by_uid.get(uid));
        let Some(owner) = owner else {
            // Of a kind that was not listed.
            return Some(User {
                kind: text(controller, "/kind")?.to_owned(),
                name: text(controller, "/name")?.to_owned(),
            });
        };
        top = *owner;
    }
    Some(User {
        kind: top.kind.to_owned(),
        name: text(top.object, "/metadata/name")?.to_owned(),
    })
}

fn controller(object: &Value) -> Option<&Value> {
    object
        .pointer("/metadata/ownerReferences")?
        .as_array()?
        .iter()
        .find(|o| o.get("controller").and_then(Value::as_bool) == Some(true))
}

fn has_ended(runner: &Runner<'_>) -> bool {
    match runner.kind {
        "Pod" => matches!(
            text(runner.object, "/status/phase"),
            Some("Succeeded" | "Failed")
        ),
        "Job" => runner
            .object
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .any(|c| {
                matches!(text(c, "/type"), Some("Complete" | "Failed"))
                    && text(c, "/status") == Some("True")
            }),
        _ => false,
    }
}

fn text<'a>(object: &'a Value, path: &str) -> Option<&'a str> {
    object.pointer(path)?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod_spec(config_map: &str) -> Value {
        json!({"containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": config_map}}]}]})
    }

    fn owned(mut object: Value, kind: &str, name: &str) -> Value {
        object["metadata"]["ownerReferences"] = json!([{"kind": kind, "name": name, "uid": format!("{kind}/{name}"), "controller": true}]);
        object
    }

    fn runner(kind: &str, name: &str, config_map: &str) -> (String, Value) {
        let template = json!({"spec": pod_spec(config_map)});
        let spec = match kind {
            "Pod" => pod_spec(config_map),
            "CronJob" => json!({"jobTemplate": {"spec": {"template": template}}}),
            _ => json!({"template": template}),
        };
        let metadata = json!({"name": name, "uid": format!("{kind}/{name}")});
        (kind.into(), json!({"metadata": metadata, "spec": spec}))
    }

    fn users_of(config_map: &str, runners: &[(String, Value)]) -> Vec<String> {
        let runners: Vec<Runner<'_>> = runners
            .iter()
            .map(|(kind, object)| Runner { kind, object })
            .collect();
        users(&runners, &BTreeSet::from(["web".to_owned()]))
            .get(&ConfigKey::config_map(config_map))
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn every_kind_of_workload_is_a_user() {
        let kinds = [
            "CronJob",
            "DaemonSet",
            "Deployment",
            "Job",
            "Pod",
            "ReplicaSet",
            "StatefulSet",
        ];
        let runners: Vec<_> = kinds.iter().map(|k| runner(k, "other", "shared")).collect();
        let expected: Vec<String> = kinds.iter().map(|k| format!("{k} other")).collect();
        assert_eq!(users_of("shared", &runners), expected);
        assert_eq!(users_of("unused", &runners), [] as [&str; 0]);
    }

    #[test]
    fn the_policys_own_workload_and_what_it_made_are_none() {
        let (kind, set) = runner("ReplicaSet", "web-1", "shared");
        let (pod_kind, pod) = runner("Pod", "web-1-a", "shared");
        let runners = [
            runner("Deployment", "web", "shared"),
            (kind, owned(set, "Deployment", "web")),
            (pod_kind, owned(pod, "ReplicaSet", "web-1")),
        ];
        assert_eq!(users_of("shared", &runners), [] as [&str; 0]);
        // A namesake of another kind is somebody else.
        assert_eq!(
            users_of("shared", &[runner("StatefulSet", "web", "shared")]),
            ["StatefulSet web"]
        );
    }

    #[test]
    fn a_workload_of_an_unknown_kind_shows_by_its_pods() {
        let (kind, pod) = runner("Pod", "canary-1", "shared");
        let runners = [(kind, owned(pod, "CloneSet", "canary"))];
        assert_eq!(users_of("shared", &runners), ["CloneSet canary"]);
    }

    #[test]
    fn a_cron_job_is_named_once_whatever_it_runs() {
        let (job_kind, job) = runner("Job", "report-1", "shared");
        let (pod_kind, pod) = runner("Pod", "report-1-a", "shared");
        let runners = [
            runner("CronJob", "report", "shared"),
            (job_kind, owned(job, "CronJob", "report")),
            (pod_kind, owned(pod, "Job", "report-1")),
        ];
        assert_eq!(users_of("shared", &runners), ["CronJob report"]);
    }

    #[test]
    fn what_has_ended_uses_nothing() {
        let mut pod = runner("Pod", "once", "shared");
        pod.1["status"] = json!({"phase": "Running"});
        assert_eq!(users_of("shared", &[pod.clone()]), ["Pod once"]);
        pod.1["status"]["phase"] = json!("Succeeded");
        assert_eq!(users_of("shared", &[pod]), [] as [&str; 0]);
        let mut job = runner("Job", "migrate", "shared");
        job.1["status"] = json!({"conditions": [{"type": "Complete", "status": "False"}]});
        assert_eq!(users_of("shared", &[job.clone()]), ["Job migrate"]);
        job.1["status"]["conditions"][0]["status"] = json!("True");
        assert_eq!(users_of("shared", &[job]), [] as [&str; 0]);
    }

    #[test]
    fn owners_in_a_circle_end_the_search() {
        let (kind, a) = runner("ReplicaSet", "a", "shared");
        let (_, b) = runner("ReplicaSet", "b", "shared");
        let runners = [
            (kind.clone(), owned(a, "ReplicaSet", "b")),
            (kind, owned(b, "ReplicaSet", "a")),
        ];
        assert!(!users_of("shared", &runners).is_empty());
    }
}
