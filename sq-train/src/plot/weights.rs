//! Histograms of every layer's latent weights, with the wells they are drawn to.

use super::{FONT, Mark, PALETTE, Picture, TEXT, failed, headed, labels, legend};
use crate::quant::{Depth, LayerReport};
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

const BINS: usize = 81;
const COLUMNS: usize = 3;
const PANEL: (u32, u32) = (330, 240);

/// Latent weights of every layer.
pub struct Weights<'a> {
    /// What the run is, for the heading.
    pub title: String,
    /// Report and latent weights of every layer.
    pub layers: Vec<(&'a LayerReport, Vec<f32>)>,
}

impl Picture for Weights<'_> {
    fn size(&self) -> (u32, u32) {
        let rows = self.layers.len().div_ceil(COLUMNS).max(1) as u32;
        (PANEL.0 * COLUMNS as u32 + 20, rows * PANEL.1 + 80)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<()> {
        let area = headed(area, &self.title)?;
        let (_, height) = area.dim_in_pixel();
        let (panels, bottom) = area.split_vertically(height - 30);
        let rows = self.layers.len().div_ceil(COLUMNS).max(1);
        for (panel, (report, values)) in panels.split_evenly((rows, COLUMNS)).iter().zip(&self.layers) {
            histogram(panel, report, values)?;
        }
        let entries = [
            (Mark::Square(PALETTE[4]), "latent weights", 0),
            (Mark::Line(PALETTE[1]), "wells at -mu, +mu", 200),
            (
                Mark::Dashes(PALETTE[6]),
                "thresholds -Delta, +Delta: between them weights become 0",
                410,
            ),
        ];
        for (mark, text, left) in entries {
            let (_, place) = bottom.split_horizontally(left);
            legend(&place, 12, 600, &[(mark, text.to_string())])?;
        }
        Ok(())
    }
}

fn histogram<B: DrawingBackend>(area: &DrawingArea<B, Shift>, report: &LayerReport, values: &[f32]) -> Result<()> {
    let greatest = values.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    let side = f64::from(greatest.max(report.mu * 1.2).max(1e-6));
    let counts = count(values, side);
    let top = counts.iter().copied().fold(1.0, f64::max) * 1.08;
    let zeros = match report.depth {
        Depth::Ternary => format!(", {:.0} % zeros", 100.0 * report.zeros),
        _ => String::new(),
    };
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}: {}{zeros}", report.name, report.depth), (FONT, TEXT))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(48)
        .build_cartesian_2d(-side..side, 0.0..top)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_labels(5)
        .y_labels(4)
        .y_desc("weights, %")
        .x_label_formatter(&labels(&(-side..side)))
        .y_label_formatter(&labels(&(0.0..top)))
        .label_style((FONT, TEXT - 2))
        .light_line_style(WHITE)
        .draw()
        .map_err(failed)?;
    let step = 2.0 * side / BINS as f64;
    let bars = counts.iter().enumerate().map(|(i, &share)| {
        let left = -side + i as f64 * step;
        Rectangle::new([(left, 0.0), (left + step, share)], PALETTE[4].filled())
    });
    chart.draw_series(bars).map_err(failed)?;
    if matches!(report.depth, Depth::Binary | Depth::Ternary) {
        for sign in [-1.0, 1.0] {
            let mu = sign * f64::from(report.mu);
            chart
                .draw_series(LineSeries::new([(mu, 0.0), (mu, top)], PALETTE[1].stroke_width(2)))
                .map_err(failed)?;
            if report.depth == Depth::Ternary {
                let delta = sign * f64::from(report.delta);
                let line = DashedLineSeries::new([(delta, 0.0), (delta, top)], 5, 4, PALETTE[6].stroke_width(1));
                chart.draw_series(line).map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// Percent of the values in each of the bins that divide `-side..side`.
fn count(values: &[f32], side: f64) -> Vec<f64> {
    let mut counts = vec![0.0; BINS];
    for &value in values {
        let place = (f64::from(value) + side) / (2.0 * side) * BINS as f64;
        counts[(place.max(0.0) as usize).min(BINS - 1)] += 100.0 / values.len() as f64;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_edges_belong_to_the_outer_bins() {
        let counts = count(&[-1.0, 1.0, 0.0, 0.0], 1.0);
        assert_eq!((counts[0], counts[BINS - 1], counts[BINS / 2]), (25.0, 25.0, 50.0));
    }
}
