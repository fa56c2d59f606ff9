//! Ways over expressions and statements, for the verifier and the passes.

use super::{Expr, Stmt, Var};

impl Expr {
    /// Its operands, in order.
    pub fn operands(&self) -> impl Iterator<Item = &Expr> {
        let (all, more): ([Option<&Expr>; 3], &[Expr]) = match self {
            Expr::Lit(_) | Expr::Var(_) => ([None; 3], &[]),
            Expr::Load(_, a) | Expr::LoadN { at: a, .. } | Expr::Un(_, a) | Expr::Cast(_, a) => {
                ([Some(a), None, None], &[])
            }
            Expr::Bin(_, a, b) => ([Some(a), Some(b), None], &[]),
            Expr::Select(c, a, b) => ([Some(c), Some(a), Some(b)], &[]),
            Expr::Vector(_, args) => ([None; 3], args),
        };
        all.into_iter().flatten().chain(more)
    }

    /// Whether `f` holds for a part of it, itself first; those behind the first are not looked at. The verifier asks for millions of
    /// parts: chained iterators, which [`Expr::operands`] makes, took a seventh of a compilation.
    pub fn any(&self, f: &mut impl FnMut(&Expr) -> bool) -> bool {
        f(self)
            || match self {
                Expr::Lit(_) | Expr::Var(_) => false,
                Expr::Load(_, a) | Expr::LoadN { at: a, .. } | Expr::Un(_, a) | Expr::Cast(_, a) => a.any(f),
                Expr::Vector(_, args) => args.iter().any(|a| a.any(f)),
                Expr::Bin(_, a, b) => a.any(f) || b.any(f),
                Expr::Select(c, a, b) => c.any(f) || a.any(f) || b.any(f),
            }
    }

    /// Shows `f` every part of it, itself first.
    pub fn visit(&self, f: &mut impl FnMut(&Expr)) {
        self.any(&mut |e| {
            f(e);
            false
        });
    }

    /// Lets `f` change every part of it, operands before what they are operands of.
    pub fn rewrite(&mut self, f: &mut impl FnMut(&mut Expr)) {
        match self {
            Expr::Lit(_) | Expr::Var(_) => {}
            Expr::Load(_, a) | Expr::LoadN { at: a, .. } | Expr::Un(_, a) | Expr::Cast(_, a) => a.rewrite(f),
            Expr::Vector(_, args) => args.iter_mut().for_each(|a| a.rewrite(f)),
            Expr::Bin(_, a, b) => {
                a.rewrite(f);
                b.rewrite(f);
            }
            Expr::Select(c, a, b) => {
                c.rewrite(f);
                a.rewrite(f);
                b.rewrite(f);
            }
        }
        f(self);
    }

    /// Whether it reads a variable.
    pub fn reads(&self, v: Var) -> bool {
        self.any(&mut |e| matches!(e, Expr::Var(w) if *w == v))
    }
}

/// Shows `f` every statement of a block, those of loops after the loop.
pub fn visit<'a>(body: &'a [Stmt], f: &mut impl FnMut(&'a Stmt)) {
    for s in body {
        f(s);
        if let Stmt::For { body, .. } = s {
            visit(body, f);
        }
    }
}

/// The expressions of one statement, without those of a loop's body.
pub fn exprs(s: &Stmt) -> impl Iterator<Item = &Expr> {
    let (a, b) = match s {
        Stmt::Let(_, e) | Stmt::Set(_, e) => (Some(e), None),
        Stmt::Store(_, i, e) => (Some(i), Some(e)),
        Stmt::For { .. } | Stmt::Fence | Stmt::Note(_) => (None, None),
    };
    a.into_iter().chain(b)
}

/// Lets `f` change every part of every expression of a block, loops included.
pub fn rewrite(body: &mut [Stmt], f: &mut impl FnMut(&mut Expr)) {
    for s in body {
        match s {
            Stmt::Let(_, e) | Stmt::Set(_, e) => e.rewrite(f),
            Stmt::Store(_, i, e) => {
                i.rewrite(f);
                e.rewrite(f);
            }
            Stmt::For { body, .. } => rewrite(body, f),
            Stmt::Fence | Stmt::Note(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::{Builder, idx, int};
    use super::super::{Lit, Role, Ty};
    use super::*;

    #[test]
    fn every_part_is_seen_and_changed() {
        let mut b = Builder::new("k", "");
        let y = b.param("y", Ty::I32, 4, Role::Out, Ty::I32.range());
        b.each("i", 4, false, |b, i| {
            let two = int(2, Ty::I32);
            let e = i.clone().ge(idx(2)).select(two.clone() + two.clone(), -two);
            b.store(y, i, e);
        });
        let mut k = b.finish();
        let twos = |body: &[Stmt]| {
            let mut n = 0;
            visit(body, &mut |s| {
                exprs(s).for_each(|e| e.visit(&mut |e| n += u32::from(*e == int(2, Ty::I32))));
            });
            n
        };
        assert_eq!(twos(&k.body), 3);
        rewrite(&mut k.body, &mut |e| {
            if let Expr::Lit(Lit::Int(v, Ty::I32)) = e {
                *v += 1;
            }
        });
        assert_eq!(twos(&k.body), 0);
    }
}
