//! `sqc bench`: what an inference takes, measured on generated code.

use crate::data;
use crate::diag::Result;
use crate::driver::Compiled;
use crate::emit;
use crate::package;
use crate::run::{Figures, Lang};
use crate::table::{Align, Table, grouped};
use crate::target::Run;
use serde::Serialize;
use std::fmt;
use std::time::Instant;

/// Samples that the time of one is taken from.
const TIMED: usize = 2000;

/// One row per model, target and language.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measurements {
    /// What was measured.
    pub rows: Vec<Row>,
    /// What could not be.
    pub unfit: Vec<Unfit>,
}

/// A model that exceeds a target's memory.
#[derive(Clone, Debug, Serialize)]
pub struct Unfit {
    /// Name of the model.
    pub model: String,
    /// Name of the target.
    pub target: String,
    /// What it would need.
    pub why: String,
}

/// The figures of one model on one target in one language.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the model.
    pub model: String,
    /// Name of the target.
    pub target: String,
    /// Language of the generated code.
    pub lang: String,
    /// Bytes of weights as they are stored.
    pub weights: u64,
    /// Bytes of the arena.
    pub arena: u64,
    /// Code, constants, stack and instructions.
    #[serde(flatten)]
    pub figures: Figures,
    /// Microseconds on this machine; absent for emulated targets, whose time means nothing.
    pub microseconds: Option<f64>,
}

/// Builds and measures one.
///
/// # Errors
/// A missing tool, or a build or a run that fails.
pub fn measure(c: &Compiled, lang: Lang) -> Result<Row> {
    let samples = data::synthetic(&package::input_ty(&c.graph), TIMED);
    let work = package::scratch()?;
    let built = package::build(c, &c.program, lang, work.path())?;
    let figures = built.measure(samples.get(0))?;
    let microseconds = match c.target.run {
        Run::Host => {
            // Starting the process and reading the files costs the same for one sample as for many, near enough.
            let start = Instant::now();
            built.infer(samples.get(0))?;
            let one = start.elapsed();
            let start = Instant::now();
            built.infer(&samples.bytes)?;
            let all = start.elapsed();
            Some(all.saturating_sub(one).as_secs_f64() * 1e6 / (TIMED - 1) as f64)
        }
        Run::QemuUser { .. } | Run::QemuSystem { .. } => None,
    };
    Ok(Row {
        model: c.model.name.clone(),
        target: c.target_name.clone(),
        lang: lang.to_string(),
        weights: c.program.kernels.iter().map(package::weight_bytes).sum(),
        arena: emit::arena_bytes(&c.program),
        figures,
        microseconds,
    })
}

const COLUMNS: [(&str, Align); 10] = [
    ("model", Align::Left),
    ("target", Align::Left),
    ("language", Align::Left),
    ("code", Align::Right),
    ("constants", Align::Right),
    ("of which weights", Align::Right),
    ("arena", Align::Right),
    ("stack", Align::Right),
    ("instructions", Align::Right),
    ("µs here", Align::Right),
];

impl Row {
    fn cells(&self) -> [String; COLUMNS.len()] {
        let f = &self.figures;
        let absent = || "-".to_owned();
        [
            self.model.clone(),
            self.target.clone(),
            self.lang.clone(),
            grouped(f.code),
            grouped(f.constants),
            grouped(self.weights),
            grouped(self.arena),
            grouped(f.stack),
            f.instructions.map_or_else(absent, grouped),
            self.microseconds.map_or_else(absent, |us| format!("{us:.0}")),
        ]
    }
}

impl Measurements {
    /// As a Markdown table.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = COLUMNS.map(|(_, align)| if align == Align::Left { "---" } else { "---:" }.to_owned());
        let head = line(&COLUMNS.map(|(name, _)| name.to_owned())) + &line(&rule);
        let table = self.rows.iter().fold(head, |text, row| text + &line(&row.cells()));
        match self.unfit.is_empty() {
            true => table,
            false => self.unfit.iter().fold(table + "\n", |text, u| text + &format!("{u}\n")),
        }
    }
}

impl fmt::Display for Measurements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut t = Table::new(&COLUMNS);
        self.rows.iter().for_each(|row| t.row(row.cells()));
        write!(f, "{t}")?;
        self.unfit.iter().try_for_each(|u| writeln!(f, "{u}"))
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not fit {}: {}.", self.model, self.target, self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_the_same_in_both_tables() {
        let row = Row {
            model: "lenet5".into(),
            target: "cortex-m0".into(),
            lang: "C".into(),
            weights: 73_416,
            arena: 5632,
            figures: Figures {
                instructions: Some(12_345_678),
                stack: 96,
                code: 4000,
                constants: 76_000,
            },
            microseconds: None,
        };
        let mut all = Measurements::default();
        all.rows.push(row);
        assert_eq!(
            all.markdown(),
            "| model | target | language | code | constants | of which weights | arena | stack | instructions | µs here |\n\
             | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n\
             | lenet5 | cortex-m0 | C | 4,000 | 76,000 | 73,416 | 5,632 | 96 | 12,345,678 | - |\n"
        );
        assert!(all.to_string().contains("12,345,678"));
    }
}
