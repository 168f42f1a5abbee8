//! Figures as a table that is Markdown as well.

use std::fmt::Write as _;

use jiff::SignedDuration;

/// Rows of durations, each with a name.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(String, Vec<SignedDuration>)>,
}

impl Table {
    /// One more row.
    pub(crate) fn row(&mut self, name: &str, values: impl IntoIterator<Item = SignedDuration>) {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort();
        self.rows.push((name.to_owned(), values));
    }

    /// The table. A row without values says so.
    pub(crate) fn text(&self) -> String {
        let width = self.rows.iter().map(|(n, _)| n.chars().count()).max();
        let width = width.unwrap_or(0);
        let mut text = format!("| {:width$} |      p50 |      p90 |      max |\n", "");
        let _ = writeln!(text, "|-{:-<width$}-|---------:|---------:|---------:|", "");
        for (name, values) in &self.rows {
            let cell = |value: Option<SignedDuration>| {
                value.map_or_else(|| "-".to_owned(), |d| format!("{:.1} ms", millis(d)))
            };
            let _ = writeln!(
                text,
                "| {name:width$} | {:>8} | {:>8} | {:>8} |",
                cell(percentile(values, 50)),
                cell(percentile(values, 90)),
                cell(values.last().copied()),
            );
        }
        text
    }
}

/// Rows of words, under a header.
pub(crate) struct Grid {
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// A table with these columns.
    pub(crate) fn new(header: &[&str]) -> Self {
        let header = header.iter().map(|name| (*name).to_owned()).collect();
        Self { rows: vec![header] }
    }

    /// One more row, with as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table: the first column to the left, the others to the right.
    pub(crate) fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|c| c.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = match column {
                    0 => write!(text, "| {cell:width$} |"),
                    _ => write!(text, " {cell:>width$} |"),
                };
            }
            text.push('\n');
            if index == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let _ = match column {
                        0 => write!(text, "|-{:-<width$}-|", ""),
                        _ => write!(text, "-{:-<width$}:|", ""),
                    };
                }
                text.push('\n');
            }
        }
        text
    }
}

fn millis(duration: SignedDuration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The smallest value that so many percent of the values do not exceed. `values` are sorted.
pub(crate) fn percentile(values: &[SignedDuration], percent: usize) -> Option<SignedDuration> {
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(range: std::ops::RangeInclusive<i64>) -> Vec<SignedDuration> {
        range.map(SignedDuration::from_millis).collect()
    }

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let twenty = values(1..=20);
        assert_eq!(percentile(&twenty, 50), twenty.get(9).copied());
        assert_eq!(percentile(&twenty, 90), twenty.get(17).copied());
        assert_eq!(
            percentile(&values(7..=7), 90),
            Some(SignedDuration::from_millis(7))
        );
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn the_cells_of_a_grid_stand_below_each_other() {
        let mut grid = Grid::new(&["class", "n"]);
        grid.row(vec!["a".into(), "100".into()]);
        let expected = "| class |   n |\n|-------|----:|\n| a     | 100 |\n";
        assert_eq!(grid.text(), expected);
    }

    #[test]
    fn a_row_without_values_is_no_row_of_zeros() {
        let mut table = Table::default();
        table.row("none", []);
        assert!(
            table.text().contains("| none |        - |"),
            "{}",
            table.text()
        );
    }
}
