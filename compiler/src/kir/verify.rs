//! Holds a program against the laws of KIR. Rust's and C's emitters rely on every one of them:
//!
//! 1. Types agree: both operands of an operation, the two values of a choice, an element and what is stored in it.
//! 2. Names of kernels, and of the buffers and variables of one kernel, are unique; each kernel is called.
//! 3. A variable is bound once, before and in the scope of its uses; only mutable ones are set; `In` and `Const` buffers
//!    are not written.
//! 4. A shift is by less than the width; only unsigned numbers and indices are shifted to the left.
//! 5. Every index is in range, and every conversion to an index is of an index.
//! 6. Signed arithmetic and arithmetic on indices does not overflow.
//! 7. What is stored keeps to the range that the buffer declares.
//! 8. Arguments are as many as parameters, of their types, inside their pools; one that is written overlaps no other. Where
//!    pools overlap, all of them begin at byte 0, and arguments at multiples of [`SHARED_ALIGN`].
//! 9. A call reads elements that an earlier call wrote, as the same type, and what that may have stored keeps to the range that the reading
//!    parameter declares. A kernel writes every element of an `Out` buffer; the interpreter finds those that do not.
//!
//! A vector operation keeps a law if it keeps it on every lane; a vector is read and written where all its elements are in
//! range. An index of a lookup is below 16.
//!
//! Laws 4 to 7 are proven by interval analysis. A variable that a loop carries is bounded either by what one turn adds to it
//! times the turns, where the loop only adds and subtracts, or by iteration until nothing changes; failing both, by its type.

use super::interval::{self, Interval, all, between, exactly};
use super::{
    Arg, BinOp, Buf, Call, Expr, Kernel, Lit, Port, Program, Role, SHARED_ALIGN, Stmt, Ty, UnOp, Var, VecOp, walk,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Rounds of iteration before a variable that a loop carries is given up to its type's range.
const ROUNDS: usize = 4;

/// Checks a whole program.
///
/// # Errors
///
/// The first broken law, in words, with the kernel and the numbers.
pub fn verify(p: &Program) -> Result<(), String> {
    let (mut names, mut results) = (HashSet::new(), vec![]);
    for (at, k) in p.kernels.iter().enumerate() {
        if !names.insert(&k.name) {
            return Err(format!("two kernels are called `{}`", k.name));
        }
        if !p.calls.iter().any(|c| c.kernel == at) {
            return Err(format!("nothing calls `{}`", k.name));
        }
        let shared = k.bufs.iter().filter_map(|b| b.owner.as_ref().map(|owner| (b, owner)));
        for (b, owner) in shared {
            let found = p.kernels[..at].iter().find(|k| k.name == *owner);
            let found = found.and_then(|k| k.bufs.iter().find(|c| c.name == b.name && c.role == Role::Const));
            let same = found.is_some_and(|c| c.owner.is_none() && c.ty == b.ty && c.data == b.data);
            ensure(same && b.role == Role::Const, || {
                format!("`{}` of `{}` is not the same as that of `{owner}`", b.name, k.name)
            })?;
        }
        results.push(stored(k)?);
    }
    calls(p, &results)
}

/// Checks one kernel.
///
/// # Errors
///
/// The first broken law, in words, with the numbers.
pub fn kernel(k: &Kernel) -> Result<(), String> {
    stored(k).map(|_| ())
}

/// Checks one kernel; returns what it may store in each buffer, if anything.
fn stored(k: &Kernel) -> Result<Vec<Option<Interval>>, String> {
    let named = |e| format!("{}: {e}", k.name);
    declarations(k).map_err(named)?;
    let mut scope = Scope {
        kernel: k,
        bound: vec![false; k.vars.len()],
        visible: vec![false; k.vars.len()],
    };
    scope.block(&k.body).map_err(named)?;
    let mut bounds = Bounds {
        kernel: k,
        env: k.vars.iter().map(|v| all(v.ty)).collect(),
        change: BTreeMap::new(),
        stored: vec![None; k.bufs.len()],
    };
    bounds.block(&k.body, true).map_err(named)?;
    Ok(bounds.stored)
}

fn ensure(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}

fn declarations(k: &Kernel) -> Result<(), String> {
    let mut names = HashSet::new();
    for name in k.bufs.iter().map(|b| &b.name).chain(k.vars.iter().map(|v| &v.name)) {
        ensure(names.insert(name), || format!("two things are called `{name}`"))?;
    }
    for b in &k.bufs {
        let expected = if b.role == Role::Const { b.len as usize } else { 0 };
        ensure(b.data.len() == expected, || {
            format!("`{}` has {} constants, not {expected}", b.name, b.data.len())
        })?;
        // Kernels have millions of constants, and are checked after every pass: most are settled by one comparison.
        let (least, greatest) = (b.range.0.max(b.ty.range().0), b.range.1.min(b.ty.range().1));
        let settled = |l: &&Lit| matches!(**l, Lit::Int(v, ty) if ty == b.ty && (least..=greatest).contains(&v));
        for l in b.data.iter().filter(|l| !settled(l)) {
            literal(*l)?;
            let (ty, range) = match l {
                Lit::Int(v, ty) => (*ty, exactly(*v)),
                Lit::F32(_) => (Ty::F32, all(b.ty)),
            };
            ensure(ty == b.ty, || format!("{l:?} among the {} of `{}`", b.ty, b.name))?;
            let kept = ty == Ty::F32 || between(b.range.0, b.range.1).contains(range);
            ensure(kept, || {
                format!("{l:?} is outside the range {:?} of `{}`", b.range, b.name)
            })?;
        }
        let held = b.ty == Ty::F32 || all(b.ty).contains(between(b.range.0, b.range.1));
        ensure(held && b.range.0 <= b.range.1, || {
            format!("`{}` of {} has the range {:?}", b.name, b.ty, b.range)
        })?;
        ensure(b.len > 0, || format!("`{}` is empty", b.name))?;
        ensure(b.ty.lanes() == 1, || format!("`{}` holds vectors", b.name))?;
    }
    Ok(())
}

fn literal(l: Lit) -> Result<(), String> {
    let good = match l {
        Lit::Int(v, ty) => ty != Ty::F32 && all(ty).contains(exactly(v)),
        Lit::F32(v) => v.is_finite(),
    };
    ensure(good, || format!("{l:?} is no constant"))
}

/// Laws 1 to 3.
struct Scope<'k> {
    kernel: &'k Kernel,
    bound: Vec<bool>,
    visible: Vec<bool>,
}

impl Scope<'_> {
    fn block(&mut self, body: &[Stmt]) -> Result<(), String> {
        let mut here = vec![];
        for s in body {
            match s {
                Stmt::Let(v, e) => {
                    self.value(e, self.kernel.var(*v).ty)?;
                    self.bind(*v)?;
                    here.push(*v);
                }
                Stmt::Set(v, e) => {
                    self.value(e, self.kernel.var(*v).ty)?;
                    self.see(*v)?;
                    let d = self.kernel.var(*v);
                    ensure(d.mutable, || format!("`{}` is set but not mutable", d.name))?;
                }
                Stmt::Store(b, i, e) => {
                    self.value(i, Ty::Idx)?;
                    let d = self.buf(*b)?;
                    let lanes = self.ty(e)?.lanes();
                    self.value(e, if lanes == 1 { d.ty } else { vector(d.ty, lanes)? })?;
                    ensure(!matches!(d.role, Role::In | Role::Const), || {
                        format!("`{}` is written", d.name)
                    })?;
                }
                Stmt::For { var, trip, body, .. } => {
                    let d = self.kernel.var(*var);
                    ensure(d.ty == Ty::Idx && !d.mutable, || {
                        format!("counter `{}` is no immutable index", d.name)
                    })?;
                    ensure(*trip > 0, || format!("the loop over `{}` has no turn", d.name))?;
                    self.bind(*var)?;
                    self.block(body)?;
                    self.visible[var.0 as usize] = false;
                }
                Stmt::Fence | Stmt::Note(_) => {}
            }
        }
        for v in here {
            self.visible[v.0 as usize] = false;
        }
        Ok(())
    }

    fn bind(&mut self, v: Var) -> Result<(), String> {
        let again = std::mem::replace(&mut self.bound[v.0 as usize], true);
        self.visible[v.0 as usize] = true;
        ensure(!again, || format!("`{}` is bound twice", self.kernel.var(v).name))
    }

    fn see(&self, v: Var) -> Result<(), String> {
        let visible = self.visible.get(v.0 as usize).copied();
        ensure(visible == Some(true), || format!("{v} is used where it is not bound"))
    }

    fn buf(&self, b: Buf) -> Result<&super::BufDecl, String> {
        self.kernel
            .bufs
            .get(b.0 as usize)
            .ok_or_else(|| format!("{b} is no buffer"))
    }

    fn value(&self, e: &Expr, expected: Ty) -> Result<(), String> {
        let ty = self.ty(e)?;
        ensure(ty == expected, || {
            format!("`{}` is {ty}, not {expected}", self.kernel.show(e))
        })
    }

    /// Type of an expression whose parts agree.
    fn ty(&self, e: &Expr) -> Result<Ty, String> {
        let int = |t| !matches!(t, Ty::Bool | Ty::F32);
        let (ty, good) = match e {
            Expr::Lit(l) => {
                literal(*l)?;
                (self.kernel.ty(e), true)
            }
            Expr::Var(v) => {
                self.see(*v)?;
                (self.kernel.ty(e), true)
            }
            Expr::Load(b, i) => {
                self.buf(*b)?;
                self.value(i, Ty::Idx)?;
                (self.kernel.ty(e), true)
            }
            Expr::LoadN { buf, at, group, ty } => {
                self.value(at, Ty::Idx)?;
                let whole = *group > 0 && ty.lanes() > 1 && ty.lanes().is_multiple_of(*group);
                (*ty, whole && ty.scalar() == self.buf(*buf)?.ty)
            }
            Expr::Vector(op, args) => self.vector(*op, args)?,
            Expr::Un(op, a) => {
                let a = self.ty(a)?;
                let good = match op {
                    UnOp::Not => !matches!(a, Ty::F32 | Ty::Idx),
                    UnOp::Neg => a == Ty::F32 || a.signed(),
                    UnOp::Popcnt => a == Ty::U32 || a.lanes() > 1 && matches!(a.scalar(), Ty::U8 | Ty::U32),
                };
                (a, good)
            }
            Expr::Bin(op, a, b) => {
                let ty = self.ty(a)?;
                self.value(b, ty)?;
                let (truth, scalar) = (Ty::Bool.times(ty.lanes()), ty.scalar());
                match op {
                    BinOp::Add | BinOp::Sub | BinOp::Mul | BinOp::Min | BinOp::Max => (ty, scalar != Ty::Bool),
                    BinOp::And | BinOp::Or | BinOp::Xor => (ty, ty != Ty::F32),
                    BinOp::Shl => (ty, int(scalar) && !ty.signed()),
                    BinOp::Shr => (ty, int(scalar)),
                    BinOp::Lt | BinOp::Ge => (truth, scalar != Ty::Bool),
                    BinOp::Eq => (truth, true),
                }
            }
            Expr::Cast(to, a) => {
                let from = self.ty(a)?;
                let good = match to {
                    _ if to.lanes() != from.lanes() => false,
                    Ty::Vec(..) => int(to.scalar()) && int(from.scalar()),
                    Ty::Bool => from == Ty::Bool,
                    Ty::F32 => !matches!(from, Ty::Bool | Ty::Idx),
                    _ => from != Ty::F32,
                };
                (*to, good)
            }
            Expr::Select(c, a, b) => {
                self.value(c, Ty::Bool)?;
                let ty = self.ty(a)?;
                self.value(b, ty)?;
                (ty, true)
            }
        };
        ensure(good, || {
            format!("`{}` does not exist on these types", self.kernel.show(e))
        })?;
        Ok(ty)
    }

    /// Type of an operation that only vectors have, and whether it exists.
    fn vector(&self, op: VecOp, args: &[Expr]) -> Result<(Ty, bool), String> {
        let all = args.iter().map(|a| self.ty(a)).collect::<Result<Vec<_>, _>>()?;
        let many = |ty: Ty| ty.lanes() > 1;
        Ok(match (op, &all[..]) {
            (VecOp::Splat(to), &[a]) => (to, many(to) && !many(a) && to.scalar() == a),
            (VecOp::Bits(to), &[a]) => (
                to,
                many(to) && many(a) && to.bytes() == a.bytes() && to.scalar() != Ty::Bool,
            ),
            (VecOp::Dot, &[acc, a, b]) => {
                let byte = |ty: Ty| matches!(ty.scalar(), Ty::U8 | Ty::I8 | Ty::I16);
                let share = many(a) && a.lanes() == b.lanes() && a.lanes().is_multiple_of(acc.lanes());
                let wider = matches!(acc.scalar(), Ty::I16 | Ty::I32) && acc.width() > a.width();
                (acc, wider && byte(a) && byte(b) && share)
            }
            (VecOp::DotGroup(at), &[acc, a, b]) => {
                let narrow = |ty: Ty| many(ty) && matches!(ty.scalar(), Ty::U8 | Ty::I8 | Ty::I16);
                let share = a.lanes() / acc.lanes();
                let whole = share > 0 && a.lanes().is_multiple_of(acc.lanes());
                let wide = matches!(acc.scalar(), Ty::I16 | Ty::I32) && acc.width() >= a.width().max(b.width());
                let there = u32::from(b.lanes()) >= (u32::from(at) + 1) * u32::from(share);
                (acc, whole && wide && there && narrow(a) && narrow(b))
            }
            (VecOp::Matrix, &[acc, a, b]) => {
                let bytes = |ty: Ty| matches!(ty.scalar(), Ty::U8 | Ty::I8) && ty.lanes().is_multiple_of(2);
                let square = acc == Ty::I32.times(4) && a.lanes() == b.lanes();
                (acc, square && bytes(a) && bytes(b))
            }
            (VecOp::Unzip { group, at: 0 | 1 }, &[a, b]) => {
                let whole = group > 0 && u32::from(a.lanes()).is_multiple_of(2 * u32::from(group));
                (a, a == b && many(a) && whole)
            }
            (VecOp::Spread { group, at }, &[a]) => {
                let there = group > 0 && a.lanes().is_multiple_of(group) && at < a.lanes() / group;
                (a, many(a) && there)
            }
            (VecOp::Lookup, &[table, index]) => {
                let bytes = table.lanes() == 16 && matches!(table.scalar(), Ty::U8 | Ty::I8);
                (
                    table.scalar().times(index.lanes()),
                    bytes && many(index) && index.scalar() == Ty::U8,
                )
            }
            (VecOp::High, &[a, b]) => (a, many(a) && a == b && a.scalar() == Ty::I32),
            (VecOp::Pairs | VecOp::Half(0 | 1), &[a]) => {
                let (scalar, wide) = (a.scalar(), a.scalar().wider());
                (
                    wide.times(a.lanes() / 2),
                    many(a) && a.lanes().is_multiple_of(2) && wide != scalar && wide != Ty::I64,
                )
            }
            (VecOp::Total, &[a]) => (a.scalar(), many(a) && a.scalar() != Ty::Bool),
            (VecOp::Mask, &[a, ..]) => {
                let truths = many(a) && a.scalar() == Ty::Bool && all.iter().all(|&b| b == a);
                (Ty::U32, truths && all.len() * usize::from(a.lanes()) <= 32)
            }
            _ => (Ty::Bool, false),
        })
    }
}

/// The vector of `lanes` elements of a buffer.
fn vector(ty: Ty, lanes: u8) -> Result<Ty, String> {
    let exists = !matches!(ty, Ty::F32 | Ty::I64 | Ty::Idx);
    ensure(exists, || format!("there is no vector of {ty}"))?;
    Ok(ty.times(lanes))
}

/// Laws 4 to 7.
struct Bounds<'k> {
    kernel: &'k Kernel,
    /// What each variable may be, here.
    env: Vec<Interval>,
    /// What the loops around have added so far in this turn to the variables that they only add to.
    change: BTreeMap<Var, Interval>,
    /// What has been stored in each buffer.
    stored: Vec<Option<Interval>>,
}

impl Bounds<'_> {
    /// Runs a block on intervals. Broken laws count only under `check`; before, bounds are still being sought.
    fn block(&mut self, body: &[Stmt], check: bool) -> Result<(), String> {
        for s in body {
            match s {
                Stmt::Let(v, e) => self.env[v.0 as usize] = self.expr(e, check)?,
                Stmt::Set(v, e) => {
                    if let Some(added) = addend(*v, e)
                        && self.change.contains_key(v)
                    {
                        let by = match added {
                            Addend::Plus(e) => self.expr(e, false)?,
                            Addend::Minus(e) => self.expr(e, false)?.negated(),
                            Addend::Dot(op, a, b) => self.products(op, self.kernel.ty(&Expr::Var(*v)), a, b, false)?,
                        };
                        self.change.entry(*v).and_modify(|c| *c = c.plus(by));
                    }
                    self.env[v.0 as usize] = self.expr(e, check)?;
                }
                Stmt::Store(b, i, e) => {
                    self.index(*b, i, u32::from(self.kernel.ty(e).lanes()), check)?;
                    let (d, stored) = (self.kernel.buf(*b), self.expr(e, check)?);
                    if check {
                        let all = &mut self.stored[b.0 as usize];
                        *all = Some(all.map_or(stored, |before| before.union(stored)));
                    }
                    let kept = !check || d.ty == Ty::F32 || between(d.range.0, d.range.1).contains(stored);
                    ensure(kept, || {
                        let e = self.kernel.show(e);
                        format!(
                            "`{e}` is {}..={}, outside {:?} of `{}`",
                            stored.lo, stored.hi, d.range, d.name
                        )
                    })?;
                }
                Stmt::For { var, trip, body, .. } => {
                    self.env[var.0 as usize] = between(0, trip - 1);
                    self.turns(*trip, body, check)?;
                }
                Stmt::Fence | Stmt::Note(_) => {}
            }
        }
        Ok(())
    }

    /// Runs a loop's body on what every turn may start from, and leaves what the last may end with.
    fn turns(&mut self, trip: u32, body: &[Stmt], check: bool) -> Result<(), String> {
        let carried = Carried::of(self.kernel, body);
        if carried.all.is_empty() {
            return self.block(body, check);
        }
        let entry = self.env.clone();
        let outer = self.change.clone();
        // What the variables may be when a turn starts. A sum starts from everything: what is added seldom depends on it.
        let mut head = entry.clone();
        for v in &carried.sums {
            head[v.0 as usize] = all(self.kernel.var(*v).ty);
        }
        let mut added = BTreeMap::new();
        for round in 0..=ROUNDS {
            if round == ROUNDS {
                for v in &carried.all {
                    head[v.0 as usize] = all(self.kernel.var(*v).ty);
                }
            }
            self.env.clone_from(&head);
            self.change.extend(carried.sums.iter().map(|v| (*v, exactly(0))));
            self.block(body, false)?;
            let mut next = entry.clone();
            for v in &carried.all {
                let at = v.0 as usize;
                next[at] = if carried.sums.contains(v) {
                    let by = self.change[v];
                    added.insert(*v, by);
                    // 0 to `trip - 1` turns came before.
                    entry[at].plus(exactly(0).union(by.times(trip - 1)))
                } else {
                    entry[at].union(self.env[at])
                };
            }
            // Turn by turn, all starts lie in `next` if those before lie in `head`.
            let stable = round == ROUNDS
                || carried
                    .all
                    .iter()
                    .all(|v| head[v.0 as usize].contains(next[v.0 as usize]));
            head = next;
            if stable {
                break;
            }
        }
        self.env.clone_from(&head);
        self.block(body, check)?;
        self.change = outer;
        for (v, by) in added {
            self.env[v.0 as usize] = entry[v.0 as usize].plus(by.times(trip));
            self.change.entry(v).and_modify(|c| *c = c.plus(by.times(trip)));
        }
        Ok(())
    }

    /// Whether `count` elements from the index on are in range.
    fn index(&self, b: Buf, i: &Expr, count: u32, check: bool) -> Result<(), String> {
        let (d, at) = (self.kernel.buf(b), self.expr(i, check)?);
        let good = !check || at.lo >= 0 && at.hi + i128::from(count) <= i128::from(d.len);
        ensure(good, || {
            let lanes = if count == 1 {
                String::new()
            } else {
                format!(" for {count} elements")
            };
            format!(
                "index `{}` of `{}` is {}..={}{lanes}, length {}",
                self.kernel.show(i),
                d.name,
                at.lo,
                at.hi,
                d.len
            )
        })
    }

    /// What a dot product adds to each lane of a sum of type `acc`.
    fn products(&self, op: VecOp, acc: Ty, a: &Expr, b: &Expr, check: bool) -> Result<Interval, String> {
        let lanes = self.kernel.ty(a).lanes();
        let share = if op == VecOp::Matrix {
            lanes / 2
        } else {
            lanes / acc.lanes()
        };
        let (a, b) = (self.expr(a, check)?, self.expr(b, check)?);
        Ok(interval::binary(BinOp::Mul, Ty::I32, a, b).times(share.into()))
    }

    /// What an operation that only vectors have may give, in each lane.
    fn vector(&self, op: VecOp, args: &[Expr], check: bool) -> Result<Interval, String> {
        let k = self.kernel;
        let first = self.expr(&args[0], check)?;
        Ok(match op {
            VecOp::Splat(_) | VecOp::Spread { .. } | VecOp::Half(_) => first,
            VecOp::Bits(to) => all(to),
            VecOp::Unzip { .. } => first.union(self.expr(&args[1], check)?),
            VecOp::Dot | VecOp::DotGroup(_) | VecOp::Matrix => {
                first.plus(self.products(op, k.ty(&args[0]), &args[1], &args[2], check)?)
            }
            VecOp::Lookup => {
                let index = self.expr(&args[1], check)?;
                ensure(!check || between(0, 15).contains(index), || {
                    format!("`{}` looks up {}..={}", k.show(&args[1]), index.lo, index.hi)
                })?;
                first
            }
            VecOp::High => {
                let product = interval::binary(BinOp::Mul, Ty::I64, first, self.expr(&args[1], check)?);
                interval::binary(BinOp::Shr, Ty::I64, product, exactly(32))
            }
            VecOp::Pairs => first.times(2),
            VecOp::Total => first.times(k.ty(&args[0]).lanes().into()),
            VecOp::Mask => {
                for more in &args[1..] {
                    self.expr(more, check)?;
                }
                between(0, (1i128 << (args.len() * usize::from(k.ty(&args[0]).lanes()))) - 1)
            }
        })
    }

    /// What an expression may be.
    fn expr(&self, e: &Expr, check: bool) -> Result<Interval, String> {
        let k = self.kernel;
        let ty = k.ty(e);
        let raw = match e {
            Expr::Lit(Lit::Int(v, _)) => exactly(*v),
            Expr::Lit(Lit::F32(_)) => all(Ty::F32),
            Expr::Var(v) => self.env[v.0 as usize],
            Expr::Load(b, i) => {
                self.index(*b, i, 1, check)?;
                let d = k.buf(*b);
                if ty == Ty::F32 {
                    all(ty)
                } else {
                    between(d.range.0, d.range.1)
                }
            }
            Expr::LoadN { buf, at, group, .. } => {
                self.index(*buf, at, (*group).into(), check)?;
                let d = k.buf(*buf);
                between(d.range.0, d.range.1)
            }
            Expr::Vector(op, args) => self.vector(*op, args, check)?,
            Expr::Un(op, a) => interval::unary(*op, ty, self.expr(a, check)?),
            Expr::Bin(op, a, b) => {
                let of = k.ty(a);
                let (a, mut b) = (self.expr(a, check)?, self.expr(b, check)?);
                if matches!(op, BinOp::Shl | BinOp::Shr) {
                    let far = between(0, of.width() - 1);
                    ensure(!check || far.contains(b), || {
                        format!("`{}` shifts a {of} by {}..={}", k.show(e), b.lo, b.hi)
                    })?;
                    b = between(b.lo.clamp(0, far.hi), b.hi.clamp(0, far.hi));
                }
                interval::binary(*op, of, a, b)
            }
            Expr::Cast(_, a) => match self.expr(a, check)? {
                _ if ty == Ty::F32 => all(ty),
                inside if all(ty).contains(inside) || ty == Ty::Idx => inside,
                _ => all(ty),
            },
            Expr::Select(c, a, b) => {
                self.expr(c, check)?;
                self.expr(a, check)?.union(self.expr(b, check)?)
            }
        };
        if all(ty).contains(raw) {
            return Ok(raw);
        }
        // Unsigned numbers wrap; for all others this is what must not be.
        ensure(!check || ty.wraps(), || {
            format!(
                "`{}` may be {}..={}, which {ty} does not hold",
                k.show(e),
                raw.lo,
                raw.hi
            )
        })?;
        Ok(all(ty))
    }
}

/// The variables that live through a loop's turns.
struct Carried {
    /// Those that the body sets and does not bind.
    all: BTreeSet<Var>,
    /// Of these, the ones that the body only adds to and subtracts from.
    sums: BTreeSet<Var>,
}

impl Carried {
    fn of(k: &Kernel, body: &[Stmt]) -> Carried {
        let (mut set, mut bound, mut other) = (BTreeSet::new(), HashSet::new(), BTreeSet::new());
        walk::visit(body, &mut |s| match s {
            Stmt::Let(v, _) => {
                bound.insert(*v);
            }
            // Of `f32` nothing is known anyway.
            Stmt::Set(v, e) if k.var(*v).ty != Ty::F32 => {
                set.insert(*v);
                if addend(*v, e).is_none() {
                    other.insert(*v);
                }
            }
            _ => {}
        });
        set.retain(|v| !bound.contains(v));
        Carried {
            sums: &set - &other,
            all: set,
        }
    }
}

/// What a statement adds to a variable.
enum Addend<'e> {
    Plus(&'e Expr),
    Minus(&'e Expr),
    /// Sums of products of these, by this operation.
    Dot(VecOp, &'e Expr, &'e Expr),
}

/// What `v = e` adds to `v`, where `e` is `v + x`, `x + v`, `v - x`, `dot(v, a, b)` or `matrix(v, a, b)` and reads `v` nowhere else.
fn addend(v: Var, e: &Expr) -> Option<Addend<'_>> {
    let is_v = |e: &Expr| *e == Expr::Var(v);
    match e {
        Expr::Bin(BinOp::Add, a, b) if is_v(a) && !b.reads(v) => Some(Addend::Plus(b)),
        Expr::Bin(BinOp::Add, a, b) if is_v(b) && !a.reads(v) => Some(Addend::Plus(a)),
        Expr::Bin(BinOp::Sub, a, b) if is_v(a) && !b.reads(v) => Some(Addend::Minus(b)),
        Expr::Vector(op @ (VecOp::Dot | VecOp::DotGroup(_) | VecOp::Matrix), args)
            if is_v(&args[0]) && !args[1].reads(v) && !args[2].reads(v) =>
        {
            Some(Addend::Dot(*op, &args[1], &args[2]))
        }
        _ => None,
    }
}

/// A place: the sample, the result or the arena.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Space {
    Input,
    Output,
    Arena,
}

/// First byte of a stretch of a space, and its length in bytes.
type Span = (u32, u32);

/// What calls have left in a space: the type and the range of the elements in disjoint spans, by their first byte; and the end.
type Written = BTreeMap<u32, (u32, Ty, Interval)>;

/// Laws 8 and 9.
fn calls(p: &Program, stored: &[Vec<Option<Interval>>]) -> Result<(), String> {
    let mut written: BTreeMap<Space, Written> = BTreeMap::new();
    let bytes = |port: &Port| port.shape.iter().product::<usize>() as u32 * port.ty.bytes();
    let (inputs, outputs) = (bytes(&p.input), bytes(&p.output));
    let sample = written.entry(Space::Input).or_default();
    overwrite(sample, (0, inputs), p.input.ty, all(p.input.ty));
    for pool in &p.pools {
        ensure(pool.at.is_multiple_of(pool.ty.bytes()), || {
            format!("the pool of {} begins at byte {}", pool.ty, pool.at)
        })?;
        let sharable = pool.at == 0 && pool.ty.bytes() <= SHARED_ALIGN;
        ensure(!p.shares_memory() || sharable, || {
            format!("the pool of {} at byte {} overlaps another", pool.ty, pool.at)
        })?;
    }
    for c in &p.calls {
        let k = p
            .kernels
            .get(c.kernel)
            .ok_or_else(|| format!("kernel {} is called", c.kernel))?;
        call(p, k, c, &stored[c.kernel], &mut written).map_err(|e| format!("call of {}: {e}", k.name))?;
    }
    let result = written.entry(Space::Output).or_default();
    let whole = covers(result, (0, outputs), p.output.ty, all(p.output.ty));
    ensure(outputs > 0 && whole, || "part of the result is never written".into())
}

fn call(
    p: &Program,
    k: &Kernel,
    c: &Call,
    stored: &[Option<Interval>],
    written: &mut BTreeMap<Space, Written>,
) -> Result<(), String> {
    let params: Vec<_> = k.params().collect();
    ensure(params.len() == c.args.len(), || {
        format!("{} arguments, {} parameters", c.args.len(), params.len())
    })?;
    let shared = p.shares_memory();
    let mut spans: Vec<(Space, Span)> = vec![];
    for (d, arg) in params.iter().zip(&c.args) {
        let elements = |shape: &[usize]| shape.iter().product::<usize>() as u64;
        let (space, ty, at, offset, len) = match *arg {
            Arg::Input(offset) => (Space::Input, p.input.ty, 0, offset, elements(&p.input.shape)),
            Arg::Output(offset) => (Space::Output, p.output.ty, 0, offset, elements(&p.output.shape)),
            Arg::Arena { pool, offset } => {
                let decl = p.pools.get(pool).ok_or_else(|| format!("there is no pool {pool}"))?;
                (Space::Arena, decl.ty, decl.at, offset, u64::from(decl.len))
            }
        };
        ensure(ty == d.ty, || {
            format!("`{}` is of {}, its argument of {ty}", d.name, d.ty)
        })?;
        let end = u64::from(offset) + u64::from(d.len);
        ensure(end <= len, || format!("`{}` ends at {end} of {len} elements", d.name))?;
        ensure(space != Space::Input || d.role == Role::In, || {
            format!("`{}` writes the sample", d.name)
        })?;
        let at = at + offset * ty.bytes();
        ensure(
            space != Space::Arena || !shared || at.is_multiple_of(SHARED_ALIGN),
            || format!("`{}` begins at byte {at} of memory that types share", d.name),
        )?;
        spans.push((space, (at, d.len * ty.bytes())));
    }
    for (i, (space, span)) in spans.iter().enumerate() {
        let overlaps = |j: usize| {
            let (s, (at, len)) = spans[j];
            i != j && s == *space && at < span.0 + span.1 && span.0 < at + len
        };
        let clash = (0..spans.len()).find(|&j| params[i].role != Role::In && overlaps(j));
        ensure(clash.is_none(), || {
            format!("`{}` overlaps another argument", params[i].name)
        })?;
    }
    let read = |d: &super::BufDecl| matches!(d.role, Role::In | Role::InOut);
    for (d, (space, span)) in params.iter().zip(&spans).filter(|(d, _)| read(d)) {
        let range = if d.ty == Ty::F32 {
            all(d.ty)
        } else {
            between(d.range.0, d.range.1)
        };
        let good = written.get(space).is_some_and(|w| covers(w, *span, d.ty, range));
        ensure(good, || {
            format!("`{}` reads what was not written, or not in {:?}", d.name, d.range)
        })?;
    }
    let stores = k
        .bufs
        .iter()
        .zip(stored)
        .filter(|(d, _)| !matches!(d.role, Role::Const | Role::Local));
    for ((d, stored), (space, span)) in stores.zip(&spans).filter(|((d, _), _)| d.role != Role::In) {
        if d.role == Role::Scratch {
            erase(written.entry(*space).or_default(), *span);
            continue;
        }
        let range = match (stored, d.role) {
            (None, _) => return Err(format!("`{}` is never written", d.name)),
            (Some(stored), Role::Out) => *stored,
            // Some elements may stay as they were.
            (Some(stored), _) => stored.union(between(d.range.0, d.range.1)),
        };
        overwrite(written.entry(*space).or_default(), *span, d.ty, range);
    }
    Ok(())
}

/// Whether each element of a span was written, as this type and in `range`.
fn covers(w: &Written, (offset, len): Span, ty: Ty, range: Interval) -> bool {
    let end = offset + len;
    let mut at = offset;
    for (start, (stop, t, r)) in w.iter().filter(|(start, (stop, ..))| **start < end && offset < *stop) {
        if *start > at || *t != ty || !range.contains(*r) {
            return false;
        }
        at = *stop;
    }
    at >= end
}

/// Notes a span as written; what it covers of others is gone.
fn overwrite(w: &mut Written, (offset, len): Span, ty: Ty, range: Interval) {
    erase(w, (offset, len));
    w.insert(offset, (offset + len, ty, range));
}

/// Forgets what was written in a span.
fn erase(w: &mut Written, (offset, len): Span) {
    let end = offset + len;
    let cut: Vec<_> = w
        .iter()
        .map(|(s, v)| (*s, *v))
        .filter(|(s, (stop, ..))| *s < end && offset < *stop)
        .collect();
    for (start, (stop, t, r)) in cut {
        w.remove(&start);
        if start < offset {
            w.insert(start, (offset, t, r));
        }
        if end < stop {
            w.insert(end, (stop, t, r));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pool;
    use super::super::build::*;
    use super::*;

    /// A kernel from `x` to `y`, four numbers each, whose body is `f`; `y` keeps to `range`.
    fn made(range: (i64, i64), f: impl FnOnce(&mut Builder, Buf, Buf)) -> Kernel {
        let mut b = Builder::new("k", "");
        let x = b.param("x", Ty::I32, 4, Role::In, (-10, 10));
        let y = b.param("y", Ty::I32, 4, Role::Out, range);
        f(&mut b, x, y);
        b.finish()
    }

    const ANY: (i64, i64) = (i32::MIN as i64, i32::MAX as i64);

    #[track_caller]
    fn refused(k: &Kernel, why: &str) {
        let e = kernel(k).expect_err(why);
        assert!(e.contains(why), "{e}");
    }

    fn one() -> Expr {
        int(1, Ty::I32)
    }

    #[test]
    fn types_agree() {
        refused(
            &made(ANY, |b, _, y| b.store(y, idx(0), one() + idx(1))),
            "`1` is idx, not i32",
        );
        refused(&made(ANY, |b, _, y| b.store(y, one(), one())), "`1` is i32, not idx");
        refused(
            &made(ANY, |b, x, y| b.store(y, idx(0), b.load(x, idx(0)) << one())),
            "does not exist",
        );
        refused(
            &made(ANY, |b, _, y| b.store(y, idx(0), float(1.0).cast(Ty::I32))),
            "does not exist",
        );
        refused(
            &made(ANY, |b, _, y| b.store(y, idx(0), int(1 << 31, Ty::I32))),
            "is no constant",
        );
    }

    #[test]
    fn variables_are_bound_once_before_their_use() {
        let mut k = made(ANY, |b, _, y| {
            let v = b.val("v", one());
            b.store(y, idx(0), v);
        });
        assert_eq!(kernel(&k), Ok(()));
        let mut twice = k.clone();
        twice.body.push(twice.body[0].clone());
        refused(&twice, "`v` is bound twice");
        let mut set = k.clone();
        set.body.push(Stmt::Set(Var(0), one()));
        refused(&set, "not mutable");
        k.body.swap(0, 1);
        refused(&k, "used where it is not bound");
        let escaped = made(ANY, |b, _, y| {
            let mut inner = None;
            b.each("i", 2, false, |b, _| inner = Some(b.val("v", one())));
            b.store(y, idx(0), inner.expect("set above"));
        });
        refused(&escaped, "used where it is not bound");
        refused(&made(ANY, |b, x, _| b.store(x, idx(0), one())), "`x` is written");
    }

    #[test]
    fn names_are_unique() {
        let mut k = made(ANY, |b, _, y| b.store(y, idx(0), one()));
        k.bufs[1].name = "x".into();
        refused(&k, "two things are called `x`");
    }

    #[test]
    fn indices_are_in_range() {
        let at = |f: fn(Expr) -> Expr| {
            made(ANY, move |b, x, y| {
                b.each("i", 4, false, |b, i| b.store(y, i.clone(), b.load(x, f(i))))
            })
        };
        assert_eq!(kernel(&at(|i| idx(3) - i)), Ok(()));
        assert_eq!(kernel(&at(|i| (i * idx(7)) & idx(3))), Ok(()));
        assert_eq!(kernel(&at(|i| (i * idx(5)) >> idx(2))), Ok(()));
        refused(&at(|i| i + idx(1)), "index `i + 1` of `x` is 1..=4, length 4");
        refused(&at(|i| i - idx(1)), "`i - 1` may be -1..=2");
        refused(&at(|i| (i.cast(Ty::I32) - one()).cast(Ty::Idx)), "may be -1..=2");
    }

    #[test]
    fn shifts_are_less_than_the_width() {
        let by = |trip| {
            made(ANY, move |b, _, y| {
                b.each("i", trip, false, |b, i| {
                    b.store(y, idx(0), (int(1, Ty::U32) << i.cast(Ty::U32)).cast(Ty::I32))
                });
            })
        };
        assert_eq!(kernel(&by(32)), Ok(()));
        refused(&by(33), "by 0..=32");
    }

    /// Sums are bounded by turns times what a turn adds; nested, and beside a maximum over them.
    #[test]
    fn sums_and_maxima_are_bounded() {
        let pooled = |range| {
            made(range, |b, x, y| {
                b.each("o", 4, false, |b, o| {
                    let best = b.mutable("best", int(-1000, Ty::I32));
                    let total = b.mutable("total", int(0, Ty::I32));
                    b.each("p", 4, false, |b, p| {
                        let sum = b.mutable("sum", one());
                        b.each("c", 3, false, |b, _| {
                            b.each("j", 5, false, |b, j| {
                                b.add(sum, b.load(x, p.clone()) * (j & idx(1)).cast(Ty::I32))
                            });
                        });
                        b.set(best, Expr::Var(best).max(Expr::Var(sum)));
                        b.set(total, Expr::Var(total) - Expr::Var(sum));
                    });
                    b.store(y, o, Expr::Var(best).max(Expr::Var(total)));
                });
            })
        };
        // sum in 1 +- 150, best in -149..=151 after the first turn, total in -604..=596.
        assert_eq!(kernel(&pooled((-149, 596))), Ok(()));
        refused(&pooled((-149, 595)), "is -149..=596");
        refused(&pooled((-148, 596)), "is -149..=596");
    }

    /// The bits of a packed word: above the highest channel they are 0.
    #[test]
    fn gathered_bits_are_bounded() {
        let word = |channels, range| {
            made(range, move |b, x, y| {
                let bits = b.mutable("bits", int(0, Ty::U32));
                b.each("c", channels, false, |b, c| {
                    let bit = b.load(x, c.clone() & idx(3)).ge(one()).cast(Ty::U32) << c.cast(Ty::U32);
                    b.set(bits, Expr::Var(bits) | bit);
                });
                b.store(y, idx(0), Expr::Var(bits).cast(Ty::I32));
            })
        };
        assert_eq!(kernel(&word(10, (0, 1023))), Ok(()));
        refused(&word(10, (0, 1022)), "is 0..=1023");
    }

    #[test]
    fn signed_arithmetic_does_not_overflow() {
        let grown = |turns| {
            made(ANY, move |b, _, y| {
                let v = b.mutable("v", one());
                b.each("i", turns, false, |b, _| b.add(v, int(1 << 20, Ty::I32)));
                b.store(y, idx(0), Expr::Var(v));
            })
        };
        assert_eq!(kernel(&grown(2047)), Ok(()));
        refused(&grown(2048), "`v + 1048576` may be");
        let doubled = made(ANY, |b, _, y| {
            let v = b.mutable("v", one());
            b.each("i", 40, false, |b, _| b.set(v, Expr::Var(v) + Expr::Var(v)));
            b.store(y, idx(0), Expr::Var(v));
        });
        refused(&doubled, "`v + v` may be");
    }

    /// A product of matrices adds as many products to a lane as a row has elements.
    #[test]
    fn matrix_products_are_bounded() {
        let summed = |least, elements: u8| {
            let mut b = Builder::new("k", "");
            let x = b.param("x", Ty::I8, 16, Role::In, Ty::I8.range());
            let y = b.param("y", Ty::I32, 4, Role::Out, (least, 5 * 8 * 128 * 128));
            let sum = b.mutable("sum", splat(int(0, Ty::I32), Ty::I32.times(4)));
            b.each("i", 5, false, |b, _| {
                let x = b.load_n(x, idx(0), elements.into(), Ty::I8.times(elements));
                let next = Expr::Vector(VecOp::Matrix, vec![Expr::Var(sum), x.clone(), x]);
                b.set(sum, next);
            });
            b.store(y, idx(0), Expr::Var(sum));
            b.finish()
        };
        let least = 5 * 8 * -128 * 127;
        assert_eq!(kernel(&summed(least, 16)), Ok(()));
        refused(&summed(least + 1, 16), "is -650240..=655360");
        refused(&summed(least, 15), "does not exist");
    }

    #[test]
    fn what_is_unzipped_comes_from_both() {
        let halves = |range, group, at| {
            made(range, move |b, x, y| {
                let ty = Ty::I32.times(4);
                let nines = splat(int(19, Ty::I32), ty);
                let x = b.load_n(x, idx(0), 4, ty);
                b.store(y, idx(0), Expr::Vector(VecOp::Unzip { group, at }, vec![x, nines]));
            })
        };
        assert_eq!(kernel(&halves((-10, 19), 1, 0)), Ok(()));
        assert_eq!(kernel(&halves((-10, 19), 2, 1)), Ok(()));
        refused(&halves((-10, 10), 1, 0), "is -10..=19");
        refused(&halves((-10, 19), 3, 0), "does not exist");
        refused(&halves((-10, 19), 4, 0), "does not exist");
        refused(&halves((-10, 19), 1, 2), "does not exist");
    }

    fn network(args: Vec<Vec<Arg>>) -> Program {
        let k = made((-10, 10), |b, x, y| {
            b.each("i", 4, false, |b, i| b.store(y, i.clone(), b.load(x, i)))
        });
        let mut first = k.clone();
        first.name = "first".into();
        first.bufs[0].range = Ty::I32.range();
        first.body = made((0, 0), |b, _, y| {
            b.each("i", 4, false, |b, i| b.store(y, i, int(0, Ty::I32)))
        })
        .body;
        first.vars.truncate(1);
        let port = || Port {
            name: "p".into(),
            ty: Ty::I32,
            shape: vec![4],
        };
        Program {
            input: port(),
            output: port(),
            pools: Pool::apart(vec![(Ty::I32, 8)]),
            kernels: vec![first, k],
            calls: args
                .into_iter()
                .enumerate()
                .map(|(kernel, args)| Call { kernel, args })
                .collect(),
        }
    }

    #[test]
    fn arguments_fit_and_were_written() {
        let at = |offset| Arg::Arena { pool: 0, offset };
        let refused = |args, why: &str| {
            let e = verify(&network(args)).expect_err(why);
            assert!(e.contains(why), "{e}");
        };
        assert_eq!(
            verify(&network(vec![vec![Arg::Input(0), at(4)], vec![at(4), Arg::Output(0)]])),
            Ok(())
        );
        refused(
            vec![vec![Arg::Input(0), at(5)], vec![at(4), Arg::Output(0)]],
            "ends at 9 of 8",
        );
        refused(
            vec![vec![Arg::Input(0), at(4)], vec![at(3), Arg::Output(0)]],
            "reads what was not written",
        );
        refused(vec![vec![Arg::Input(0), at(4)], vec![at(4), at(1)]], "overlaps another");
        refused(
            vec![vec![Arg::Input(0), at(4)], vec![at(4), at(0)]],
            "part of the result",
        );
        refused(
            vec![vec![Arg::Input(0), Arg::Input(0)], vec![at(4), Arg::Output(0)]],
            "writes the sample",
        );
        refused(
            vec![vec![Arg::Input(0)], vec![at(4), Arg::Output(0)]],
            "1 arguments, 2 parameters",
        );
        refused(vec![vec![Arg::Input(0), at(4)]], "nothing calls `k`");
        let mut wider = network(vec![vec![Arg::Input(0), at(4)], vec![at(4), Arg::Output(0)]]);
        wider.kernels[1].bufs[0].range = (1, 9);
        let e = verify(&wider).unwrap_err();
        assert!(e.contains("not in (1, 9)"), "{e}");
    }

    /// A kernel from four numbers of one type to four zeros of another.
    fn zeros(name: &str, from: Ty, to: Ty) -> Kernel {
        let mut b = Builder::new(name, "");
        b.param("x", from, 4, Role::In, from.range());
        let y = b.param("y", to, 4, Role::Out, to.range());
        b.each("i", 4, false, |b, i| b.store(y, i, int(0, to)));
        b.finish()
    }

    #[test]
    fn types_share_memory_one_after_the_other() {
        let port = || Port {
            name: "p".into(),
            ty: Ty::I32,
            shape: vec![4],
        };
        let shared = |bytes: [Arg; 2], words: [Arg; 2]| Program {
            input: port(),
            output: port(),
            pools: [(Ty::I8, 16), (Ty::U32, 4)]
                .map(|(ty, len)| Pool { ty, len, at: 0 })
                .into(),
            kernels: vec![
                zeros("narrow", Ty::I32, Ty::I8),
                zeros("pack", Ty::I8, Ty::U32),
                zeros("unpack", Ty::U32, Ty::I32),
            ],
            calls: [
                [Arg::Input(0), bytes[0]],
                [bytes[1], words[0]],
                [words[1], Arg::Output(0)],
            ]
            .into_iter()
            .enumerate()
            .map(|(kernel, args)| Call {
                kernel,
                args: args.into(),
            })
            .collect(),
        };
        let refused = |p: Program, why: &str| {
            let e = verify(&p).expect_err(why);
            assert!(e.contains(why), "{e}");
        };
        let at = |pool, offset| Arg::Arena { pool, offset };
        // The words would lie where the bytes do that they are made of.
        refused(shared([at(0, 0); 2], [at(1, 0); 2]), "overlaps another");
        let mut larger = shared([at(0, 0); 2], [at(1, 1); 2]);
        larger.pools[1].len = 5;
        assert_eq!(verify(&larger), Ok(()));
        let mut crooked = larger.clone();
        crooked.calls[0].args[1] = at(0, 1);
        refused(crooked, "begins at byte 1 of memory that types share");
        let mut mistaken = larger.clone();
        mistaken.calls[2].args[0] = at(1, 0);
        refused(mistaken, "reads what was not written");
        // The same bytes, but as another type.
        let mut other = larger.clone();
        other.pools.push(Pool {
            ty: Ty::U32,
            len: 5,
            at: 0,
        });
        other.kernels[1] = zeros("pack", Ty::I8, Ty::I32);
        other.pools[1].ty = Ty::I32;
        other.calls[2].args[0] = at(2, 1);
        refused(other, "reads what was not written");
    }
}
