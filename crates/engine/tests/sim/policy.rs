//! Policies of every kind.

use backstop_api::policy::Mode;
use backstop_engine::policy::{ValidPolicy, validate};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{POLICY, WORKLOAD};

/// What a policy is made of.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of a policy")]
pub struct PolicyPlan {
    pub mode: Mode,
    pub scoped: bool,
    pub for_: i64,
    pub delay: i64,
    pub no_data: &'static str,
    pub window: Option<i64>,
    pub cooldown: i64,
    pub max_attempts: u32,
    pub soak: i64,
    pub against_baseline: bool,
    pub workload_trigger: bool,
    pub warning: Option<&'static str>,
    pub peers: bool,
    pub keep_firing_for: i64,
    /// What is done when a release that failed is put back, and for how many seconds it is kept out.
    pub gitops: (&'static str, i64),
    /// Whether the API server refuses what is kept out.
    pub admission: bool,
}

impl Default for PolicyPlan {
    /// A policy that acts on the first bad sample.
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            scoped: true,
            for_: 0,
            delay: 0,
            no_data: "Hold",
            window: Some(120),
            cooldown: 0,
            max_attempts: 3,
            soak: 20,
            against_baseline: false,
            workload_trigger: false,
            warning: None,
            peers: false,
            keep_firing_for: 0,
            gitops: ("Notify", 3600),
            admission: false,
        }
    }
}

impl PolicyPlan {
    pub fn valid(&self) -> ValidPolicy {
        let spec = serde_json::from_value(self.spec()).unwrap();
        validate(POLICY, &spec).unwrap()
    }

    fn spec(&self) -> Value {
        let pods = if self.scoped {
            r#"{pod=~"{{ pods }}"}"#
        } else {
            ""
        };
        let condition = if self.against_baseline {
            "value > 3.0 * baseline"
        } else {
            "value > 0.05"
        };
        let mut triggers = vec![json!({
            "name": "errors",
            "prometheus": {"query": format!("sum(rate(errors{pods}[10s]))")},
            "condition": condition,
            // Some soak for three samples only.
            "baseline": {"minimumSamples": 1},
            "for": format!("{}s", self.for_),
            "interval": "5s",
            "delay": format!("{}s", self.delay),
            "noData": self.no_data,
            "keepFiringFor": format!("{}s", self.keep_firing_for),
        })];
        if self.peers {
            triggers[0]["peers"] = json!({"query": "sum(rate(errors[10s]))", "holdFor": "24h"});
        }
        if self.workload_trigger {
            triggers.push(json!({
                "name": "cannot-start",
                "workload": {"signals": ["CrashLoopBackOff", "ProgressDeadlineExceeded"]},
                "for": format!("{}s", self.for_),
            }));
        }
        if let Some(action) = self.warning {
            triggers.push(json!({
                "name": "slow",
                "severity": "Warning",
                "prometheus": {"query": format!("sum(rate(slow{pods}[10s]))")},
                "condition": "value > 0.05",
                "for": "5s",
                "interval": "5s",
                "delay": "20s",
                "action": action,
            }));
        }
        json!({
            "mode": self.mode,
            "workloads": [{"name": WORKLOAD}],
            "window": self.window.map_or("Always".to_owned(), |w| format!("{w}s")),
            "strategy": {"timeout": "60s"},
            "triggers": triggers,
            "limits": {"maxAttempts": self.max_attempts, "cooldown": format!("{}s", self.cooldown)},
            "points": {"soak": format!("{}s", self.soak)},
            "gitops": {"onConflict": self.gitops.0, "quarantineFor": format!("{}s", self.gitops.1)},
        })
    }
}

/// Policies of every kind.
pub fn any() -> impl Strategy<Value = PolicyPlan> {
    let timing = (
        prop_oneof![Just(0i64), Just(10), Just(20)],
        prop_oneof![1 => Just(0i64), 1 => Just(20)],
        prop_oneof![Just(Some(60i64)), Just(Some(150)), Just(None)],
        prop_oneof![Just(0i64), Just(60)],
        1u32..=3,
        prop_oneof![Just(15i64), Just(40)],
    );
    let nature = (
        prop_oneof![8 => Just(Mode::Enforce), 1 => Just(Mode::Observe), 1 => Just(Mode::Paused)],
        any_bool(2, 1),
        prop_oneof![4 => Just("Hold"), 1 => Just("Fire"), 1 => Just("Ignore")],
        any_bool(1, 3),
        any_bool(1, 1),
        prop_oneof![3 => Just(None), 1 => Just(Some("Notify")), 1 => Just(Some("GradualRollback")),
            1 => Just(Some("BlockDeployment"))],
        any_bool(1, 2),
        prop_oneof![3 => Just(0i64), 1 => Just(20)],
    );
    let gitops = (
        prop_oneof![2 => Just("Quarantine"), 1 => Just("Notify")],
        prop_oneof![1 => Just(60i64), 2 => Just(3600)],
        any_bool(1, 2),
    );
    (timing, nature, gitops).prop_map(
        |(
            (for_, delay, window, cooldown, max_attempts, soak),
            (
                mode,
                scoped,
                no_data,
                against_baseline,
                workload_trigger,
                warning,
                peers,
                keep_firing_for,
            ),
            (on_conflict, kept_out, admission),
        )| PolicyPlan {
            mode,
            scoped,
            for_,
            delay,
            no_data,
            window,
            cooldown,
            max_attempts,
            soak,
            against_baseline,
            workload_trigger,
            warning,
            peers,
            keep_firing_for,
            // Suspend keeps out as Quarantine does.
            gitops: match (on_conflict, admission) {
                ("Quarantine", true) => ("Suspend", kept_out),
                _ => (on_conflict, kept_out),
            },
            admission,
        },
    )
}

fn any_bool(yes: u32, no: u32) -> impl Strategy<Value = bool> {
    prop_oneof![yes => Just(true), no => Just(false)]
}
