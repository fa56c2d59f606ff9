//! The prices of a target's operations, fitted to measurements: every kernel family on a set of layers, in both languages.
//!
//! What a language's compiler makes of a family beyond the sum of its operations is a factor of its own, the geometric mean over the family's
//! kernels. Prices are the solution of a least-squares problem: the shares by which predictions miss measurements, squared, are
//! least, and no price is below 0. They are held close to those of before, which say what instructions there are: left free they
//! take whatever fits a dozen layers (an addition for nothing on a Cortex-M4), and other layers are off by half. Prices and
//! factors are found in turns.

use crate::bench;
use crate::diag::{Code, Diag, Result};
use crate::plan::{self, FAMILIES, cost};
use crate::progress::{Progress, Silent};
use crate::synth::{self, Form, HEAD, Spec, TAIL};
use crate::target::{Cost, Lang, Run, Target};
use crate::{driver, import};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// What is measured: small enough for 16 KiB of RAM, together of every geometry and depth.
const LAYERS: [&str; 9] = [
    "64x6x6 48C3 w=binary x=binary",
    "64x6x6 48C3 w=ternary x=binary",
    "512 64FC w=binary x=binary",
    "32x6x6 40C3 w=binary x=int8",
    "32x6x6 40C3 w=ternary x=int8",
    "320 96FC w=binary x=int8",
    "320 96FC w=ternary x=int8",
    "1x14x14 8C5p0-MP2 w=ternary x=uint8",
    "16x6x6 12C3-MP2 w=ternary x=int8",
];

/// Longer code is left out: compilers take minutes for it, and no small device has room.
const LONGEST: u64 = 64 * 1024;

/// How strongly old prices pull: as so many kernels that are off by the share by which a price has moved.
const PULL: f64 = 20.0;

type Vector = [f64; Cost::NAMES.len()];

/// By language, what a family takes of the sum of its operations' prices.
type Families = BTreeMap<(Lang, &'static str), f64>;

/// A kernel that was measured.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The line of the layer.
    pub layer: &'static str,
    /// The family.
    pub family: &'static str,
    /// The language.
    pub lang: Lang,
    /// How often it does what has a price.
    pub counts: Vector,
    /// Executed instructions.
    pub measured: f64,
}

/// The prices of a target, and what they rest on.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Name of the target.
    pub target: String,
    /// In the order of [`Cost::NAMES`].
    pub prices: Vector,
    /// Factors of the families.
    pub families: Families,
    /// What was measured.
    pub samples: Vec<Sample>,
}

/// Measures and fits.
///
/// # Errors
/// A target whose instructions nothing counts; a missing tool, or a build or a run that fails.
pub fn calibrate(target: &str, progress: &dyn Progress) -> Result<Calibration> {
    let described = Target::load(target)?;
    if described.run == Run::Host {
        let found = format!("`{target}` runs on this machine, where nothing counts instructions");
        return Err(Diag::new(Code::RunFailed, found).into());
    }
    let mut samples = vec![];
    for layer in LAYERS {
        let spec: Spec = layer.parse().map_err(|e| Diag::new(Code::Internal, e))?;
        let model = import::from_bytes(&synth::onnx(&spec, Form::Layers), Path::new("layer.onnx"))?;
        for family in FAMILIES {
            progress.begin(&format!("measure {} of {layer}", family.name), 1);
            for lang in Lang::ALL {
                let options = plan::Options {
                    lang,
                    prefer: Some(family.name),
                    whole: true,
                    flash: Some(u64::MAX),
                    ram: Some(u64::MAX),
                    ..plan::Options::default()
                };
                let c = driver::compile(model.clone(), target, &options, &Silent, &mut |_, _, _| ())?;
                let added = |name: &str| name == TAIL || name.starts_with(HEAD);
                let of_family = |l: &plan::Layer| l.family == family.name && l.cost.code <= LONGEST && !added(&l.name);
                for (i, step) in c.plan.steps.iter().enumerate().filter(|(_, s)| of_family(s.last())) {
                    let figures = bench::measure_layer(&c, i)?.figures;
                    samples.push(Sample {
                        layer,
                        family: family.name,
                        lang,
                        counts: cost::counts(&step.kernels[0]),
                        measured: figures.instructions.unwrap_or(0) as f64,
                    });
                }
            }
        }
    }
    let (prices, families) = fit(&samples, &described.cost.list(), PULL);
    Ok(Calibration {
        target: target.to_owned(),
        prices,
        families,
        samples,
    })
}

fn dot(a: &Vector, b: &Vector) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Turns of prices and factors: after so many neither moves by a hundredth.
const TURNS: usize = 20;

/// Prices, and the factors of families.
fn fit(samples: &[Sample], old: &Vector, pull: f64) -> (Vector, Families) {
    let mut families: Families = samples.iter().map(|s| ((s.lang, s.family), 1.0)).collect();
    for _ in 0..TURNS {
        let prices = fit_prices(samples, &families, old, pull);
        for (family, factor) in &mut families {
            let own = samples.iter().filter(|s| (s.lang, s.family) == *family);
            let logs: Vec<f64> = own.map(|s| (s.measured / dot(&s.counts, &prices)).ln()).collect();
            *factor = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
        }
    }
    let prices = fit_prices(samples, &families, old, pull);
    families.values_mut().for_each(|factor| *factor = hundredths(*factor));
    (prices.map(hundredths), families)
}

fn hundredths(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

/// Least squares with prices of at least 0, by one coordinate after the other until nothing moves.
fn fit_prices(samples: &[Sample], families: &Families, old: &Vector, pull: f64) -> Vector {
    let n = old.len();
    let mut squares = vec![vec![0.0; n]; n];
    let mut right = vec![0.0; n];
    for sample in samples {
        let factor = families[&(sample.lang, sample.family)] / sample.measured;
        let share = sample.counts.map(|count| count * factor);
        for i in 0..n {
            right[i] += share[i];
            for j in 0..n {
                squares[i][j] += share[i] * share[j];
            }
        }
    }
    for i in 0..n {
        let pull = pull / old[i].powi(2).max(0.01);
        squares[i][i] += pull;
        right[i] += pull * old[i];
    }
    let mut prices = *old;
    for _ in 0..100_000 {
        let mut moved: f64 = 0.0;
        for i in 0..n {
            let rest: f64 = (0..n).filter(|&j| j != i).map(|j| squares[i][j] * prices[j]).sum();
            let next = ((right[i] - rest) / squares[i][i]).max(0.0);
            moved = moved.max((next - prices[i]).abs());
            prices[i] = next;
        }
        if moved < 1e-7 {
            break;
        }
    }
    prices
}

impl Calibration {
    fn predicted(&self, s: &Sample) -> f64 {
        dot(&s.counts, &self.prices) * self.families[&(s.lang, s.family)]
    }

    /// By how much a prediction misses, as a share.
    fn miss(&self, s: &Sample) -> f64 {
        self.predicted(s) / s.measured - 1.0
    }

    /// The share of samples that are missed by at most 15 %.
    fn near(&self) -> f64 {
        let near = self.samples.iter().filter(|s| self.miss(s).abs() <= 0.15).count();
        near as f64 / self.samples.len().max(1) as f64
    }

    /// Mean and greatest miss.
    fn misses(&self) -> (f64, f64) {
        let all = self.samples.iter().map(|s| self.miss(s).abs());
        let sum: f64 = all.clone().sum();
        (sum / self.samples.len().max(1) as f64, all.fold(0.0, f64::max))
    }

    /// The greatest miss of the best kernels of the layers.
    fn miss_of_best(&self) -> f64 {
        let of =
            |layer: &'static str, lang: Lang| self.samples.iter().filter(move |s| s.layer == layer && s.lang == lang);
        let best = LAYERS.iter().flat_map(|l| Lang::ALL.map(|lang| (l, lang)));
        let best = best.filter_map(|(l, lang)| of(l, lang).min_by(|a, b| a.measured.total_cmp(&b.measured)));
        best.map(|s| self.miss(s).abs()).fold(0.0, f64::max)
    }

    /// What the cheapest kernels by prediction cost beyond the best, as a share of these, over all layers and languages.
    fn regret(&self) -> f64 {
        let (mut chosen, mut best) = (0.0, 0.0);
        for (layer, lang) in LAYERS.iter().flat_map(|l| Lang::ALL.map(|lang| (l, lang))) {
            let of = || self.samples.iter().filter(|s| s.layer == *layer && s.lang == lang);
            let pick = of().min_by(|a, b| self.predicted(a).total_cmp(&self.predicted(b)));
            let least = of().map(|s| s.measured).reduce(f64::min);
            chosen += pick.map_or(0.0, |s| s.measured);
            best += least.unwrap_or(0.0);
        }
        if best > 0.0 { chosen / best - 1.0 } else { 0.0 }
    }

    /// Every sample with its prediction.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for s in &self.samples {
            let (predicted, miss) = (self.predicted(s), 100.0 * self.miss(s));
            let _ = writeln!(
                text,
                "{:<38} {:<15} {:<4} {:>9} measured {predicted:>9.0} predicted {miss:>+4.0} %",
                s.layer,
                s.family,
                s.lang.to_string(),
                s.measured
            );
        }
        text
    }

    /// The `[cost]` table with its provenance.
    pub fn table(&self) -> String {
        let (mean, greatest) = self.misses();
        let mut text = format!(
            "# `sqc calibrate --target {}` on {}, {} kernels in Rust and C under QEMU: predictions miss by {:.0} % on average and\n\
             # {:.0} % at most, {:.0} % of them by at most 15 %, those of the best kernels by {:.0} % at most; the regret of the choice is {:.1} %.\n\
             [cost]\n",
            self.target,
            today(),
            self.samples.len(),
            100.0 * mean,
            100.0 * greatest,
            100.0 * self.near(),
            100.0 * self.miss_of_best(),
            100.0 * self.regret(),
        );
        for (name, price) in Cost::NAMES.iter().zip(self.prices) {
            let _ = writeln!(text, "{name} = {price}");
        }
        for lang in Lang::ALL {
            let _ = writeln!(text, "\n[cost.{}]", lang.to_string().to_lowercase());
            for ((_, name), factor) in self.families.iter().filter(|((of, _), _)| *of == lang) {
                let _ = writeln!(text, "{name} = {factor}");
            }
        }
        text
    }

    /// A target's file with this table for its own, which is the last in it.
    pub fn replace(&self, file: &str) -> String {
        let table = file.find("[cost]").unwrap_or(file.len());
        // The comment right above belongs to the table.
        let kept = file[..table].trim_end_matches('\n');
        let start = kept
            .lines()
            .rev()
            .take_while(|line| line.starts_with('#'))
            .map(|line| line.len() + 1)
            .sum::<usize>();
        let above = kept[..(kept.len() + 1).saturating_sub(start).min(kept.len())].trim_end_matches('\n');
        format!("{above}\n\n{}", self.table())
    }
}

/// The date, by the calendar of the proleptic Gregorian era (days since 1970-01-01 to year, month, day; Richards, 2013).
fn today() -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs() as i64);
    let julian = seconds / 86_400 + 2_440_588;
    let f = julian + 1401 + ((4 * julian + 274_277) / 146_097 * 3) / 4 - 38;
    let e = 4 * f + 3;
    let h = 5 * ((e % 1461) / 4) + 2;
    let (day, month) = ((h % 153) / 5 + 1, (h / 153 + 2) % 12 + 1);
    let year = e / 1461 - 4716 + (14 - month) / 12;
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(counts: Vector, prices: &Vector) -> Sample {
        Sample {
            layer: LAYERS[0],
            family: "scalar",
            lang: Lang::C,
            counts,
            measured: dot(&counts, prices),
        }
    }

    #[test]
    fn prices_that_made_the_measurements_are_found() {
        let prices: Vector = std::array::from_fn(|i| (i % 4) as f64);
        let samples: Vec<_> = (0..40)
            .map(|s| {
                sample(
                    std::array::from_fn(|i| 100.0 + (s * 37 + i * i * 53) as f64 % 91.0 * 50.0),
                    &prices,
                )
            })
            .collect();
        let (prices, families) = fit(&samples, &[1.0; Cost::NAMES.len()], 1e-6);
        let c = Calibration {
            target: "cortex-m0".into(),
            prices,
            families,
            samples,
        };
        assert!(c.misses().1 < 0.05, "{:?}", c.prices);
    }

    #[test]
    fn only_the_table_of_a_file_changes() {
        let c = Calibration {
            target: "cortex-m0".into(),
            prices: [1.5; Cost::NAMES.len()],
            families: BTreeMap::from([((Lang::Rust, "scalar"), 0.5), ((Lang::C, "scalar"), 0.75)]),
            samples: vec![],
        };
        let file = "doc = \"x\"\n\n# About the run.\n[run]\nkind = \"host\"\n\n# Old.\n# Older.\n[cost]\nalu = 1\n";
        let new = c.replace(file);
        assert!(
            new.starts_with("doc = \"x\"\n\n# About the run.\n[run]\nkind = \"host\"\n\n# `sqc calibrate"),
            "{new}"
        );
        assert!(
            !new.contains("Old")
                && new.contains("[cost]\nalu = 1.5\nshift = 1.5\n")
                && new.ends_with("\n\n[cost.rust]\nscalar = 0.5\n\n[cost.c]\nscalar = 0.75\n"),
            "{new}"
        );
        assert_eq!(c.replace(&new), new);
    }
}
