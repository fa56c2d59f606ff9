//! A constant read at a known index is a number in the code; buffers that nobody reads any more disappear.

use super::super::{Buf, Expr, Kernel, Lit, Role, Stmt, walk};
use crate::target::Target;

/// Runs the pass.
pub fn run(k: &mut Kernel, _: &Target) {
    let bufs = &k.bufs;
    walk::rewrite(&mut k.body, &mut |e| {
        if let Expr::Load(b, i) = e
            && let Expr::Lit(Lit::Int(at, _)) = **i
            && let d = &bufs[b.0 as usize]
            && d.role == Role::Const
        {
            *e = Expr::Lit(d.data[at as usize]);
        }
    });
    remove_unread(k);
}

fn remove_unread(k: &mut Kernel) {
    let mut read: Vec<bool> = k.bufs.iter().map(|b| b.role != Role::Const).collect();
    walk::visit(&k.body, &mut |s| {
        walk::exprs(s).for_each(|e| {
            e.visit(&mut |e| {
                if let Expr::Load(b, _) | Expr::LoadN { buf: b, .. } = e {
                    read[b.0 as usize] = true;
                }
            });
        });
    });
    let mut next = 0..;
    let new: Vec<Option<Buf>> = read
        .iter()
        .map(|&r| r.then(|| next.next().map(Buf)).flatten())
        .collect();
    let mut keep = read.iter();
    k.bufs.retain(|_| *keep.next().expect("one per buffer"));
    let renamed = |b: Buf| new[b.0 as usize].expect("only unread buffers went");
    walk::rewrite(&mut k.body, &mut |e| {
        if let Expr::Load(b, _) | Expr::LoadN { buf: b, .. } = e {
            *b = renamed(*b);
        }
    });
    stores(&mut k.body, &renamed);
}

fn stores(body: &mut [Stmt], renamed: &dyn Fn(Buf) -> Buf) {
    for s in body {
        match s {
            Stmt::Store(b, ..) => *b = renamed(*b),
            Stmt::For { body, .. } => stores(body, renamed),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::build::{Builder, idx, ints};
    use super::super::super::{Ty, verify};
    use super::*;

    #[test]
    fn known_reads_become_numbers() {
        let mut b = Builder::new("k", "");
        let gone = b.constants("gone", Ty::I32, ints([7, 8], Ty::I32));
        let kept = b.constants("kept", Ty::I32, ints([1, 2], Ty::I32));
        let y = b.param("y", Ty::I32, 2, Role::Out, Ty::I32.range());
        b.each("i", 2, false, |b, i| {
            b.store(
                y,
                i.clone(),
                b.load(gone, idx(1)) + b.load(kept, i) + b.load(kept, idx(0)),
            );
        });
        let mut k = b.finish();
        run(&mut k, &Target::load("generic").unwrap());
        assert_eq!(verify::kernel(&k), Ok(()));
        assert!(k.to_string().contains("y[i] = (8 + kept[i]) + 1"), "{k}");
        assert_eq!(
            k.bufs.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(),
            ["kept", "y"]
        );
    }
}
