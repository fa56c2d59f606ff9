//! The kernel IR (KIR): static loops over static buffers. Every kernel is written once, in it; Rust, C and the
//! interpreter are three readings of the same text.
//!
//! An [`Expr`] has a value and no effect; a [`Stmt`] has an effect and no value. The laws, which are the whole gap between
//! Rust and C:
//!
//! * Unsigned arithmetic wraps. Signed arithmetic never overflows: `verify` proves it with intervals.
//! * A shift is by less than the width. A right shift of a signed number is arithmetic.
//! * Every index is in range, proven.
//! * Both operands of a binary operation have one type; a narrower result than `int` is cast back where C would promote.
//! * `f32` operations round to nearest even, one by one, in the order written; nothing is contracted. `Min` and `Max` of
//!   `f32` are `a < b ? a : b` and `a > b ? a : b`.
//! * Casts: between integers as in Rust's `as` (truncate or extend); `i32` to `f32` rounds to nearest even; `Bool` to integer
//!   is 0 or 1. `f32` to integer does not exist.
//! * There is no division.
//! * A vector operation is its scalar operation on every lane, and keeps every law on every lane. Lane 0 has the lowest
//!   address and the least significant bits: machines are little-endian.

pub mod build;
pub mod eval;
pub mod interval;
pub mod pass;
pub mod scalar;
pub mod text;
pub mod verify;
pub mod walk;

use std::collections::{HashMap, HashSet};
use std::fmt;

/// Type of a scalar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ty {
    /// Truth value.
    Bool,
    /// 8 bits, unsigned.
    U8,
    /// 8 bits, signed.
    I8,
    /// 16 bits, unsigned.
    U16,
    /// 16 bits, signed.
    I16,
    /// 32 bits, unsigned.
    U32,
    /// 32 bits, signed.
    I32,
    /// 64 bits, signed.
    I64,
    /// IEEE 754 binary32.
    F32,
    /// Index of an array element: `usize` in Rust, `size_t` in C; never negative, always below 2^31.
    Idx,
    /// Lanes of one scalar type, at least 2. Buffers hold scalars only.
    Vec(Lane, u8),
}

/// Type of a vector's lane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the scalar types of these names")]
pub enum Lane {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
}

/// A scalar variable of one kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Var(pub u32);

/// A buffer of one kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Buf(pub u32);

impl fmt::Display for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl fmt::Display for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

/// A constant.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Lit {
    /// Of any integer type, in its range; `Bool` as 0 or 1.
    Int(i64, Ty),
    /// Finite.
    F32(f32),
}

/// Operations on one operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UnOp {
    /// Bitwise, or logical for `Bool`.
    Not,
    /// Of a signed number or `f32`.
    Neg,
    /// Number of one bits of a `u32`, or of a `u8` lane, in its type.
    Popcnt,
}

/// Operations on two operands of one type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BinOp {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
    /// Shift left, of an unsigned number.
    Shl,
    /// Shift right.
    Shr,
    /// Lesser.
    Min,
    /// Greater.
    Max,
    /// Less, as `Bool`.
    Lt,
    /// At least, as `Bool`.
    Ge,
    /// Equal, as `Bool`.
    Eq,
}

/// Operations that make vectors of scalars, scalars of vectors, or work across lanes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum VecOp {
    /// A scalar in every lane of the vector type.
    Splat(Ty),
    /// The same bits as another vector type of as many bits.
    Bits(Ty),
    /// `acc, a, b`: to each lane of `acc` (`i16` or `i32`) is added the sum of `a * b` over its share of the lanes of `a` and
    /// `b`, which are narrower.
    Dot,
    /// As `Dot`, but of `b` only the share of this number, for every lane of `acc`; `a` may be as wide as `acc`.
    DotGroup(u8),
    /// `acc, a, b`: `a` and `b` are matrices of two rows each, one row after the other; to lane `2 * i + j` of the four of `acc`
    /// is added the sum of the products of row `i` of `a` and row `j` of `b`.
    Matrix,
    /// `a, b`: of their groups of `group` lanes, counted through both, those of even (0) or odd (1) number.
    Unzip {
        /// How many lanes; twice as many divide a vector's.
        group: u8,
        /// 0 or 1.
        at: u8,
    },
    /// Lanes `at * group ..` of a vector, `group` of them, again and again.
    Spread {
        /// How many; divides the lanes.
        group: u8,
        /// Which of the groups.
        at: u8,
    },
    /// The lower (0) or upper (1) half of the lanes, in the type of twice the width.
    Half(u8),
    /// `table, index`: for each lane of `index` (`u8`, below 16) that lane of `table`, which has 16 of 8 bits.
    Lookup,
    /// The high half of the product of two `i32` lanes.
    High,
    /// Sums of adjacent lanes, half as many of twice the width.
    Pairs,
    /// Sum of all lanes.
    Total,
    /// Vectors of truth values as the bits of a `u32`, lane 0 of the first the lowest; at most 32 lanes.
    Mask,
}

/// A value without effect.
#[derive(Clone, PartialEq, Debug)]
pub enum Expr {
    /// A constant.
    Lit(Lit),
    /// A variable's value.
    Var(Var),
    /// An element of a buffer.
    Load(Buf, Box<Expr>),
    /// A vector of this type: as many elements from the index on as `group` says, again and again.
    LoadN {
        /// Where from.
        buf: Buf,
        /// First element.
        at: Box<Expr>,
        /// Elements read; divides the lanes.
        group: u8,
        /// The vector's type; its lanes are of the buffer's type.
        ty: Ty,
    },
    /// An operation that only vectors have.
    Vector(VecOp, Vec<Expr>),
    /// One operand.
    Un(UnOp, Box<Expr>),
    /// Two operands.
    Bin(BinOp, Box<Expr>, Box<Expr>),
    /// Conversion.
    Cast(Ty, Box<Expr>),
    /// The second where the first holds, else the third. Neither has an effect, so both may be computed.
    Select(Box<Expr>, Box<Expr>, Box<Expr>),
}

/// An effect without value.
#[derive(Clone, PartialEq, Debug)]
pub enum Stmt {
    /// Binds a name; once, unless the variable is declared mutable.
    Let(Var, Expr),
    /// Updates a mutable variable that `Let` made.
    Set(Var, Expr),
    /// Writes an element; a vector as that many elements from the index on.
    Store(Buf, Expr, Expr),
    /// Runs `body` for `var` = 0, 1, .. `trip - 1`.
    For {
        /// Counter, of type `Idx`.
        var: Var,
        /// At least 1.
        trip: u32,
        /// Whether the unroll pass opens it.
        unroll: bool,
        /// What is repeated.
        body: Vec<Stmt>,
    },
    /// What was stored lies in memory from here on, and is loaded from there: compilers do not keep it in registers that they lack,
    /// and so on the stack.
    Fence,
    /// A line for the reader of the generated source.
    Note(String),
}

/// What a buffer is to its kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Read; the caller's.
    In,
    /// Written before it is read; the caller's.
    Out,
    /// Read and written; the caller's.
    InOut,
    /// Written before it is read, and of no use afterwards; the caller's.
    Scratch,
    /// The same, but the kernel's own: it lies on the stack, so it is small.
    Local,
    /// A constant of the program.
    Const,
}

/// A buffer.
#[derive(Clone, PartialEq, Debug)]
pub struct BufDecl {
    /// Unique in the kernel, in `snake_case`: a role (`x`, `y`, `weights`, `threshold`).
    pub name: String,
    /// Type of an element.
    pub ty: Ty,
    /// Number of elements.
    pub len: u32,
    /// What it is for.
    pub role: Role,
    /// The elements of a `Const` buffer; empty otherwise.
    pub data: Vec<Lit>,
    /// The kernel whose `Const` buffer of this name has the same elements and stands for this one too. See
    /// [`share_tables`].
    pub owner: Option<String>,
    /// Least and greatest element that callers and the kernel keep to; the type's range if unknown. For proofs.
    pub range: (i64, i64),
}

/// A variable.
#[derive(Clone, PartialEq, Debug)]
pub struct VarDecl {
    /// Unique in the kernel, in `snake_case`.
    pub name: String,
    /// Type.
    pub ty: Ty,
    /// Whether `Set` may update it.
    pub mutable: bool,
}

/// A function.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Kernel {
    /// Unique in the program, in `snake_case`: the layer's name and what is done.
    pub name: String,
    /// What it computes, for the reader of the generated source.
    pub doc: String,
    /// Buffers; those that are neither `Const` nor `Local` are the parameters, in order.
    pub bufs: Vec<BufDecl>,
    /// Variables.
    pub vars: Vec<VarDecl>,
    /// What it does.
    pub body: Vec<Stmt>,
    /// Bytes of stack that compilers are known to take for it beyond what every plan reserves.
    pub stack: u64,
    /// Whether GCC is to leave the order of its sums alone.
    pub in_order: bool,
    /// Whether GCC is to allocate registers by priority where few instructions can name half of them.
    pub by_priority: bool,
    names: Names,
}

/// The names that a kernel uses, so that [`Kernel::fresh`] finds a new one without a search: unrolled kernels have tens of
/// thousands of variables.
#[derive(Clone, Debug, Default)]
struct Names {
    /// Number of buffers and of variables whose names are in the map.
    seen: (usize, usize),
    /// For each name the number to try next after it.
    next: HashMap<String, u32>,
}

/// An index says nothing about what a kernel does.
impl PartialEq for Names {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Names {
    /// `name`, or the first `name<number>` that is free; taken from now on.
    fn take(&mut self, name: &str) -> String {
        let mut unique = name.to_string();
        while self.next.contains_key(&unique) {
            let number = self.next.entry(name.to_string()).or_insert(1);
            unique = format!("{name}{number}");
            *number += 1;
        }
        self.next.insert(unique.clone(), 1);
        unique
    }
}

/// Everything that a network's generated code does: kernels called one after the other over an arena of typed pools.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Program {
    /// The caller's sample.
    pub input: Port,
    /// The caller's result.
    pub output: Port,
    /// The arena: one pool per element type in use.
    pub pools: Vec<Pool>,
    /// Each is called at least once.
    pub kernels: Vec<Kernel>,
    /// Calls, in order.
    pub calls: Vec<Call>,
}

/// A buffer that belongs to the caller of the network.
#[derive(Clone, PartialEq, Debug)]
pub struct Port {
    /// The tensor's name in the model.
    pub name: String,
    /// Type of an element.
    pub ty: Ty,
    /// Logical extents without the batch, as in the model; elements are row-major in this order.
    pub shape: Vec<usize>,
}

impl Default for Port {
    fn default() -> Self {
        Port {
            name: String::new(),
            ty: Ty::F32,
            shape: vec![],
        }
    }
}

/// A typed view of a part of the arena. Pools may overlap: values of different types then share memory, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Type of an element.
    pub ty: Ty,
    /// Number of elements.
    pub len: u32,
    /// First byte in the arena; a multiple of an element's size.
    pub at: u32,
}

impl Pool {
    /// First byte behind it.
    pub fn end(&self) -> u32 {
        self.at + self.len * self.ty.bytes()
    }

    /// Pools of these types and lengths that do not overlap: the strictest alignment lies first, so that none needs padding.
    pub fn apart(pools: Vec<(Ty, u32)>) -> Vec<Pool> {
        let mut pools: Vec<Pool> = pools.into_iter().map(|(ty, len)| Pool { ty, len, at: 0 }).collect();
        let mut order: Vec<usize> = (0..pools.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(pools[i].ty.bytes()));
        let mut at = 0;
        for i in order {
            pools[i].at = at;
            at = pools[i].end();
        }
        pools
    }
}

/// A call of a kernel.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// Index into [`Program::kernels`].
    pub kernel: usize,
    /// One per parameter. An argument that is written overlaps no other.
    pub args: Vec<Arg>,
}

/// What is handed to a parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arg {
    /// The caller's sample from this element on, as many elements as the parameter has.
    Input(u32),
    /// The caller's result, likewise.
    Output(u32),
    /// The same of a pool of the arena.
    Arena {
        /// Index into [`Program::pools`].
        pool: usize,
        /// First element.
        offset: u32,
    },
}

/// Lets kernels with equal tables of one name share the first one's: those for a map's edges and for the rest of it.
pub fn share_tables(kernels: &mut [Kernel]) {
    for at in 1..kernels.len() {
        let (before, from) = kernels.split_at_mut(at);
        let equal = |a: &BufDecl, b: &BufDecl| {
            (a.role, &a.name, a.ty) == (b.role, &b.name, b.ty) && a.data == b.data && a.owner.is_none()
        };
        for buf in from[0].bufs.iter_mut().filter(|b| b.role == Role::Const) {
            let owner = before.iter().find(|k| k.bufs.iter().any(|b| equal(b, buf)));
            buf.owner = owner.map(|k| k.name.clone());
        }
    }
}

impl Program {
    /// Bytes of the arena.
    pub fn arena(&self) -> u64 {
        let end = self.pools.iter().map(Pool::end).max().unwrap_or(0);
        let align = self.pools.iter().map(|p| p.ty.bytes()).max().unwrap_or(1);
        u64::from(end.next_multiple_of(align))
    }

    /// Whether any pools overlap.
    pub fn shares_memory(&self) -> bool {
        let meet = |p: &Pool, q: &Pool| p.at < q.end() && q.at < p.end();
        let rest = |i: usize| &self.pools[i + 1..];
        self.pools
            .iter()
            .enumerate()
            .any(|(i, p)| rest(i).iter().any(|q| meet(p, q)))
    }
}

/// What offsets in pools that overlap are multiples of, in bytes: then no two values share a word.
pub const SHARED_ALIGN: u32 = 4;

impl Kernel {
    /// A buffer's declaration.
    pub fn buf(&self, b: Buf) -> &BufDecl {
        &self.bufs[b.0 as usize]
    }

    /// A variable's declaration.
    pub fn var(&self, v: Var) -> &VarDecl {
        &self.vars[v.0 as usize]
    }

    /// The parameters: every buffer that is neither `Const` nor `Local`, in order.
    pub fn params(&self) -> impl Iterator<Item = &BufDecl> {
        self.bufs
            .iter()
            .filter(|b| !matches!(b.role, Role::Const | Role::Local))
    }

    /// The operands that it does not read: those of a layer whose weights are all 0.
    pub fn unread(&self) -> impl Iterator<Item = &BufDecl> {
        let mut read = HashSet::new();
        walk::visit(&self.body, &mut |s| {
            walk::exprs(s).for_each(|e| {
                e.visit(&mut |e| {
                    if let Expr::Load(b, _) | Expr::LoadN { buf: b, .. } = e {
                        read.insert(*b);
                    }
                });
            });
        });
        let bufs = self.bufs.iter().enumerate();
        let unread = bufs.filter(move |(i, b)| b.role == Role::In && !read.contains(&Buf(*i as u32)));
        unread.map(|(_, b)| b)
    }

    /// Whether any of its values is a vector.
    pub fn is_vector(&self) -> bool {
        let mut found = self.vars.iter().any(|v| v.ty.lanes() > 1);
        walk::visit(&self.body, &mut |s| {
            walk::exprs(s).for_each(|e| e.visit(&mut |e| found |= matches!(e, Expr::LoadN { .. } | Expr::Vector(..))));
        });
        found
    }

    /// Whether it computes with floats.
    pub fn is_float(&self) -> bool {
        self.vars.iter().any(|v| v.ty == Ty::F32) || self.bufs.iter().any(|b| b.ty == Ty::F32)
    }

    /// A new variable; its name is made unique with a number.
    pub fn fresh(&mut self, name: &str, ty: Ty, mutable: bool) -> Var {
        if self.names.seen != (self.bufs.len(), self.vars.len()) {
            let names = self
                .bufs
                .iter()
                .map(|b| &b.name)
                .chain(self.vars.iter().map(|v| &v.name));
            self.names.next = names.map(|n| (n.clone(), 1)).collect();
        }
        let name = self.names.take(name);
        self.vars.push(VarDecl { name, ty, mutable });
        self.names.seen = (self.bufs.len(), self.vars.len());
        Var(self.vars.len() as u32 - 1)
    }

    /// Type of an expression of this kernel.
    pub fn ty(&self, e: &Expr) -> Ty {
        match e {
            Expr::Lit(Lit::Int(_, t)) | Expr::Cast(t, _) => *t,
            Expr::Lit(Lit::F32(_)) => Ty::F32,
            Expr::Var(v) => self.var(*v).ty,
            Expr::Load(b, _) => self.buf(*b).ty,
            Expr::Un(_, a) => self.ty(a),
            Expr::LoadN { ty, .. } => *ty,
            Expr::Vector(op, args) => match op {
                VecOp::Splat(ty) | VecOp::Bits(ty) => *ty,
                VecOp::High
                | VecOp::Dot
                | VecOp::DotGroup(_)
                | VecOp::Matrix
                | VecOp::Spread { .. }
                | VecOp::Unzip { .. } => self.ty(&args[0]),
                VecOp::Lookup => self.ty(&args[0]).scalar().times(self.ty(&args[1]).lanes()),
                VecOp::Pairs | VecOp::Half(_) => {
                    let ty = self.ty(&args[0]);
                    ty.scalar().wider().times(ty.lanes() / 2)
                }
                VecOp::Total => self.ty(&args[0]).scalar(),
                VecOp::Mask => Ty::U32,
            },
            Expr::Bin(BinOp::Lt | BinOp::Ge | BinOp::Eq, a, _) => Ty::Bool.times(self.ty(a).lanes()),
            Expr::Bin(_, a, _) | Expr::Select(_, a, _) => self.ty(a),
        }
    }
}

impl Ty {
    /// Number of lanes; 1 of a scalar.
    pub fn lanes(self) -> u8 {
        match self {
            Ty::Vec(_, n) => n,
            _ => 1,
        }
    }

    /// Type of a lane; a scalar's own.
    pub fn scalar(self) -> Ty {
        match self {
            Ty::Vec(lane, _) => match lane {
                Lane::Bool => Ty::Bool,
                Lane::U8 => Ty::U8,
                Lane::I8 => Ty::I8,
                Lane::U16 => Ty::U16,
                Lane::I16 => Ty::I16,
                Lane::U32 => Ty::U32,
                Lane::I32 => Ty::I32,
            },
            scalar => scalar,
        }
    }

    /// The vector of `n` lanes of a scalar type; the scalar itself for 1.
    ///
    /// # Panics
    /// If vectors have no such lanes.
    pub fn times(self, n: u8) -> Ty {
        let lane = match self {
            _ if n == 1 => return self,
            Ty::Bool => Lane::Bool,
            Ty::U8 => Lane::U8,
            Ty::I8 => Lane::I8,
            Ty::U16 => Lane::U16,
            Ty::I16 => Lane::I16,
            Ty::U32 => Lane::U32,
            Ty::I32 => Lane::I32,
            Ty::I64 | Ty::F32 | Ty::Idx | Ty::Vec(..) => unreachable!("a vector of {self:?}"),
        };
        Ty::Vec(lane, n)
    }

    /// The integer type of twice the width and the same sign; itself where there is none.
    pub fn wider(self) -> Ty {
        match self {
            Ty::U8 => Ty::U16,
            Ty::I8 => Ty::I16,
            Ty::U16 => Ty::U32,
            Ty::I16 => Ty::I32,
            Ty::I32 => Ty::I64,
            other => other,
        }
    }

    /// Whether it is a signed integer, or a vector of such.
    pub fn signed(self) -> bool {
        matches!(self.scalar(), Ty::I8 | Ty::I16 | Ty::I32 | Ty::I64)
    }

    /// Whether its arithmetic wraps: an unsigned integer, or a vector of such.
    pub fn wraps(self) -> bool {
        matches!(self.scalar(), Ty::U8 | Ty::U16 | Ty::U32)
    }

    /// Size of an element in memory.
    pub fn bytes(self) -> u32 {
        match self {
            Ty::Bool | Ty::U8 | Ty::I8 => 1,
            Ty::U16 | Ty::I16 => 2,
            Ty::U32 | Ty::I32 | Ty::F32 | Ty::Idx => 4,
            Ty::I64 => 8,
            Ty::Vec(_, n) => self.scalar().bytes() * u32::from(n),
        }
    }

    /// Bits of an integer, or of a lane.
    pub fn width(self) -> u32 {
        match self.scalar() {
            Ty::Bool => 1,
            scalar => scalar.bytes() * 8,
        }
    }

    /// Least and greatest value of an integer type, or of a lane; nothing useful for `F32`.
    pub fn range(self) -> (i64, i64) {
        match self {
            Ty::Bool => (0, 1),
            Ty::U8 => (0, 255),
            Ty::I8 => (-128, 127),
            Ty::U16 => (0, 0xffff),
            Ty::I16 => (-0x8000, 0x7fff),
            Ty::U32 => (0, u32::MAX as i64),
            Ty::I32 => (i32::MIN as i64, i32::MAX as i64),
            Ty::I64 | Ty::F32 => (i64::MIN, i64::MAX),
            Ty::Idx => (0, i32::MAX as i64),
            Ty::Vec(..) => self.scalar().range(),
        }
    }
}
