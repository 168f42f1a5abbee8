//! Recording rules and alert rules.

use serde_json::{Map, Value, json};

/// Where runbooks are; behind it comes an anchor.
const RUNBOOKS: &str = "https://github.com/backstop-dev/backstop/blob/main/docs/runbooks.md#";

const HEADER: &str =
    "# Written by `cargo xtask generate` from its tables of rules. Change them there.\n";

/// A number that is worth keeping.
pub(super) struct Recording {
    /// What it is called.
    pub(super) name: &'static str,
    pub(super) query: &'static str,
}

/// Something that a person has to know.
pub(super) struct Alert {
    /// What it is called; its runbook's anchor is the same in small letters.
    pub(super) name: &'static str,
    pub(super) query: &'static str,
    /// So long before it fires; `None` for at once.
    pub(super) wait: Option<&'static str>,
    pub(super) severity: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
}

/// Of Backstop, and of what it looks after.
pub(super) const RECORDINGS: [Recording; 6] = [
    // Rates over a day, because rollbacks are rare; without any there is no rate.
    Recording {
        name: "backstop:rollback_success_rate",
        query: r#"sum(increase(backstop_rollback_count_total{phase="Succeeded"}[1d]))
  / (sum(increase(backstop_rollback_count_total{phase=~"Succeeded|Failed"}[1d])) > 0)"#,
    },
    Recording {
        name: "backstop:deployment_failure_rate",
        query: "sum(increase(backstop_deployment_failures_total[1d]))
  / (sum(increase(backstop_deployments_total[1d])) > 0)",
    },
    Recording {
        name: "backstop:rollback_duration_seconds:p95",
        query: "histogram_quantile(0.95, sum by (le) (increase(backstop_rollback_duration_seconds_bucket[1d])))",
    },
    Recording {
        name: "backstop:request_error_rate",
        query: r#"(sum by (namespace) (rate(http_requests_total{code=~"5.."}[5m]))
    or 0 * sum by (namespace) (rate(http_requests_total[5m])))
  / (sum by (namespace) (rate(http_requests_total[5m])) > 0)"#,
    },
    Recording {
        name: "backstop:request_duration_seconds:p95",
        query: "histogram_quantile(0.95, sum by (namespace, le) (rate(http_request_duration_seconds_bucket[5m])))",
    },
    Recording {
        name: "backstop:container_memory_share",
        query: r#"max by (namespace, pod, container) (container_memory_working_set_bytes{container!=""})
  / max by (namespace, pod, container) (kube_pod_container_resource_limits{resource="memory"})"#,
    },
];

/// What people are called for.
pub(super) const ALERTS: [Alert; 13] = [
    Alert {
        name: "RollbackTriggered",
        query: "sum(increase(backstop_rollback_triggered_total[5m])) > 0",
        wait: None,
        severity: "warning",
        summary: "A trigger fired, and a rollback is recorded",
        description: "{{ $value | humanize }} rollbacks were recorded within 5 minutes because a trigger fired; where the policy only observes, nothing is changed. kubectl get rollbackevents --all-namespaces shows them.",
    },
    Alert {
        name: "RollbackFailure",
        query: r#"sum by (outcome) (increase(backstop_rollback_count_total{phase="Failed"}[15m])) > 0"#,
        wait: None,
        severity: "critical",
        summary: "A rollback failed ({{ $labels.outcome }})",
        description: "A release is bad, and taking it back did not help or could not be done: {{ $labels.outcome }}. Where the bad release is still live and the trigger fires on, after TargetCannotStart, and where some of several Deployments were restored, Backstop tries again by itself until limits.maxAttempts; else a person has to act.",
    },
    Alert {
        name: "RollbackStuck",
        query: r#"sum(backstop_rollback_status{phase=~"Executing|Verifying"}) > 0"#,
        wait: Some("30m"),
        severity: "critical",
        summary: "A rollback does not end",
        description: "There have been rollbacks under way without a break for half an hour; {{ $value | humanize }} are now.",
    },
    Alert {
        name: "DrillFailure",
        query: r#"sum by (outcome) (increase(backstop_drills_total{phase="Failed",outcome!~"CancelledByPerson|PolicyNotInForce"}[15m])) > 0"#,
        wait: None,
        severity: "warning",
        summary: "A drill failed ({{ $labels.outcome }})",
        description: "A rollback would not have worked; kubectl get rollbackevents --all-namespaces shows the drill, and its message says why. What was live before is brought back by itself, unless that is what failed.",
    },
    Alert {
        name: "NoLeader",
        query: "(sum(backstop_leader) or vector(0)) == 0",
        wait: Some("5m"),
        severity: "critical",
        summary: "No replica of Backstop works",
        description: "No bad release is taken back meanwhile.",
    },
    Alert {
        name: "ReconcileFailures",
        query: "sum by (kind) (increase(backstop_reconcile_failures_total[10m])) > 10",
        wait: Some("10m"),
        severity: "warning",
        summary: "Backstop cannot do its work on a {{ $labels.kind }}",
        description: "{{ $value | humanize }} tries failed within 10 minutes; the operator's log says why.",
    },
    Alert {
        name: "TriggersWithoutData",
        query: r#"sum by (state) (backstop_triggers{state=~"NoData|Error"}) > 0"#,
        wait: Some("30m"),
        severity: "warning",
        summary: "Triggers cannot be judged ({{ $labels.state }})",
        description: "{{ $value | humanize }} triggers have no data or an error, so nothing is taken back on them; the condition DataAvailable of the policies says which and why.",
    },
    Alert {
        name: "EncryptionKeyOverdue",
        query: "max(backstop_encryption_key_age_seconds) > 100 * 86400",
        wait: Some("1h"),
        severity: "warning",
        summary: "The key that encrypts configuration is old",
        description: "It was made {{ $value | humanizeDuration }} ago, and no other was made since.",
    },
    Alert {
        name: "EncryptedWithOldKeys",
        query: "max(backstop_encryption_old_key_objects) > 0",
        wait: Some("1d"),
        severity: "warning",
        summary: "Secrets of points are still encrypted with old keys",
        description: "{{ $value | humanize }} kept Secrets could not be encrypted with the current key for a day; the operator's log says why.",
    },
    Alert {
        name: "HighErrorRate",
        query: "backstop:request_error_rate > 0.05",
        wait: Some("5m"),
        severity: "critical",
        summary: "Requests fail in {{ $labels.namespace }}",
        description: "{{ $value | humanizePercentage }} of the requests in {{ $labels.namespace }} fail.",
    },
    Alert {
        name: "HighLatency",
        query: "backstop:request_duration_seconds:p95 > 0.5",
        wait: Some("3m"),
        severity: "warning",
        summary: "Requests are slow in {{ $labels.namespace }}",
        description: "One in twenty requests in {{ $labels.namespace }} takes longer than {{ $value | humanizeDuration }}.",
    },
    Alert {
        name: "HighMemory",
        query: "backstop:container_memory_share > 0.95",
        wait: Some("5m"),
        severity: "warning",
        summary: "A container of {{ $labels.namespace }}/{{ $labels.pod }} is about to be killed for its memory",
        description: "Container {{ $labels.container }} uses {{ $value | humanizePercentage }} of its memory limit.",
    },
    Alert {
        name: "CriticalVulnerabilities",
        query: r#"sum by (namespace) (trivy_image_vulnerabilities{severity="Critical"}) > 0"#,
        wait: None,
        severity: "warning",
        summary: "Images in {{ $labels.namespace }} have critical vulnerabilities",
        description: "Trivy Operator reports {{ $value | humanize }} of them.",
    },
];

/// Every query, for those who check them.
#[cfg(test)]
pub(super) fn queries() -> Vec<String> {
    let recordings = RECORDINGS.iter().map(|rule| rule.query);
    let alerts = ALERTS.iter().map(|rule| rule.query);
    recordings.chain(alerts).map(str::to_owned).collect()
}

/// The groups as Prometheus reads them.
pub(super) fn file() -> anyhow::Result<String> {
    let recordings: Vec<Value> = RECORDINGS
        .iter()
        .map(|rule| json!({"record": rule.name, "expr": rule.query}))
        .collect();
    let alerts: Vec<Value> = ALERTS.iter().map(alert).collect();
    let groups = json!({"groups": [
        {"name": "backstop.recordings", "rules": recordings},
        {"name": "backstop.alerts", "rules": alerts},
    ]});
    Ok(format!("{HEADER}{}", serde_yaml_ng::to_string(&groups)?))
}

fn alert(rule: &Alert) -> Value {
    let mut written = Map::new();
    written.insert("alert".into(), json!(rule.name));
    written.insert("expr".into(), json!(rule.query));
    if let Some(wait) = rule.wait {
        written.insert("for".into(), json!(wait));
    }
    written.insert("labels".into(), json!({"severity": rule.severity}));
    let runbook = format!("{RUNBOOKS}{}", rule.name.to_lowercase());
    let annotations = json!({
        "summary": rule.summary, "description": rule.description, "runbook_url": runbook,
    });
    written.insert("annotations".into(), annotations);
    Value::Object(written)
}
