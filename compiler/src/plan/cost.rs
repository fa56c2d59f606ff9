//! What a kernel costs, counted from its KIR: how often each kind of operation runs, times the target's price for it.
//!
//! Compilers move what a loop does not change out of it, keep one pointer for all elements at constant distances, and step it
//! from turn to turn; they load an element once that a loop's body reads again and again, if the registers hold all of these; the count
//! does the same. Prices come from measurements (`sqc calibrate`).

use crate::kir::{BinOp, Buf, Expr, Kernel, Lit, Role, Stmt, Ty, UnOp, Var, walk};
use crate::target::{Cost as Price, Lang, OptLevel, Target};
use std::collections::{BTreeMap, HashSet};
use std::ops::Add;

/// What a kernel takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Instructions of one call.
    pub instructions: f64,
    /// Bytes of its tables, without those that another kernel has for both.
    pub tables: u64,
    /// Estimate of its code, in bytes.
    pub code: u64,
    /// Bytes of RAM for its own use.
    pub scratch: u64,
    /// Bytes of stack beyond the reserve.
    pub stack: u64,
}

/// What a call of a function takes that copies or fills memory, in loops' set-ups.
const CALL: f64 = 5.0;

/// Bytes of code per operation of KIR: what gcc and rustc make of the kernels here for Thumb, rounded up.
const CODE_PER_OPERATION: f64 = 4.0;

/// Operations whose loops LLVM opens at `opt-level = 3`, and the bytes that each then takes beyond [`CODE_PER_OPERATION`]. Of 823 kernels
/// that `sqc calibrate` measured in Rust for Cortex-M0 and M4 and for RISC-V, those of up to 100 operations take 17 bytes for each on
/// average, up to 400 eleven, up to 1600 eight, and those beyond 6400 three and a half; in C, and for size, eight in ten take three to six.
const OPENED: (u64, u64) = (250, 7);

/// Registers of words of every processor here, at the least: Armv6-M has eight that every instruction can name, and five more.
const MOVABLE: usize = 12;

/// Operations beyond which code is a straight line, without the set-up of loops and with addresses that are constants: each takes the
/// bytes that the target says.
const STRAIGHT: u64 = 2000;

impl Add for Cost {
    type Output = Cost;

    /// Of two kernels that run one after the other.
    fn add(self, other: Cost) -> Cost {
        Cost {
            instructions: self.instructions + other.instructions,
            tables: self.tables + other.tables,
            code: self.code + other.code,
            scratch: self.scratch.max(other.scratch),
            stack: self.stack.max(other.stack),
        }
    }
}

impl Cost {
    /// Tables and code.
    pub fn flash(&self) -> u64 {
        self.tables + self.code
    }
}

/// Cost of one call of `k`, after all passes, as a language's compiler builds it for a target.
pub fn of(k: &Kernel, target: &Target, compiler: (Lang, OptLevel)) -> Cost {
    let price = &target.cost;
    let (counts, operations) = count(k, target.isa.words);
    let opened = match compiler {
        (Lang::Rust, OptLevel::Speed) => OPENED.1 * operations.min(OPENED.0),
        _ => 0,
    };
    let bytes = |role: Role| -> u64 {
        let bufs = k.bufs.iter().filter(|b| b.role == role && b.owner.is_none());
        bufs.map(|b| u64::from(b.len) * u64::from(b.ty.bytes())).sum()
    };
    Cost {
        instructions: counts.iter().zip(price.list()).map(|(n, price)| n * price).sum(),
        tables: bytes(Role::Const),
        code: code(operations, price.code) + opened,
        scratch: bytes(Role::Scratch),
        stack: k.stack,
    }
}

/// Bytes of the code of so many operations, at so many bytes for one of a straight line.
fn code(operations: u64, straight: f64) -> u64 {
    let short = operations.min(STRAIGHT);
    (short as f64 * CODE_PER_OPERATION + (operations - short) as f64 * straight).round() as u64
}

/// Bytes that an operation of a straight line takes if `measured` is what a kernel of so many has; nothing if other code of a program
/// would count with it. (LLVM opens loops of two turns: `48x5x5 24C3p0 w=binary x=int8`, 9,430 operations, takes 47 KB in Rust on a
/// Cortex-M4, and 28 in C.)
pub fn straight(operations: u64, measured: u64) -> Option<f64> {
    let beyond = measured as f64 - STRAIGHT as f64 * CODE_PER_OPERATION;
    (operations >= 4 * STRAIGHT).then(|| beyond / (operations - STRAIGHT) as f64)
}

/// Operations of `k`, each once.
pub fn operations(k: &Kernel, words: usize) -> u64 {
    count(k, words).1
}

/// How often one call of `k` does what [`Price::NAMES`] says, in that order.
pub fn counts(k: &Kernel, words: usize) -> [f64; Price::NAMES.len()] {
    count(k, words).0
}

fn count(k: &Kernel, words: usize) -> ([f64; Price::NAMES.len()], u64) {
    let mut counter = Counter {
        k,
        depths: vec![0; k.vars.len()],
        turns: vec![1.0],
        seen: vec![HashSet::new()],
        kept: vec![],
        words,
        counts: [0.0; Price::NAMES.len()],
        operations: 0,
    };
    counter.body(&k.body);
    (counter.counts, counter.operations)
}

/// Indices of [`Price::NAMES`].
mod price {
    pub const ALU: usize = 0;
    pub const SHIFT: usize = 1;
    pub const MUL: usize = 2;
    pub const WIDE: usize = 3;
    pub const SELECT: usize = 4;
    pub const FLOAT: usize = 5;
    pub const POPCOUNT: usize = 6;
    pub const LOAD: usize = 7;
    pub const STORE: usize = 8;
    pub const ADDRESS: usize = 9;
    pub const TURN: usize = 10;
    pub const ENTER: usize = 11;
}

struct Counter<'a> {
    k: &'a Kernel,
    /// Of each variable, how many of the loops around change it.
    depths: Vec<usize>,
    /// Runs of a body, for no loop, the outermost loop, and so on inwards.
    turns: Vec<f64>,
    /// Addresses that are in a register, by the same.
    seen: Vec<HashSet<(Buf, Terms)>>,
    /// Elements that were loaded, of each body around whose elements the registers hold.
    kept: Vec<Option<HashSet<Element>>>,
    /// Registers of words.
    words: usize,
    counts: [f64; Price::NAMES.len()],
    /// Operations in the source.
    operations: u64,
}

/// A sum of products of indices and constants, without the constant.
type Terms = BTreeMap<Var, i64>;

/// An element of a buffer that does not change, and the constant of its index.
type Element = (Buf, Terms, i64);

impl Counter<'_> {
    fn body(&mut self, body: &[Stmt]) {
        let held = self.words.max(MOVABLE);
        let mut read = HashSet::new();
        for e in body.iter().flat_map(walk::exprs) {
            e.visit(&mut |part| {
                // One more than registers hold is enough.
                if read.len() <= held {
                    read.extend(self.element(part));
                }
            });
        }
        self.kept.push((read.len() <= held).then(HashSet::new));
        self.statements(body);
        self.kept.pop();
    }

    /// The element that a load reads, if that does not change.
    fn element(&self, e: &Expr) -> Option<Element> {
        let Expr::Load(b, at) = e else { return None };
        let fixed = matches!(self.k.buf(*b).role, Role::In | Role::Const);
        fixed.then_some((*b, self.affine(at)?, constant(at)))
    }

    fn statements(&mut self, body: &[Stmt]) {
        for s in body {
            match s {
                Stmt::Let(v, e) => {
                    let d = self.k.var(*v);
                    self.depths[v.0 as usize] = if d.mutable { self.here() } else { self.depth(e) };
                    match self.affine(e) {
                        Some(terms) if d.ty == Ty::Idx && !d.mutable => {
                            if terms.values().any(|&factor| factor != 1) || terms.len() > 1 {
                                self.add(price::ADDRESS, self.depth(e));
                            }
                        }
                        _ => self.expr(e),
                    }
                }
                Stmt::Set(_, e) => self.expr(e),
                Stmt::Store(b, at, e) => {
                    self.add(price::STORE, self.here());
                    self.index(*b, at);
                    self.expr(e);
                }
                Stmt::For { var, trip, body, .. } if let Some((to, loads)) = self.block_of_memory(*var, body) => {
                    let words = (u64::from(*trip) * u64::from(self.k.buf(to).ty.bytes())).div_ceil(4) as f64;
                    let turns = self.turns[self.here()];
                    self.counts[price::ENTER] += CALL * turns;
                    self.counts[price::STORE] += words * turns;
                    if loads {
                        self.counts[price::LOAD] += words * turns;
                    }
                    self.operations += CALL as u64;
                }
                Stmt::For { var, trip, body, .. } => {
                    self.operations += 2;
                    self.add(price::ENTER, self.here());
                    let turns = self.turns[self.here()] * f64::from(*trip);
                    self.turns.push(turns);
                    self.seen.push(HashSet::new());
                    self.depths[var.0 as usize] = self.here();
                    self.add(price::TURN, self.here());
                    self.body(body);
                    self.turns.pop();
                    self.seen.pop();
                }
                Stmt::Fence | Stmt::Note(_) => {}
            }
        }
    }

    /// Where a loop over `var` writes one element after the other, if it does nothing else, and whether it copies them: compilers call
    /// a function of their library for that, which moves words. Else it writes the same value to all.
    fn block_of_memory(&self, var: Var, body: &[Stmt]) -> Option<(Buf, bool)> {
        let [Stmt::Store(to, at, value)] = body else {
            return None;
        };
        let steps = |at: &Expr| self.affine(at).is_some_and(|terms| terms.get(&var) == Some(&1));
        match value {
            Expr::Lit(_) if steps(at) => Some((*to, false)),
            Expr::Load(from, from_at) if self.k.buf(*from).ty == self.k.buf(*to).ty && steps(at) && steps(from_at) => {
                Some((*to, true))
            }
            _ => None,
        }
    }

    fn here(&self) -> usize {
        self.turns.len() - 1
    }

    fn add(&mut self, price: usize, depth: usize) {
        self.counts[price] += self.turns[depth];
        self.operations += 1;
    }

    /// How many of the loops around change the value.
    fn depth(&self, e: &Expr) -> usize {
        let own = match e {
            Expr::Var(v) if self.k.var(*v).mutable => self.here(),
            Expr::Var(v) => self.depths[v.0 as usize],
            Expr::Load(b, _) | Expr::LoadN { buf: b, .. } => match self.k.buf(*b).role {
                Role::In | Role::Const => 0,
                _ => self.here(),
            },
            _ => 0,
        };
        e.operands().map(|a| self.depth(a)).fold(own, usize::max)
    }

    fn expr(&mut self, e: &Expr) {
        let ty = |e: &Expr| self.k.ty(e).scalar();
        let own = match e {
            Expr::Lit(_) | Expr::Var(_) => None,
            Expr::Load(b, at) | Expr::LoadN { buf: b, at, .. } => {
                if let Some(element) = self.element(e)
                    && let Some(Some(kept)) = self.kept.last_mut()
                    && !kept.insert(element)
                {
                    return;
                }
                self.index(*b, at);
                return self.add(price::LOAD, self.depth(e));
            }
            // A truth value becomes a number by a choice; other changes of type are free, or part of the load.
            Expr::Cast(to, a) => match (to.scalar() == Ty::F32, ty(a)) {
                (_, Ty::Bool) => Some(price::SELECT),
                (to, from) if to != (from == Ty::F32) => Some(price::FLOAT),
                _ => None,
            },
            Expr::Vector(..) => Some(price::ALU),
            // Vectors are counted by one instruction, or not at all.
            Expr::Un(UnOp::Popcnt, a) if ty(a).lanes() == 1 => Some(price::POPCOUNT),
            Expr::Un(_, a) if ty(a) == Ty::F32 => Some(price::FLOAT),
            Expr::Un(..) => Some(price::ALU),
            Expr::Bin(op, a, b) => Some(match (ty(a), op, &**b) {
                (Ty::F32, ..) => price::FLOAT,
                (Ty::I64, ..) => price::WIDE,
                (_, BinOp::Shl | BinOp::Shr, Expr::Lit(_)) => price::SHIFT,
                (_, BinOp::Mul, Expr::Lit(Lit::Int(n, _))) if n.count_ones() == 1 => price::SHIFT,
                (_, BinOp::Mul, _) => price::MUL,
                (_, BinOp::Min | BinOp::Max, _) => price::SELECT,
                _ => price::ALU,
            }),
            Expr::Select(..) => Some(price::SELECT),
        };
        if let Some(own) = own {
            self.add(own, self.depth(e));
        }
        e.operands().for_each(|a| self.expr(a));
    }

    /// An address: computed once for all elements at constant distances.
    fn index(&mut self, b: Buf, at: &Expr) {
        match self.affine(at) {
            Some(terms) => {
                let depth = terms.keys().map(|v| self.depths[v.0 as usize]).max().unwrap_or(0);
                let key = (b, terms);
                if !key.1.is_empty() && !self.seen.iter().any(|s| s.contains(&key)) {
                    self.add(price::ADDRESS, depth);
                    self.seen.last_mut().expect("a body").insert(key);
                }
            }
            None => {
                self.add(price::ADDRESS, self.depth(at));
                self.data(at);
            }
        }
    }

    /// The operations of an index that make data of it; its sums and products are the address's.
    fn data(&mut self, at: &Expr) {
        match at {
            Expr::Bin(BinOp::Add | BinOp::Sub | BinOp::Mul, a, b) => {
                self.data(a);
                self.data(b);
            }
            _ => self.expr(at),
        }
    }

    /// An index as a sum of variables times constants, if it is one.
    fn affine(&self, e: &Expr) -> Option<Terms> {
        let scaled = |terms: Terms, by: i64| terms.into_iter().map(|(v, n)| (v, n * by)).collect();
        Some(match e {
            Expr::Lit(_) => Terms::new(),
            Expr::Var(v) if self.k.var(*v).ty == Ty::Idx && !self.k.var(*v).mutable => Terms::from([(*v, 1)]),
            Expr::Bin(op @ (BinOp::Add | BinOp::Sub), a, b) => {
                let mut all = self.affine(a)?;
                let sign = if *op == BinOp::Add { 1 } else { -1 };
                for (v, n) in self.affine(b)? {
                    *all.entry(v).or_default() += sign * n;
                }
                all
            }
            Expr::Bin(BinOp::Mul, a, b) => match (&**a, &**b) {
                (Expr::Lit(Lit::Int(n, _)), e) | (e, Expr::Lit(Lit::Int(n, _))) => scaled(self.affine(e)?, *n),
                _ => return None,
            },
            _ => return None,
        })
    }
}

/// The constant of an index: its value where all variables are 0.
fn constant(at: &Expr) -> i64 {
    match at {
        Expr::Lit(Lit::Int(n, _)) => *n,
        Expr::Bin(BinOp::Add, a, b) => constant(a) + constant(b),
        Expr::Bin(BinOp::Sub, a, b) => constant(a) - constant(b),
        Expr::Bin(BinOp::Mul, a, b) => constant(a) * constant(b),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kir::build::{Builder, idx, int, ints};

    #[test]
    fn what_a_loop_does_not_change_is_counted_outside() {
        let mut b = Builder::new("k", "");
        let x = b.param("x", Ty::I32, 10, Role::In, (0, 9));
        let y = b.param("y", Ty::I32, 40, Role::Out, Ty::I32.range());
        let w = b.constants("w", Ty::I32, ints(0..4, Ty::I32));
        b.each("i", 10, false, |b, i| {
            b.each("j", 4, false, |b, j| {
                let fixed = b.load(x, i.clone()) * b.load(w, idx(1));
                let sum = fixed + b.load(w, j.clone()) + b.load(w, j.clone());
                b.store(y, i.clone() * idx(4) + j, sum ^ int(1, Ty::I32));
            });
        });
        let n = counts(&b.finish(), 0);
        assert_eq!(n[price::MUL], 10.0);
        assert_eq!(n[price::ALU], 3.0 * 40.0);
        assert_eq!(n[price::LOAD], 1.0 + 10.0 + 40.0);
        assert_eq!(n[price::STORE], 40.0);
        // x[i]; w[j] once, y[4 i + j].
        assert_eq!(n[price::ADDRESS], 10.0 + 2.0 * 40.0);
        assert_eq!(n[price::TURN], 50.0);
        assert_eq!(n[price::ENTER], 11.0);
    }

    #[test]
    fn elements_that_registers_hold_are_loaded_once() {
        let mut b = Builder::new("k", "");
        let x = b.param("x", Ty::I32, 130, Role::In, (0, 9));
        let y = b.param("y", Ty::I32, 80, Role::Out, Ty::I32.range());
        b.each("i", 10, false, |b, i| {
            for o in 0..8 {
                let from = |j: usize| b.load(x, i.clone() * idx(13) + idx(j));
                let sum = (0..13).map(from).reduce(|a, x| a + x).expect("thirteen");
                b.store(y, i.clone() * idx(8) + idx(o), sum);
            }
        });
        let k = b.finish();
        assert_eq!(counts(&k, 13)[price::LOAD], 130.0);
        assert_eq!(counts(&k, 12)[price::LOAD], 1040.0);
    }

    #[test]
    fn long_code_takes_the_bytes_of_a_straight_line() {
        assert_eq!(code(1000, 2.0), 4000);
        assert_eq!(code(STRAIGHT + 1000, 2.0), 4 * STRAIGHT + 2000);
        assert_eq!(straight(10_000, code(10_000, 2.5)), Some(2.5));
        assert_eq!(straight(3000, code(3000, 2.5)), None);
    }

    #[test]
    fn a_loop_that_copies_memory_is_a_call() {
        let copy = |apart: usize| {
            let mut b = Builder::new("k", "");
            let x = b.param("x", Ty::I8, 24, Role::In, Ty::I8.range());
            let y = b.param("y", Ty::I8, 12, Role::Out, Ty::I8.range());
            b.each("i", 12, false, |b, i| {
                let v = b.load(x, i.clone() * idx(apart));
                b.store(y, i, v);
            });
            counts(&b.finish(), 0)
        };
        let n = copy(1);
        assert_eq!([n[price::LOAD], n[price::STORE], n[price::TURN]], [3.0, 3.0, 0.0]);
        // Every second byte is no block.
        let n = copy(2);
        assert_eq!([n[price::LOAD], n[price::STORE], n[price::TURN]], [12.0, 12.0, 12.0]);
    }
}
