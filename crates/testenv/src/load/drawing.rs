//! Which version answered when, as a picture.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use plotters::prelude::*;

use super::Responses;

const SIZE: (u32, u32) = (900, 360);
/// Colours that people who cannot tell red from green tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// For what no version answered.
const NOBODY: RGBColor = RGBColor(60, 60, 60);

/// A picture of the shares of the versions over time.
#[derive(Debug, Clone)]
pub struct Drawing {
    title: String,
    span: Duration,
    marks: Vec<(Duration, String)>,
}

impl Drawing {
    /// An empty one. Shares are those of a fifth of a second each.
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            span: Duration::from_millis(200),
            marks: Vec::new(),
        }
    }

    /// With a vertical line, such as when a rollback was decided.
    #[must_use]
    pub fn mark(mut self, at: Duration, label: &str) -> Self {
        self.marks.push((at, label.to_owned()));
        self
    }

    /// Writes it as SVG.
    pub fn write(&self, responses: &Responses, path: &Path) -> anyhow::Result<()> {
        let last = responses.iter().map(|response| response.at).max();
        let last = last.context("there is no answer to draw")?;
        let rows = self.stacked(responses, last);
        let folder = path.parent().context("a picture needs a folder")?;
        std::fs::create_dir_all(folder)?;
        let mut text = String::new();
        self.draw(&rows, last, &mut text)
            .map_err(|error| anyhow!("could not draw {}: {error}", self.title))?;
        ensure!(text.contains("</svg>"), "half a picture");
        std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
    }

    /// For each version the upper edge of its area, in percent, level over each span: a slope would begin before what
    /// caused it. The last version's is at 100.
    fn stacked(&self, responses: &Responses, last: Duration) -> Vec<(String, Vec<(f64, f64)>)> {
        let versions: BTreeSet<String> = responses.shares().into_keys().collect();
        let mut edges: Vec<_> = versions
            .into_iter()
            .map(|name| (name, Vec::new()))
            .collect();
        let mut start = Duration::ZERO;
        while start <= last {
            let window = responses.within(start..start + self.span);
            // Where nobody answered, the areas go straight on.
            if !window.is_empty() {
                let shares = window.shares();
                let (from, to) = (start, last.min(start + self.span));
                let mut below = 0.0;
                for (version, edge) in &mut edges {
                    below += 100.0 * shares.get(version).copied().unwrap_or_default();
                    edge.extend([(from.as_secs_f64(), below), (to.as_secs_f64(), below)]);
                }
            }
            start += self.span;
        }
        // Out to both ends, where nobody answered there.
        for (_, edge) in &mut edges {
            if let (Some(&(_, first)), Some(&(_, end))) = (edge.first(), edge.last()) {
                edge.insert(0, (0.0, first));
                edge.push((last.as_secs_f64(), end));
            }
        }
        edges
    }

    fn draw(
        &self,
        rows: &[(String, Vec<(f64, f64)>)],
        last: Duration,
        text: &mut String,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..last.as_secs_f64().max(0.001), 0.0..100.0)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_desc("seconds")
            .y_desc("share of answers, %")
            .draw()?;
        // The last one's area reaches to the bottom, and the others are drawn over it.
        // A version has the same colour in every picture, whether there are answers of nobody in it or not.
        let named = rows.iter().filter(|(version, _)| !version.is_empty());
        let places: Vec<&str> = named.map(|(version, _)| version.as_str()).collect();
        for (version, edge) in rows.iter().rev() {
            let place = places.iter().position(|named| named == version);
            let colour = place.map_or(NOBODY, |n| COLOURS[n % COLOURS.len()]);
            let label = if version.is_empty() {
                "no version"
            } else {
                version
            };
            chart
                .draw_series(AreaSeries::new(edge.iter().copied(), 0.0, colour.filled()))?
                .label(label)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled())
                });
        }
        // Each label below the one before, since moments may lie close together.
        let mut line = 97.0;
        for (at, label) in &self.marks {
            let x = at.as_secs_f64();
            chart.draw_series([PathElement::new(
                [(x, 0.0), (x, 100.0)],
                BLACK.stroke_width(2),
            )])?;
            let beside = x + 0.004 * last.as_secs_f64();
            let text = Text::new(label.clone(), (beside, line), ("sans-serif", 14));
            chart.draw_series([text])?;
            line -= 6.0;
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK)
            .draw()?;
        root.present()?;
        Ok(())
    }
}

/// Where tests put what people may want to look at: `BACKSTOP_TEST_OUTPUT`, or `test-output` in the target folder.
pub fn output_folder() -> PathBuf {
    let chosen = std::env::var_os("BACKSTOP_TEST_OUTPUT").map(PathBuf::from);
    chosen.unwrap_or_else(|| {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
            PathBuf::from,
        );
        target.join("test-output")
    })
}

#[cfg(test)]
mod tests {
    use super::super::responses::tests::responses;
    use super::*;

    #[test]
    fn the_areas_of_the_versions_add_up_to_all_answers() {
        let seen = responses(&[(0, "a", 200), (0, "b", 200), (2, "b", 200)]);
        let rows = Drawing::new("shares").stacked(&seen, Duration::from_secs(3));
        assert_eq!(rows[0].0, "a");
        assert_eq!(
            rows[0].1,
            [
                (0.0, 50.0),
                (0.0, 50.0),
                (0.2, 50.0),
                (2.0, 0.0),
                (2.2, 0.0),
                (3.0, 0.0)
            ]
        );
        assert!(rows[1].1.iter().all(|(_, edge)| *edge > 99.9), "{rows:?}");
    }

    #[test]
    fn a_picture_has_its_versions_and_its_marks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/shares.svg");
        let seen = responses(&[(0, "v1", 200), (1, "v1", 200), (2, "v2", 200)]);
        Drawing::new("a title")
            .mark(Duration::from_secs(1), "decided")
            .write(&seen, &path)
            .unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        for word in ["a title", "v1", "v2", "decided"] {
            assert!(text.contains(word), "{word}");
        }
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let drawn = Drawing::new("x").write(&responses(&[]), Path::new("nowhere/x.svg"));
        assert!(drawn.is_err());
    }
}
