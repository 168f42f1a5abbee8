use serde_json::{Value, json};

use super::*;

fn pod(name: &str, ip: &str, ports: &Value) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "app", "image": "web", "ports": ports}]},
        "status": {"podIP": ip, "hostIP": "10.1.0.1", "containerStatuses": [{
            "name": "app", "image": "web", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {"startedAt": "2026-11-25T12:00:00Z"}},
        }]},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn changed(pod: &Pod, path: &str, value: Value) -> Arc<Pod> {
    let mut object = serde_json::to_value(pod).unwrap();
    *object.pointer_mut(path).unwrap() = value;
    Arc::new(serde_json::from_value(object).unwrap())
}

fn http() -> Value {
    json!([{"name": "http", "containerPort": 8080}])
}

fn two() -> Value {
    json!([{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9000}])
}

fn addresses(pods: &[Arc<Pod>], port: Option<&Port>) -> Vec<String> {
    let reached = reached(pods, port).unwrap();
    reached.iter().map(|r| r.address.to_string()).collect()
}

fn name(name: &str) -> Port {
    Port::Name(name.into())
}

#[test]
fn a_pod_is_asked_at_its_own_address_and_the_port_that_is_meant() {
    let web = pod("web-1", "10.2.0.7", &two());
    for (port, address) in [
        (name("admin"), "10.2.0.7:9000"),
        (Port::Number(8080), "10.2.0.7:8080"),
        // Open, and not declared.
        (Port::Number(7000), "10.2.0.7:7000"),
    ] {
        assert_eq!(
            addresses(std::slice::from_ref(&web), Some(&port)),
            [address]
        );
    }
    let v6 = pod("web-1", "fd00::7", &http());
    assert_eq!(addresses(&[v6], None), ["[fd00::7]:8080"]);
}

#[test]
fn a_pod_without_the_port_that_others_declare_is_not_asked() {
    let pods = [
        pod("web-1", "10.2.0.7", &http()),
        pod("worker-1", "10.2.0.8", &json!([])),
    ];
    for port in [None, Some(Port::Number(8080)), Some(name("http"))] {
        assert_eq!(
            addresses(&pods, port.as_ref()),
            ["10.2.0.7:8080"],
            "{port:?}"
        );
    }
}

#[test]
fn a_port_that_cannot_be_told_is_an_error_that_says_what_to_do() {
    let pods = [pod("web-1", "10.2.0.7", &two())];
    let error = reached(&pods, None).unwrap_err();
    assert!(error.contains("name one with port"), "{error}");
    let error = reached(&pods, Some(&name("grpc"))).unwrap_err();
    assert!(error.contains("declares a port called grpc"), "{error}");
}

/// Safety rule 11.
#[test]
fn an_address_that_is_not_the_pods_own_is_never_asked() {
    for ip in [
        "127.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "::ffff:169.254.169.254",
        "10.1.0.1",
        "metadata",
    ] {
        assert!(reached(&[pod("web-1", ip, &http())], None).is_err(), "{ip}");
    }
    let mut host = Pod::clone(&pod("web-1", "10.2.0.7", &http()));
    host.spec.as_mut().unwrap().host_network = Some(true);
    let error = reached(&[Arc::new(host)], None).unwrap_err();
    assert!(error.contains("hostNetwork"), "{error}");
}

#[test]
fn a_pod_that_does_not_run_yet_is_left_out() {
    let web = pod("web-1", "10.2.0.7", &http());
    let state = "/status/containerStatuses/0/state";
    let waiting = changed(
        &web,
        state,
        json!({"waiting": {"reason": "ContainerCreating"}}),
    );
    assert!(addresses(&[waiting], None).is_empty());
    let without = changed(&web, "/status/podIP", Value::Null);
    assert!(addresses(&[without], None).is_empty());
}

#[test]
fn whether_a_pod_is_ready_is_its_kubelets_word() {
    let web = pod("web-1", "10.2.0.7", &http());
    let ready = |pod| reached(&[pod], None).unwrap()[0].ready;
    assert!(!ready(changed(
        &web,
        "/status/containerStatuses/0/ready",
        json!(false)
    )));
    assert!(ready(web));
}

#[test]
fn the_cache_keeps_of_a_spec_what_is_looked_at() {
    let web = pod("web-1", "10.2.0.7", &two());
    let mut spared = Pod::clone(&web);
    spared.spec = spared.spec.map(trimmed);
    assert_eq!(spared.spec.as_ref().unwrap().containers[0].image, None);
    assert_eq!(
        reached(&[Arc::new(spared)], Some(&name("admin"))),
        reached(&[web], Some(&name("admin")))
    );
}
