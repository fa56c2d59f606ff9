//! Computes what is known, simplifies by rules that keep every bit, and removes what nobody reads.
//!
//! Rules may assume the laws: signed arithmetic does not overflow before, so none of them is the first to. Of `f32`, only what
//! is exact for every operand: `x * 1`, `x - 0`, `x + -y`, never `x + 0` (which turns -0 into 0) or `x * 0`.

use super::super::{BinOp, Expr, Kernel, Lit, Names, Stmt, Ty, UnOp, Var, VarDecl, scalar, walk};
use crate::target::Target;

/// Runs the pass.
pub fn run(k: &mut Kernel, _: &Target) {
    loop {
        let body = std::mem::take(&mut k.body);
        let mut known = vec![None; k.vars.len()];
        k.body = propagate(k, body, &mut known);
        let live = live(k);
        sweep(&mut k.body, &live);
        // A variable that lost its last update may be known now.
        if !freeze(k) {
            break;
        }
    }
    compact(k);
}

/// Folds a block; immutable names of constants and of other immutable variables give way to these.
fn propagate(k: &Kernel, body: Vec<Stmt>, known: &mut Vec<Option<Expr>>) -> Vec<Stmt> {
    let mut out = Vec::with_capacity(body.len());
    for mut s in body {
        let fold = |e: &mut Expr| {
            e.rewrite(&mut |e| match e {
                Expr::Var(v) => {
                    if let Some(value) = &known[v.0 as usize] {
                        *e = value.clone();
                    }
                }
                _ => simplify(k, e),
            });
        };
        match &mut s {
            Stmt::Let(v, e) => {
                fold(e);
                let plain = match e {
                    Expr::Lit(_) => true,
                    Expr::Var(w) => !k.var(*w).mutable,
                    _ => false,
                };
                if plain && !k.var(*v).mutable {
                    known[v.0 as usize] = Some(e.clone());
                    continue;
                }
            }
            Stmt::Set(v, e) => {
                fold(e);
                if *e == Expr::Var(*v) {
                    continue;
                }
            }
            Stmt::Store(_, i, e) => {
                fold(i);
                fold(e);
            }
            Stmt::For { body, .. } => *body = propagate(k, std::mem::take(body), known),
            Stmt::Fence | Stmt::Note(_) => {}
        }
        out.push(s);
    }
    out
}

/// One step at the root of an expression whose operands are simple already. Vectors stay as they are written.
pub(super) fn simplify(k: &Kernel, e: &mut Expr) {
    let vector = |e: &Expr| k.ty(e).lanes() > 1;
    if vector(e) || e.operands().any(vector) {
        return;
    }
    let placeholder = Expr::Lit(Lit::Int(0, Ty::Bool));
    *e = match std::mem::replace(e, placeholder) {
        Expr::Un(op, a) => unary(k, op, *a),
        Expr::Bin(op, a, b) => binary(k, op, *a, *b),
        Expr::Cast(to, a) => {
            let from = k.ty(&a);
            match &*a {
                _ if from == to => *a,
                Expr::Lit(l) => computed(scalar::cast(from, to, scalar::of(*l)), to).unwrap_or(Expr::Cast(to, a)),
                _ => Expr::Cast(to, a),
            }
        }
        Expr::Select(c, a, b) => match &*c {
            Expr::Lit(l) => *(if scalar::of(*l) != 0 { a } else { b }),
            _ if same(&a, &b) => *a,
            _ => Expr::Select(c, a, b),
        },
        other => other,
    };
}

/// The constant of a computed value, if it is one.
fn computed(v: Option<i64>, ty: Ty) -> Option<Expr> {
    scalar::lit(v?, ty).map(Expr::Lit)
}

/// Whether two expressions are one variable, or one constant bit by bit. More is not worth a comparison of trees.
fn same(a: &Expr, b: &Expr) -> bool {
    match (a, b) {
        (Expr::Lit(a), Expr::Lit(b)) => scalar::of(*a) == scalar::of(*b),
        (Expr::Var(a), Expr::Var(b)) => a == b,
        _ => false,
    }
}

fn unary(k: &Kernel, op: UnOp, a: Expr) -> Expr {
    let ty = k.ty(&a);
    match (op, a) {
        (_, Expr::Lit(l)) => {
            computed(scalar::unary(op, ty, scalar::of(l)), ty).unwrap_or(Expr::Un(op, Expr::Lit(l).into()))
        }
        (UnOp::Not | UnOp::Neg, Expr::Un(inner, x)) if inner == op => *x,
        (_, a) => Expr::Un(op, a.into()),
    }
}

fn binary(k: &Kernel, op: BinOp, a: Expr, b: Expr) -> Expr {
    use BinOp::{Add, And, Eq, Ge, Lt, Max, Min, Mul, Or, Shl, Shr, Sub, Xor};
    let ty = k.ty(&a);
    if let (Expr::Lit(x), Expr::Lit(y)) = (&a, &b) {
        let result = if matches!(op, Lt | Ge | Eq) { Ty::Bool } else { ty };
        let folded = computed(scalar::binary(op, ty, scalar::of(*x), scalar::of(*y)), result);
        return folded.unwrap_or_else(|| Expr::Bin(op, a.into(), b.into()));
    }
    if ty == Ty::F32 {
        return float(op, a, b);
    }
    // Constants stand on the right.
    let commutes = matches!(op, Add | Mul | And | Or | Xor | Min | Max | Eq);
    let (a, b) = if commutes && matches!(a, Expr::Lit(_)) {
        (b, a)
    } else {
        (a, b)
    };
    let signed = ty.range().0 < 0;
    let ones = if signed { -1 } else { ty.range().1 };
    let Expr::Lit(Lit::Int(c, _)) = b else {
        return match (op, a, b) {
            (Add, a, Expr::Un(UnOp::Neg, b)) => Expr::Bin(Sub, a.into(), b),
            (Sub, a, Expr::Un(UnOp::Neg, b)) => Expr::Bin(Add, a.into(), b),
            (Sub, Expr::Lit(Lit::Int(0, _)), b) if signed => Expr::Un(UnOp::Neg, b.into()),
            (And | Or | Min | Max, a, b) if same(&a, &b) => a,
            (Xor | Sub, a, b) if same(&a, &b) => Expr::Lit(Lit::Int(0, ty)),
            (op, a, b) => Expr::Bin(op, a.into(), b.into()),
        };
    };
    match (op, c, a) {
        (Add | Sub | Or | Xor | Shl | Shr, 0, a) | (Mul, 1, a) => a,
        (Mul | And, 0, _) => b,
        (And, _, a) if c == ones => a,
        (Or, _, _) if c == ones => b,
        (Mul, -1, a) => Expr::Un(UnOp::Neg, a.into()),
        // -x - 1 + 1. Ternary and binary weights come this way.
        (Sub, -1, Expr::Bin(Xor, x, m)) if signed && *m == b => Expr::Un(UnOp::Neg, x),
        // Of constants that follow one another the sum is known; so is the product, where the type holds it.
        (Add | Mul, _, Expr::Bin(inner, x, d)) if inner == op => match *d {
            Expr::Lit(d) => match computed(scalar::binary(op, ty, scalar::of(d), c), ty) {
                Some(both) => binary(k, op, *x, both),
                None => Expr::Bin(op, Expr::Bin(op, x, Expr::Lit(d).into()).into(), b.into()),
            },
            d => Expr::Bin(op, Expr::Bin(op, x, d.into()).into(), b.into()),
        },
        (op, _, a) => Expr::Bin(op, a.into(), b.into()),
    }
}

/// Rules for `f32`, of which at most one operand is a constant.
fn float(op: BinOp, a: Expr, b: Expr) -> Expr {
    let is = |e: &Expr, v: f32| matches!(e, Expr::Lit(l) if scalar::of(*l) == scalar::bits(v));
    match (op, a, b) {
        (BinOp::Mul, a, b) if is(&b, 1.0) => a,
        (BinOp::Mul, a, b) if is(&a, 1.0) => b,
        (BinOp::Mul, a, b) if is(&b, -1.0) => Expr::Un(UnOp::Neg, a.into()),
        (BinOp::Mul, a, b) if is(&a, -1.0) => Expr::Un(UnOp::Neg, b.into()),
        (BinOp::Sub, a, b) if is(&b, 0.0) => a,
        (BinOp::Add, a, Expr::Un(UnOp::Neg, b)) => Expr::Bin(BinOp::Sub, a.into(), b),
        (BinOp::Sub, a, Expr::Un(UnOp::Neg, b)) => Expr::Bin(BinOp::Add, a.into(), b),
        (op, a, b) => Expr::Bin(op, a.into(), b.into()),
    }
}

/// Which variables reach something that is stored.
fn live(k: &Kernel) -> Vec<bool> {
    let mut reads: Vec<Vec<Var>> = vec![vec![]; k.vars.len()];
    let mut next = vec![];
    walk::visit(&k.body, &mut |s| {
        let list = match s {
            Stmt::Let(v, _) | Stmt::Set(v, _) => &mut reads[v.0 as usize],
            _ => &mut next,
        };
        walk::exprs(s).for_each(|e| {
            e.visit(&mut |e| {
                if let Expr::Var(v) = e {
                    list.push(*v);
                }
            });
        });
    });
    let mut live = vec![false; k.vars.len()];
    while let Some(v) = next.pop() {
        if !std::mem::replace(&mut live[v.0 as usize], true) {
            next.append(&mut reads[v.0 as usize]);
        }
    }
    live
}

/// Removes bindings and updates of what is not live, and loops that do nothing.
fn sweep(body: &mut Vec<Stmt>, live: &[bool]) {
    body.retain_mut(|s| match s {
        Stmt::Let(v, _) | Stmt::Set(v, _) => live[v.0 as usize],
        Stmt::For { body, .. } => {
            sweep(body, live);
            !body.iter().all(|s| matches!(s, Stmt::Fence | Stmt::Note(_)))
        }
        Stmt::Store(..) | Stmt::Fence | Stmt::Note(_) => true,
    });
}

/// Makes variables that nothing updates immutable; whether there were any.
fn freeze(k: &mut Kernel) -> bool {
    let mut set = vec![false; k.vars.len()];
    walk::visit(&k.body, &mut |s| {
        if let Stmt::Set(v, _) = s {
            set[v.0 as usize] = true;
        }
    });
    let mut changed = false;
    for (d, set) in k.vars.iter_mut().zip(set) {
        changed |= d.mutable && !set;
        d.mutable &= set;
    }
    changed
}

/// Numbers the variables that are left anew.
fn compact(k: &mut Kernel) {
    let mut new: Vec<Option<Var>> = vec![None; k.vars.len()];
    let mut vars = vec![];
    number(&mut k.body, &k.vars, &mut new, &mut vars);
    walk::rewrite(&mut k.body, &mut |e| {
        if let Expr::Var(v) = e {
            *v = new[v.0 as usize].expect("bound somewhere");
        }
    });
    k.vars = vars;
    k.names = Names::default();
}

/// Renames what statements bind and update, in order.
fn number(body: &mut [Stmt], old: &[VarDecl], new: &mut [Option<Var>], vars: &mut Vec<VarDecl>) {
    for s in body {
        match s {
            Stmt::Let(v, _) | Stmt::For { var: v, .. } => {
                let next = Var(vars.len() as u32);
                vars.push(old[v.0 as usize].clone());
                *v = *new[v.0 as usize].insert(next);
            }
            Stmt::Set(v, _) => *v = new[v.0 as usize].expect("bound before"),
            Stmt::Store(..) | Stmt::Fence | Stmt::Note(_) => {}
        }
        if let Stmt::For { body, .. } = s {
            number(body, old, new, vars);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::build::{Builder, float, idx, int};
    use super::super::super::{Role, verify};
    use super::*;

    /// What is stored of an expression over `x: i32`, `u: u32` and `f: f32`.
    fn folded(e: impl FnOnce(Expr, Expr, Expr) -> Expr) -> String {
        let mut b = Builder::new("k", "");
        let x = b.param("x", Ty::I32, 1, Role::In, (-1000, 1000));
        let u = b.param("u", Ty::U32, 1, Role::In, Ty::U32.range());
        let f = b.param("f", Ty::F32, 1, Role::In, Ty::F32.range());
        let e = e(b.load(x, idx(0)), b.load(u, idx(0)), b.load(f, idx(0)));
        let ty = b.ty(&e);
        let y = b.param("y", ty, 1, Role::Out, ty.range());
        b.store(y, idx(0), e);
        let mut k = b.finish();
        run(&mut k, &Target::load("generic").unwrap());
        assert_eq!(verify::kernel(&k), Ok(()));
        let text = k.to_string();
        text.split_once("y[0] = ")
            .unwrap()
            .1
            .trim_end_matches("\n}\n")
            .to_string()
    }

    fn i(v: i64) -> Expr {
        int(v, Ty::I32)
    }

    #[test]
    fn integers() {
        assert_eq!(folded(|x, _, _| (i(2) + i(3)) * x), "x[0] * 5");
        assert_eq!(folded(|x, _, _| ((x ^ i(0)) - i(0)) & i(-1)), "x[0]");
        assert_eq!(folded(|x, _, _| i(9) + ((x ^ i(-1)) - i(-1))), "-x[0] + 9");
        assert_eq!(folded(|x, _, _| x * i(-1) + i(1) + i(2)), "-x[0] + 3");
        assert_eq!(folded(|x, _, _| (x & i(0)) + i(4)), "4");
        assert_eq!(
            folded(|_, u, _| u << int(0, Ty::U32) & int(0xffff_ffff, Ty::U32)),
            "u[0]"
        );
        assert_eq!(folded(|_, u, _| !!u), "u[0]");
        assert_eq!(folded(|x, _, _| i(3).ge(i(2)).select(x, i(7))), "x[0]");
        assert_eq!(folded(|_, _, _| i(-1).cast(Ty::U32)), "4294967295");
        assert_eq!(folded(|_, _, _| int(255, Ty::U32).popcnt()), "8");
    }

    /// What the constants together would not fit in stays in the order written.
    #[test]
    fn constants_join_only_where_they_fit() {
        let third = i64::from(i32::MAX);
        assert_eq!(
            folded(|x, _, _| (x.min(i(-1)) + i(third)) + i(1)),
            "(min(x[0], -1) + 2147483647) + 1"
        );
    }

    #[test]
    fn floats() {
        assert_eq!(folded(|_, _, f| float(1.0) * f), "f[0]");
        assert_eq!(folded(|_, _, f| f * float(-1.0)), "-f[0]");
        assert_eq!(folded(|_, _, f| float(2.0) + -f), "2.0 - f[0]");
        assert_eq!(folded(|_, _, f| f - float(0.0)), "f[0]");
        assert_eq!(folded(|_, _, f| f + float(0.0)), "f[0] + 0.0", "not exact for -0");
        assert_eq!(
            folded(|_, _, f| f * float(0.0)),
            "f[0] * 0.0",
            "not exact for negative numbers"
        );
        assert_eq!(
            folded(|x, _, _| x.ge(i(0)).select(float(0.0), float(-0.0))),
            "select(x[0] >= 0, 0.0, -0.0)"
        );
    }

    #[test]
    fn what_nobody_reads_goes() {
        let mut b = Builder::new("k", "");
        let y = b.param("y", Ty::I32, 2, Role::Out, Ty::I32.range());
        let one = b.val("one", i(1));
        let idle = b.mutable("idle", i(0));
        let still = b.mutable("still", i(6));
        b.each("t", 3, false, |b, _| {
            let v = b.val("v", one.clone() + Expr::Var(idle));
            b.set(idle, v.max(i(5)));
            b.add(still, i(0));
        });
        let sum = b.mutable("sum", one);
        b.each("u", 2, false, |b, u| {
            b.add(sum, Expr::Var(still));
            b.store(y, u, Expr::Var(sum));
        });
        let mut k = b.finish();
        run(&mut k, &Target::load("generic").unwrap());
        assert_eq!(verify::kernel(&k), Ok(()));
        let text = k.to_string();
        let body = text.split_once("y: i32[2]\n").unwrap().1;
        assert!(body.contains("let mut sum: i32 = 1\n"), "{text}");
        assert!(body.contains("sum = sum + 6\n"), "{text}");
        assert!(
            !body.contains("still") && !body.contains("idle") && !body.contains("for t"),
            "{text}"
        );
    }
}
