//! The application that is shipped, and the policy that looks after it.

use std::fmt::Write as _;

use backstop_testenv::fate;
use serde_json::{Value, json};

/// The name of the Deployment and of its policy.
pub(crate) const APP: &str = "web";
/// The label of the pod template that names the version.
pub(crate) const VERSION: &str = "version";
/// Where pods of a real cluster serve their counters.
const PORT: u16 = 8080;
const METRICS_PATH: &str = "/cgi-bin/metrics";

/// What is wrong with a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// One request in five fails.
    Errors,
    /// It does not start.
    Crash,
}

impl Fault {
    /// The share of requests that fail.
    pub(crate) fn errors(self) -> f64 {
        match self {
            Self::None | Self::Crash => 0.0,
            Self::Errors => 0.2,
        }
    }
}

/// The releases of the story.
pub(crate) const RELEASES: [(&str, Fault); 3] = [
    ("v1", Fault::None),
    ("v2", Fault::Errors),
    ("v3", Fault::Crash),
];

/// What is wrong with a version.
pub(crate) fn fault_of(version: &str) -> Fault {
    RELEASES
        .iter()
        .find(|(name, _)| *name == version)
        .map_or(Fault::None, |(_, fault)| *fault)
}

/// What the containers run.
#[derive(Debug, Clone)]
pub(crate) enum Containers {
    /// Nothing: fake nodes play them.
    Played,
    /// This image, which has to hold what BusyBox has.
    Image(String),
}

/// The manifest of a release, as a team would write it.
pub(crate) fn manifest(version: &str, containers: &Containers) -> Value {
    let fault = fault_of(version);
    let mut manifest = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": APP},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": APP}},
            "template": {
                "metadata": {"labels": {"app": APP, VERSION: version}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "web", "image": format!("example.com/web:{version}")}],
                },
            },
        },
    });
    let template = &mut manifest["spec"]["template"];
    if fault == Fault::Crash {
        // Fake nodes play it; real ones take no notice.
        template["metadata"]["annotations"] = json!({fate::FATE: fate::CRASH_LOOP});
    }
    if let Containers::Image(image) = containers {
        let container = &mut template["spec"]["containers"][0];
        container["image"] = json!(image);
        if fault == Fault::Crash {
            container["command"] = json!(["false"]);
        } else {
            container["command"] = json!(["sh", "-c", server(fault)]);
            container["readinessProbe"] = json!({
                "httpGet": {"path": METRICS_PATH, "port": PORT}, "periodSeconds": 1,
            });
            template["metadata"]["annotations"] = json!({
                "prometheus.io/scrape": "true",
                "prometheus.io/port": PORT.to_string(),
                "prometheus.io/path": METRICS_PATH,
            });
        }
    }
    manifest
}

/// A shell script that serves counters as a web server under load would show them: 50 requests in a second.
fn server(fault: Fault) -> String {
    let (good, bad) = if fault == Fault::Errors {
        (40, 10)
    } else {
        (50, 0)
    };
    format!(
        r#"www=/tmp/www; mkdir -p $www/cgi-bin
cat > $www/cgi-bin/metrics <<'END'
#!/bin/sh
printf 'Content-Type: text/plain; version=0.0.4\r\n\r\n'
cat /tmp/www/counters
END
chmod +x $www/cgi-bin/metrics
good=0 bad=0
count() {{
  good=$((good + {good})) bad=$((bad + {bad}))
  printf 'http_requests_total{{code="200"}} %d\nhttp_requests_total{{code="500"}} %d\n' $good $bad > $www/new
  mv $www/new $www/counters
}}
count
httpd -p {PORT} -h $www
while sleep 1; do count; done
"#
    )
}

/// How quickly the policy is to act.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Whether there are metrics, and how often they are scraped, in seconds.
    pub(crate) scrape: Option<u32>,
}

impl Pace {
    /// How long a release has to be healthy before it is one to go back to, in seconds.
    pub(crate) const SOAK: u32 = 5;

    /// The range of the query, in seconds: four scrapes, so that one that fails does not matter.
    pub(crate) fn range(self) -> u32 {
        self.scrape.unwrap_or(1) * 4
    }

    /// How long too many errors have to last, in seconds.
    pub(crate) fn for_(self) -> u32 {
        self.scrape.unwrap_or(1) * 3
    }

    /// The policy, as a team would write it.
    pub(crate) fn policy(self) -> String {
        let mut text = format!(
            "apiVersion: backstop.dev/v1alpha1
kind: RollbackPolicy
metadata:
  name: {APP}
spec:
  workloads:
  - name: {APP}
  points:
    soak: {soak}s
  limits:
    cooldown: 0s
  triggers:
  - name: cannot-start
    workload:
      signals: [CrashLoopBackOff, ImagePullBackOff, CreateContainerConfigError]
",
            soak = Self::SOAK
        );
        if let Some(scrape) = self.scrape {
            let (range, for_) = (self.range(), self.for_());
            // Writing into a String cannot fail.
            let _ = write!(
                text,
                r#"  - name: error-rate
    prometheus:
      query: |
        (sum(rate(http_requests_total{{pod=~"{{{{ pods }}}}", code=~"5.."}}[{range}s]))
          or 0 * sum(rate(http_requests_total{{pod=~"{{{{ pods }}}}"}}[{range}s])))
        / sum(rate(http_requests_total{{pod=~"{{{{ pods }}}}"}}[{range}s]))
    condition: value > 0.05
    for: {for_}s
    interval: {scrape}s
"#
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_one_that_can_be_read() {
        for scrape in [None, Some(1), Some(30)] {
            let policy: backstop_api::RollbackPolicy =
                serde_yaml_ng::from_str(&Pace { scrape }.policy()).unwrap();
            let triggers = if scrape.is_some() { 2 } else { 1 };
            assert_eq!(policy.spec.triggers.len(), triggers);
        }
    }

    #[test]
    fn a_release_that_is_played_names_no_command() {
        let container = |containers: &Containers| {
            manifest("v3", containers)["spec"]["template"]["spec"]["containers"][0].clone()
        };
        assert!(container(&Containers::Played)["command"].is_null());
        let real = container(&Containers::Image("busybox".to_owned()));
        assert_eq!(real["command"], json!(["false"]));
    }
}
