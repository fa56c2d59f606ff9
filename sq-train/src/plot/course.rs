//! The course of a run: loss and accuracy, and the shape of every layer.

use super::{FONT, Mark, PALETTE, Picture, TEXT, colour, failed, headed, height, labels, legend, range};
use crate::quant::{BETA_MAX, BETA_MIN, Power};
use crate::train::EpochReport;
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

/// Loss and accuracy over the epochs.
pub struct Course<'a> {
    /// What the run is, for the heading.
    pub title: String,
    /// Reports of its epochs.
    pub history: &'a [EpochReport],
}

impl Picture for Course<'_> {
    fn size(&self) -> (u32, u32) {
        (1000, 420)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<()> {
        let area = headed(area, &self.title)?;
        let (left, rest) = area.split_horizontally(430);
        let (right, side) = rest.split_horizontally(430);
        let [loss, train, test] = [PALETTE[6], PALETTE[1], PALETTE[0]];
        let series = |value: &dyn Fn(&EpochReport) -> f64| -> Vec<(f64, f64)> {
            self.history
                .iter()
                .map(|report| (report.epoch as f64, value(report)))
                .collect()
        };
        chart(
            &left,
            "epoch",
            "loss (cross-entropy)",
            &[(series(&|r| r.loss), loss)],
            None,
        )?;
        let accuracies = [
            (series(&|r| 100.0 * r.train_accuracy), train),
            (series(&|r| 100.0 * r.test_accuracy), test),
        ];
        chart(&right, "epoch", "accuracy, %", &accuracies, None)?;
        let entries = [("loss", loss), ("training", train), ("test", test)];
        let entries = entries.map(|(name, colour)| (Mark::Line(colour), name.to_string()));
        legend(&side, 30, 140, &entries)
    }
}

/// The shape `beta` of every layer over the epochs, and where a layer becomes binary.
pub struct Betas<'a> {
    /// What the run is, for the heading.
    pub title: String,
    /// Reports of its epochs.
    pub history: &'a [EpochReport],
    /// Power of the regulariser.
    pub power: Power,
    /// Share of the scale below which a threshold makes a layer binary.
    pub epsilon: f32,
}

impl Betas<'_> {
    /// Width of the legend's column.
    const LEGEND: u32 = 220;

    /// The shape above which a layer is binary: `Delta / mu = 1 / (1 + tan(beta)^(1/p)) = epsilon`.
    fn edge(&self) -> f64 {
        let root = 1.0 / f64::from(self.epsilon).max(1e-9) - 1.0;
        let tan = match self.power {
            Power::One => root,
            Power::Two => root * root,
        };
        tan.atan()
    }

    fn names(&self) -> Vec<&str> {
        let first = self.history.first();
        first.map_or(vec![], |report| learned(report).map(|(name, _)| name).collect())
    }

    /// The legend: the dashed line, then every layer.
    fn entries(&self) -> Vec<(Mark, String)> {
        let names = self.names();
        let mut entries = vec![(Mark::Dashes(BLACK), format!("binary above {:.3}", self.edge()))];
        entries.extend(
            names
                .iter()
                .enumerate()
                .map(|(i, name)| (Mark::Line(colour(i, names.len())), name.to_string())),
        );
        entries
    }
}

impl Picture for Betas<'_> {
    fn size(&self) -> (u32, u32) {
        (900, height(&self.entries(), Self::LEGEND, 460))
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<()> {
        let area = headed(area, &self.title)?;
        let (left, side) = area.split_horizontally(680);
        let count = self.names().len();
        let lines: Vec<(Vec<(f64, f64)>, RGBColor)> = (0..count)
            .map(|i| {
                let points = self
                    .history
                    .iter()
                    .filter_map(|report| Some((report.epoch as f64, f64::from(learned(report).nth(i)?.1))));
                (points.collect(), colour(i, count))
            })
            .collect();
        let bounds = Some((f64::from(BETA_MIN) - 0.03, f64::from(BETA_MAX) + 0.03, self.edge()));
        chart(&left, "epoch", "beta: pi/4 ternary ... pi/2 binary", &lines, bounds)?;
        legend(&side, 30, Self::LEGEND, &self.entries())
    }
}

/// Names and shapes of the layers that have a shape.
fn learned(report: &EpochReport) -> impl Iterator<Item = (&str, f32)> {
    report
        .layers
        .iter()
        .filter_map(|layer| Some((&*layer.name, layer.beta?)))
}

/// Lines over epochs; `bounds` are the vertical range and a dashed line in it.
fn chart<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    x: &str,
    y: &str,
    lines: &[(Vec<(f64, f64)>, RGBColor)],
    bounds: Option<(f64, f64, f64)>,
) -> Result<()> {
    let points = || lines.iter().flat_map(|(points, _)| points);
    let xs = range(points().map(|p| p.0));
    let ys = match bounds {
        Some((low, high, _)) => low..high,
        None => range(points().map(|p| p.1)),
    };
    let epochs = points().map(|p| p.0).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(62)
        .build_cartesian_2d(xs.clone(), ys.clone())
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_labels((epochs as usize).clamp(2, 10))
        .x_label_formatter(&|epoch| {
            if epoch.fract() == 0.0 {
                format!("{epoch:.0}")
            } else {
                String::new()
            }
        })
        .y_label_formatter(&labels(&ys))
        .label_style((FONT, TEXT))
        .light_line_style(WHITE)
        .draw()
        .map_err(failed)?;
    if let Some((_, _, edge)) = bounds {
        let dashes = DashedLineSeries::new([(xs.start, edge), (xs.end, edge)], 6, 5, BLACK.stroke_width(1));
        chart.draw_series(dashes).map_err(failed)?;
    }
    for (points, colour) in lines {
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))
            .map_err(failed)?;
        let dots = points.iter().map(|&point| Circle::new(point, 3, colour.filled()));
        chart.draw_series(dots).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{Depth, SqShape};

    #[test]
    fn the_dashed_line_is_where_depth_jumps() {
        for power in [Power::One, Power::Two] {
            let betas = Betas {
                title: String::new(),
                history: &[],
                power,
                epsilon: 0.05,
            };
            let depth = |by: f64| SqShape::new(1.0, (betas.edge() + by) as f32, power, 0.05).depth();
            assert_eq!(
                (depth(-1e-4), depth(1e-4)),
                (Depth::Ternary, Depth::Binary),
                "{power:?}"
            );
        }
    }
}
