//! Kernels are written with this builder; Rust's operators on [`Expr`] build expressions.

use super::{BinOp, Buf, BufDecl, Expr, Kernel, Lit, Role, Stmt, Ty, UnOp, Var, VecOp};
use std::ops;

/// A kernel under construction.
#[derive(Debug)]
pub struct Builder {
    kernel: Kernel,
    open: Vec<Vec<Stmt>>,
}

macro_rules! operators {
    ($($trait:ident $method:ident $op:ident),*) => { $(
        impl ops::$trait for Expr {
            type Output = Expr;
            fn $method(self, right: Expr) -> Expr {
                Expr::Bin(BinOp::$op, self.into(), right.into())
            }
        }
    )* };
}

operators!(Add add Add, Sub sub Sub, Mul mul Mul, BitAnd bitand And, BitOr bitor Or, BitXor bitxor Xor, Shl shl Shl,
    Shr shr Shr);

impl ops::Not for Expr {
    type Output = Expr;
    fn not(self) -> Expr {
        Expr::Un(UnOp::Not, self.into())
    }
}

impl ops::Neg for Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        Expr::Un(UnOp::Neg, self.into())
    }
}

impl Expr {
    /// Whether it is at least `right`.
    pub fn ge(self, right: Expr) -> Expr {
        Expr::Bin(BinOp::Ge, self.into(), right.into())
    }

    /// The greater of both.
    pub fn max(self, right: Expr) -> Expr {
        Expr::Bin(BinOp::Max, self.into(), right.into())
    }

    /// The lesser of both.
    pub fn min(self, right: Expr) -> Expr {
        Expr::Bin(BinOp::Min, self.into(), right.into())
    }

    /// Converted; itself where the type is the same already cannot be known here, so ask only for real conversions.
    pub fn cast(self, ty: Ty) -> Expr {
        Expr::Cast(ty, self.into())
    }

    /// Number of one bits of a `u32`.
    pub fn popcnt(self) -> Expr {
        Expr::Un(UnOp::Popcnt, self.into())
    }

    /// `yes` where `self` holds, else `no`.
    pub fn select(self, yes: Expr, no: Expr) -> Expr {
        Expr::Select(self.into(), yes.into(), no.into())
    }
}

/// An index.
pub fn idx(v: usize) -> Expr {
    Expr::Lit(Lit::Int(v as i64, Ty::Idx))
}

/// An integer constant.
pub fn int(v: i64, ty: Ty) -> Expr {
    Expr::Lit(Lit::Int(v, ty))
}

/// A scalar in every lane of a vector; itself where the type is a scalar's.
pub fn splat(e: Expr, ty: Ty) -> Expr {
    match ty.lanes() {
        1 => e,
        _ => Expr::Vector(VecOp::Splat(ty), vec![e]),
    }
}

/// An `f32` constant.
pub fn float(v: f32) -> Expr {
    Expr::Lit(Lit::F32(v))
}

/// Elements of a constant buffer from integers.
pub fn ints(values: impl IntoIterator<Item = i64>, ty: Ty) -> Vec<Lit> {
    values.into_iter().map(|v| Lit::Int(v, ty)).collect()
}

/// Elements of a constant buffer from floats.
pub fn floats(values: &[f32]) -> Vec<Lit> {
    values.iter().map(|&v| Lit::F32(v)).collect()
}

impl Builder {
    /// A kernel without buffers that does nothing yet.
    pub fn new(name: impl Into<String>, doc: impl Into<String>) -> Self {
        let kernel = Kernel {
            name: name.into(),
            doc: doc.into(),
            ..Kernel::default()
        };
        Builder {
            kernel,
            open: vec![vec![]],
        }
    }

    /// Declares a parameter whose elements keep to `range`.
    pub fn param(&mut self, name: &str, ty: Ty, len: usize, role: Role, range: (i64, i64)) -> Buf {
        self.declare(BufDecl {
            name: name.into(),
            ty,
            len: len as u32,
            role,
            data: vec![],
            owner: None,
            range,
        })
    }

    /// Declares constants.
    pub fn constants(&mut self, name: &str, ty: Ty, data: Vec<Lit>) -> Buf {
        let values = data.iter().filter_map(|l| match l {
            Lit::Int(v, _) => Some(*v),
            Lit::F32(_) => None,
        });
        let range = values.clone().min().zip(values.max()).unwrap_or(ty.range());
        self.declare(BufDecl {
            name: name.into(),
            ty,
            len: data.len() as u32,
            role: Role::Const,
            data,
            owner: None,
            range,
        })
    }

    /// Type of an expression.
    pub fn ty(&self, e: &Expr) -> Ty {
        self.kernel.ty(e)
    }

    fn declare(&mut self, decl: BufDecl) -> Buf {
        self.kernel.bufs.push(decl);
        Buf(self.kernel.bufs.len() as u32 - 1)
    }

    fn push(&mut self, s: Stmt) {
        self.open.last_mut().expect("a block is open").push(s);
    }

    fn bind(&mut self, name: &str, e: Expr, mutable: bool) -> Var {
        let ty = self.kernel.ty(&e);
        let var = self.kernel.fresh(name, ty, mutable);
        self.push(Stmt::Let(var, e));
        var
    }

    /// Names a value.
    pub fn val(&mut self, name: &str, e: Expr) -> Expr {
        Expr::Var(self.bind(name, e, false))
    }

    /// A variable that [`set`](Self::set) may update.
    pub fn mutable(&mut self, name: &str, init: Expr) -> Var {
        self.bind(name, init, true)
    }

    /// Updates a mutable variable.
    pub fn set(&mut self, v: Var, e: Expr) {
        self.push(Stmt::Set(v, e));
    }

    /// `v = v + e`.
    pub fn add(&mut self, v: Var, e: Expr) {
        self.set(v, Expr::Var(v) + e);
    }

    /// An element of a buffer.
    pub fn load(&self, b: Buf, at: Expr) -> Expr {
        Expr::Load(b, at.into())
    }

    /// A vector of type `ty` from `group` elements of a buffer, again and again; an element where the type is a scalar's.
    pub fn load_n(&self, b: Buf, at: Expr, group: usize, ty: Ty) -> Expr {
        if ty.lanes() == 1 {
            return self.load(b, at);
        }
        Expr::LoadN {
            buf: b,
            at: at.into(),
            group: group as u8,
            ty,
        }
    }

    /// Writes an element, or a vector's lanes.
    pub fn store(&mut self, b: Buf, at: Expr, e: Expr) {
        self.push(Stmt::Store(b, at, e));
    }

    /// Repeats `body` with the counter 0, 1, .. `trip - 1`. A loop of one turn is no loop, and one of none is nothing.
    pub fn each(&mut self, name: &str, trip: usize, unroll: bool, body: impl FnOnce(&mut Self, Expr)) {
        match trip {
            0 => return,
            1 => return body(self, idx(0)),
            _ => {}
        }
        let var = self.kernel.fresh(name, Ty::Idx, false);
        self.open.push(vec![]);
        body(self, Expr::Var(var));
        let body = self.open.pop().expect("opened above");
        self.push(Stmt::For {
            var,
            trip: trip as u32,
            unroll,
            body,
        });
    }

    /// Nothing that was stored stays in registers; see [`Stmt::Fence`].
    pub fn fence(&mut self) {
        self.push(Stmt::Fence);
    }

    /// A line for the reader of the generated source.
    pub fn note(&mut self, text: impl Into<String>) {
        self.push(Stmt::Note(text.into()));
    }

    /// The kernel.
    pub fn finish(mut self) -> Kernel {
        self.kernel.body = self.open.pop().expect("the outermost block");
        self.kernel
    }
}
