//! The three dashboards: what is released, what is taken back, and how Backstop itself does.

use super::grafana::{
    Colour::{Red, Yellow},
    Dashboard, Panel,
    Shape::{Lines, Number},
    Unit,
};

pub(super) fn all() -> [Dashboard; 3] {
    [deployment_overview(), rollback_analysis(), system_health()]
}

fn deployment_overview() -> Dashboard {
    Dashboard {
        uid: "backstop-deployment-overview",
        title: "Backstop / Deployment Overview",
        about: "How what is live does, and how releases fare.",
        by_namespace: true,
        panels: vec![
            Panel {
                title: "Error rate",
                about: "The share of requests that fail. Green below 2 %, yellow up to 5 %, red above.",
                shape: Lines,
                unit: Unit::Share,
                steps: &[(0.02, Yellow), (0.05, Red)],
                queries: &[(
                    "{{namespace}}",
                    r#"(sum by (namespace) (rate(http_requests_total{namespace=~"$namespace",code=~"5.."}[$__rate_interval])) or 0 * sum by (namespace) (rate(http_requests_total{namespace=~"$namespace"}[$__rate_interval]))) / sum by (namespace) (rate(http_requests_total{namespace=~"$namespace"}[$__rate_interval]))"#,
                )],
            },
            Panel {
                title: "Latency, 95th percentile",
                about: "One in twenty requests takes longer.",
                shape: Lines,
                unit: Unit::Seconds,
                steps: &[(0.5, Red)],
                queries: &[(
                    "{{namespace}}",
                    r#"histogram_quantile(0.95, sum by (namespace, le) (rate(http_request_duration_seconds_bucket{namespace=~"$namespace"}[$__rate_interval])))"#,
                )],
            },
            Panel {
                title: "Memory",
                about: "What the containers of a pod use, in MB.",
                shape: Lines,
                unit: Unit::Megabytes,
                steps: &[],
                queries: &[(
                    "{{pod}}",
                    r#"sum by (pod) (container_memory_working_set_bytes{namespace=~"$namespace",container!=""}) / 1e6"#,
                )],
            },
            Panel {
                title: "Requests",
                about: "In a second.",
                shape: Lines,
                unit: Unit::PerSecond,
                steps: &[],
                queries: &[(
                    "{{namespace}}",
                    r#"sum by (namespace) (rate(http_requests_total{namespace=~"$namespace"}[$__rate_interval]))"#,
                )],
            },
            Panel {
                title: "Releases",
                about: "That began in the time shown, in every namespace.",
                shape: Number,
                unit: Unit::Count,
                steps: &[],
                queries: &[(
                    "began",
                    "sum(increase(backstop_deployments_total[$__range]))",
                )],
            },
            Panel {
                title: "Failed releases",
                about: "The share of releases that a trigger had taken back, over a day.",
                shape: Number,
                unit: Unit::Share,
                steps: &[(0.05, Yellow), (0.15, Red)],
                queries: &[("", "backstop:deployment_failure_rate")],
            },
        ],
    }
}

fn rollback_analysis() -> Dashboard {
    Dashboard {
        uid: "backstop-rollback-analysis",
        title: "Backstop / Rollback Analysis",
        about: "What was taken back, why, how long it took and how it ended.",
        by_namespace: false,
        panels: vec![
            Panel {
                title: "Rollbacks that succeeded",
                about: "The share of those that ended in Succeeded or Failed, over a day.",
                shape: Number,
                unit: Unit::Share,
                steps: &[],
                queries: &[("", "backstop:rollback_success_rate")],
            },
            Panel {
                title: "Rollbacks triggered",
                about: "In the time shown.",
                shape: Number,
                unit: Unit::Count,
                steps: &[(1.0, Yellow)],
                queries: &[(
                    "",
                    "sum(increase(backstop_rollback_triggered_total[$__range]))",
                )],
            },
            Panel {
                title: "Rollbacks that are not over",
                about: "Pending, Executing or Verifying.",
                shape: Number,
                unit: Unit::Count,
                steps: &[(1.0, Yellow)],
                queries: &[("", "sum(backstop_rollback_queue_size)")],
            },
            Panel {
                title: "Outcomes",
                about: "How rollbacks ended, in the time shown.",
                shape: Lines,
                unit: Unit::Count,
                steps: &[],
                queries: &[(
                    "{{phase}} {{outcome}}",
                    "sum by (phase, outcome) (increase(backstop_rollback_count_total[$__range]))",
                )],
            },
            Panel {
                title: "Duration",
                about: "From firing to the verified end.",
                shape: Lines,
                unit: Unit::Seconds,
                steps: &[],
                queries: &[
                    (
                        "half",
                        "histogram_quantile(0.5, sum by (le) (increase(backstop_rollback_duration_seconds_bucket[$__range])))",
                    ),
                    (
                        "95 %",
                        "histogram_quantile(0.95, sum by (le) (increase(backstop_rollback_duration_seconds_bucket[$__range])))",
                    ),
                ],
            },
            Panel {
                title: "Rollbacks by phase",
                about: "All that are on record.",
                shape: Lines,
                unit: Unit::Count,
                steps: &[],
                queries: &[("{{phase}}", "sum by (phase) (backstop_rollback_status)")],
            },
            Panel {
                title: "Steps",
                about: "Of plans, by how they ended.",
                shape: Lines,
                unit: Unit::Count,
                steps: &[],
                queries: &[(
                    "{{step}} {{state}}",
                    "sum by (step, state) (increase(backstop_steps_total[$__range]))",
                )],
            },
            Panel {
                title: "Triggers",
                about: "By state. NoData and Error cannot be judged: nothing is taken back on them.",
                shape: Lines,
                unit: Unit::Count,
                steps: &[],
                queries: &[("{{state}}", "sum by (state) (backstop_triggers)")],
            },
            Panel {
                title: "Health of what is looked after",
                about: "Policies, by the health of their live release.",
                shape: Lines,
                unit: Unit::Count,
                steps: &[],
                queries: &[("{{health}}", "sum by (health) (backstop_health)")],
            },
        ],
    }
}

fn system_health() -> Dashboard {
    Dashboard {
        uid: "backstop-system-health",
        title: "Backstop / System Health",
        about: "How Backstop itself does.",
        by_namespace: false,
        panels: work().into_iter().chain(process()).collect(),
    }
}

/// What Backstop does.
fn work() -> Vec<Panel> {
    vec![
        Panel {
            title: "Leader",
            about: "One replica works. 0 means that nothing is taken back.",
            shape: Number,
            unit: Unit::Count,
            steps: &[],
            queries: &[("", "sum(backstop_leader)")],
        },
        Panel {
            title: "Policies",
            about: "That are looked after.",
            shape: Number,
            unit: Unit::Count,
            steps: &[],
            queries: &[("", "sum(backstop_policies)")],
        },
        Panel {
            title: "Failed reconciliations",
            about: "They are tried again.",
            shape: Lines,
            unit: Unit::Count,
            steps: &[],
            queries: &[(
                "{{kind}}",
                "sum by (kind) (increase(backstop_reconcile_failures_total[$__range]))",
            )],
        },
        Panel {
            title: "Calls to the API server",
            about: "In a second, by how they ended.",
            shape: Lines,
            unit: Unit::PerSecond,
            steps: &[],
            queries: &[(
                "{{result}}",
                "sum by (result) (rate(backstop_api_calls_total[$__rate_interval]))",
            )],
        },
        Panel {
            title: "Calls to the API server, 95th percentile",
            about: "One in twenty takes longer.",
            shape: Lines,
            unit: Unit::Seconds,
            steps: &[],
            queries: &[(
                "{{operation}}",
                "histogram_quantile(0.95, sum by (operation, le) (rate(backstop_api_call_duration_seconds_bucket[$__rate_interval])))",
            )],
        },
        Panel {
            title: "Queries",
            about: "To Prometheus and to web services, in a second, by what came back.",
            shape: Lines,
            unit: Unit::PerSecond,
            steps: &[],
            queries: &[(
                "{{outcome}}",
                "sum by (outcome) (rate(backstop_queries_total[$__rate_interval]))",
            )],
        },
        Panel {
            title: "Queries, 95th percentile",
            about: "One in twenty takes longer.",
            shape: Lines,
            unit: Unit::Seconds,
            steps: &[],
            queries: &[(
                "",
                "histogram_quantile(0.95, sum by (le) (rate(backstop_query_duration_seconds_bucket[$__rate_interval])))",
            )],
        },
    ]
}

/// What it takes, and what it is told.
fn process() -> Vec<Panel> {
    vec![
        Panel {
            title: "Memory",
            about: "Of the operator's process, in MB.",
            shape: Lines,
            unit: Unit::Megabytes,
            steps: &[],
            queries: &[(
                "{{instance}}",
                "backstop_process_resident_memory_bytes / 1e6",
            )],
        },
        Panel {
            title: "CPU",
            about: "Of the operator's process: 1 is one core.",
            shape: Lines,
            unit: Unit::Count,
            steps: &[],
            queries: &[(
                "{{instance}}",
                "rate(backstop_process_cpu_seconds_total[$__rate_interval])",
            )],
        },
        Panel {
            title: "Alerts that are posted",
            about: "To the operator, in the time shown, by how they were taken.",
            shape: Lines,
            unit: Unit::Count,
            steps: &[],
            queries: &[(
                "{{result}}",
                "sum by (result) (increase(backstop_alert_posts_total[$__range]))",
            )],
        },
    ]
}
