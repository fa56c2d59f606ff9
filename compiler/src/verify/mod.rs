//! `sqc verify`: the generated code against the interpreter, byte for byte, and the interpreter against the float model.

mod layers;
mod tie;

pub use tie::{Cause, Exception, explain};

use crate::data::Samples;
use crate::diag::{Diag, Result};
use crate::driver::Compiled;
use crate::ir::eval::{self, Tensor};
use crate::ir::{Elem, Graph};
use crate::package::{self, TOLERANCE, input_ty, output_ty};
use crate::progress::Progress;
use crate::reference::Reference;
use crate::table::{Align, Table, grouped};
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// Samples that a thread takes at a time.
const CHUNK: usize = 50;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the target.
    pub target: String,
    /// Where the samples come from.
    pub source: String,
    /// How many ran.
    pub samples: usize,
    /// One row for each that ran them: tract, the interpreter, and each language.
    pub runs: Vec<Run>,
    /// The largest difference of a score from tract's, as a share of the sample's greatest, over the samples that are not
    /// `crossed`.
    pub rounding: f32,
    /// Samples with a score farther off than [`TOLERANCE`]: a value of tract's fell on the other side of a quantizer's step.
    pub crossed: usize,
    /// Samples whose class is not tract's.
    pub exceptions: Vec<Exception>,
}

/// One that ran the samples.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Who.
    pub by: String,
    /// Share of samples whose class is the label, if there are labels.
    pub accuracy: Option<f64>,
    /// What it is held against; absent for the float model.
    pub against: Option<&'static str>,
    /// Samples that agree: of the same class for the interpreter, of the same bytes for generated code.
    pub agree: usize,
}

/// Runs `samples` through everything, `programs` among it, which are one network in several languages. What makes verification fail is in the findings; the report says it all either way.
///
/// # Errors
/// What cannot be run at all: tract refuses the model, a tool is missing, a build fails.
///
/// # Panics
/// If there is no program.
pub fn verify(
    path: &Path,
    programs: &[Compiled],
    samples: &Samples,
    progress: &dyn Progress,
) -> Result<(Report, Vec<Diag>)> {
    let c = programs.first().expect("a program");
    let count = samples.count();
    let exact_bytes = interpret(&c.graph, samples, progress)?;
    let exact = numbers(&exact_bytes, output_ty(&c.graph).elem);
    let float = run_reference(path, c, samples, progress)?;

    let classes = |scores: &[f32]| -> Vec<usize> { scores.chunks(scores.len() / count).map(class).collect() };
    let accuracy = |scores: &[f32]| {
        let labels = samples.labels.as_ref()?;
        let right = classes(scores)
            .iter()
            .zip(labels)
            .filter(|(class, label)| **class == usize::from(**label))
            .count();
        Some(right as f64 / count as f64)
    };
    let (exact_classes, float_classes) = (classes(&exact), classes(&float));
    let differing: Vec<usize> = (0..count).filter(|i| exact_classes[*i] != float_classes[*i]).collect();
    let exceptions = explain(path, &c.model, samples, &differing)?;
    let mut findings: Vec<Diag> = exceptions
        .iter()
        .filter(|e| !e.is_tie())
        .map(Exception::finding)
        .collect();
    let row = |by: &str, scores: &[f32], against, agree| Run {
        by: by.into(),
        accuracy: accuracy(scores),
        against,
        agree,
    };
    let mut runs = vec![
        row("float model (tract)", &float, None, count),
        row(
            "exact meaning (interpreter)",
            &exact,
            Some("class of the float model"),
            count - differing.len(),
        ),
    ];

    progress.begin("generated code", (programs.len() * count) as u64);
    let outputs: Vec<_> = programs
        .par_iter()
        .map(|c| run_generated(c, samples, progress))
        .collect();
    let size = exact_bytes.len() / count;
    for (c, outputs) in programs.iter().zip(outputs) {
        let outputs = outputs?;
        let wrong: Vec<usize> = (0..count)
            .filter(|i| outputs[i * size..][..size] != exact_bytes[i * size..][..size])
            .collect();
        if let Some(&first) = wrong.first() {
            findings.push(layers::differs(c, samples.get(first), first, wrong.len()));
        }
        let by = format!("generated {}", c.lang);
        let scores = numbers(&outputs, output_ty(&c.graph).elem);
        runs.push(row(&by, &scores, Some("bytes of the interpreter"), count - wrong.len()));
    }
    let (crossed, rounding) = score_differences(&exact, &float, count);
    let report = Report {
        target: c.target_name.clone(),
        source: samples.source.clone(),
        samples: count,
        runs,
        rounding,
        crossed,
        exceptions,
    };
    Ok((report, findings))
}

/// The interpreter's results, as bytes.
fn interpret(g: &Graph, samples: &Samples, progress: &dyn Progress) -> Result<Vec<u8>> {
    progress.begin("interpreter", samples.count() as u64);
    let elem = input_ty(g).elem;
    let one = |sample: &[u8]| eval::eval(g, &Tensor::from_bytes(elem, sample)).to_bytes();
    in_parallel(samples, progress, |chunk| {
        Ok(chunk.chunks(samples.size).flat_map(one).collect())
    })
}

/// tract's results.
fn run_reference(path: &Path, c: &Compiled, samples: &Samples, progress: &dyn Progress) -> Result<Vec<f32>> {
    progress.begin("float model", samples.count() as u64);
    let reference = Reference::load(path, &input_ty(&c.model.graph), &[])?;
    in_parallel(samples, progress, |chunk| Ok(reference.run(chunk)?.swap_remove(0)))
}

/// The results of generated code, as bytes.
fn run_generated(c: &Compiled, samples: &Samples, progress: &dyn Progress) -> Result<Vec<u8>> {
    let work = package::scratch()?;
    let outputs = package::build(c, work.path())?.infer(&samples.bytes)?;
    progress.advance(samples.count() as u64);
    Ok(outputs)
}

/// Maps chunks of samples on all cores, and puts the results in order.
fn in_parallel<T: Send>(
    samples: &Samples,
    progress: &dyn Progress,
    work: impl Fn(&[u8]) -> Result<Vec<T>> + Sync,
) -> Result<Vec<T>> {
    let chunks = samples.bytes.par_chunks(CHUNK * samples.size).map(|chunk| {
        let results = work(chunk);
        progress.advance((chunk.len() / samples.size) as u64);
        results
    });
    Ok(chunks.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Results as numbers.
fn numbers(bytes: &[u8], elem: Elem) -> Vec<f32> {
    Tensor::from_bytes(elem, bytes).to_f32()
}

/// The position of the greatest score, the first of equals.
fn class(scores: &[f32]) -> usize {
    (0..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best })
}

/// How many of `count` samples have a score off by more than [`TOLERANCE`], and the largest difference of the others.
fn score_differences(exact: &[f32], float: &[f32], count: usize) -> (usize, f32) {
    let size = exact.len() / count;
    let off = exact.chunks(size).zip(float.chunks(size)).map(|(a, b)| {
        let greatest = a.iter().fold(0.0f32, |m, s| m.max(s.abs())).max(f32::MIN_POSITIVE);
        a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / greatest
    });
    off.fold((0, 0.0), |(crossed, largest), off| match off <= TOLERANCE {
        true => (crossed, off.max(largest)),
        false => (crossed + 1, largest),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "target  {}", self.target)?;
        writeln!(f, "data    {}\n", self.source)?;
        let mut t = Table::new(&[
            ("run by", Align::Left),
            ("accuracy", Align::Right),
            ("same", Align::Right),
            ("as the", Align::Left),
        ]);
        for r in &self.runs {
            let accuracy = r.accuracy.map_or("-".into(), |a| format!("{:.2} %", a * 100.0));
            let same = r.against.map_or("-".into(), |_| {
                format!("{} of {}", grouped(r.agree as u64), grouped(self.samples as u64))
            });
            t.row([r.by.clone(), accuracy, same, r.against.unwrap_or("-").into()]);
        }
        writeln!(f, "{t}")?;
        write!(
            f,
            "scores  within {:.1e} of tract's (relative to the greatest)",
            self.rounding
        )?;
        match self.crossed {
            0 => writeln!(f)?,
            n => writeln!(
                f,
                ", but for {} where f32 rounding crossed a quantizer's step",
                samples(n)
            )?,
        }
        if self.exceptions.is_empty() {
            return writeln!(f, "ties    none: every predicted class is tract's");
        }
        writeln!(
            f,
            "ties    {} of another class than tract's:",
            samples(self.exceptions.len())
        )?;
        self.exceptions.iter().try_for_each(|e| writeln!(f, "        {e}"))
    }
}

/// So many samples.
fn samples(n: usize) -> String {
    match n {
        1 => "1 sample".into(),
        n => format!("{} samples", grouped(n as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_scores_wins() {
        assert_eq!(
            [class(&[0.0, 2.0, 1.0]), class(&[5.0, 5.0]), class(&[-3.0, -1.0])],
            [1, 0, 1]
        );
    }

    #[test]
    fn differences_are_relative_and_crossings_are_counted_apart() {
        let exact = [100.0, 0.0, 1.0, -2.0];
        let float = [100.005, 0.0, 1.0, -2.5];
        let (crossed, rounding) = score_differences(&exact, &float, 2);
        assert_eq!(crossed, 1);
        assert!((rounding - 5e-5).abs() < 1e-7, "{rounding}");
    }
}
