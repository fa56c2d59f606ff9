//! Passes over kernels, the same for every language: each keeps what a kernel computes, bit by bit.

mod fold;
mod inline_weights;
mod legalize;
mod unroll;

use super::{Kernel, verify};
use crate::diag::{Code, Diag, Result};
use crate::target::Target;

/// A pass.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name in dumps.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Does it.
    pub run: fn(&mut Kernel, &Target),
}

const FOLD: Row = Row {
    name: "fold",
    doc: "computes what is known, and removes what nobody reads",
    run: fold::run,
};

/// The passes in order.
pub const PASSES: [Row; 5] = [
    Row {
        name: "unroll",
        doc: "opens the loops that are marked for it",
        run: unroll::run,
    },
    // Indices become known here, weights next, and what hangs on them after that.
    FOLD,
    Row {
        name: "inline-weights",
        doc: "puts constants read at known indices in place",
        run: inline_weights::run,
    },
    FOLD,
    Row {
        name: "legalize",
        doc: "rewrites operations that the target lacks",
        run: legalize::run,
    },
];

/// Runs all passes on one kernel, and holds it against the laws before the first and after each; `after_each` sees the pass's
/// name and what it made.
///
/// # Errors
///
/// [`Code::Internal`] with the broken law, if the kernel or a pass is wrong.
pub fn run(k: &mut Kernel, t: &Target, after_each: &mut dyn FnMut(&'static str, &Kernel)) -> Result<()> {
    let check = |k: &Kernel, what: &str| {
        verify::kernel(k).map_err(|e| Vec::from(Diag::new(Code::Internal, format!("{what}: {e}"))))
    };
    check(k, "as built")?;
    for row in PASSES {
        (row.run)(k, t);
        check(k, row.name)?;
        after_each(row.name, k);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::build::{Builder, float, floats, idx, int, ints};
    use super::super::{Arg, BinOp, Buf, Call, Expr, Port, Program, Role, Ty, Var, eval};
    use super::*;

    /// Marsaglia's xorshift with 64 bits: the tests need variety, not quality.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as usize % n
        }

        fn of<T: Copy>(&mut self, choices: &[T]) -> T {
            choices[self.below(choices.len())]
        }
    }

    const LEN: usize = 8;
    const TYPES: [Ty; 3] = [Ty::I32, Ty::U32, Ty::F32];

    /// Writes kernels that keep the laws but are otherwise arbitrary.
    struct Author {
        random: Random,
        b: Builder,
        x: Buf,
        y: Buf,
        out: Ty,
        tables: [Buf; 3],
        /// Names in scope.
        values: Vec<Expr>,
        variables: Vec<Var>,
        counters: Vec<Expr>,
    }

    impl Author {
        fn new(seed: u64) -> Self {
            let mut random = Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            (0..9).for_each(|_| _ = random.below(2));
            let out = random.of(&TYPES);
            let mut b = Builder::new("any", "");
            let x = b.param("x", Ty::U8, LEN, Role::In, Ty::U8.range());
            let y = b.param("y", out, LEN, Role::Out, out.range());
            let small = [-1i32, 0, 1, 2, -3, 0, 1, -1];
            let words = small.map(|v| i64::from((v as u32).wrapping_mul(0x0101_0107)));
            let tables = [
                b.constants("ints", Ty::I32, ints(small.map(i64::from), Ty::I32)),
                b.constants("words", Ty::U32, ints(words, Ty::U32)),
                b.constants("floats", Ty::F32, floats(&small.map(|v| v as f32))),
            ];
            Author {
                random,
                b,
                x,
                y,
                out,
                tables,
                values: vec![],
                variables: vec![],
                counters: vec![],
            }
        }

        fn index(&mut self) -> Expr {
            match (self.counters.is_empty(), self.random.below(3)) {
                (true, _) | (_, 0) => idx(self.random.below(LEN)),
                (_, n) => {
                    let at = self.random.below(self.counters.len());
                    let scaled = self.counters[at].clone() * idx(n) + idx(self.random.below(3));
                    scaled & idx(LEN - 1)
                }
            }
        }

        /// Keeps sums and products of such numbers far from overflow.
        fn clip(e: Expr) -> Expr {
            e.max(int(-1000, Ty::I32)).min(int(1000, Ty::I32))
        }

        fn condition(&mut self, depth: usize) -> Expr {
            let ty = self.random.of(&TYPES);
            let (a, b) = (self.expr(ty, depth), self.expr(ty, depth));
            let op = self.random.of(&[BinOp::Lt, BinOp::Ge, BinOp::Eq]);
            let e = Expr::Bin(op, a.into(), b.into());
            if self.random.below(4) == 0 { !e } else { e }
        }

        fn leaf(&mut self, ty: Ty) -> Expr {
            let v = self.random.of(&[-1, 0, 1, 0, 2, 31]);
            match self.random.below(5) {
                0 => match ty {
                    Ty::F32 => float(if v == 31 { -0.0 } else { v as f32 }),
                    Ty::U32 => int(i64::from(v as u32), ty),
                    _ => int(v, ty),
                },
                1 => {
                    let (table, at) = (TYPES.iter().position(|t| *t == ty).unwrap(), self.index());
                    self.b.load(self.tables[table], at)
                }
                n => {
                    let mut named = self.values.clone();
                    named.extend(self.variables.iter().map(|v| Expr::Var(*v)));
                    named.retain(|e| self.b.ty(e) == ty);
                    match named.is_empty() || n == 2 {
                        false => named.swap_remove(self.random.below(named.len())),
                        true => {
                            let at = self.index();
                            let element = self.b.load(self.x, at).cast(Ty::I32);
                            if ty == Ty::I32 { element } else { element.cast(ty) }
                        }
                    }
                }
            }
        }

        fn expr(&mut self, ty: Ty, depth: usize) -> Expr {
            if depth == 0 {
                return self.leaf(ty);
            }
            let (a, b) = (self.expr(ty, depth - 1), self.expr(ty, depth - 1));
            use BinOp::{Add, And, Max, Min, Mul, Or, Shl, Shr, Sub, Xor};
            let e = match (ty, self.random.below(8)) {
                (_, 0) => self.condition(depth - 1).select(a, b),
                (Ty::U32, 1) => a.popcnt(),
                (Ty::U32, 2) => self.expr(Ty::I32, depth - 1).cast(ty),
                (Ty::U32, 3) => Expr::Bin(self.random.of(&[Shl, Shr]), a.into(), (b & int(31, ty)).into()),
                (Ty::U32, 4) => !a,
                (Ty::U32, _) => {
                    let op = self.random.of(&[Add, Sub, Mul, And, Or, Xor, Min, Max]);
                    Expr::Bin(op, a.into(), b.into())
                }
                (Ty::F32, 1) => self.expr(Ty::I32, depth - 1).cast(ty),
                (_, 2) => -a,
                (Ty::F32, _) => Expr::Bin(self.random.of(&[Add, Sub, Mul, Min, Max]), a.into(), b.into()),
                (_, 3) => Self::clip(self.expr(Ty::U32, depth - 1).cast(ty)),
                (_, 4) => self.condition(depth - 1).cast(ty),
                _ => {
                    let op = self.random.of(&[Add, Sub, Mul, And, Or, Xor, Min, Max]);
                    Expr::Bin(op, a.into(), b.into())
                }
            };
            if ty == Ty::I32 { Self::clip(e) } else { e }
        }

        fn block(&mut self, loops: usize) {
            let mark = (self.values.len(), self.variables.len());
            for _ in 0..4 {
                let ty = self.random.of(&TYPES);
                match self.random.below(6) {
                    0 => {
                        let e = self.expr(ty, 2);
                        let v = self.b.val("v", e);
                        self.values.push(v);
                    }
                    1 => {
                        let e = self.expr(ty, 1);
                        let v = self.b.mutable("m", e);
                        self.variables.push(v);
                    }
                    2 if !self.variables.is_empty() => {
                        let v = self.random.of(&self.variables);
                        let ty = self.b.ty(&Expr::Var(v));
                        let e = self.expr(ty, 2);
                        // A sum that the interval analysis must bound by its turns.
                        if self.random.below(2) == 0 && !e.reads(v) {
                            self.b.add(v, e)
                        } else {
                            self.b.set(v, e)
                        }
                    }
                    3 | 4 if loops > 0 => {
                        let (trip, unroll) = (2 + self.random.below(3), self.random.below(2) == 0);
                        // The builder wants a closure that owns the builder; hand ours over and take it back.
                        let mut b = std::mem::replace(&mut self.b, Builder::new("", ""));
                        b.each("i", trip, unroll, |b, i| {
                            std::mem::swap(&mut self.b, b);
                            self.counters.push(i);
                            self.block(loops - 1);
                            self.counters.pop();
                            std::mem::swap(&mut self.b, b);
                        });
                        self.b = b;
                    }
                    _ => {
                        let (at, e) = (self.index(), self.expr(self.out, 2));
                        self.b.store(self.y, at, e);
                    }
                }
            }
            self.values.truncate(mark.0);
            self.variables.truncate(mark.1);
        }

        fn write(mut self) -> Program {
            let zero = if self.out == Ty::F32 {
                float(0.0)
            } else {
                int(0, self.out)
            };
            self.b.each("i", LEN, false, |b, i| b.store(self.y, i, zero));
            self.block(3);
            let port = |ty| Port {
                name: "p".into(),
                ty,
                shape: vec![LEN],
            };
            Program {
                input: port(Ty::U8),
                output: port(self.out),
                pools: vec![],
                kernels: vec![self.b.finish()],
                calls: vec![Call {
                    kernel: 0,
                    args: vec![Arg::Input(0), Arg::Output(0)],
                }],
            }
        }
    }

    #[test]
    fn arbitrary_kernels_compute_the_same_after_each_pass() {
        let mut target = Target::load("generic").unwrap();
        target.isa.popcount = false;
        let mut changed = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut p = Author::new(seed).write();
            let samples = [
                [0, 1, 2, 255, 128, 7, 31, 64],
                [seed as u8; LEN],
                [9, 8, 200, 6, 5, 4, 3, 0],
            ];
            let expected = samples.map(|s| eval::eval(&p, &s));
            let original = p.to_string();
            assert_eq!(verify::verify(&p), Ok(()), "seed {seed}:\n{original}");
            let mut k = p.kernels[0].clone();
            let done = run(&mut k, &target, &mut |name, now| {
                if *now != p.kernels[0] {
                    changed.insert(name);
                }
                p.kernels[0] = now.clone();
                let results = samples.map(|s| eval::eval(&p, &s));
                assert_eq!(results, expected, "seed {seed}, {name}:\n{original}\n{now}");
            });
            assert_eq!(done, Ok(()), "seed {seed}:\n{original}");
        }
        assert_eq!(changed.len(), 4, "every pass had work: {changed:?}");
    }

    /// Ten thousand additions, as when the weights of a layer become code, take far less than a second.
    #[test]
    fn large_bodies_take_linear_time() {
        let mut b = Builder::new("large", "");
        let x = b.param("x", Ty::U8, 1000, Role::In, Ty::U8.range());
        let y = b.param("y", Ty::I32, 20, Role::Out, Ty::I32.range());
        let w = b.constants("w", Ty::I32, ints((0..20_000).map(|i| i % 3 - 1), Ty::I32));
        b.each("o", 20, true, |b, o| {
            let sum = b.mutable("sum", int(0, Ty::I32));
            b.each("i", 1000, true, |b, i| {
                let product = b.load(x, i.clone()).cast(Ty::I32) * b.load(w, o.clone() * idx(1000) + i);
                let term = b.val("term", product);
                b.add(sum, term);
            });
            b.store(y, o, Expr::Var(sum));
        });
        let mut p = Program {
            kernels: vec![b.finish()],
            ..Author::new(0).write()
        };
        p.input.shape = vec![1000];
        (p.output.ty, p.output.shape) = (Ty::I32, vec![20]);
        let sample: Vec<u8> = (0..1000).map(|i| i as u8).collect();
        let expected = eval::eval(&p, &sample);
        run(&mut p.kernels[0], &Target::load("generic").unwrap(), &mut |_, _| {}).unwrap();
        assert_eq!(eval::eval(&p, &sample), expected);
        let k = &p.kernels[0];
        assert_eq!(k.bufs.len(), 2, "the weights are code");
        assert!(
            k.body.len() < 28_000,
            "nothing is left of weights that are 0: {}",
            k.body.len()
        );
    }
}
