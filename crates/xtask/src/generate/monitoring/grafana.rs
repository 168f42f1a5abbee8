//! Dashboards as Grafana reads them.

use serde_json::{Value, json};

/// How wide a dashboard is, in Grafana's units.
const WIDE: u32 = 24;
/// The width of a panel, so that three are beside each other; and its height.
const PANEL: (u32, u32) = (8, 8);

/// A page of panels.
pub(super) struct Dashboard {
    /// By what it is known: its file and its address.
    pub(super) uid: &'static str,
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    /// Whether a namespace can be chosen.
    pub(super) by_namespace: bool,
    pub(super) panels: Vec<Panel>,
}

/// One of them.
pub(super) struct Panel {
    pub(super) title: &'static str,
    /// What it shows, and what it means.
    pub(super) about: &'static str,
    pub(super) shape: Shape,
    pub(super) unit: Unit,
    /// Where the colour changes, by the value from which on it does.
    pub(super) steps: &'static [(f64, Colour)],
    /// Each with what it is called.
    pub(super) queries: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// Lines over time.
    Lines,
    /// The newest number.
    Number,
}

#[derive(Clone, Copy)]
pub(super) enum Unit {
    Count,
    Seconds,
    /// 0 to 1.
    Share,
    Megabytes,
    PerSecond,
}

#[derive(Clone, Copy)]
pub(super) enum Colour {
    Yellow,
    Red,
}

impl Dashboard {
    /// Every query.
    #[cfg(test)]
    pub(super) fn queries(&self) -> impl Iterator<Item = String> {
        let queries = self.panels.iter().flat_map(|panel| panel.queries);
        // What Grafana puts there itself.
        queries.map(|(_, query)| {
            query
                .replace("$__rate_interval", "1m")
                .replace("$__range", "1h")
                .replace("$namespace", "shop")
        })
    }

    /// Where each panel stands.
    #[cfg(test)]
    pub(super) fn places(&self) -> Vec<(u32, u32)> {
        let numbers = 0..self.panels.len();
        numbers.map(place).collect()
    }

    /// The file that Grafana reads.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        let panels = self.panels.iter().enumerate();
        let panels: Vec<Value> = panels.map(|(number, panel)| panel.json(number)).collect();
        let mut variables = vec![json!({
            "name": "datasource", "label": "Data source", "type": "datasource",
            "query": "prometheus", "current": {}, "hide": 0,
        })];
        if self.by_namespace {
            variables.push(json!({
                "name": "namespace", "label": "Namespace", "type": "query", "datasource": source(),
                "query": {"query": "label_values(http_requests_total, namespace)", "refId": "namespace"},
                "definition": "label_values(http_requests_total, namespace)",
                "includeAll": true, "allValue": ".*", "multi": false, "refresh": 2, "sort": 1,
                "current": {"text": "All", "value": "$__all"},
            }));
        }
        let whole = json!({
            "uid": self.uid, "title": self.title, "description": self.about, "tags": ["backstop"],
            "schemaVersion": 39, "version": 1, "editable": true, "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"}, "timezone": "browser",
            "templating": {"list": variables}, "annotations": {"list": [releases_taken_back()]},
            "panels": panels,
        });
        Ok(serde_json::to_string_pretty(&whole)? + "\n")
    }
}

impl Panel {
    fn json(&self, number: usize) -> Value {
        let (x, y) = place(number);
        let targets = self.queries.iter().zip('A'..);
        let targets: Vec<Value> = targets
            .map(|((legend, query), id)| {
                json!({
                    "refId": id.to_string(), "datasource": source(), "expr": query,
                    "legendFormat": legend, "instant": matches!(self.shape, Shape::Number),
                    "range": matches!(self.shape, Shape::Lines),
                })
            })
            .collect();
        let mut steps = vec![json!({"color": "green", "value": null})];
        for (from, colour) in self.steps {
            let colour = match colour {
                Colour::Yellow => "yellow",
                Colour::Red => "red",
            };
            steps.push(json!({"color": colour, "value": from}));
        }
        let (kind, options, custom) = match self.shape {
            Shape::Number => (
                "stat",
                json!({
                    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
                    "colorMode": "value", "graphMode": "area", "textMode": "auto",
                }),
                json!({}),
            ),
            Shape::Lines => (
                "timeseries",
                json!({
                    "legend": {"displayMode": "list", "placement": "bottom"},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                }),
                json!({
                    "fillOpacity": 10, "lineWidth": 1, "showPoints": "never",
                    "thresholdsStyle": {"mode": if self.steps.is_empty() { "off" } else { "line" }},
                }),
            ),
        };
        json!({
            "id": number + 1, "type": kind, "title": self.title, "description": self.about,
            "datasource": source(), "targets": targets, "options": options,
            "gridPos": {"x": x, "y": y, "w": PANEL.0, "h": PANEL.1},
            "fieldConfig": {"overrides": [], "defaults": {
                "unit": self.unit.grafana(), "min": 0, "custom": custom,
                "color": {"mode": if self.steps.is_empty() { "palette-classic" } else { "thresholds" }},
                "thresholds": {"mode": "absolute", "steps": steps},
            }},
        })
    }
}

impl Unit {
    fn grafana(self) -> &'static str {
        match self {
            Self::Count => "short",
            Self::Seconds => "s",
            Self::Share => "percentunit",
            Self::Megabytes => "decmbytes",
            Self::PerSecond => "reqps",
        }
    }
}

/// Beside each other, then below.
fn place(number: usize) -> (u32, u32) {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let in_a_row = WIDE / PANEL.0;
    (number % in_a_row * PANEL.0, number / in_a_row * PANEL.1)
}

/// Whichever Prometheus is chosen.
fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// A line in every panel where a release was taken back.
fn releases_taken_back() -> Value {
    json!({
        "name": "Rollbacks", "datasource": source(), "enable": true, "iconColor": "red",
        "expr": "sum(increase(backstop_rollback_triggered_total[1m])) > 0",
        "titleFormat": "a release was taken back", "step": "60s",
    })
}
