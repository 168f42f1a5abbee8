//! What is watched of Backstop and of what it looks after: recording and alert rules, and dashboards. One source for the
//! chart and for plain Prometheus and Grafana.

mod dashboards;
mod grafana;
mod rules;

use super::Files;

pub(super) fn files() -> anyhow::Result<Files> {
    let mut files = Files::new();
    files.insert(
        "charts/backstop/files/monitoring/rules.yaml".to_owned(),
        rules::file()?,
    );
    for dashboard in dashboards::all() {
        let path = format!(
            "charts/backstop/files/monitoring/dashboards/{}.json",
            dashboard.uid
        );
        files.insert(path, dashboard.json()?);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use promql_parser::parser;

    use super::*;

    #[test]
    fn every_query_is_promql() {
        let rules = rules::queries();
        let panels = dashboards::all();
        let panels = panels.iter().flat_map(grafana::Dashboard::queries);
        let mut seen = 0;
        for query in rules.into_iter().chain(panels) {
            if let Err(error) = parser::parse(&query) {
                panic!("{query}: {error}");
            }
            seen += 1;
        }
        assert!(seen > 30, "only {seen} queries were found");
    }

    #[test]
    fn every_rule_has_a_name_of_its_own_and_a_runbook() {
        let mut names = BTreeSet::new();
        for alert in rules::ALERTS {
            assert!(names.insert(alert.name), "{} is there twice", alert.name);
            assert!(!alert.summary.is_empty() && !alert.description.is_empty());
        }
    }

    #[test]
    fn panels_do_not_overlap() {
        for dashboard in dashboards::all() {
            let mut taken = BTreeSet::new();
            for (x, y) in dashboard.places() {
                assert!(taken.insert((x, y)), "{} at {x}, {y}", dashboard.title);
            }
        }
    }
}
