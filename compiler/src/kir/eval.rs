//! Runs a program; what it computes is what the program means.
//!
//! Each kernel is translated once into instructions over registers (variables first, then constants, then intermediate
//! values), so that whole networks run in about a second. The laws that `verify` proves are checked again on every value: a
//! broken one panics.

use super::{Arg, BinOp, BufDecl, Call, Expr, Kernel, Program, Role, Stmt, Ty, UnOp, scalar};
use std::collections::HashMap;

/// Stands for an element that nobody wrote. No value of an element type but `i64`, whose least one no kernel stores.
const UNWRITTEN: i64 = i64::MIN;

/// Runs a program on one sample, the raw little-endian elements of its input port; returns those of its output port.
///
/// # Panics
///
/// If the sample's length is not the port's, or the program breaks a law: an index out of range, signed overflow, a shift
/// too far, a read before a write.
pub fn eval(p: &Program, sample: &[u8]) -> Vec<u8> {
    let len = |shape: &[usize]| shape.iter().product::<usize>();
    let mut spaces = vec![read(sample, p.input.ty), vec![UNWRITTEN; len(&p.output.shape)]];
    assert_eq!(spaces[0].len(), len(&p.input.shape), "elements of the sample");
    spaces.extend(p.pools.iter().map(|pool| vec![UNWRITTEN; pool.len as usize]));
    let code: Vec<Code> = p.kernels.iter().map(|k| Code::new(k, &mut spaces)).collect();
    for call in &p.calls {
        code[call.kernel].run(&mut spaces, call);
    }
    write(&spaces[1], p.output.ty)
}

/// Elements from little-endian bytes.
fn read(bytes: &[u8], ty: Ty) -> Vec<i64> {
    let size = ty.bytes() as usize;
    assert!(bytes.len().is_multiple_of(size), "whole elements of {ty:?}");
    let element = |chunk: &[u8]| {
        let mut all = [0; 8];
        all[..size].copy_from_slice(chunk);
        let raw = i64::from_le_bytes(all);
        match ty {
            Ty::I8 => i64::from(raw as i8),
            Ty::I32 => i64::from(raw as i32),
            _ => raw,
        }
    };
    bytes.chunks_exact(size).map(element).collect()
}

/// Little-endian bytes of elements.
fn write(values: &[i64], ty: Ty) -> Vec<u8> {
    let size = ty.bytes() as usize;
    assert!(!values.contains(&UNWRITTEN), "every element of the result is written");
    values
        .iter()
        .flat_map(|v| v.to_le_bytes().into_iter().take(size))
        .collect()
}

/// A register.
type Reg = u32;

/// One step. The first register of each is where the result goes.
#[derive(Clone, Copy)]
enum Inst {
    Copy(Reg, Reg),
    Un(UnOp, Ty, Reg, Reg),
    Bin(BinOp, Ty, Reg, Reg, Reg),
    /// From a type to a type.
    Cast(Ty, Ty, Reg, Reg),
    Select(Reg, Reg, Reg, Reg),
    /// Register, buffer, register of the index.
    Load(Reg, u32, Reg),
    /// Buffer, register of the index, register of the value.
    Store(u32, Reg, Reg),
    /// Sets a counter to 0.
    Enter(Reg),
    /// Counts, and goes back to the instruction after `Enter` while the counter is below the trip count.
    Next(Reg, u32, u32),
}

/// A translated kernel.
struct Code<'k> {
    kernel: &'k Kernel,
    insts: Vec<Inst>,
    /// Registers as they are at the start: constants are set.
    regs: Vec<i64>,
    /// Space of each buffer that is constant.
    constants: Vec<Option<usize>>,
}

/// Where a buffer lies for one call.
struct Place {
    space: usize,
    offset: usize,
    len: usize,
}

impl<'k> Code<'k> {
    /// Translates a kernel and puts its constants into new spaces.
    fn new(k: &'k Kernel, spaces: &mut Vec<Vec<i64>>) -> Self {
        let constants = k.bufs.iter().map(|b| {
            (b.role == Role::Const).then(|| {
                spaces.push(b.data.iter().map(|&l| scalar::of(l)).collect());
                spaces.len() - 1
            })
        });
        let mut t = Translator {
            kernel: k,
            insts: vec![],
            regs: vec![0; k.vars.len()],
            constants: HashMap::new(),
            free: vec![],
        };
        let constants = constants.collect();
        t.block(&k.body);
        Code {
            kernel: k,
            insts: t.insts,
            regs: t.regs,
            constants,
        }
    }

    /// Runs it with a call's arguments.
    fn run(&self, spaces: &mut [Vec<i64>], call: &Call) {
        let mut args = call.args.iter();
        let place = |(b, constant): (&BufDecl, &Option<usize>)| {
            let (space, offset) = match constant {
                Some(space) => (*space, 0),
                None => match args.next().expect("an argument for each parameter") {
                    Arg::Input => (0, 0),
                    Arg::Output => (1, 0),
                    Arg::Arena { pool, offset } => (2 + pool, *offset as usize),
                },
            };
            Place {
                space,
                offset,
                len: b.len as usize,
            }
        };
        let places: Vec<Place> = self.kernel.bufs.iter().zip(&self.constants).map(place).collect();
        let mut regs = self.regs.clone();
        let mut at = 0;
        while let Some(&inst) = self.insts.get(at) {
            at += 1;
            match inst {
                Inst::Copy(d, a) => regs[d as usize] = regs[a as usize],
                Inst::Un(op, ty, d, a) => {
                    regs[d as usize] = self.lawful(scalar::unary(op, ty, regs[a as usize]), inst_name(op));
                }
                Inst::Bin(op, ty, d, a, b) => {
                    let v = scalar::binary(op, ty, regs[a as usize], regs[b as usize]);
                    regs[d as usize] = self.lawful(v, inst_name(op));
                }
                Inst::Cast(from, to, d, a) => {
                    regs[d as usize] = self.lawful(scalar::cast(from, to, regs[a as usize]), inst_name(to));
                }
                Inst::Select(d, c, a, b) => {
                    regs[d as usize] = regs[if regs[c as usize] != 0 { a } else { b } as usize];
                }
                Inst::Load(d, b, i) => {
                    let p = &places[b as usize];
                    let v = spaces[p.space][p.offset + self.index(p, b, regs[i as usize])];
                    assert!(v != UNWRITTEN, "{}: reads b{b} before a write", self.kernel.name);
                    regs[d as usize] = v;
                }
                Inst::Store(b, i, a) => {
                    let p = &places[b as usize];
                    spaces[p.space][p.offset + self.index(p, b, regs[i as usize])] = regs[a as usize];
                }
                Inst::Enter(v) => regs[v as usize] = 0,
                Inst::Next(v, trip, back) => {
                    regs[v as usize] += 1;
                    if regs[v as usize] < i64::from(trip) {
                        at = back as usize;
                    }
                }
            }
        }
    }

    fn index(&self, p: &Place, buf: u32, i: i64) -> usize {
        let at = usize::try_from(i).ok().filter(|&at| at < p.len);
        at.unwrap_or_else(|| {
            panic!(
                "{}: index {i} of b{buf}, which has {} elements",
                self.kernel.name, p.len
            )
        })
    }

    fn lawful(&self, v: Option<i64>, what: impl FnOnce() -> String) -> i64 {
        v.unwrap_or_else(|| panic!("{}: {} leaves its type", self.kernel.name, what()))
    }
}

/// Names an operation, for a panic only.
fn inst_name(op: impl std::fmt::Debug) -> impl FnOnce() -> String {
    move || format!("{op:?}")
}

struct Translator<'k> {
    kernel: &'k Kernel,
    insts: Vec<Inst>,
    regs: Vec<i64>,
    /// Register of each constant.
    constants: HashMap<i64, Reg>,
    /// Registers of intermediate values that are no longer needed.
    free: Vec<Reg>,
}

impl Translator<'_> {
    fn block(&mut self, body: &[Stmt]) {
        for s in body {
            match s {
                Stmt::Let(v, e) | Stmt::Set(v, e) => self.into(e, v.0),
                Stmt::Store(b, i, e) => {
                    let (i, e) = (self.operand(i), self.operand(e));
                    self.insts.push(Inst::Store(b.0, i.0, e.0));
                    self.release([i, e]);
                }
                Stmt::For { var, trip, body, .. } => {
                    self.insts.push(Inst::Enter(var.0));
                    let back = self.insts.len() as u32;
                    self.block(body);
                    self.insts.push(Inst::Next(var.0, *trip, back));
                }
                Stmt::Note(_) => {}
            }
        }
    }

    fn new_reg(&mut self, v: i64) -> Reg {
        self.regs.push(v);
        self.regs.len() as Reg - 1
    }

    /// The register that holds `e`, and whether it is an intermediate value.
    fn operand(&mut self, e: &Expr) -> (Reg, bool) {
        match e {
            Expr::Var(v) => (v.0, false),
            Expr::Lit(l) => {
                let v = scalar::of(*l);
                if let Some(&r) = self.constants.get(&v) {
                    return (r, false);
                }
                let r = self.new_reg(v);
                self.constants.insert(v, r);
                (r, false)
            }
            _ => {
                let r = self.free.pop().unwrap_or_else(|| self.new_reg(0));
                self.into(e, r);
                (r, true)
            }
        }
    }

    fn release<const N: usize>(&mut self, regs: [(Reg, bool); N]) {
        self.free.extend(regs.into_iter().filter(|r| r.1).map(|r| r.0));
    }

    /// Computes `e` into a register. Operands are complete before the last instruction writes it, so `e` may read it.
    fn into(&mut self, e: &Expr, d: Reg) {
        match e {
            Expr::Lit(_) | Expr::Var(_) => {
                let (a, _) = self.operand(e);
                self.insts.push(Inst::Copy(d, a));
            }
            Expr::Load(b, i) => {
                let i = self.operand(i);
                self.insts.push(Inst::Load(d, b.0, i.0));
                self.release([i]);
            }
            Expr::Un(op, a) => {
                let ty = self.kernel.ty(a);
                let a = self.operand(a);
                self.insts.push(Inst::Un(*op, ty, d, a.0));
                self.release([a]);
            }
            Expr::Bin(op, a, b) => {
                let ty = self.kernel.ty(a);
                let (a, b) = (self.operand(a), self.operand(b));
                self.insts.push(Inst::Bin(*op, ty, d, a.0, b.0));
                self.release([a, b]);
            }
            Expr::Cast(to, a) => {
                let from = self.kernel.ty(a);
                let a = self.operand(a);
                self.insts.push(Inst::Cast(from, *to, d, a.0));
                self.release([a]);
            }
            Expr::Select(c, a, b) => {
                let (c, a, b) = (self.operand(c), self.operand(a), self.operand(b));
                self.insts.push(Inst::Select(d, c.0, a.0, b.0));
                self.release([c, a, b]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::*;
    use super::super::{Pool, Port};
    use super::*;

    fn port(ty: Ty, len: usize) -> Port {
        Port {
            name: "port".into(),
            ty,
            shape: vec![len],
        }
    }

    fn program(kernels: Vec<Kernel>, pools: Vec<Pool>, calls: Vec<Call>, input: Port, output: Port) -> Program {
        Program {
            input,
            output,
            pools,
            kernels,
            calls,
        }
    }

    fn dot(weights: &[i64]) -> Kernel {
        let mut b = Builder::new("dot", "Weighted sum.");
        let x = b.param("x", Ty::I8, weights.len(), Role::In, Ty::I8.range());
        let y = b.param("y", Ty::I32, 1, Role::Out, Ty::I32.range());
        let w = b.constants("w", Ty::I8, ints(weights.iter().copied(), Ty::I8));
        let sum = b.mutable("sum", int(0, Ty::I32));
        b.each("i", weights.len(), false, |b, i| {
            let product = b.load(x, i.clone()).cast(Ty::I32) * b.load(w, i).cast(Ty::I32);
            b.add(sum, product);
        });
        b.store(y, idx(0), Expr::Var(sum));
        b.finish()
    }

    #[test]
    fn a_dot_product() {
        let call = Call {
            kernel: 0,
            args: vec![Arg::Input, Arg::Output],
        };
        let p = program(
            vec![dot(&[1, -2, 3])],
            vec![],
            vec![call],
            port(Ty::I8, 3),
            port(Ty::I32, 1),
        );
        assert_eq!(eval(&p, &[5, 0xff, 0xfe]), 1i32.to_le_bytes());
    }

    /// Two calls of one kernel through the arena, at an offset.
    #[test]
    fn calls_pass_values_through_the_arena() {
        let mut b = Builder::new("double", "Doubles.");
        let x = b.param("x", Ty::F32, 2, Role::In, Ty::F32.range());
        let y = b.param("y", Ty::F32, 2, Role::Out, Ty::F32.range());
        b.each("i", 2, false, |b, i| {
            let v = b.val("v", b.load(x, i.clone()));
            b.store(y, i, v.clone() + v);
        });
        let pool = Pool { ty: Ty::F32, len: 5 };
        let middle = Arg::Arena { pool: 0, offset: 3 };
        let call = |args| Call { kernel: 0, args };
        let calls = vec![call(vec![Arg::Input, middle]), call(vec![middle, Arg::Output])];
        let p = program(vec![b.finish()], vec![pool], calls, port(Ty::F32, 2), port(Ty::F32, 2));
        let bytes = |v: [f32; 2]| v.map(f32::to_le_bytes).concat();
        assert_eq!(eval(&p, &bytes([0.25, -3.0])), bytes([1.0, -12.0]));
    }

    fn one_store(len: usize, value: Expr, at: Expr) -> Program {
        let mut b = Builder::new("k", "");
        b.param("x", Ty::U8, 1, Role::In, Ty::U8.range());
        let y = b.param("y", Ty::I32, len, Role::Out, Ty::I32.range());
        b.store(y, at, value);
        let call = Call {
            kernel: 0,
            args: vec![Arg::Input, Arg::Output],
        };
        program(
            vec![b.finish()],
            vec![],
            vec![call],
            port(Ty::U8, 1),
            port(Ty::I32, len),
        )
    }

    #[test]
    #[should_panic(expected = "leaves its type")]
    fn signed_overflow_panics() {
        eval(
            &one_store(1, int(i64::from(i32::MAX), Ty::I32) + int(1, Ty::I32), idx(0)),
            &[0],
        );
    }

    #[test]
    #[should_panic(expected = "index 1 of b1")]
    fn an_index_out_of_range_panics() {
        eval(&one_store(1, int(0, Ty::I32), idx(1)), &[0]);
    }

    #[test]
    #[should_panic(expected = "every element of the result is written")]
    fn an_unwritten_result_panics() {
        eval(&one_store(2, int(0, Ty::I32), idx(0)), &[0]);
    }
}
