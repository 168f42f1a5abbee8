//! The identity of a release: our own hash of its pod template.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use backstop_api::{
    names::ANNOTATION_RESTARTED_AT,
    point::{Image, Release},
};

/// How many hex digits of the hash are kept: 64 bits tell apart more releases of one workload than
/// anybody will make, and fit into a name and a column.
const HASH_DIGITS: usize = 16;

/// The label that the Deployment controller puts on the template of a ReplicaSet.
const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// The identity of the release that has this pod template.
///
/// The template is taken as the server returned it, without the annotations that say nothing about
/// the release. A ReplicaSet's template has the same identity as the Deployment's that made it.
#[must_use]
pub fn identity(template: &Value, ignored_annotations: &[String]) -> String {
    let mut canonical = String::new();
    write_canonical(&normalised(template, ignored_annotations), &mut canonical);
    hex::encode(Sha256::digest(canonical))[..HASH_DIGITS].to_owned()
}

/// The identity of a release that is more than one pod template: `what` says how its parts belong
/// together, and each part has a name and an identity.
#[must_use]
pub fn of_parts(what: &str, parts: &[(&str, &str)]) -> String {
    let mut text = what.to_owned();
    for (name, identity) in parts {
        text.extend(["\n", name, " ", identity]);
    }
    hex::encode(Sha256::digest(text))[..HASH_DIGITS].to_owned()
}

fn normalised(template: &Value, ignored: &[String]) -> Value {
    let mut template = template.clone();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
        let says_nothing =
            |key: &str| key == ANNOTATION_RESTARTED_AT || ignored.iter().any(|i| i == key);
        retain(metadata, "annotations", |key| !says_nothing(key));
        retain(metadata, "labels", |key| key != POD_TEMPLATE_HASH);
        if metadata.is_empty() {
            template.as_object_mut().map(|t| t.remove("metadata"));
        }
    }
    template
}

/// Keeps the entries of a map of `metadata`, and the map only if something is left in it.
fn retain(metadata: &mut Map<String, Value>, map: &str, keep: impl Fn(&str) -> bool) {
    let Some(entries) = metadata.get_mut(map).and_then(Value::as_object_mut) else {
        return;
    };
    entries.retain(|key, _| keep(key));
    if entries.is_empty() {
        metadata.remove(map);
    }
}

/// JSON with sorted keys and no blanks, so that equal values are equal texts.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (key, value) in entries {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// The images that a pod template names, init containers first.
#[must_use]
pub fn images(template: &Value) -> Vec<Image> {
    ["initContainers", "containers"]
        .iter()
        .filter_map(|list| template.pointer(&format!("/spec/{list}"))?.as_array())
        .flatten()
        .filter_map(|c| {
            Some(Image {
                container: c.get("name")?.as_str()?.to_owned(),
                image: c.get("image")?.as_str()?.to_owned(),
                digest: None,
            })
        })
        .collect()
}

/// The images of a release that run as others than those that a point recorded, in words: their tags have moved. What was
/// not recorded, or is not known yet, is not among them.
#[must_use]
pub fn moved(recorded: &Release, running: &Release) -> Vec<String> {
    let mut moved = Vec::new();
    for then in &recorded.workloads {
        let now = running.workload(&then.name).map(|w| w.images.as_slice());
        for was in &then.images {
            let mut now = now.into_iter().flatten();
            let is = now.find(|i| i.container == was.container && i.image == was.image);
            let (Some(was_digest), Some(is_digest)) =
                (&was.digest, is.and_then(|i| i.digest.as_ref()))
            else {
                continue;
            };
            if digest(was_digest) != digest(is_digest) {
                moved.push(format!(
                    "{} of Deployment {} was {} and is {} now",
                    was.image,
                    then.name,
                    digest(was_digest),
                    digest(is_digest)
                ));
            }
        }
    }
    moved
}

/// What identifies an image that a node tells of: registries may have several names.
fn digest(image: &str) -> &str {
    image.rsplit_once('@').map_or(image, |(_, digest)| digest)
}

/// The annotation `key` of a pod template.
#[must_use]
pub fn template_annotation<'a>(template: &'a Value, key: &str) -> Option<&'a str> {
    template
        .pointer("/metadata/annotations")
        .and_then(Value::as_object)
        .and_then(|annotations: &Map<String, Value>| annotations.get(key).and_then(Value::as_str))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_restart_is_no_new_release() {
        let before = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"a": 1}});
        let mut after = before.clone();
        after["metadata"]["annotations"] = json!({ANNOTATION_RESTARTED_AT: "2026-01-01T00:00:00Z"});
        assert_eq!(identity(&before, &[]), identity(&after, &[]));
        after["metadata"]["annotations"]["build"] = json!("17");
        assert_ne!(identity(&before, &[]), identity(&after, &[]));
        assert_eq!(identity(&before, &[]), identity(&after, &["build".into()]));
    }

    #[test]
    fn a_replica_sets_template_is_the_same_release() {
        let deployment = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"a": 1, "b": 2}});
        let replica_set = json!({
            "metadata": {"labels": {"app": "web", "pod-template-hash": "abc"}, "creationTimestamp": null},
            "spec": {"b": 2, "a": 1},
        });
        assert_eq!(identity(&deployment, &[]), identity(&replica_set, &[]));
    }

    fn ran(image: &str, digest: Option<&str>) -> Release {
        let images = vec![Image {
            container: "app".into(),
            image: image.into(),
            digest: digest.map(str::to_owned),
        }];
        serde_json::from_value(json!({"hash": "0", "workloads": [{
            "name": "web", "uid": "u", "hash": "0", "template": {}, "replicas": 2, "images": images,
        }]}))
        .unwrap()
    }

    #[test]
    fn a_tag_that_has_moved_is_told_by_its_digest() {
        let was = ran("app:1", Some("docker.io/app@sha256:aa"));
        let said = moved(&was, &ran("app:1", Some("docker.io/app@sha256:bb")));
        assert_eq!(
            said,
            ["app:1 of Deployment web was sha256:aa and is sha256:bb now"]
        );
    }

    #[test]
    fn what_is_not_known_has_not_moved() {
        let was = ran("app:1", Some("docker.io/app@sha256:aa"));
        for is in [
            ran("app:1", Some("mirror.example/app@sha256:aa")),
            ran("app:1", None),
            ran("app:2", Some("docker.io/app@sha256:bb")),
        ] {
            assert_eq!(moved(&was, &is), Vec::<String>::new());
            assert_eq!(moved(&ran("app:1", None), &is), Vec::<String>::new());
        }
    }

    #[test]
    fn another_image_is_another_release() {
        let template =
            |image: &str| json!({"spec": {"containers": [{"name": "app", "image": image}]}});
        assert_ne!(
            identity(&template("app:1"), &[]),
            identity(&template("app:2"), &[])
        );
        assert_eq!(images(&template("app:1"))[0].image, "app:1");
    }
}
