//! What a kernel costs, counted from its KIR: trip counts times the target's cost per operation.

use crate::kir::{BinOp, Expr, Kernel, Role, Stmt, Ty, UnOp};
use crate::target::Cost as Price;

/// What a kernel takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Instructions of one call.
    pub instructions: f64,
    /// Bytes of its tables.
    pub tables: u64,
    /// Estimate of its code, in bytes.
    pub code: u64,
}

/// Bytes of code per operation of KIR: what gcc and rustc make of the kernels here for Thumb, rounded up.
const CODE_PER_OPERATION: u64 = 4;

impl Cost {
    /// Tables and code.
    pub fn flash(&self) -> u64 {
        self.tables + self.code
    }
}

/// Cost of one call of `k`, after all passes.
pub fn of(k: &Kernel, price: &Price) -> Cost {
    let mut counter = Counter {
        k,
        price,
        operations: 0,
    };
    let instructions = counter.body(&k.body);
    let tables = k
        .bufs
        .iter()
        .filter(|b| b.role == Role::Const)
        .map(|b| b.len as u64 * b.ty.bytes() as u64)
        .sum();
    Cost {
        instructions,
        tables,
        code: counter.operations * CODE_PER_OPERATION,
    }
}

struct Counter<'a> {
    k: &'a Kernel,
    price: &'a Price,
    operations: u64,
}

impl Counter<'_> {
    fn body(&mut self, body: &[Stmt]) -> f64 {
        body.iter().map(|s| self.stmt(s)).sum()
    }

    fn stmt(&mut self, s: &Stmt) -> f64 {
        match s {
            Stmt::Let(_, e) | Stmt::Set(_, e) => self.expr(e),
            Stmt::Store(_, at, e) => {
                self.operations += 1;
                self.price.store + self.index(at) + self.expr(e)
            }
            Stmt::For { trip, body, .. } => {
                self.operations += 3;
                *trip as f64 * (self.price.turn + self.body(body))
            }
            Stmt::Note(_) => 0.0,
        }
    }

    fn expr(&mut self, e: &Expr) -> f64 {
        let (own, below) = match e {
            Expr::Lit(_) | Expr::Var(_) => return 0.0,
            Expr::Load(_, at) | Expr::LoadN { at, .. } => (self.price.load, self.index(at)),
            // One instruction, or free.
            Expr::Vector(_, args) => (self.price.alu, args.iter().map(|a| self.expr(a)).sum()),
            // A change of type between registers is free, or part of the load.
            Expr::Cast(ty, a) => {
                let converts = (*ty == Ty::F32) != (self.k.ty(a) == Ty::F32);
                return self.expr(a) + if converts { self.price.float } else { 0.0 };
            }
            Expr::Un(UnOp::Popcnt, a) => (self.price.popcount, self.expr(a)),
            Expr::Un(_, a) => (self.price.alu, self.expr(a)),
            Expr::Bin(op, a, b) => {
                let own = match (self.k.ty(a), op) {
                    (Ty::F32, _) => self.price.float,
                    (Ty::I64, _) => self.price.wide,
                    (_, BinOp::Mul) => self.price.mul,
                    (_, BinOp::Min | BinOp::Max) => 2.0 * self.price.alu,
                    _ => self.price.alu,
                };
                (own, self.expr(a) + self.expr(b))
            }
            Expr::Select(c, a, b) => (2.0 * self.price.alu, self.expr(c) + self.expr(a) + self.expr(b)),
        };
        self.operations += 1;
        own + below
    }

    /// Compilers keep what does not change in a register and step what does: an address takes an addition at most.
    fn index(&mut self, at: &Expr) -> f64 {
        match at {
            Expr::Lit(_) | Expr::Var(_) => 0.0,
            _ => {
                self.operations += 1;
                self.price.alu
            }
        }
    }
}
