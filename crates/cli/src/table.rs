//! Tables as kubectl prints them: a row for each thing, and blanks between the columns.

use jiff::SignedDuration;

/// So many blanks are between two columns.
const GAP: usize = 3;

/// What stands in a cell of which nothing is known.
pub const NOTHING: &str = "-";

/// The rows below their headings, one line each.
pub fn table<const COLUMNS: usize>(
    headings: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> String {
    let mut widths = headings.map(width);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    let headings = headings.map(str::to_owned);
    let lines = std::iter::once(&headings).chain(rows).map(|row| {
        let cells = row.iter().zip(widths).map(|(cell, widest)| {
            let blanks = widest - width(cell) + GAP;
            format!("{cell}{}", " ".repeat(blanks))
        });
        cells.collect::<String>().trim_end().to_owned() + "\n"
    });
    lines.collect()
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

/// How long ago something was: in the largest unit of which there are two or more.
pub fn age(age: SignedDuration) -> String {
    let seconds = age.as_secs().max(0);
    for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60)] {
        if seconds >= 2 * length {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows = [
            ["latency".into(), "0.02".into(), "yes".into()],
            ["e".into(), "1".into(), "no: it is too wild".into()],
        ];
        assert_eq!(
            table(["TRIGGER", "VALUE", "COMPARED"], &rows),
            "TRIGGER   VALUE   COMPARED\n\
             latency   0.02    yes\n\
             e         1       no: it is too wild\n"
        );
    }

    #[test]
    fn an_age_is_told_in_one_unit() {
        for (seconds, text) in [
            (-5, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7199, "119m"),
            (7200, "2h"),
            (200_000, "2d"),
        ] {
            assert_eq!(age(SignedDuration::from_secs(seconds)), text);
        }
    }
}
