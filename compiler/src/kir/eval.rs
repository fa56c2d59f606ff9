//! Runs a program; what it computes is what the program means.
//!
//! Each kernel is translated once into instructions over registers (variables first, then constants, then intermediate
//! values), so that whole networks run in about a second. A vector takes as many registers in a row as it has lanes, and its
//! operations become those of its lanes. The laws that `verify` proves are checked again on every value: a
//! broken one panics.

use super::{Arg, BinOp, BufDecl, Call, Expr, Kernel, Program, Role, Stmt, Ty, UnOp, VecOp, scalar};
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
        overwrite(p, call, &mut spaces);
    }
    write(&spaces[1], p.output.ty)
}

/// What a call wrote into one pool is no value in another that lies in the same bytes.
fn overwrite(p: &Program, call: &Call, spaces: &mut [Vec<i64>]) {
    for (param, arg) in p.kernels[call.kernel].params().zip(&call.args) {
        let &Arg::Arena { pool: written, offset } = arg else {
            continue;
        };
        if param.role == Role::In {
            continue;
        }
        let from = p.pools[written].at + offset * param.ty.bytes();
        let to = from + param.len * param.ty.bytes();
        for (i, q) in p.pools.iter().enumerate().filter(|(i, _)| *i != written) {
            let element = |byte: u32| (byte.saturating_sub(q.at) / q.ty.bytes()).min(q.len) as usize;
            let (first, last) = (element(from), element((to + q.ty.bytes() - 1).max(q.at)));
            spaces[2 + i][first..last].fill(UNWRITTEN);
        }
    }
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
            Ty::I16 => i64::from(raw as i16),
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
    /// Register, buffer, register of the index, what is added to it.
    Load(Reg, u32, Reg, u8),
    /// Buffer, register of the index, what is added to it, register of the value.
    Store(u32, Reg, u8, Reg),
    /// The one of 16 registers whose number another holds.
    Pick(Reg, Reg, Reg),
    /// The lanes of a vector of the first type from the bits of one of the second.
    Bits(Ty, Ty, Reg, Reg),
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
    /// Space of each buffer that is constant or local.
    own: Vec<Option<usize>>,
}

/// Where a buffer lies for one call.
struct Place {
    space: usize,
    offset: usize,
    len: usize,
}

impl<'k> Code<'k> {
    /// Translates a kernel and makes new spaces for its constants and local buffers.
    fn new(k: &'k Kernel, spaces: &mut Vec<Vec<i64>>) -> Self {
        let own = k.bufs.iter().map(|b| {
            let data = match b.role {
                Role::Const => b.data.iter().map(|&l| scalar::of(l)).collect(),
                Role::Local => vec![UNWRITTEN; b.len as usize],
                _ => return None,
            };
            spaces.push(data);
            Some(spaces.len() - 1)
        });
        let own = own.collect();
        let mut t = Translator {
            kernel: k,
            insts: vec![],
            regs: vec![],
            vars: vec![],
            constants: HashMap::new(),
            free: HashMap::new(),
        };
        t.vars = k.vars.iter().map(|v| t.new_regs(v.ty.lanes())).collect();
        t.block(&k.body);
        Code {
            kernel: k,
            insts: t.insts,
            regs: t.regs,
            own,
        }
    }

    /// Runs it with a call's arguments.
    fn run(&self, spaces: &mut [Vec<i64>], call: &Call) {
        let mut args = call.args.iter();
        let place = |(b, own): (&BufDecl, &Option<usize>)| {
            let (space, offset) = match own {
                Some(space) => (*space, 0),
                None => match args.next().expect("an argument for each parameter") {
                    Arg::Input(offset) => (0, *offset as usize),
                    Arg::Output(offset) => (1, *offset as usize),
                    Arg::Arena { pool, offset } => (2 + pool, *offset as usize),
                },
            };
            Place {
                space,
                offset,
                len: b.len as usize,
            }
        };
        let places: Vec<Place> = self.kernel.bufs.iter().zip(&self.own).map(place).collect();
        self.forget(spaces, &places);
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
                Inst::Load(d, b, i, lane) => {
                    let p = &places[b as usize];
                    let v = spaces[p.space][p.offset + self.index(p, b, regs[i as usize] + i64::from(lane))];
                    assert!(v != UNWRITTEN, "{}: reads b{b} before a write", self.kernel.name);
                    regs[d as usize] = v;
                }
                Inst::Store(b, i, lane, a) => {
                    let p = &places[b as usize];
                    let at = self.index(p, b, regs[i as usize] + i64::from(lane));
                    spaces[p.space][p.offset + at] = regs[a as usize];
                }
                Inst::Pick(d, table, i) => {
                    let i = u32::try_from(regs[i as usize]).ok().filter(|&i| i < 16);
                    regs[d as usize] = regs[(table + self.lawful(i, || "lookup".into())) as usize];
                }
                Inst::Bits(to, from, d, a) => bits(&mut regs, to, from, d, a),
                Inst::Enter(v) => regs[v as usize] = 0,
                Inst::Next(v, trip, back) => {
                    regs[v as usize] += 1;
                    if regs[v as usize] < i64::from(trip) {
                        at = back as usize;
                    }
                }
            }
        }
        self.forget(spaces, &places);
    }

    /// Before and after a call nothing is known of its scratch buffers.
    fn forget(&self, spaces: &mut [Vec<i64>], places: &[Place]) {
        let all = self.kernel.bufs.iter().zip(places);
        for (_, p) in all.filter(|(b, _)| matches!(b.role, Role::Scratch | Role::Local)) {
            spaces[p.space][p.offset..p.offset + p.len].fill(UNWRITTEN);
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

    fn lawful<T>(&self, v: Option<T>, what: impl FnOnce() -> String) -> T {
        v.unwrap_or_else(|| panic!("{}: {} leaves its type", self.kernel.name, what()))
    }
}

/// Names an operation, for a panic only.
fn inst_name(op: impl std::fmt::Debug) -> impl FnOnce() -> String {
    move || format!("{op:?}")
}

/// Reads the lanes of a vector of type `from` as those of one of type `to`.
fn bits(regs: &mut [i64], to: Ty, from: Ty, d: Reg, a: Reg) {
    let mut bytes = [0; 256];
    let size = from.scalar().bytes() as usize;
    for lane in 0..usize::from(from.lanes()) {
        let v = regs[a as usize + lane].to_le_bytes();
        bytes[lane * size..(lane + 1) * size].copy_from_slice(&v[..size]);
    }
    let lanes = read(&bytes[..to.bytes() as usize], to.scalar());
    regs[d as usize..d as usize + lanes.len()].copy_from_slice(&lanes);
}

struct Translator<'k> {
    kernel: &'k Kernel,
    insts: Vec<Inst>,
    regs: Vec<i64>,
    /// First register of each variable.
    vars: Vec<Reg>,
    /// Register of each constant.
    constants: HashMap<i64, Reg>,
    /// Registers of intermediate values that are no longer needed, the first of each, by the number of lanes.
    free: HashMap<u8, Vec<Reg>>,
}

/// Where a value lies: its first register, and the number of lanes to give back if it is an intermediate value.
type Operand = (Reg, Option<u8>);

impl Translator<'_> {
    fn block(&mut self, body: &[Stmt]) {
        for s in body {
            match s {
                Stmt::Let(v, e) | Stmt::Set(v, e) => self.into(e, self.vars[v.0 as usize]),
                Stmt::Store(b, i, e) => {
                    let lanes = self.kernel.ty(e).lanes();
                    let (i, e) = (self.operand(i), self.operand(e));
                    for lane in 0..lanes {
                        self.insts.push(Inst::Store(b.0, i.0, lane, e.0 + Reg::from(lane)));
                    }
                    self.release([i, e]);
                }
                Stmt::For { var, trip, body, .. } => {
                    let var = self.vars[var.0 as usize];
                    self.insts.push(Inst::Enter(var));
                    let back = self.insts.len() as u32;
                    self.block(body);
                    self.insts.push(Inst::Next(var, *trip, back));
                }
                Stmt::Fence | Stmt::Note(_) => {}
            }
        }
    }

    /// The first of as many new registers.
    fn new_regs(&mut self, lanes: u8) -> Reg {
        let first = self.regs.len();
        self.regs.resize(first + usize::from(lanes), 0);
        first as Reg
    }

    fn take(&mut self, lanes: u8) -> Reg {
        let free = self.free.get_mut(&lanes).and_then(Vec::pop);
        free.unwrap_or_else(|| self.new_regs(lanes))
    }

    /// Where `e` is, or is computed to.
    fn operand(&mut self, e: &Expr) -> Operand {
        match e {
            Expr::Var(v) => (self.vars[v.0 as usize], None),
            Expr::Lit(l) => {
                let v = scalar::of(*l);
                if let Some(&r) = self.constants.get(&v) {
                    return (r, None);
                }
                let r = self.new_regs(1);
                self.regs[r as usize] = v;
                self.constants.insert(v, r);
                (r, None)
            }
            _ => {
                let lanes = self.kernel.ty(e).lanes();
                let r = self.take(lanes);
                self.into(e, r);
                (r, Some(lanes))
            }
        }
    }

    fn release(&mut self, operands: impl IntoIterator<Item = Operand>) {
        for (r, lanes) in operands {
            if let Some(lanes) = lanes {
                self.free.entry(lanes).or_default().push(r);
            }
        }
    }

    /// Computes `e` into registers. Of a scalar, operands are complete before the last instruction writes it, so `e` may read
    /// it; a lane reads nothing but its own of what may be the result's register, or the result is made elsewhere first.
    fn into(&mut self, e: &Expr, d: Reg) {
        let (k, ty) = (self.kernel, self.kernel.ty(e));
        let lanes = 0..Reg::from(ty.lanes());
        match e {
            Expr::Lit(_) | Expr::Var(_) => {
                let (a, _) = self.operand(e);
                self.insts.extend(lanes.map(|l| Inst::Copy(d + l, a + l)));
            }
            Expr::Load(b, i) => {
                let i = self.operand(i);
                self.insts.push(Inst::Load(d, b.0, i.0, 0));
                self.release([i]);
            }
            Expr::LoadN { buf, at, group, .. } => {
                let i = self.operand(at);
                let load = |l: Reg| Inst::Load(d + l, buf.0, i.0, (l % Reg::from(*group)) as u8);
                self.insts.extend(lanes.map(load));
                self.release([i]);
            }
            Expr::Un(op, a) => {
                let of = k.ty(a).scalar();
                let a = self.operand(a);
                self.insts.extend(lanes.map(|l| Inst::Un(*op, of, d + l, a.0 + l)));
                self.release([a]);
            }
            Expr::Bin(op, a, b) => {
                let of = k.ty(a).scalar();
                let (a, b) = (self.operand(a), self.operand(b));
                self.insts
                    .extend(lanes.map(|l| Inst::Bin(*op, of, d + l, a.0 + l, b.0 + l)));
                self.release([a, b]);
            }
            Expr::Cast(_, a) => {
                let from = k.ty(a).scalar();
                let a = self.operand(a);
                self.insts
                    .extend(lanes.map(|l| Inst::Cast(from, ty.scalar(), d + l, a.0 + l)));
                self.release([a]);
            }
            Expr::Select(c, a, b) => {
                let (c, a, b) = (self.operand(c), self.operand(a), self.operand(b));
                self.insts
                    .extend(lanes.map(|l| Inst::Select(d + l, c.0 + l, a.0 + l, b.0 + l)));
                self.release([c, a, b]);
            }
            Expr::Vector(op, args) => self.vector(*op, args, ty, d),
        }
    }

    fn vector(&mut self, op: VecOp, args: &[Expr], ty: Ty, d: Reg) {
        let types: Vec<Ty> = args.iter().map(|a| self.kernel.ty(a)).collect();
        let operands: Vec<Operand> = args.iter().map(|a| self.operand(a)).collect();
        let at: Vec<Reg> = operands.iter().map(|o| o.0).collect();
        let n = Reg::from(ty.lanes());
        let add = |ty: Ty, d: Reg, b: Reg| Inst::Bin(BinOp::Add, ty, d, d, b);
        match op {
            VecOp::Splat(_) => self.insts.extend((0..n).map(|l| Inst::Copy(d + l, at[0]))),
            VecOp::Bits(to) => self.insts.push(Inst::Bits(to, types[0], d, at[0])),
            VecOp::Lookup => {
                // The table may be what is updated.
                let table = self.take(16);
                self.insts.extend((0..16).map(|l| Inst::Copy(table + l, at[0] + l)));
                self.insts.extend((0..n).map(|l| Inst::Pick(d + l, table, at[1] + l)));
                self.release([(table, Some(16))]);
            }
            VecOp::Dot | VecOp::DotGroup(_) => {
                let (product, share) = (self.take(1), Reg::from(types[1].lanes()) / n);
                for l in 0..n {
                    self.insts.push(Inst::Copy(d + l, at[0] + l));
                    let group = match op {
                        VecOp::DotGroup(group) => Reg::from(group),
                        _ => l,
                    };
                    for j in 0..share {
                        let (a, b) = (at[1] + l * share + j, at[2] + group * share + j);
                        self.insts.push(Inst::Bin(BinOp::Mul, Ty::I32, product, a, b));
                        self.insts.push(add(ty.scalar(), d + l, product));
                    }
                }
                self.release([(product, Some(1))]);
            }
            VecOp::Matrix => {
                let (product, row) = (self.take(1), Reg::from(types[1].lanes()) / 2);
                for l in 0..n {
                    self.insts.push(Inst::Copy(d + l, at[0] + l));
                    for k in 0..row {
                        let (a, b) = (at[1] + l / 2 * row + k, at[2] + l % 2 * row + k);
                        self.insts.push(Inst::Bin(BinOp::Mul, Ty::I32, product, a, b));
                        self.insts.push(add(ty.scalar(), d + l, product));
                    }
                }
                self.release([(product, Some(1))]);
            }
            VecOp::Unzip { group, at: odd } => {
                // Either vector may be what is updated.
                let (group, odd) = (Reg::from(group), Reg::from(odd));
                let lanes = self.take(n as u8);
                for l in 0..n {
                    let from = (2 * (l / group) + odd) * group + l % group;
                    self.insts
                        .push(Inst::Copy(lanes + l, at[(from / n) as usize] + from % n));
                }
                self.insts.extend((0..n).map(|l| Inst::Copy(d + l, lanes + l)));
                self.release([(lanes, Some(n as u8))]);
            }
            VecOp::Spread { group, at: g } => {
                // The vector may be what is updated.
                let (group, g) = (Reg::from(group), Reg::from(g));
                let lanes = self.take(group as u8);
                self.insts
                    .extend((0..group).map(|l| Inst::Copy(lanes + l, at[0] + g * group + l)));
                self.insts.extend((0..n).map(|l| Inst::Copy(d + l, lanes + l % group)));
                self.release([(lanes, Some(group as u8))]);
            }
            VecOp::Half(half) => {
                let first = at[0] + Reg::from(half) * n;
                self.insts.extend((0..n).map(|l| Inst::Copy(d + l, first + l)));
            }
            VecOp::High => {
                let shift = self.operand(&Expr::Lit(super::Lit::Int(32, Ty::I64)));
                for l in 0..n {
                    self.insts
                        .push(Inst::Bin(BinOp::Mul, Ty::I64, d + l, at[0] + l, at[1] + l));
                    self.insts.push(Inst::Bin(BinOp::Shr, Ty::I64, d + l, d + l, shift.0));
                }
            }
            VecOp::Pairs => {
                for l in 0..n {
                    let (a, b) = (at[0] + 2 * l, at[0] + 2 * l + 1);
                    self.insts.push(Inst::Bin(BinOp::Add, ty.scalar(), d + l, a, b));
                }
            }
            VecOp::Total => {
                let sum = self.take(1);
                self.insts.push(Inst::Copy(sum, at[0]));
                let more = 1..Reg::from(types[0].lanes());
                self.insts.extend(more.map(|l| add(ty, sum, at[0] + l)));
                self.insts.push(Inst::Copy(d, sum));
                self.release([(sum, Some(1))]);
            }
            VecOp::Mask => {
                let sum = self.take(1);
                let zero = self.operand(&Expr::Lit(super::Lit::Int(0, Ty::U32)));
                self.insts.push(Inst::Copy(sum, zero.0));
                for &vector in at.iter().rev() {
                    for l in (0..Reg::from(types[0].lanes())).rev() {
                        self.insts.push(Inst::Bin(BinOp::Add, Ty::U32, sum, sum, sum));
                        self.insts.push(Inst::Bin(BinOp::Or, Ty::U32, sum, sum, vector + l));
                    }
                }
                self.insts.push(Inst::Copy(d, sum));
                self.release([(sum, Some(1))]);
            }
        }
        self.release(operands);
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
            args: vec![Arg::Input(0), Arg::Output(0)],
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
        let pools = Pool::apart(vec![(Ty::F32, 5)]);
        let middle = Arg::Arena { pool: 0, offset: 3 };
        let call = |args| Call { kernel: 0, args };
        let calls = vec![call(vec![Arg::Input(0), middle]), call(vec![middle, Arg::Output(0)])];
        let p = program(vec![b.finish()], pools, calls, port(Ty::F32, 2), port(Ty::F32, 2));
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
            args: vec![Arg::Input(0), Arg::Output(0)],
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
