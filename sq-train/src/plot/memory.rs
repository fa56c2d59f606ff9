//! Accuracy against memory: what gamma buys.

use super::{FONT, Mark, Picture, TEXT, colour, failed, headed, height, labels, legend, range};
use crate::results::Row;
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

/// Width of the legend's column.
const LEGEND: u32 = 320;

/// Rows of the table as points, a colour each: those under Smart Quantization as dots, and those that differ in gamma alone joined
/// in its order; the baselines as squares. Rows without a memory (published ones) and those that are floats, which would squeeze the
/// rest, are left out.
pub struct Memory<'a> {
    /// Rows of the table.
    pub rows: &'a [Row],
}

impl Memory<'_> {
    /// Whether there is anything to draw.
    pub fn has_points(&self) -> bool {
        !self.shown().is_empty()
    }

    fn shown(&self) -> Vec<&Row> {
        let packed = |row: &&Row| row.method != "float" && row.bytes.is_some();
        self.rows.iter().filter(packed).collect()
    }

    /// What all points have in common: network and data, as far as they are alike.
    fn title(&self) -> String {
        let shown = self.shown();
        let one = |value: &dyn Fn(&Row) -> String| common(&shown, value);
        let on = one(&|row| row.data.clone()).map_or(String::new(), |data| format!(" on {data}"));
        match one(&|row| row.network.clone()) {
            Some(network) => format!("{network}{on}: accuracy against memory"),
            None => format!("accuracy{on} against memory"),
        }
    }

    /// The points, each with its mark and what sets it apart from the others.
    fn points(&self) -> Vec<(&Row, Mark, String)> {
        let shown = self.shown();
        let apart = |value: &dyn Fn(&Row) -> String| common(&shown, value).is_none();
        let network = apart(&|row| row.network.clone());
        let data = apart(&|row| row.data.clone());
        let everywhere = |part: &str| {
            shown
                .iter()
                .all(|row| row.remark.split(", ").any(|other| other == part))
        };
        let point = |(i, row): (usize, &&'_ Row)| {
            let mut parts = Vec::new();
            match (network, data) {
                (true, true) => parts.push(format!("{} on {}", row.network, row.data)),
                (true, false) => parts.push(row.network.clone()),
                (false, true) => parts.push(row.data.clone()),
                (false, false) => {}
            }
            parts.push(match row.gamma {
                Some(gamma) => format!("{}, gamma {gamma}", row.method),
                None => row.method.clone(),
            });
            let depths = row.depths.join("/");
            parts.push(match depths.len() <= 12 {
                true => format!("{} a. ({depths})", row.activations),
                false => format!("{} a.", row.activations),
            });
            let remark = row.remark.split(", ").filter(|part| !everywhere(part));
            parts.extend(remark.map(String::from));
            let colour = colour(i, shown.len());
            let mark = match is_sq(row) {
                true => Mark::Dot(colour),
                false => Mark::Square(colour),
            };
            (mark, parts.join(", "))
        };
        let marked: Vec<(Mark, String)> = shown.iter().enumerate().map(point).collect();
        shown
            .into_iter()
            .zip(marked)
            .map(|(row, (mark, text))| (row, mark, text))
            .collect()
    }

    fn entries(&self) -> Vec<(Mark, String)> {
        self.points().into_iter().map(|(_, mark, text)| (mark, text)).collect()
    }

    /// Dots that differ in gamma alone, in its order.
    fn lines(&self) -> Vec<Vec<&Row>> {
        let mut lines: Vec<Vec<&Row>> = Vec::new();
        let key = |row: &Row| {
            let place = (row.network.clone(), row.data.clone(), row.activations.clone());
            (place, row.method.clone(), row.remark.clone())
        };
        for row in self.shown().into_iter().filter(|row| is_sq(row)) {
            match lines.iter_mut().find(|line| key(line[0]) == key(row)) {
                Some(line) => line.push(row),
                None => lines.push(vec![row]),
            }
        }
        lines
            .iter_mut()
            .for_each(|line| line.sort_by(|a, b| a.gamma.partial_cmp(&b.gamma).unwrap_or(std::cmp::Ordering::Equal)));
        lines
    }
}

fn is_sq(row: &Row) -> bool {
    row.gamma.is_some()
}

/// The value that all rows have, where they have one.
fn common(rows: &[&Row], value: &dyn Fn(&Row) -> String) -> Option<String> {
    let mut values = rows.iter().map(|row| value(row));
    let first = values.next()?;
    values.all(|other| other == first).then_some(first)
}

/// Where a row lies: KiB and percent.
fn place(row: &Row) -> (f64, f64) {
    (row.bytes.unwrap_or(0.0) / 1024.0, 100.0 * row.accuracy)
}

impl Picture for Memory<'_> {
    fn size(&self) -> (u32, u32) {
        (1000, height(&self.entries(), LEGEND, 480))
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<()> {
        let area = headed(area, &self.title())?;
        let (left, side) = area.split_horizontally(680);
        let spread = |row: &Row| 100.0 * row.deviation.unwrap_or(0.0);
        let points = self.points();
        let ends = points.iter().flat_map(|(row, ..)| {
            let (_, y) = place(row);
            [y - spread(row), y + spread(row)]
        });
        let (xs, ys) = (range(points.iter().map(|(row, ..)| place(row).0)), range(ends));
        let mut chart = ChartBuilder::on(&left)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(66)
            .build_cartesian_2d(xs.clone(), ys.clone())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc("packed weights and scales, KiB")
            .y_desc("accuracy on the test set, %")
            .x_label_formatter(&labels(&xs))
            .y_label_formatter(&labels(&ys))
            .label_style((FONT, TEXT))
            .light_line_style(WHITE)
            .draw()
            .map_err(failed)?;
        let grey = RGBColor(190, 190, 190).stroke_width(1);
        for line in self.lines() {
            chart
                .draw_series(LineSeries::new(line.into_iter().map(place), grey))
                .map_err(failed)?;
        }
        for (row, mark, _) in &points {
            let ((x, y), spread) = (place(row), spread(row));
            let (Mark::Dot(colour) | Mark::Square(colour) | Mark::Line(colour) | Mark::Dashes(colour)) = *mark;
            let bar = [(x, y - spread), (x, y + spread)];
            chart
                .draw_series(LineSeries::new(bar, colour.stroke_width(1)))
                .map_err(failed)?;
            let at = [(x, y)];
            match mark {
                Mark::Dot(_) => chart
                    .draw_series(at.map(|p| Circle::new(p, 6, colour.filled())))
                    .map_err(failed)?,
                _ => chart
                    .draw_series(PointSeries::of_element(at, 6, colour.filled(), &|at, size, style| {
                        EmptyElement::at(at) + Rectangle::new([(-size, -size), (size, size)], style)
                    }))
                    .map_err(failed)?,
            };
        }
        legend(&side, 30, LEGEND, &self.entries())
    }
}
