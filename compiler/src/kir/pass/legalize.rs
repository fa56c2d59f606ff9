//! Rewrites operations that the target lacks into operations it has.

use super::super::{Expr, Kernel, Stmt, Ty, UnOp, build::int};
use crate::target::Target;

/// Runs the pass.
pub fn run(k: &mut Kernel, t: &Target) {
    if !t.isa.popcount {
        let body = std::mem::take(&mut k.body);
        k.body = block(k, body);
    }
}

fn block(k: &mut Kernel, body: Vec<Stmt>) -> Vec<Stmt> {
    let mut out = Vec::with_capacity(body.len());
    for mut s in body {
        match &mut s {
            Stmt::Let(_, e) | Stmt::Set(_, e) => expr(k, e, &mut out),
            Stmt::Store(_, i, e) => {
                expr(k, i, &mut out);
                expr(k, e, &mut out);
            }
            Stmt::For { body, .. } => *body = block(k, std::mem::take(body)),
            Stmt::Fence | Stmt::Note(_) => {}
        }
        out.push(s);
    }
    out
}

fn expr(k: &mut Kernel, e: &mut Expr, before: &mut Vec<Stmt>) {
    e.rewrite(&mut |e| {
        if let Expr::Un(UnOp::Popcnt, a) = e
            && k.ty(a) == Ty::U32
        {
            let a = std::mem::replace(&mut **a, int(0, Ty::U32));
            *e = popcount(k, a, before);
        }
    });
}

/// Population count with shifts, masks and one product: counts of 2, 4 and 8 bits side by side, then the sum of the bytes in
/// the top one (Warren, Hacker's Delight, 2nd edition, section 5-1).
fn popcount(k: &mut Kernel, x: Expr, before: &mut Vec<Stmt>) -> Expr {
    let lit = |v: i64| int(v, Ty::U32);
    let mut bind = |e: Expr| {
        let v = k.fresh("p", Ty::U32, false);
        before.push(Stmt::Let(v, e));
        Expr::Var(v)
    };
    let x = bind(x);
    let pairs = bind(x.clone() - ((x >> lit(1)) & lit(0x5555_5555)));
    let fours = bind((pairs.clone() & lit(0x3333_3333)) + ((pairs >> lit(2)) & lit(0x3333_3333)));
    let bytes = bind((fours.clone() + (fours >> lit(4))) & lit(0x0f0f_0f0f));
    (bytes * lit(0x0101_0101)) >> lit(24)
}

#[cfg(test)]
mod tests {
    use super::super::super::build::{Builder, idx};
    use super::super::super::{Arg, Call, Port, Program, Role, eval, verify};
    use super::*;

    #[test]
    fn counts_are_the_same() {
        let mut b = Builder::new("k", "");
        let x = b.param("x", Ty::U32, 1, Role::In, Ty::U32.range());
        let y = b.param("y", Ty::U32, 1, Role::Out, Ty::U32.range());
        b.store(y, idx(0), b.load(x, idx(0)).popcnt() + b.load(x, idx(0)).popcnt());
        let port = Port {
            name: "p".into(),
            ty: Ty::U32,
            shape: vec![1],
        };
        let mut p = Program {
            input: port.clone(),
            output: port,
            pools: vec![],
            kernels: vec![b.finish()],
            calls: vec![Call {
                kernel: 0,
                args: vec![Arg::Input(0), Arg::Output(0)],
            }],
        };
        let mut target = Target::load("generic").unwrap();
        target.isa.popcount = false;
        run(&mut p.kernels[0], &target);
        assert!(!p.to_string().contains("popcnt"), "{p}");
        assert_eq!(verify::verify(&p), Ok(()));
        for v in [0, 1, u32::MAX, 0x8000_0001, 0x1234_5678, 0xaaaa_aaaa] {
            assert_eq!(
                eval::eval(&p, &v.to_le_bytes()),
                (2 * v.count_ones()).to_le_bytes(),
                "{v:#x}"
            );
        }
    }
}
