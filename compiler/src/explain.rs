//! `sqc explain`: for every layer the kernels that could compute it, what each would cost, and why one was chosen; on demand also
//! what each does cost, measured.

use crate::bench;
use crate::diag::{Code, Result};
use crate::driver::{self, Compiled};
use crate::inspect;
use crate::plan::cost::Cost;
use crate::plan::{self, BALANCED_EXTRA, Candidate, Excess, FAMILIES, Optimize, Outcome, Step};
use crate::progress::{Progress, Silent};
use crate::table::{Align, Table, grouped};
use serde::Serialize;
use std::fmt;

/// The choice for a whole model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Name of the model.
    pub model: String,
    /// Name of the target.
    pub target: String,
    /// What was preferred: `speed`, `size` or `balanced`.
    pub optimize: &'static str,
    /// Every layer, in order.
    pub layers: Vec<Layer>,
    /// Predicted instructions of an inference.
    pub instructions: f64,
    /// Bytes of tables and, estimated, of code.
    pub flash: u64,
    /// How the arena was arranged, and how well.
    pub memory: String,
    /// What the choices cost beside the best kernel of every layer that fits, as a share; absent unless measured, and where flash
    /// decides.
    pub regret: Option<f64>,
    /// How many layers were not measured because they are computed row by row: alone, their kernels would compute whole maps.
    pub by_rows: usize,
}

/// The choice for a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// Its name in the model.
    pub name: String,
    /// What it computes, from what to what.
    pub what: String,
    /// What its weights are; absent without weights.
    pub weights: Option<String>,
    /// Dense multiply-adds.
    pub macs: u64,
    /// Every kernel, the chosen one first, then by rank; those that refuse last.
    pub kernels: Vec<Kernel>,
}

/// A kernel that was considered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kernel {
    /// Name of the family.
    pub name: &'static str,
    /// What it does, in a line.
    pub doc: &'static str,
    /// Whether it is the one.
    pub chosen: bool,
    /// Whether it keeps to the limits of flash and RAM, where it builds.
    pub fits: bool,
    /// What it would cost; absent where it refuses.
    #[serde(flatten)]
    pub cost: Option<Predicted>,
    /// What it does cost, if measured; absent where it does not fit the board that runs it.
    pub measured: Option<Measured>,
    /// Why it was chosen, or was not.
    pub why: String,
}

/// A prediction for one call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Predicted {
    /// Executed instructions.
    pub instructions: f64,
    /// Bytes of tables.
    pub tables: u64,
    /// Bytes of code, estimated.
    pub code: u64,
}

/// What one call takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Measured {
    /// Executed instructions, in an emulator.
    Instructions(u64),
    /// Microseconds, on this machine.
    Microseconds(f64),
}

impl Measured {
    /// A number to compare with others of its kind.
    fn number(self) -> f64 {
        match self {
            Measured::Instructions(n) => n as f64,
            Measured::Microseconds(t) => t,
        }
    }
}

/// Why the plan of `c`, made with `options`, is what it is.
pub fn explain(c: &Compiled, options: &plan::Options) -> Explanation {
    let known = inspect::inspect(&c.model).layers;
    // Where flash has no limit, a balanced choice is the fastest.
    let scarce = c.plan.scarce;
    let rule = match options.optimize {
        Optimize::Balanced if !scarce => Optimize::Speed,
        other => other,
    };
    let layer = |(step, layer): (&Step, &plan::Layer)| {
        let of_model = known.iter().find(|l| l.name == layer.name);
        let doc = &step.kernels[layer.kernel].doc;
        Layer {
            name: layer.name.clone(),
            what: doc.strip_prefix(&format!("{}: ", layer.name)).unwrap_or(doc).to_owned(),
            weights: of_model.map(|l| l.weights.to_string()),
            macs: of_model.map_or(0, |l| l.size.macs),
            kernels: kernels(&layer.ranking, rule),
        }
    };
    let layers = c.plan.steps.iter().flat_map(|s| s.layers.iter().map(move |l| (s, l)));
    Explanation {
        model: c.model.name.clone(),
        target: c.target_name.clone(),
        optimize: goal(options.optimize),
        layers: layers.map(layer).collect(),
        instructions: c.plan.layers().map(|l| l.cost.instructions).sum(),
        flash: c.plan.flash(),
        memory: c.plan.memory.to_string(),
        regret: None,
        by_rows: 0,
    }
}

/// Builds every kernel of every layer and measures it, alone, into `e`, the explanation of `c`.
///
/// # Errors
/// A missing tool, or a build or a run that fails.
pub fn measure(e: &mut Explanation, c: &Compiled, options: &plan::Options, progress: &dyn Progress) -> Result<()> {
    let steps = c.plan.steps.iter();
    let by_rows: Vec<bool> = steps
        .flat_map(|s| s.layers.iter().map(|_| s.layers.len() > 1))
        .collect();
    e.by_rows = by_rows.iter().filter(|b| **b).count();
    for family in FAMILIES {
        // Budgets are of no interest here: each kernel is a program of its own.
        let options = plan::Options {
            prefer: Some(family.name),
            whole: true,
            flash: Some(u64::MAX),
            ram: Some(u64::MAX),
            ..*options
        };
        let preferred = driver::compile(c.model.clone(), &c.target_name, &options, &Silent, &mut |_, _, _| ())?;
        for (i, (preferred_layer, layer)) in preferred.plan.layers().zip(&mut e.layers).enumerate() {
            if by_rows[i] {
                continue;
            }
            // Alone, one may build that has too little RAM in the network.
            let builds = preferred_layer.family == family.name;
            let of_family = |k: &&mut Kernel| k.name == family.name && builds && k.cost.is_some();
            if let Some(kernel) = layer.kernels.iter_mut().find(of_family) {
                if bench::ram_of_layer(&preferred, i) > preferred.target.memory.ram.unwrap_or(u64::MAX) {
                    continue;
                }
                progress.begin(&format!("measure {} of {}", family.name, layer.name), 1);
                let row = match bench::measure_layer(&preferred, i) {
                    Ok(row) => row,
                    // Another kernel may.
                    Err(why) if why.iter().any(|d| d.code == Code::BoardTooSmall) => continue,
                    Err(why) => return Err(why),
                };
                let time = || row.microseconds.map(|t| Measured::Microseconds(t.median));
                kernel.measured = row.figures.instructions.map(Measured::Instructions).or_else(time);
            }
        }
    }
    e.regret = (options.optimize != Optimize::Size).then(|| regret(&e.layers));
    Ok(())
}

/// What the chosen kernels cost, beside the best of every layer that fits.
fn regret(layers: &[Layer]) -> f64 {
    let (mut chosen, mut best) = (0.0, 0.0);
    for layer in layers {
        let all: Vec<f64> = layer
            .kernels
            .iter()
            .filter(|k| k.chosen || k.fits)
            .filter_map(|k| Some(k.measured?.number()))
            .collect();
        // The chosen kernel comes first. A layer of one kernel leaves no choice, and is not measured.
        if let (Some(first), Some(least)) = (all.first(), all.iter().copied().reduce(f64::min)) {
            chosen += first;
            best += least;
        }
    }
    if best > 0.0 { chosen / best - 1.0 } else { 0.0 }
}

fn goal(optimize: Optimize) -> &'static str {
    match optimize {
        Optimize::Speed => "speed",
        Optimize::Size => "size",
        Optimize::Balanced => "balanced",
    }
}

/// A ranking with its reasons; the first was chosen.
fn kernels(ranking: &[Candidate], optimize: Optimize) -> Vec<Kernel> {
    let costs = |c: &Candidate| match &c.outcome {
        Outcome::Builds(cost) => Some(*cost),
        Outcome::Refuses(_) => None,
    };
    let built: Vec<Cost> = ranking.iter().filter_map(costs).collect();
    let reason = |i: usize, c: &Candidate| match &c.outcome {
        Outcome::Refuses(why) => format!("refuses: {why}"),
        Outcome::Builds(_) if built.len() == 1 => "chosen: no other can".to_owned(),
        Outcome::Builds(_) if i == 0 => format!("chosen: {}", won(c, ranking, optimize)),
        Outcome::Builds(cost) => lost(c.excess, cost, &built[0], optimize),
    };
    let kernel = |(i, c): (usize, &Candidate)| Kernel {
        name: c.family,
        doc: FAMILIES.iter().find(|f| f.name == c.family).map_or("", |f| f.doc),
        chosen: i == 0,
        fits: c.excess.is_none(),
        cost: costs(c).map(|cost| Predicted {
            instructions: cost.instructions,
            tables: cost.tables,
            code: cost.code,
        }),
        measured: None,
        why: reason(i, c),
    };
    ranking.iter().enumerate().map(kernel).collect()
}

/// Why the first of a ranking was chosen.
fn won(first: &Candidate, ranking: &[Candidate], optimize: Optimize) -> String {
    let goal = match optimize {
        Optimize::Speed => "fewest instructions".to_owned(),
        Optimize::Size => "least flash".to_owned(),
        Optimize::Balanced => format!("fewest instructions within {BALANCED_EXTRA} bytes of the smallest"),
    };
    let ram = |c: &Candidate| matches!(c.excess, Some(Excess::Ram(..)));
    let flash = |c: &Candidate| matches!(c.excess, Some(Excess::Share(..)));
    match (ranking.iter().any(ram), ranking.iter().any(flash)) {
        _ if ram(first) => "least RAM".to_owned(),
        (true, true) => format!("{goal}, of those that RAM and flash hold"),
        (true, false) => format!("{goal}, of those that the RAM holds"),
        (false, true) => format!("{goal}, of those that the flash holds"),
        (false, false) => goal,
    }
}

/// Why a kernel lost against the `best`.
fn lost(excess: Option<Excess>, cost: &Cost, best: &Cost, optimize: Optimize) -> String {
    let allowed = |takes: u64, what: &str, allowed: u64| {
        format!("{} bytes {what}; {} are allowed", grouped(takes), grouped(allowed))
    };
    let slower = || format!("{:.2} times the instructions", cost.instructions / best.instructions);
    let bigger = || {
        format!(
            "{} bytes more flash",
            grouped(cost.flash().saturating_sub(best.flash()))
        )
    };
    match excess {
        Some(Excess::Ram(needs, available)) => allowed(needs, "of RAM", available),
        Some(Excess::Share(takes, share)) => allowed(takes, "of flash", share),
        Some(Excess::Flash(extra)) => allowed(extra, "more than the smallest", BALANCED_EXTRA),
        Some(Excess::Scratch(takes, room)) => allowed(takes, "of scratch", room),
        Some(Excess::Code(takes, most)) => allowed(takes, "of code", most),
        None if optimize == Optimize::Size && cost.flash() > best.flash() => bigger(),
        None if cost.instructions > best.instructions => slower(),
        None => bigger(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} for {}, --optimize {}", self.model, self.target, self.optimize)?;
        for layer in &self.layers {
            write!(f, "\n{layer}")?;
        }
        writeln!(
            f,
            "\ntotal  {} instructions, {} bytes of flash, {}",
            grouped(self.instructions as u64),
            grouped(self.flash),
            self.memory
        )?;
        if let Some(regret) = self.regret {
            writeln!(f, "regret {:.1} % of what the best kernels take", 100.0 * regret)?;
        }
        match self.by_rows {
            0 => Ok(()),
            n => writeln!(
                f,
                "{n} layers are computed row by row and were not measured: alone, they are whole maps"
            ),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.what)?;
        if let Some(weights) = &self.weights {
            write!(f, "; {weights}; {} MACs", grouped(self.macs))?;
        }
        writeln!(f)?;
        let measured = self.kernels.iter().find_map(|k| k.measured);
        let mut columns = vec![("  kernel", Align::Left), ("instructions", Align::Right)];
        match measured {
            Some(Measured::Instructions(_)) => columns.extend([("measured", Align::Right), ("off", Align::Right)]),
            Some(Measured::Microseconds(_)) => columns.push(("µs here", Align::Right)),
            None => {}
        }
        columns.extend([
            ("MAC/instruction", Align::Right),
            ("tables", Align::Right),
            ("code", Align::Right),
            ("why", Align::Left),
        ]);
        let mut t = Table::new(&columns);
        for k in &self.kernels {
            let mark = if k.chosen { '*' } else { ' ' };
            let figure = |of: &dyn Fn(&Predicted) -> String| k.cost.as_ref().map_or_else(|| "-".to_owned(), of);
            let mut cells = vec![
                format!("{mark} {}", k.name),
                figure(&|c| grouped(c.instructions as u64)),
            ];
            match (measured, k.measured) {
                (None, _) => {}
                (Some(_), Some(Measured::Instructions(n))) => {
                    let off = |c: &Predicted| format!("{:+.0} %", 100.0 * (c.instructions / n as f64 - 1.0));
                    cells.extend([grouped(n), figure(&off)]);
                }
                (Some(_), Some(Measured::Microseconds(t))) => cells.push(format!("{t:.1}")),
                (Some(Measured::Instructions(_)), None) => cells.extend(["-".to_owned(), "-".to_owned()]),
                (Some(Measured::Microseconds(_)), None) => cells.push("-".to_owned()),
            }
            cells.extend([
                figure(&|c| match self.macs {
                    0 => "-".to_owned(),
                    macs => format!("{:.2}", macs as f64 / c.instructions),
                }),
                figure(&|c| grouped(c.tables)),
                figure(&|c| grouped(c.code)),
                k.why.clone(),
            ]);
            t.row(cells);
        }
        write!(f, "{t}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Limits;

    fn builds(family: &'static str, instructions: f64, tables: u64, code: u64) -> Candidate {
        let cost = Cost {
            instructions,
            tables,
            code,
            scratch: 0,
            stack: 0,
        };
        Candidate {
            family,
            outcome: Outcome::Builds(cost),
            excess: None,
        }
    }

    fn refuses(family: &'static str, why: &str) -> Candidate {
        Candidate {
            family,
            outcome: Outcome::Refuses(why.into()),
            excess: None,
        }
    }

    /// Notes which limits the candidates exceed.
    fn limit(ranking: &mut [Candidate], limits: Limits) {
        for c in ranking {
            if let Outcome::Builds(cost) = &c.outcome {
                c.excess = limits.excess(cost);
            }
        }
    }

    /// Where nothing is scarce.
    const AMPLE: Limits = Limits {
        goal: Optimize::Balanced,
        scarce: true,
        smallest: 150,
        code: 1 << 16,
        share: u64::MAX,
        scratch: 4096,
        resident: 0,
        ram: u64::MAX,
    };

    fn layer(ranking: &[Candidate], optimize: Optimize) -> String {
        let layer = Layer {
            name: "conv1".into(),
            what: "ternary 3x3 convolution, i8[8x8x64] to i8[8x8x64]".into(),
            weights: Some("ternary a=0.1, zeros 50.0 %".into()),
            macs: 2_359_296,
            kernels: kernels(ranking, optimize),
        };
        layer.to_string()
    }

    #[test]
    fn every_loser_has_a_reason() {
        let mut ranking = [
            builds("words", 1_000_000.0, 9216, 400),
            builds("scalar", 2_500_000.0, 36_864, 300),
            builds("unrolled", 500_000.0, 0, 40_000),
            refuses("xnor", "operand is not packed"),
        ];
        limit(
            &mut ranking,
            Limits {
                smallest: 9616,
                ..AMPLE
            },
        );
        assert_eq!(
            layer(&ranking, Optimize::Balanced),
            "conv1: ternary 3x3 convolution, i8[8x8x64] to i8[8x8x64]; ternary a=0.1, zeros 50.0 %; 2,359,296 MACs\n  \
             kernel    instructions  MAC/instruction  tables    code  why\n\
             * words        1,000,000             2.36   9,216     400  chosen: fewest instructions within 8192 bytes of the smallest\n  \
             scalar       2,500,000             0.94  36,864     300  27,548 bytes more than the smallest; 8,192 are allowed\n  \
             unrolled       500,000             4.72       0  40,000  30,384 bytes more than the smallest; 8,192 are allowed\n  \
             xnor                 -                -       -       -  refuses: operand is not packed\n"
        );
    }

    #[test]
    fn what_a_kernel_exceeds_is_a_reason() {
        let mut ranking = [
            builds("words", 2000.0, 100, 50),
            builds("sums-81", 1000.0, 400, 50),
            builds("pairs", 500.0, 0, 80_000),
        ];
        if let Outcome::Builds(cost) = &mut ranking[1].outcome {
            cost.scratch = 5000;
        }
        let why = |ranking: &[Candidate]| -> Vec<String> {
            let all = kernels(ranking, Optimize::Balanced);
            all.into_iter().map(|k| k.why).collect()
        };
        limit(&mut ranking, AMPLE);
        let within = "chosen: fewest instructions within 8192 bytes of the smallest";
        let scratch = "5,000 bytes of scratch; 4,096 are allowed";
        assert_eq!(
            why(&ranking),
            [
                within,
                scratch,
                "79,850 bytes more than the smallest; 8,192 are allowed"
            ]
        );
        limit(&mut ranking, Limits { scarce: false, ..AMPLE });
        assert_eq!(why(&ranking)[2], "80,000 bytes of code; 65,536 are allowed");
        limit(&mut ranking, Limits { share: 400, ..AMPLE });
        let holds = format!("{within}, of those that the flash holds");
        assert_eq!(
            why(&ranking)[..2],
            [holds.as_str(), "450 bytes of flash; 400 are allowed"]
        );
        let (resident, ram) = (3000, 7000);
        limit(&mut ranking, Limits { resident, ram, ..AMPLE });
        let holds = format!("{within}, of those that the RAM holds");
        assert_eq!(
            why(&ranking)[..2],
            [holds.as_str(), "8,000 bytes of RAM; 7,000 are allowed"]
        );
        limit(
            &mut ranking,
            Limits {
                resident: ram + 1,
                ram,
                ..AMPLE
            },
        );
        assert_eq!(why(&ranking)[0], "chosen: least RAM");
    }

    #[test]
    fn what_is_measured_stands_beside_what_was_predicted() {
        let ranking = [
            builds("words", 1000.0, 100, 50),
            builds("scalar", 3000.0, 400, 50),
            refuses("xnor", "operand is not packed"),
        ];
        let mut layer = Layer {
            name: "fc1".into(),
            what: "binary dense".into(),
            weights: None,
            macs: 0,
            kernels: kernels(&ranking, Optimize::Speed),
        };
        layer.kernels[0].measured = Some(Measured::Instructions(1250));
        layer.kernels[1].measured = Some(Measured::Instructions(1000));
        let text = layer.to_string();
        let words: Vec<&str> = text.split_whitespace().collect();
        let words = words.join(" ");
        assert!(words.contains("instructions measured off"), "{text}");
        assert!(words.contains("words 1,000 1,250 -20 %"), "{text}");
        assert!(words.contains("scalar 3,000 1,000 +200 %"), "{text}");
        assert_eq!(regret(&[layer.clone()]), 0.25);
        layer.kernels[1].fits = false;
        assert_eq!(regret(&[layer]), 0.0);
    }

    #[test]
    fn the_goal_decides_what_counts() {
        let ranking = [builds("words", 2000.0, 100, 50), builds("scalar", 1000.0, 400, 50)];
        let why = |ranking: &[Candidate], goal| -> Vec<String> {
            let all = kernels(ranking, goal);
            all.into_iter().map(|k| k.why).collect()
        };
        assert_eq!(
            why(&ranking, Optimize::Size),
            ["chosen: least flash", "300 bytes more flash"]
        );
        let [words, scalar] = ranking;
        assert_eq!(
            why(&[scalar, words], Optimize::Speed),
            ["chosen: fewest instructions", "2.00 times the instructions"]
        );
        let alone = [builds("scalar", 1.0, 1, 1), refuses("words", "operand is packed")];
        assert_eq!(
            why(&alone, Optimize::Speed),
            ["chosen: no other can", "refuses: operand is packed"]
        );
    }
}
