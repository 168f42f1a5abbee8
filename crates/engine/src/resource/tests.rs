use serde_json::{Value, json};

use super::*;

const MB: f64 = 1e6;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn source(fields: Value) -> ResourceSource {
    serde_json::from_value(fields).unwrap()
}

fn container(name: &str, used: f64, limit: Option<f64>) -> ContainerUse {
    ContainerUse {
        name: name.into(),
        used,
        request: limit.map(|limit| limit / 2.0),
        limit,
    }
}

fn pod(name: &str, measured: i64, containers: Vec<ContainerUse>) -> PodUse {
    PodUse {
        pod: name.into(),
        at: at(measured),
        window: SignedDuration::from_secs(15),
        containers,
    }
}

fn pods() -> Vec<PodUse> {
    let app = |used| container("app", used, Some(200.0 * MB));
    let sidecar = container("proxy", 10.0 * MB, None);
    vec![
        pod("web-a", 0, vec![app(100.0 * MB), sidecar.clone()]),
        pod("web-b", 5, vec![app(192.0 * MB), sidecar]),
    ]
}

/// The number that is read 10 s after the beginning.
fn value(fields: Value) -> f64 {
    let reading = reading(&source(fields), &pods(), at(10));
    reading.value().unwrap_or_else(|| panic!("{reading:?}"))
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9, "{a} is not {b}");
}

#[test]
fn memory_is_told_in_megabytes_of_all_containers_on_average() {
    close(value(json!({"name": "memory"})), 156.0);
    close(value(json!({"name": "memory", "container": "proxy"})), 10.0);
}

#[test]
fn one_number_is_made_of_several_pods_as_asked() {
    for (aggregate, number) in [("Max", 202.0), ("Min", 110.0), ("Average", 156.0)] {
        close(
            value(json!({"name": "memory", "aggregate": aggregate})),
            number,
        );
    }
}

#[test]
fn a_share_is_that_of_the_container_that_is_closest_to_its_end() {
    let of = |of: &str| value(json!({"name": "memory", "of": of, "aggregate": "Max"}));
    close(of("Limit"), 0.96);
    close(of("Request"), 1.92);
}

#[test]
fn a_share_of_nothing_is_an_error_and_no_number() {
    let asked = source(json!({"name": "memory", "of": "Limit", "container": "proxy"}));
    let Reading::Unavailable { reason, why } = reading(&asked, &pods(), at(10)) else {
        panic!("a share of no limit");
    };
    assert_eq!(reason, Unavailable::Misconfigured);
    assert!(
        why.contains("no container of pod web-a has a limit for memory"),
        "{why}"
    );
    let asked = source(json!({"name": "cpu", "container": "ap"}));
    let Reading::Unavailable { why, .. } = reading(&asked, &pods(), at(10)) else {
        panic!("a container that is not there");
    };
    assert!(
        why.contains("no container ap; there are: app, proxy"),
        "{why}"
    );
}

/// Safety rules 4 and 5.
#[test]
fn what_was_measured_too_long_ago_is_not_used() {
    let cpu = source(json!({"name": "cpu"}));
    let old = pod("web-a", -106, vec![container("app", 9.0, None)]);
    let new = pod("web-b", 0, vec![container("app", 0.5, None)]);
    let both = [old.clone(), new];
    // 15 s of measuring that ended 105 s ago began 120 s ago.
    let seen = reading(&cpu, &both, at(-1));
    close(seen.value().unwrap(), 4.75);
    let seen = reading(&cpu, &both, at(0));
    close(seen.value().unwrap(), 0.5);
    assert_eq!(
        reading(&cpu, &[old], at(0)),
        Reading::Stale { at: at(-106) }
    );
    assert!(matches!(reading(&cpu, &[], at(0)), Reading::NoData { .. }));
}
