//! What `sqc targets` lists.

use crate::diag::Result;
use crate::table::{Align, Table, grouped};
use crate::target::{Run, Target};
use serde::Serialize;
use std::fmt;

/// Every target, in the table's order.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Listing(Vec<Row>);

/// One target, as far as it concerns a user.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What `--target` takes.
    pub name: &'static str,
    /// What it is.
    pub doc: String,
    /// Rust's triple; absent for the host's.
    pub rust: Option<String>,
    /// C compiler.
    pub c: String,
    /// How its programs are run here.
    pub run: String,
    /// Code and constants that fit, in bytes, where that is limited.
    pub flash: Option<u64>,
    /// Data that fits, in bytes, where that is limited.
    pub ram: Option<u64>,
    /// Whether it counts bits in an instruction.
    pub popcount: bool,
    /// Whether it computes `f32` in instructions.
    pub fpu: bool,
}

/// Reads all targets.
///
/// # Errors
/// A target's file that does not fit the schema: [`Code::Internal`](crate::diag::Code::Internal).
pub fn list() -> Result<Listing> {
    let rows: Result<_> = Target::names()
        .map(|name| {
            let t = Target::load(name)?;
            Ok(Row {
                name,
                doc: t.doc,
                rust: t.rust.triple,
                c: t.c.compiler,
                run: match t.run {
                    Run::Host => "host".into(),
                    Run::Wasi { runtime } => runtime,
                    Run::QemuUser { emulator, cpu, .. } => format!("{emulator} -cpu {cpu}"),
                    Run::QemuSystem { emulator, machine, .. } => format!("{emulator} -M {machine}"),
                },
                flash: t.memory.flash,
                ram: t.memory.ram,
                popcount: t.isa.popcount,
                fpu: t.isa.fpu,
            })
        })
        .collect();
    rows.map(Listing)
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = ["target", "popcount", "FPU"].map(|c| (c, Align::Left));
        let right = ["flash", "RAM"].map(|c| (c, Align::Right));
        let more = ["Rust triple", "C compiler", "run by", "what it is"].map(|c| (c, Align::Left));
        let mut t = Table::new(&[&left[..], &right, &more].concat());
        let yes = |b: bool| if b { "yes" } else { "-" }.to_owned();
        let limit = |n: Option<u64>| n.map_or("-".into(), grouped);
        for r in &self.0 {
            let triple = r.rust.clone().unwrap_or("the host's".into());
            t.row([
                r.name.to_owned(),
                yes(r.popcount),
                yes(r.fpu),
                limit(r.flash),
                limit(r.ram),
                triple,
                r.c.clone(),
                r.run.clone(),
                r.doc.clone(),
            ]);
        }
        write!(f, "{t}")
    }
}
