//! The prices of a target's operations, fitted to measurements: every kernel family on a set of layers, in both languages.
//!
//! What a language's compiler makes of a family beyond the sum of its operations is a factor of its own for each class of layers,
//! the geometric mean over the family's kernels. Prices are the solution of a least-squares problem: the shares by which
//! predictions miss measurements, squared, are least, and no price is below 0. They are held close to those of before, which say
//! what instructions there are: left free they take whatever fits a dozen layers (an addition for nothing on a Cortex-M4), and
//! other layers are off by half. Prices and factors are found in turns. How well they predict is counted with one layer after the
//! other left out: its kernels are predicted from those of all others.

use crate::bench;
use crate::diag::{Code, Diag, Result};
use crate::plan::{self, FAMILIES, Optimize, cost};
use crate::progress::{Progress, Silent};
use crate::synth::{self, Form, HEAD, Spec, TAIL};
use crate::target::{self, Class, Cost, Lang, OptLevel, Run, Target};
use crate::{driver, import, passes};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// What is measured: small enough for 16 KiB of RAM, together of every geometry and depth, and two layers of every class at the least.
const LAYERS: [&str; 61] = [
    "64x6x6 48C3 w=binary x=binary",
    "32x7x7 40C3p0 w=binary x=binary",
    "96x5x5 32C3p0 w=binary x=binary",
    "64x6x6 48C3 w=ternary x=binary",
    "96x5x5 32C3p0 w=ternary x=binary",
    "24x8x8 20C3 w=binary x=binary",
    "12x8x8 40C3p0 w=binary x=binary",
    "20x8x8 24C3-MP2 w=binary x=binary",
    "24x8x8 20C3 w=ternary x=binary",
    "12x8x8 40C3p0 w=ternary x=binary",
    "20x8x8 24C3-MP2 w=ternary x=binary",
    "512 64FC w=binary x=binary",
    "288 48FC w=binary x=binary",
    "256 48FC w=ternary x=binary",
    "512 32FC w=ternary x=binary",
    "384 40FC w=ternary x=binary",
    "64x6x6 40C3 w=binary x=ternary",
    "32x7x7 48C3p0 w=binary x=ternary",
    "64x6x6 40C3 w=ternary x=ternary",
    "96x5x5 32C3p0 w=ternary x=ternary",
    "512 48FC w=binary x=ternary",
    "288 64FC w=binary x=ternary",
    "256 64FC w=ternary x=ternary",
    "384 40FC w=ternary x=ternary",
    "32x6x6 40C3 w=binary x=int8",
    "48x7x7 24C3p0 w=binary x=int8",
    "48x4x4 24C3-MP2 w=binary x=int8",
    "3x9x9 20C3p0 w=binary x=uint8",
    "32x6x6 40C3 w=ternary x=int8",
    "24x8x8 32C3 w=ternary x=int8",
    "24x7x7 20C3p0 w=ternary x=int8",
    "16x6x6 12C3-MP2 w=ternary x=int8",
    "3x8x8 16C3 w=ternary x=uint8",
    "320 40FC w=binary x=int8",
    "192 64FC w=binary x=int8",
    "320 40FC w=ternary x=int8",
    "256 64FC w=ternary x=int8",
    "160 72FC w=ternary x=int8",
    "1x12x12 12C3 w=binary x=uint8",
    "1x12x12 24C5p0-MP2 w=binary x=uint8",
    "1x16x16 16C5p0-MP2 w=binary x=uint8",
    "1x14x14 8C5p0-MP2 w=ternary x=uint8",
    "3x10x10 12C3-MP2 w=ternary x=uint8",
    "1x14x14 12C5p0 w=ternary x=uint8",
    "32x6x6 DW3 w=binary x=int8",
    "48x7x7 DW3p0 w=binary x=int8",
    "40x7x5 DW3 w=ternary x=int8",
    "24x9x9 DW3s2 w=ternary x=int8",
    "64x6x6 DW3 w=binary x=binary",
    "40x7x7 DW5p0 w=binary x=binary",
    "96x7x5 DW3 w=ternary x=binary",
    "33x9x9 DW3s2 w=ternary x=binary",
    "12x5x5 16C3 w=binary x=float",
    "8x6x6 12C3p0 w=binary x=float",
    "12x7x7 8C3p0 w=binary x=float",
    "8x6x6 12C3p0-MP2 w=ternary x=float",
    "12x6x6 12C3p0 w=ternary x=float",
    "96 20FC w=binary x=float",
    "64 24FC w=binary x=float",
    "96 20FC w=ternary x=float",
    "64 24FC w=ternary x=float",
];

/// Longer code is left out: compilers take minutes for it, and no small device has room.
const LONGEST: u64 = 64 * 1024;

/// What an estimate of code allows beyond what was measured: flash that a plan has not counted is a program that does not link. Dense
/// layers of 130 outputs, more than these, took 15 % more from GCC on a Cortex-M0.
const MARGIN: f64 = 1.15;

/// How strongly old prices pull: as so many kernels that are off by the share by which a price has moved.
const PULL: f64 = 20.0;

type Vector = [f64; Cost::NAMES.len()];

/// A family's kernels for layers of a class in a language, optimised so.
type Kind = (Lang, OptLevel, &'static str, Class);

/// What they take of the sum of their operations' prices.
type Shares = BTreeMap<Kind, f64>;

/// A kernel that was measured.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The line of the layer.
    pub layer: &'static str,
    /// The family.
    pub family: &'static str,
    /// The layer's class.
    pub class: Class,
    /// The language.
    pub lang: Lang,
    /// What its compiler optimised for.
    pub level: OptLevel,
    /// How often it does what has a price.
    pub counts: Vector,
    /// Executed instructions.
    pub measured: f64,
    /// Operations in its code.
    pub operations: u64,
    /// Bytes of its code.
    pub code: u64,
}

/// The prices of a target, and what they rest on.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Name of the target.
    pub target: String,
    /// In the order of [`Cost::NAMES`].
    pub prices: Vector,
    /// Shares of families and classes.
    pub shares: Shares,
    /// What each of the samples is predicted to take by a fit to the other layers alone.
    pub left_out: Vec<f64>,
    /// Bytes of code per operation of a straight line, if such were measured: the most that a kernel took, and 15 %.
    pub code: Option<f64>,
    /// What they rest on.
    pub samples: Vec<Sample>,
    /// The classes that were measured; all if empty.
    pub classes: Vec<Class>,
}

/// Measures and fits: all, or of some classes the factors alone, to prices as they are.
///
/// # Errors
/// A target whose instructions nothing counts; a missing tool, or a build or a run that fails.
pub fn calibrate(target: &str, classes: &[Class], progress: &dyn Progress) -> Result<Calibration> {
    let described = Target::load(target)?;
    if described.run == Run::Host {
        let found = format!("`{target}` runs on this machine, where nothing counts instructions");
        return Err(Diag::new(Code::RunFailed, found).into());
    }
    let samples = measure(target, classes, progress)?;
    let every: Vec<&Sample> = samples.iter().collect();
    if !classes.is_empty() {
        let prices = described.cost.list();
        let mut shares = known(&described.cost);
        shares.extend(
            geometric_means(&every, &prices)
                .into_iter()
                .map(|(kind, share)| (kind, hundredths(share))),
        );
        return Ok(Calibration {
            target: target.to_owned(),
            left_out: vec![],
            prices,
            shares,
            code: Some(described.cost.code),
            samples,
            classes: classes.to_vec(),
        });
    }
    let (prices, shares) = fit(&every, &described.cost.list(), PULL);
    // Where there is no FPU, an operation of floats is a call.
    let of_integers = samples.iter().filter(|s| !s.class.shape.is_of_floats());
    let straight = of_integers.filter_map(|s| cost::straight(s.operations, s.code));
    let code = straight.max_by(f64::total_cmp).map(|most| hundredths(MARGIN * most));
    progress.begin("leave every layer out once", 1);
    Ok(Calibration {
        target: target.to_owned(),
        left_out: leave_one_out(&samples, &described.cost.list()),
        prices,
        shares,
        code,
        samples,
        classes: vec![],
    })
}

/// The factors that a target's file has.
fn known(cost: &Cost) -> Shares {
    let mut all = Shares::new();
    for (lang, level) in compilers() {
        for (family, classes) in &cost.shares(lang, level).0 {
            // A family that is no more has none.
            let Some(family) = FAMILIES.iter().find(|f| f.name == family) else {
                continue;
            };
            all.extend(
                classes
                    .iter()
                    .map(|(class, share)| ((lang, level, family.name, *class), *share)),
            );
        }
    }
    all
}

/// What each sample is predicted to take by a fit to the layers that are not its own. (The prices of before, which pull, may have seen its
/// layer. From one calibration to the next they move by a few hundredths.)
fn leave_one_out(samples: &[Sample], old: &Vector) -> Vec<f64> {
    let layers: BTreeSet<&str> = samples.iter().map(|s| s.layer).collect();
    let fits: BTreeMap<&str, (Vector, Tables)> = layers
        .into_par_iter()
        .map(|layer| {
            let others: Vec<&Sample> = samples.iter().filter(|s| s.layer != layer).collect();
            let (prices, shares) = fit(&others, old, PULL);
            (layer, (prices, tables(&shares)))
        })
        .collect();
    let predict = |s: &Sample| {
        let (prices, tables) = &fits[s.layer];
        predicted(s, prices, tables)
    };
    samples.iter().map(predict).collect()
}

/// A layer alone.
fn model(layer: &str) -> Result<import::Model> {
    let spec: Spec = layer.parse().map_err(|e| Diag::new(Code::Internal, e))?;
    import::from_bytes(&synth::onnx(&spec, Form::Layers), Path::new("layer.onnx"))
}

/// Its class.
fn class(layer: &str) -> Result<Class> {
    let g = passes::run(model(layer)?.graph, &mut |_, _| ())?;
    let mut own = g.order().into_iter().filter(|id| !is_added(&g.node(*id).name));
    let class = own.find_map(|id| plan::class(&g, id));
    Ok(class.ok_or_else(|| Diag::new(Code::Internal, format!("{layer}: no linear layer")))?)
}

/// Every kernel of the layers of some classes, or of all, in both languages.
fn measure(target: &str, classes: &[Class], progress: &dyn Progress) -> Result<Vec<Sample>> {
    let mut samples = vec![];
    for layer in LAYERS {
        if !classes.is_empty() && !classes.contains(&class(layer)?) {
            continue;
        }
        let model = model(layer)?;
        for family in FAMILIES {
            progress.begin(&format!("measure {} of {layer}", family.name), 1);
            for (lang, optimize) in Lang::ALL
                .into_iter()
                .flat_map(|l| [(l, Optimize::Speed), (l, Optimize::Size)])
            {
                let options = plan::Options {
                    lang,
                    optimize,
                    prefer: Some(family.name),
                    whole: true,
                    flash: Some(u64::MAX),
                    ram: Some(u64::MAX),
                };
                let c = driver::compile(model.clone(), target, &options, &Silent, &mut |_, _, _| ())?;
                let of_family =
                    |l: &plan::Layer| l.family == family.name && l.cost.code <= LONGEST && !is_added(&l.name);
                for (i, step) in c.plan.steps.iter().enumerate().filter(|(_, s)| of_family(s.last())) {
                    let Some(class) = plan::class(&c.graph, step.last().node) else {
                        continue;
                    };
                    let figures = bench::measure_layer(&c, i)?.figures;
                    samples.push(Sample {
                        layer,
                        family: family.name,
                        class,
                        lang,
                        level: optimize.level(),
                        counts: cost::counts(&step.kernels[0], c.target.isa.words),
                        measured: figures.instructions.unwrap_or(0) as f64,
                        operations: cost::operations(&step.kernels[0], c.target.isa.words),
                        code: figures.code,
                    });
                }
            }
        }
    }
    Ok(samples)
}

/// Whether a layer is there to make the operand or the result of the one that is asked for.
fn is_added(name: &str) -> bool {
    name == TAIL || name.starts_with(HEAD)
}

fn dot(a: &Vector, b: &Vector) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Turns of prices and factors: after so many neither moves by a hundredth.
const TURNS: usize = 20;

/// Prices, and the shares of families and classes.
fn fit(samples: &[&Sample], old: &Vector, pull: f64) -> (Vector, Shares) {
    let mut shares: Shares = samples.iter().map(|s| (s.kind(), 1.0)).collect();
    for _ in 0..TURNS {
        let prices = fit_prices(samples, &shares, old, pull);
        shares = geometric_means(samples, &prices);
    }
    let prices = fit_prices(samples, &shares, old, pull);
    shares.values_mut().for_each(|share| *share = hundredths(*share));
    (prices.map(hundredths), shares)
}

/// Per kind, the geometric mean of what its kernels take of the sum of their operations' prices.
fn geometric_means(samples: &[&Sample], prices: &Vector) -> Shares {
    let mut logs: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
    for s in samples {
        let log = (s.measured / dot(&s.counts, prices)).ln();
        logs.entry(s.kind()).or_default().push(log);
    }
    let mean = |logs: &[f64]| (logs.iter().sum::<f64>() / logs.len() as f64).exp();
    logs.into_iter().map(|(kind, logs)| (kind, mean(&logs))).collect()
}

fn hundredths(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

/// Least squares with prices of at least 0, by one coordinate after the other until nothing moves.
fn fit_prices(samples: &[&Sample], shares: &Shares, old: &Vector, pull: f64) -> Vector {
    let n = old.len();
    let mut squares = vec![vec![0.0; n]; n];
    let mut right = vec![0.0; n];
    for sample in samples {
        let factor = shares[&sample.kind()] / sample.measured;
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

impl Sample {
    fn kind(&self) -> Kind {
        (self.lang, self.level, self.family, self.class)
    }
}

/// Every language's compiler at both levels.
fn compilers() -> impl Iterator<Item = (Lang, OptLevel)> {
    let of = |level| Lang::ALL.into_iter().map(move |lang| (lang, level));
    OptLevel::ALL.into_iter().flat_map(of)
}

/// How well kernels are predicted; shares of 1.
struct Quality {
    /// Mean and greatest miss.
    mean: f64,
    greatest: f64,
    /// How many are missed by at most 15 %.
    near: f64,
    /// Greatest miss of the best kernels of the layers.
    of_best: f64,
    /// What the cheapest kernels by prediction cost beyond the best, over all layers and languages.
    regret: f64,
}

/// What each language's compiler takes at each level, as the target's file has it: which also says what to take for kinds that were not
/// measured.
type Tables = BTreeMap<(Lang, OptLevel), target::Shares>;

fn tables(shares: &Shares) -> Tables {
    let mut all: Tables = compilers().map(|of| (of, target::Shares::default())).collect();
    for (&(lang, level, family, class), share) in shares {
        let of = all.entry((lang, level)).or_default();
        of.0.entry(family.to_owned()).or_default().insert(class, *share);
    }
    all
}

fn predicted(s: &Sample, prices: &Vector, tables: &Tables) -> f64 {
    dot(&s.counts, prices) * tables[&(s.lang, s.level)].of(s.family, s.class)
}

/// A sample and what it is predicted to take.
type Prediction<'a> = (&'a Sample, f64);

impl Quality {
    fn of(all: &[Prediction]) -> Quality {
        let miss = |(s, predicted): &Prediction| (predicted / s.measured - 1.0).abs();
        let kernels = all.len();
        let share = |n: f64| n / kernels.max(1) as f64;
        let mut quality = Quality {
            mean: share(all.iter().map(miss).sum()),
            greatest: all.iter().map(miss).fold(0.0, f64::max),
            near: share(all.iter().filter(|p| miss(p) <= NEAR).count() as f64),
            of_best: 0.0,
            regret: 0.0,
        };
        let rival = |s: &Sample| (s.layer, s.lang, s.level);
        let rivals: BTreeSet<_> = all.iter().map(|(s, _)| rival(s)).collect();
        let (mut chosen, mut best) = (0.0, 0.0);
        for rivals in rivals.iter().map(|r| all.iter().filter(|(s, _)| rival(s) == *r)) {
            let pick = rivals.clone().min_by(|(_, a), (_, b)| a.total_cmp(b));
            let fastest = rivals.min_by(|(a, _), (b, _)| a.measured.total_cmp(&b.measured));
            let (pick, fastest) = pick.zip(fastest).expect("a layer that was measured");
            chosen += pick.0.measured;
            best += fastest.0.measured;
            quality.of_best = quality.of_best.max(miss(fastest));
        }
        if best > 0.0 {
            quality.regret = chosen / best - 1.0;
        }
        quality
    }
}

/// How far from a measurement a prediction may be, as a share of it.
const NEAR: f64 = 0.15;

/// How much less or more than fitted a price may be where it is asked what no prices do.
const FREE: f64 = 3.0;

/// The greatest that `a` takes as a multiple of what `b` does, whatever the prices are between `1 / FREE` and `FREE` times `prices`.
///
/// A fraction of two sums over a box is greatest in a corner: each price is greatest where it adds more above than the fraction itself,
/// else least (W. Dinkelbach, "On Nonlinear Fractional Programming", Management Science 13(7), 1967).
fn greatest_fraction(a: &Vector, b: &Vector, prices: &Vector) -> f64 {
    let mut fraction = dot(a, prices) / dot(b, prices);
    loop {
        let corner: Vector = std::array::from_fn(|i| match a[i] > fraction * b[i] {
            true => prices[i] * FREE,
            false => prices[i] / FREE,
        });
        let next = dot(a, &corner) / dot(b, &corner);
        if next <= fraction * (1.0 + 1e-9) {
            return fraction;
        }
        fraction = next;
    }
}

/// How many kernels no prices and factors predict within [`NEAR`], at the least: of two of a kind, which have a factor in common, one
/// misses if measurements are further apart than counts of operations.
fn beyond(samples: &[Sample], prices: &Vector) -> usize {
    let apart = |a: &Sample, b: &Sample| {
        (1.0 - NEAR) * a.measured > (1.0 + NEAR) * b.measured * greatest_fraction(&a.counts, &b.counts, prices)
    };
    let mut paired = vec![false; samples.len()];
    let mut pairs = 0;
    for (i, a) in samples.iter().enumerate() {
        let other = |&j: &usize| {
            let b = &samples[j];
            !paired[j] && a.kind() == b.kind() && (apart(a, b) || apart(b, a))
        };
        if paired[i] {
            continue;
        }
        if let Some(j) = (i + 1..samples.len()).find(other) {
            paired[j] = true;
            pairs += 1;
        }
    }
    pairs
}

impl Calibration {
    /// Every sample with what the fit says of it.
    fn fitted(&self) -> Vec<Prediction<'_>> {
        let tables = tables(&self.shares);
        let of = |s| (s, predicted(s, &self.prices, &tables));
        self.samples.iter().map(of).collect()
    }

    /// Every sample with what a fit to the other layers says of it.
    fn left_out(&self) -> Vec<Prediction<'_>> {
        self.samples.iter().zip(self.left_out.iter().copied()).collect()
    }

    /// Every sample with its predictions.
    pub fn report(&self) -> String {
        let mut text = String::new();
        let off = |s: &Sample, predicted: f64| 100.0 * (predicted / s.measured - 1.0);
        for (i, (s, fitted)) in self.fitted().into_iter().enumerate() {
            let left_out = self.left_out.get(i).map(|&left_out| {
                let off = off(s, left_out);
                format!(", layer left out {left_out:>9.0} {off:>+4.0} %")
            });
            let _ = writeln!(
                text,
                "{:<38} {:<15} {:<4} {:<4} {:>9} measured {fitted:>9.0} fitted {:>+4.0} %{}, {} bytes of {} operations",
                s.layer,
                s.family,
                s.lang.to_string(),
                s.level.cc(),
                s.measured,
                off(s, fitted),
                left_out.unwrap_or_default(),
                s.code,
                s.operations
            );
        }
        text
    }

    /// The `[cost]` table with its provenance; of some classes' factors beside that of the others.
    pub fn table(&self) -> String {
        self.provenance() + &self.prices()
    }

    fn provenance(&self) -> String {
        if !self.classes.is_empty() {
            let layers: BTreeSet<&str> = self.samples.iter().map(|s| s.layer).collect();
            let q = Quality::of(&self.fitted());
            return format!(
                "# {}\n# on {}: {} kernels of {} layers at the prices below, {:.0} % within 15 %; regret {:.1} %.\n",
                self.command(),
                today(),
                self.samples.len(),
                layers.len(),
                100.0 * q.near,
                100.0 * q.regret
            );
        }
        let mut text = format!(
            "# {} on {}, kernels in Rust and C under QEMU.\n",
            self.command(),
            today()
        );
        let _ = writeln!(text, "# {} kernels of {} layers.", self.samples.len(), LAYERS.len());
        for (how, predictions) in [
            ("Fitted to all", self.fitted()),
            ("Each layer predicted from the others", self.left_out()),
        ] {
            let q = Quality::of(&predictions);
            let [near, mean, greatest, of_best] = [q.near, q.mean, q.greatest, q.of_best].map(|x| 100.0 * x);
            let _ = writeln!(
                text,
                "# {how}: {near:.0} % are within 15 %; misses are {mean:.0} % on average, {greatest:.0} % at most, {of_best:.0} %\n\
                 # of the best kernels at most; the regret of the choice is {:.1} %.",
                100.0 * q.regret
            );
        }
        let _ = writeln!(
            text,
            "# Whatever the prices (a third to three times these) and factors are, {} kernels or more are not within 15 %.",
            beyond(&self.samples, &self.prices)
        );
        text
    }

    fn command(&self) -> String {
        let classes = self.classes.iter().map(|class| format!(" --class {class}"));
        format!(
            "`sqc calibrate --target {}{}`",
            self.target,
            classes.collect::<String>()
        )
    }

    fn prices(&self) -> String {
        let mut text = String::from("[cost]\n");
        for (name, price) in Cost::NAMES.iter().zip(self.prices) {
            let _ = writeln!(text, "{name} = {price}");
        }
        if let Some(bytes) = self.code {
            let _ = writeln!(text, "code = {bytes}");
        }
        let tables = tables(&self.shares);
        for (lang, level) in compilers() {
            let of = if level == OptLevel::Size { "size." } else { "" };
            let _ = writeln!(text, "\n[cost.{of}{}]", lang.to_string().to_lowercase());
            for (family, classes) in &tables[&(lang, level)].0 {
                let classes: Vec<String> = classes
                    .iter()
                    .map(|(class, share)| format!("{class} = {share}"))
                    .collect();
                let _ = writeln!(text, "{family} = {{ {} }}", classes.join(", "));
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
        let above = &kept[..(kept.len() + 1).saturating_sub(start).min(kept.len())];
        // What prices and other factors rest on stays.
        let comment = match self.classes.is_empty() {
            true => String::new(),
            false => {
                let mut lines = kept[above.len()..].trim_start_matches('\n').lines().peekable();
                let mut stays = String::new();
                while let Some(line) = lines.next() {
                    match line.contains(&self.command()) {
                        true => drop(lines.next()),
                        false => stays = stays + line + "\n",
                    }
                }
                stays
            }
        };
        format!("{}\n\n{comment}{}", above.trim_end_matches('\n'), self.table())
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

    fn class(name: &str) -> Class {
        name.to_owned().try_into().expect("a class")
    }

    fn sample(counts: Vector, prices: &Vector) -> Sample {
        Sample {
            layer: LAYERS[0],
            family: "scalar",
            class: class("binary-dense"),
            lang: Lang::C,
            level: OptLevel::Speed,
            counts,
            measured: dot(&counts, prices),
            operations: 0,
            code: 0,
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
        let (prices, shares) = fit(&samples.iter().collect::<Vec<_>>(), &[1.0; Cost::NAMES.len()], 1e-6);
        let c = Calibration {
            target: "cortex-m0".into(),
            prices,
            shares,
            left_out: vec![],
            code: None,
            samples,
            classes: vec![],
        };
        assert!(Quality::of(&c.fitted()).greatest < 0.05, "{:?}", c.prices);
    }

    #[test]
    fn every_class_has_two_layers() {
        let mut layers: BTreeMap<Class, usize> = BTreeMap::new();
        for line in LAYERS {
            let class = super::class(line).unwrap_or_else(|e| panic!("{line}: {e:#?}"));
            *layers.entry(class).or_default() += 1;
        }
        assert!(layers.values().all(|n| *n >= 2), "{layers:?}");
        assert_eq!(layers.len(), 22, "two depths of eleven shapes: {layers:?}");
    }

    #[test]
    fn what_no_prices_explain_is_counted() {
        let prices: Vector = [1.0; Cost::NAMES.len()];
        let counts: Vector = std::array::from_fn(|i| (i + 1) as f64);
        let slower = |by: f64, counts| Sample {
            measured: by * dot(&counts, &prices),
            ..sample(counts, &prices)
        };
        let a = slower(1.0, counts);
        // Of twice the operations one takes 2.6 times as long, which predictions 15 % above and below it allow, another 2.8 times.
        let twice = counts.map(|n| 2.0 * n);
        assert_eq!(beyond(&[a.clone(), slower(1.3, twice)], &prices), 0);
        assert_eq!(beyond(&[a.clone(), slower(1.4, twice)], &prices), 1);
        assert_eq!(beyond(&[slower(1.4, twice), a.clone(), a.clone()], &prices), 1);
        // A price of one operation that it has more of would explain the same.
        let mut other = twice;
        other[0] += 20.0;
        assert_eq!(beyond(&[a.clone(), slower(1.4, other)], &prices), 0);
        // So would another factor.
        let of_another = Sample {
            lang: Lang::Rust,
            ..slower(1.4, twice)
        };
        assert_eq!(beyond(&[a, of_another], &prices), 0);
    }

    #[test]
    fn a_layer_is_left_out_of_its_own_prediction() {
        let prices: Vector = [1.0; Cost::NAMES.len()];
        let mut samples: Vec<_> = (0..6).map(|i| sample([10.0 + i as f64; 12], &prices)).collect();
        for (i, s) in samples.iter_mut().enumerate() {
            s.layer = LAYERS[i];
        }
        // The last takes twice what the others say.
        samples[5].measured *= 2.0;
        let left_out = leave_one_out(&samples, &prices);
        let off = left_out[5] / samples[5].measured;
        assert!((0.49..0.51).contains(&off), "{off}");
        assert!(left_out[0] > 1.05 * samples[0].measured, "{left_out:?}");
    }

    #[test]
    fn only_the_table_of_a_file_changes() {
        let c = Calibration {
            target: "cortex-m0".into(),
            prices: [1.5; Cost::NAMES.len()],
            shares: BTreeMap::from([
                ((Lang::Rust, OptLevel::Speed, "scalar", class("binary-conv")), 0.5),
                ((Lang::Rust, OptLevel::Speed, "scalar", class("ternary-dense")), 1.5),
                (
                    (Lang::C, OptLevel::Speed, "scalar", class("ternary-dense-of-signs")),
                    0.75,
                ),
                ((Lang::C, OptLevel::Size, "scalar", class("binary-conv")), 1.25),
            ]),
            left_out: vec![],
            code: Some(2.25),
            samples: vec![],
            classes: vec![],
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
                && new.ends_with(
                    "\ncode = 2.25\n\n[cost.rust]\nscalar = { binary-conv = 0.5, ternary-dense = 1.5 }\n\n[cost.c]\nscalar = { ternary-dense-of-signs = 0.75 }\n\n[cost.size.rust]\n\n[cost.size.c]\nscalar = { binary-conv = 1.25 }\n"
                ),
            "{new}"
        );
        assert_eq!(c.replace(&new), new);
        // Of some classes the comment is added to that of the others, and takes the place of its own.
        let some = Calibration {
            classes: vec![class("binary-conv")],
            ..c
        };
        let added = some.replace(&new);
        let comment = |text: &str| text.lines().filter(|l| l.starts_with('#')).count();
        assert!(
            added.contains("--class binary-conv`\n# on ") && comment(&added) == comment(&new) + 2,
            "{added}"
        );
        assert_eq!(some.replace(&added), added);
    }
}
