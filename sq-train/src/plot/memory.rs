//! Accuracy against memory: what gamma buys.

use super::{FONT, HEADING, Mark, PALETTE, Picture, TEXT, colour, failed, legend, range};
use crate::results::Row;
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

/// Rows of the table as points: those under Smart Quantization in the colour of their gamma and joined in its order, the
/// baselines as squares. Rows without a memory (published ones) and those that are floats, which would squeeze the rest, are
/// left out.
pub struct Memory<'a> {
    /// What the runs are, for the heading.
    pub title: String,
    /// Rows of the table.
    pub rows: &'a [Row],
}

impl Picture for Memory<'_> {
    fn size(&self) -> (u32, u32) {
        let lines = self.rows.len() as u32;
        (1000, (lines * super::LINE as u32 + 100).max(480))
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<()> {
        let area = area.titled(&self.title, (FONT, HEADING)).map_err(failed)?;
        let (left, side) = area.split_horizontally(680);
        let shown = || {
            self.rows
                .iter()
                .filter(|row| row.method != "float" && row.bytes.is_some())
        };
        let point = |row: &Row| (row.bytes.unwrap_or(0.0) / 1024.0, 100.0 * row.accuracy);
        let spread = |row: &Row| 100.0 * row.deviation.unwrap_or(0.0);
        let sq: Vec<&Row> = shown().filter(|row| row.method == "sq").collect();
        let baselines: Vec<&Row> = shown().filter(|row| row.method != "sq").collect();
        let ends = shown().flat_map(|row| [point(row).1 - spread(row), point(row).1 + spread(row)]);
        let mut chart = ChartBuilder::on(&left)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(66)
            .build_cartesian_2d(range(shown().map(|row| point(row).0)), range(ends))
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc("packed weights and scales, KiB")
            .y_desc("accuracy on the test set, %")
            .x_label_formatter(&|value| format!("{value:.0}"))
            .y_label_formatter(&|value| format!("{value:.2}"))
            .label_style((FONT, TEXT))
            .light_line_style(WHITE)
            .draw()
            .map_err(failed)?;
        let grey = RGBColor(190, 190, 190).stroke_width(1);
        chart
            .draw_series(LineSeries::new(sq.iter().map(|row| point(row)), grey))
            .map_err(failed)?;
        let mut entries = Vec::new();
        let marked = sq
            .iter()
            .enumerate()
            .map(|(i, row)| (*row, Mark::Dot(colour(i, sq.len()))));
        let squares = baselines
            .iter()
            .enumerate()
            .map(|(i, row)| (*row, Mark::Square(PALETTE[6 - 3 * (i % 3)])));
        for (row, mark) in marked.chain(squares) {
            let ((x, y), spread) = (point(row), spread(row));
            let (Mark::Dot(colour) | Mark::Square(colour) | Mark::Line(colour) | Mark::Dashes(colour)) = mark;
            let bar = [(x, y - spread), (x, y + spread)];
            chart
                .draw_series(LineSeries::new(bar, colour.stroke_width(1)))
                .map_err(failed)?;
            let place = [(x, y)];
            match mark {
                Mark::Dot(_) => chart
                    .draw_series(place.map(|p| Circle::new(p, 6, colour.filled())))
                    .map_err(failed)?,
                _ => chart
                    .draw_series(PointSeries::of_element(
                        place,
                        6,
                        colour.filled(),
                        &|at, size, style| EmptyElement::at(at) + Rectangle::new([(-size, -size), (size, size)], style),
                    ))
                    .map_err(failed)?,
            };
            let name = match row.gamma {
                Some(gamma) => format!("sq, gamma {gamma}"),
                None => row.method.clone(),
            };
            let depths = row.depths.join("/");
            let depths = if depths.len() <= 12 {
                format!(" ({depths})")
            } else {
                String::new()
            };
            entries.push((mark, format!("{name}, {} a.{depths}", row.activations)));
        }
        legend(&side, 30, &entries)
    }
}
