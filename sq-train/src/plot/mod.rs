//! Pictures of runs, as SVG and PNG: the course of a run, the shape of every layer over time, histograms of latent weights with
//! their wells, accuracy against memory.
//!
//! Legends stand in a column of their own beside the chart, so that they cover nothing.

mod course;
mod memory;
mod weights;

pub use course::{Betas, Course};
pub use memory::Memory;
pub use weights::Weights;

use crate::files;
use anyhow::{Context, Result, anyhow};
use image::{ExtendedColorType, ImageFormat};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};
use std::fmt::Display;
use std::path::Path;

/// The palette of Okabe and Ito, which colour-blind readers can tell apart; without its yellow, which is pale on white.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

const FONT: &str = "sans-serif";
const TEXT: u32 = 15;
const HEADING: u32 = 18;

/// About the width of a character of a heading, in pixels.
const HEADING_ADVANCE: usize = 9;

/// Height of a legend's line.
const LINE: i32 = 20;

/// What can be drawn.
pub trait Picture {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);

    /// Draws onto an empty white area of that size.
    ///
    /// # Errors
    /// Those of the drawing library.
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<()>;
}

/// Writes `picture` to `stem.svg` and `stem.png` in `directory`.
///
/// # Errors
/// A file that cannot be written.
pub fn save(picture: &impl Picture, directory: &Path, stem: &str) -> Result<()> {
    // The text is set in a font that comes with the program, so that pictures are alike on every machine.
    let font = epaint_default_fonts::UBUNTU_LIGHT;
    register_font(FONT, FontStyle::Normal, font).map_err(|_| anyhow!("the font is damaged"))?;
    let (width, height) = picture.size();

    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
    paint(picture, area)?;
    let path = directory.join(format!("{stem}.svg"));
    files::write(&path, svg.as_bytes())?;

    let mut pixels = vec![0u8; width as usize * height as usize * 3];
    let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
    paint(picture, area)?;
    let path = directory.join(format!("{stem}.png"));
    image::save_buffer_with_format(&path, &pixels, width, height, ExtendedColorType::Rgb8, ImageFormat::Png)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn paint<B: DrawingBackend>(picture: &impl Picture, area: DrawingArea<B, Shift>) -> Result<()> {
    area.fill(&WHITE).map_err(failed)?;
    picture.draw(&area.margin(8, 0, 0, 0))?;
    area.present().map_err(failed)
}

/// An error of the drawing library.
fn failed(error: impl Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

/// Colour `i` of `n`: the palette's where it reaches, else a course from blue over green to red.
fn colour(i: usize, n: usize) -> RGBColor {
    if n <= PALETTE.len() {
        return PALETTE[i];
    }
    let hue = 0.66 * (1.0 - i as f64 / (n - 1) as f64);
    let (r, g, b) = HSLColor(hue, 0.85, 0.42).rgb();
    RGBColor(r, g, b)
}

/// How an entry of a legend is marked.
#[derive(Clone, Copy)]
enum Mark {
    Line(RGBColor),
    Dashes(RGBColor),
    Dot(RGBColor),
    Square(RGBColor),
}

/// Characters that fit a legend's line in a column of this many pixels.
const fn columns(width: u32) -> usize {
    // A mark and its distance from the text; the font's mean advance is below half of its size.
    ((width - 40) * 2 / TEXT) as usize
}

/// Draws a legend down the left side of `area`, from `top`, in a column of `width` pixels.
fn legend<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    top: i32,
    width: u32,
    entries: &[(Mark, String)],
) -> Result<()> {
    let mut y = top;
    for (mark, text) in entries {
        let line = |from: i32, to: i32, colour: RGBColor| {
            area.draw(&PathElement::new([(from, y), (to, y)], colour.stroke_width(2)))
                .map_err(failed)
        };
        match *mark {
            Mark::Line(colour) => line(6, 26, colour)?,
            Mark::Dashes(colour) => [6, 14, 22].iter().try_for_each(|&x| line(x, x + 5, colour))?,
            Mark::Dot(colour) => area.draw(&Circle::new((16, y), 5, colour.filled())).map_err(failed)?,
            Mark::Square(colour) => {
                area.draw(&Rectangle::new([(11, y - 5), (21, y + 5)], colour.filled()))
                    .map_err(failed)?;
            }
        }
        for line in wrap(text, columns(width)) {
            area.draw(&Text::new(line, (34, y - 6), (FONT, TEXT))).map_err(failed)?;
            y += LINE;
        }
    }
    Ok(())
}

/// Height that a picture with this legend beside its chart, `width` pixels wide, needs, and at least `least`.
fn height(entries: &[(Mark, String)], width: u32, least: u32) -> u32 {
    let lines = entries.iter().map(|(_, text)| wrap(text, columns(width)).len());
    let lines: usize = lines.sum();
    (lines as u32 * LINE as u32 + 100).max(least)
}

/// Draws `title` over the middle of `area`, in as many lines as it needs; returns the area below.
fn headed<B: DrawingBackend>(area: &DrawingArea<B, Shift>, title: &str) -> Result<DrawingArea<B, Shift>> {
    let (width, _) = area.dim_in_pixel();
    let middle = TextStyle::from((FONT, HEADING).into_font()).pos(Pos::new(HPos::Center, VPos::Top));
    let lines = wrap(title, width as usize / HEADING_ADVANCE);
    for (i, line) in lines.iter().enumerate() {
        let place = (width as i32 / 2, 2 + (HEADING as i32 + 4) * i as i32);
        area.draw_text(line, &middle, place).map_err(failed)?;
    }
    let (_, below) = area.split_vertically((HEADING + 4) * lines.len() as u32 + 6);
    Ok(below)
}

/// Breaks a text into lines of at most so many characters, between words where it can.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let last = lines.last_mut().expect("there is always a line");
            let used = last.chars().count();
            let room = if used == 0 {
                columns
            } else {
                columns.saturating_sub(used + 1)
            };
            if word.len() <= room {
                if used > 0 {
                    last.push(' ');
                }
                last.extend(word);
                break;
            }
            if used == 0 {
                last.extend(word.drain(..columns));
            }
            lines.push(String::new());
        }
    }
    lines
}

/// Writes the labels of an axis over this range with as many digits as tell them apart.
fn labels(range: &std::ops::Range<f64>) -> impl Fn(&f64) -> String + use<> {
    /// More labels than an axis has.
    const LABELS: f64 = 11.0;
    let step = (range.end - range.start) / LABELS;
    let digits = (-step.log10()).ceil().clamp(0.0, 9.0) as usize;
    move |value| {
        let text = format!("{value:.digits$}");
        match text.strip_prefix('-') {
            // Rounding left nothing of a negative value.
            Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.to_string(),
            _ => text,
        }
    }
}

/// A range that holds all of these values with some room, and is never empty.
fn range(values: impl IntoIterator<Item = f64>) -> std::ops::Range<f64> {
    let finite = values.into_iter().filter(|v| v.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let room = ((high - low) * 0.06).max(high.abs().max(1e-3) * 1e-3);
    low - room..high + room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_are_given() {
        let r = range([3.0, f64::NAN, 1.0]);
        assert!(r.start < 1.0 && r.end > 3.0 && r.end < 3.5);
        let single = range([5.0]);
        assert!(single.start < 5.0 && single.end > 5.0);
        assert_eq!(range([]), 0.0..1.0);
    }

    #[test]
    fn labels_of_an_axis_differ() {
        for range in [
            0.0..1.0,
            0.0..0.004,
            71.2..71.9,
            -0.2..0.3,
            90.0..99.0,
            0.0..12_000.0,
            5.0..5.0001,
        ] {
            let label = labels(&range);
            let step = (range.end - range.start) / 10.0;
            let all: std::collections::HashSet<String> =
                (0..=10).map(|i| label(&(range.start + step * f64::from(i)))).collect();
            assert_eq!(all.len(), 11, "{range:?}: {all:?}");
        }
        assert_eq!(labels(&(-1.0..1.0))(&-1e-9), "0.0");
    }

    #[test]
    fn lines_break_between_words_and_hold_every_character() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn colours_differ() {
        for n in [2, 7, 22] {
            let all: std::collections::HashSet<(u8, u8, u8)> = (0..n).map(|i| colour(i, n).rgb()).collect();
            assert_eq!(all.len(), n);
        }
    }
}
