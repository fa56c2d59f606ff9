//! Opens every loop marked `unroll`: one copy of the body per turn, with the counter's value in it, and what hangs on that alone
//! computed at once. A layer whose weights become code is a hundred thousand statements: every pass that finds them simple is spared.

use super::super::{Expr, Kernel, Stmt, Var, build::idx};
use super::fold::simplify;
use crate::target::Target;
use std::collections::HashMap;

/// Runs the pass.
pub fn run(k: &mut Kernel, _: &Target) {
    let body = std::mem::take(&mut k.body);
    let mut opener = Opener {
        kernel: k,
        now: HashMap::new(),
        first: true,
        copied: false,
    };
    let mut out = vec![];
    opener.block(&body, &mut out);
    k.body = out;
}

struct Opener<'k> {
    kernel: &'k mut Kernel,
    /// What stands for a variable in the copy at hand. A variable is bound once, so a new copy's entry replaces the last one's.
    now: HashMap<Var, Expr>,
    /// Whether this is the first turn of every opened loop around; notes are not repeated.
    first: bool,
    /// Whether this is inside an opened loop, where each copy binds variables of its own.
    copied: bool,
}

impl Opener<'_> {
    fn block(&mut self, body: &[Stmt], out: &mut Vec<Stmt>) {
        for s in body {
            match s {
                Stmt::Let(v, e) => {
                    let e = self.expr(e);
                    out.push(Stmt::Let(self.bind(*v), e));
                }
                Stmt::Set(v, e) => out.push(Stmt::Set(self.var(*v), self.expr(e))),
                Stmt::Store(b, i, e) => out.push(Stmt::Store(*b, self.expr(i), self.expr(e))),
                Stmt::For {
                    var,
                    trip,
                    unroll: true,
                    body,
                } => {
                    let (first, copied) = (self.first, std::mem::replace(&mut self.copied, true));
                    for turn in 0..*trip {
                        self.first = first && turn == 0;
                        self.now.insert(*var, idx(turn as usize));
                        self.block(body, out);
                    }
                    (self.first, self.copied) = (first, copied);
                }
                Stmt::For {
                    var,
                    trip,
                    unroll,
                    body,
                } => {
                    let var = self.bind(*var);
                    let mut inner = vec![];
                    self.block(body, &mut inner);
                    out.push(Stmt::For {
                        var,
                        trip: *trip,
                        unroll: *unroll,
                        body: inner,
                    });
                }
                Stmt::Fence => out.push(Stmt::Fence),
                Stmt::Note(text) if self.first => out.push(Stmt::Note(text.clone())),
                Stmt::Note(_) => {}
            }
        }
    }

    fn bind(&mut self, v: Var) -> Var {
        if !self.copied {
            return v;
        }
        let d = self.kernel.var(v).clone();
        let new = self
            .kernel
            .fresh(d.name.trim_end_matches(|c: char| c.is_ascii_digit()), d.ty, d.mutable);
        self.now.insert(v, Expr::Var(new));
        new
    }

    fn var(&self, v: Var) -> Var {
        match self.now.get(&v) {
            Some(Expr::Var(new)) => *new,
            // Bound outside of what is opened.
            _ => v,
        }
    }

    fn expr(&self, e: &Expr) -> Expr {
        let mut e = e.clone();
        e.rewrite(&mut |e| match e {
            Expr::Var(v) => {
                if let Some(new) = self.now.get(v) {
                    *e = new.clone();
                }
            }
            Expr::Bin(..) if self.copied => simplify(self.kernel, e),
            _ => {}
        });
        e
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::build::{Builder, int};
    use super::super::super::{Role, Ty, verify};
    use super::*;

    #[test]
    fn each_turn_has_its_own_names() {
        let mut b = Builder::new("k", "");
        let y = b.param("y", Ty::I32, 4, Role::Out, Ty::I32.range());
        b.each("i", 2, true, |b, i| {
            b.note("a pair");
            let v = b.mutable("v", int(5, Ty::I32));
            b.each("j", 2, false, |b, j| {
                b.add(v, int(1, Ty::I32));
                b.store(y, i.clone() * idx(2) + j, Expr::Var(v));
            });
        });
        let mut k = b.finish();
        run(&mut k, &Target::load("generic").unwrap());
        assert_eq!(verify::kernel(&k), Ok(()));
        let text = k.to_string();
        let body = text.split_once("out y: i32[4]\n").unwrap().1;
        let expected = "  // a pair
  let mut v1: i32 = 5
  for j1 in 0..2 {
    v1 = v1 + 1
    y[j1] = v1
  }
  let mut v2: i32 = 5
  for j2 in 0..2 {
    v2 = v2 + 1
    y[j2 + 2] = v2
  }
}
";
        assert_eq!(body, expected);
    }
}
