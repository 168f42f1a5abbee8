//! Showing what the next release will be compared with.

use backstop_api::{RollbackEvent, RollbackPoint, RollbackPolicy, point::Distribution};
use backstop_engine::{
    baseline::{self, Held, NONE_YET},
    policy::{Against, ValidTrigger},
    snapshot::{Event, Measured, Point, Snapshot},
    state::State,
    track,
};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{Named, Output, figures::cells, live::valid, not_compared};
use crate::table::{NOTHING, age, table};

#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    named: Named,
    /// What the live release is compared with, and not the next one.
    #[arg(long)]
    live: bool,
    /// Print a table, or JSON.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// A trigger, and what it compares with.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    trigger: String,
    /// As `baseline.from` of the trigger.
    from: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    point: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    distribution: Option<Distribution>,
    #[serde(skip_serializing_if = "Option::is_none")]
    taken: Option<Timestamp>,
    /// Whether a release is compared with it.
    compared: bool,
    /// Why not, or when.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Show {
    pub async fn run(self) -> anyhow::Result<()> {
        let namespace = self.named.cluster.connect().await?;
        let object: RollbackPolicy = namespace.get(&self.named.policy).await?;
        let policy = valid(&object)?;
        let points: Vec<RollbackPoint> = namespace.list().await?;
        let events: Vec<RollbackEvent> = namespace.list().await?;
        let of_policy = events.iter().filter(|e| e.spec.policy == policy.name);
        let of_workload = points
            .iter()
            .filter(|p| p.spec.workload.name == policy.primary());
        let seen = Snapshot {
            points: of_workload.map(Point::from).collect(),
            events: of_policy.map(Event::from).collect(),
            ..Snapshot::default()
        };
        let status = object.status.unwrap_or_default();
        let state = State::from_status(&status);
        let release = status.release.as_ref().map(|release| release.hash.as_str());
        let live = if self.live {
            baseline::Live {
                release: release.unwrap_or_default(),
                restored: track::restorer(&state, &seen).is_some(),
            }
        } else {
            baseline::Live::NEXT
        };
        let now = Timestamp::now();
        let shown: Vec<Shown> = policy
            .triggers
            .iter()
            .map(|trigger| of_trigger(trigger, baseline::held(trigger, &seen, live, now)))
            .collect();
        match self.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&shown)?),
            Output::Table => print!("{}", in_a_table(&shown, now)),
        }
        Ok(())
    }
}

fn of_trigger(trigger: &ValidTrigger, held: Option<Held<'_>>) -> Shown {
    let mut shown = Shown {
        trigger: trigger.name.clone(),
        from: match trigger.baseline.against {
            Against::LastHealthy => "LastHealthy",
            Against::Offset(_) => "Offset",
            Against::Stable => "Stable",
            Against::Static(_) => "Static",
        },
        point: None,
        value: None,
        distribution: None,
        taken: None,
        compared: trigger.uses_baseline(),
        message: None,
    };
    let problem = match trigger.baseline.against {
        Against::Static(value) => {
            shown.value = Some(value);
            None
        }
        Against::Offset(ago) => {
            let hours = backstop_engine::trigger::number(ago.as_secs_f64() / 3600.0);
            shown.message = Some(format!("with what was measured {hours} h before"));
            None
        }
        Against::Stable => {
            shown.message = Some("with the pods that are not of the release, meanwhile".into());
            None
        }
        Against::LastHealthy => match held {
            None => Some(NONE_YET.to_owned()),
            Some(held) => {
                shown.point = Some(held.point.name.clone());
                shown.value = Some(held.measured.value);
                shown.distribution.clone_from(&held.measured.distribution);
                shown.taken = Some(held.taken);
                held.problem
                    .map(|problem| format!("its baseline {problem}"))
            }
        },
    };
    if !trigger.uses_baseline() {
        shown.message = Some(not_compared(trigger).replacen("no: ", "", 1));
    } else if problem.is_some() {
        shown.compared = false;
        shown.message = problem;
    }
    shown
}

fn in_a_table(shown: &[Shown], now: Timestamp) -> String {
    let rows: Vec<[String; 9]> = shown
        .iter()
        .map(|shown| {
            let told = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
            let measured = shown.value.map(|value| Measured {
                value,
                distribution: shown.distribution.clone(),
            });
            let [value, mean, p95, deviation, samples] = cells(measured.as_ref());
            let compared = match (shown.compared, &shown.message) {
                (true, None) => "yes".to_owned(),
                (true, Some(message)) => format!("yes: {message}"),
                (false, message) => format!("no: {}", message.as_deref().unwrap_or_default()),
            };
            [
                shown.trigger.clone(),
                shown.point.clone().unwrap_or_else(|| shown.from.to_owned()),
                value,
                mean,
                p95,
                deviation,
                samples,
                told(shown.taken.map(|taken| age(now.duration_since(taken)))),
                compared,
            ]
        })
        .collect();
    let headings = [
        "TRIGGER",
        "FROM",
        "VALUE",
        "MEAN",
        "P95",
        "DEVIATION",
        "SAMPLES",
        "TAKEN",
        "COMPARED",
    ];
    table(headings, &rows)
}
