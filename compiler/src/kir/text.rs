//! Programs and kernels as text, for `--dump kir`, for messages and for people. The same program gives the same text.

use super::{Arg, BinOp, Expr, Kernel, Lit, Port, Program, Role, Stmt, Ty, UnOp, VecOp};
use std::fmt::{self, Display, Formatter};

/// Scalars as in Rust, vectors as `u32x16`.
impl Display for Ty {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ty::Vec(_, n) => return write!(f, "{}x{n}", self.scalar()),
            Ty::U16 => "u16",
            Ty::I16 => "i16",
            Ty::Bool => "bool",
            Ty::U8 => "u8",
            Ty::I8 => "i8",
            Ty::U32 => "u32",
            Ty::I32 => "i32",
            Ty::I64 => "i64",
            Ty::F32 => "f32",
            Ty::Idx => "idx",
        })
    }
}

/// A number without its type; an `f32` in the fewest digits that read back as the same.
impl Display for Lit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Lit::Int(v, Ty::Bool) => write!(f, "{}", *v != 0),
            Lit::Int(v, _) => write!(f, "{v}"),
            Lit::F32(v) => write!(f, "{v:?}"),
        }
    }
}

impl Display for Port {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let shape: Vec<_> = self.shape.iter().map(usize::to_string).collect();
        write!(f, "{}: {}[{}]", self.name, self.ty, shape.join(", "))
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "input {}", self.input)?;
        writeln!(f, "output {}", self.output)?;
        for (i, pool) in self.pools.iter().enumerate() {
            writeln!(f, "pool {i}: {}[{}] at {}", pool.ty, pool.len, pool.at)?;
        }
        writeln!(f)?;
        for c in &self.calls {
            let args = c.args.iter().map(|a| match a {
                Arg::Input(offset) => format!("input+{offset}"),
                Arg::Output(offset) => format!("output+{offset}"),
                Arg::Arena { pool, offset } => format!("pool{pool}+{offset}"),
            });
            let args = args.collect::<Vec<_>>();
            writeln!(f, "call {}({})", self.kernels[c.kernel].name, args.join(", "))?;
        }
        self.kernels.iter().try_for_each(|k| write!(f, "\n{k}"))
    }
}

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for line in self.doc.lines() {
            writeln!(f, "// {line}")?;
        }
        writeln!(f, "kernel {} {{", self.name)?;
        for b in &self.bufs {
            let role = match b.role {
                Role::In => "in",
                Role::Out => "out",
                Role::InOut => "inout",
                Role::Scratch => "scratch",
                Role::Local => "local",
                Role::Const => "const",
            };
            write!(f, "  {role} {}: {}[{}]", b.name, b.ty, b.len)?;
            if b.ty != Ty::F32 && b.range != b.ty.range() {
                write!(f, " {}..={}", b.range.0, b.range.1)?;
            }
            if !b.data.is_empty() {
                let data: Vec<_> = b.data.iter().map(Lit::to_string).collect();
                write!(f, " = {}", data.join(" "))?;
            }
            writeln!(f)?;
        }
        block(f, self, &self.body, 1)?;
        writeln!(f, "}}")
    }
}

fn block(f: &mut Formatter<'_>, k: &Kernel, body: &[Stmt], depth: usize) -> fmt::Result {
    for s in body {
        write!(f, "{:1$}", "", 2 * depth)?;
        match s {
            Stmt::Let(v, e) => {
                let d = k.var(*v);
                let mutable = if d.mutable { "mut " } else { "" };
                writeln!(f, "let {mutable}{}: {} = {}", d.name, d.ty, k.show(e))?;
            }
            Stmt::Set(v, e) => writeln!(f, "{} = {}", k.var(*v).name, k.show(e))?,
            Stmt::Store(b, i, e) => writeln!(f, "{}[{}] = {}", k.buf(*b).name, k.show(i), k.show(e))?,
            Stmt::For {
                var,
                trip,
                unroll,
                body,
            } => {
                let unroll = if *unroll { " unroll" } else { "" };
                writeln!(f, "for {} in 0..{trip}{unroll} {{", k.var(*var).name)?;
                block(f, k, body, depth + 1)?;
                writeln!(f, "{:1$}}}", "", 2 * depth)?;
            }
            Stmt::Fence => writeln!(f, "fence")?,
            Stmt::Note(text) => writeln!(f, "// {text}")?,
        }
    }
    Ok(())
}

impl Kernel {
    /// An expression of this kernel as text.
    pub fn show<'a>(&'a self, e: &'a Expr) -> impl Display + 'a {
        Shown {
            kernel: self,
            e,
            inner: false,
        }
    }
}

/// An expression with the names it needs; operations inside others stand in parentheses.
struct Shown<'a> {
    kernel: &'a Kernel,
    e: &'a Expr,
    inner: bool,
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let k = self.kernel;
        let part = |e, inner| Shown { kernel: k, e, inner };
        match self.e {
            Expr::Lit(l) => write!(f, "{l}"),
            // Messages about broken kernels are printed here too, so names that do not exist still need a form.
            Expr::Var(v) => match k.vars.get(v.0 as usize) {
                Some(d) => f.write_str(&d.name),
                None => write!(f, "{v}"),
            },
            Expr::Load(b, i) => match k.bufs.get(b.0 as usize) {
                Some(d) => write!(f, "{}[{}]", d.name, part(i, false)),
                None => write!(f, "{b}[{}]", part(i, false)),
            },
            Expr::LoadN { buf, at, group, ty } => match k.bufs.get(buf.0 as usize) {
                Some(d) if *group == ty.lanes() => write!(f, "{}[{}..{ty}]", d.name, part(at, false)),
                Some(d) => write!(f, "{ty}({}[{}..+{group}])", d.name, part(at, false)),
                None => write!(f, "{buf}[{}..{ty}]", part(at, false)),
            },
            Expr::Vector(op, args) => {
                match op {
                    VecOp::Splat(ty) => write!(f, "{ty}")?,
                    VecOp::Bits(ty) => write!(f, "bits_{ty}")?,
                    VecOp::Dot => write!(f, "dot")?,
                    VecOp::DotGroup(at) => write!(f, "dot_group{at}")?,
                    VecOp::Matrix => write!(f, "matrix")?,
                    VecOp::Unzip { group, at: 0 } => write!(f, "even{group}")?,
                    VecOp::Unzip { group, .. } => write!(f, "odd{group}")?,
                    VecOp::Spread { group, at } => write!(f, "spread{group}_{at}")?,
                    VecOp::Half(at) => write!(f, "half{at}")?,
                    VecOp::Lookup => write!(f, "lookup")?,
                    VecOp::High => write!(f, "high")?,
                    VecOp::Pairs => write!(f, "pairs")?,
                    VecOp::Total => write!(f, "total")?,
                    VecOp::Mask => write!(f, "mask")?,
                }
                for (i, a) in args.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "(" } else { ", " }, part(a, false))?;
                }
                write!(f, ")")
            }
            Expr::Un(UnOp::Not, a) => write!(f, "!{}", part(a, true)),
            Expr::Un(UnOp::Neg, a) => write!(f, "-{}", part(a, true)),
            Expr::Un(UnOp::Popcnt, a) => write!(f, "popcnt({})", part(a, false)),
            Expr::Bin(BinOp::Min, a, b) => write!(f, "min({}, {})", part(a, false), part(b, false)),
            Expr::Bin(BinOp::Max, a, b) => write!(f, "max({}, {})", part(a, false), part(b, false)),
            Expr::Bin(op, a, b) => {
                let (open, close) = if self.inner { ("(", ")") } else { ("", "") };
                write!(f, "{open}{} {} {}{close}", part(a, true), symbol(*op), part(b, true))
            }
            Expr::Cast(ty, a) => write!(f, "{ty}({})", part(a, false)),
            Expr::Select(c, a, b) => {
                write!(f, "select({}, {}, {})", part(c, false), part(a, false), part(b, false))
            }
        }
    }
}

fn symbol(op: BinOp) -> &'static str {
    match op {
        BinOp::Add => "+",
        BinOp::Sub => "-",
        BinOp::Mul => "*",
        BinOp::And => "&",
        BinOp::Or => "|",
        BinOp::Xor => "^",
        BinOp::Shl => "<<",
        BinOp::Shr => ">>",
        BinOp::Lt => "<",
        BinOp::Ge => ">=",
        BinOp::Eq => "==",
        BinOp::Min => "min",
        BinOp::Max => "max",
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::*;
    use super::super::{Call, Pool};
    use super::*;

    #[test]
    fn a_program_reads_well() {
        let mut b = Builder::new("clip", "Keeps half.\nRounds down.");
        let x = b.param("x", Ty::U8, 4, Role::In, Ty::U8.range());
        let y = b.param("y", Ty::I32, 4, Role::Out, (0, 9));
        let w = b.constants("w", Ty::I32, ints([3, 5], Ty::I32));
        let sum = b.mutable("sum", int(0, Ty::I32));
        b.each("i", 4, true, |b, i| {
            b.note("one element");
            let v = b.val("v", b.load(x, i.clone()).cast(Ty::I32) >> int(1, Ty::I32));
            b.add(sum, (v.clone() - int(1, Ty::I32)) * -v);
            let all = b
                .load(w, i.clone() & idx(1))
                .ge(Expr::Var(sum))
                .select(int(0, Ty::I32), int(9, Ty::I32));
            b.store(y, i, all.min(int(7, Ty::I32)));
        });
        let port = |name: &str, ty| Port {
            name: name.into(),
            ty,
            shape: vec![1, 4],
        };
        let p = Program {
            input: port("image", Ty::U8),
            output: port("scores", Ty::I32),
            pools: Pool::apart(vec![(Ty::I8, 8)]),
            kernels: vec![b.finish()],
            calls: vec![Call {
                kernel: 0,
                args: vec![Arg::Arena { pool: 0, offset: 4 }, Arg::Output(0)],
            }],
        };
        let expected = "\
input image: u8[1, 4]
output scores: i32[1, 4]
pool 0: i8[8] at 0

call clip(pool0+4, output+0)

// Keeps half.
// Rounds down.
kernel clip {
  in x: u8[4]
  out y: i32[4] 0..=9
  const w: i32[2] 3..=5 = 3 5
  let mut sum: i32 = 0
  for i in 0..4 unroll {
    // one element
    let v: i32 = i32(x[i]) >> 1
    sum = sum + ((v - 1) * -v)
    y[i] = min(select(w[i & 1] >= sum, 0, 9), 7)
  }
}
";
        assert_eq!(p.to_string(), expected);
    }
}
