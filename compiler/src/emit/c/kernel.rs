//! Kernels as C99 functions.

use super::helpers::Helper;
use crate::emit::{constants, names, one_line, table_name, text};
use crate::kir::{BinOp, Buf, BufDecl, Expr, Kernel, Lit, Role, Stmt, Ty, UnOp, Var};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// What is printed, and what it turned out to need.
pub struct Printer<'a> {
    /// Goes before every name of file scope.
    pub prefix: &'a str,
    /// Functions that stand for what C leaves open.
    pub helpers: BTreeSet<Helper>,
}

/// Macros that say how a kernel is to be compiled.
pub fn options(k: &Kernel) -> impl Iterator<Item = &'static str> {
    let all = [
        (k.is_float(), "SQ_EXACT"),
        (k.in_order, "SQ_IN_ORDER"),
        (k.by_priority, "SQ_BY_PRIORITY"),
    ];
    all.into_iter().filter_map(|(wanted, name)| wanted.then_some(name))
}

impl Printer<'_> {
    /// A kernel's tables and its function.
    pub fn kernel(&mut self, k: &Kernel) -> String {
        let mut out = String::new();
        for b in constants(k) {
            let data = text::table(1, b.data.iter().map(|&l| literal(l)));
            out += &format!(
                "static const {} {}[{}] = {{\n{data}}};\n\n",
                ty(b.ty),
                self.table(k, b),
                b.len
            );
        }
        let params: Vec<_> = k.params().map(parameter).collect();
        let (doc, name) = (one_line(k.doc.trim()), self.function(k));
        let options: String = options(k).map(|o| format!("{o} ")).collect();
        out += &format!(
            "/* {doc} */\nSQ_KERNEL {options}void {name}(\n    {})\n{{\n",
            params.join(",\n    ")
        );
        for b in k.bufs.iter().filter(|b| b.role == Role::Local) {
            out += &format!("    {} {}[{}];\n", ty(b.ty), names::local(&b.name), b.len);
        }
        for b in k.unread() {
            out += &format!("    (void){};\n", names::local(&b.name));
        }
        self.block(k, &k.body, 1, &mut out);
        out + "}\n"
    }

    /// Name of a kernel's function.
    pub fn function(&self, k: &Kernel) -> String {
        format!("{}_{}", self.prefix, k.name)
    }

    fn table(&self, k: &Kernel, b: &BufDecl) -> String {
        format!("{}_{}", self.prefix, table_name(k, b))
    }

    fn block(&mut self, k: &Kernel, body: &[Stmt], depth: usize, out: &mut String) {
        let pad = "    ".repeat(depth);
        for s in body {
            match s {
                Stmt::Let(v, e) => {
                    let d = k.var(*v);
                    let constant = if d.mutable { "" } else { "const " };
                    let line = format!("{constant}{} {} = {};", ty(d.ty), variable(k, *v), self.expr(k, e));
                    *out += &text::wrap(depth, &line);
                }
                Stmt::Set(v, e) => {
                    let line = self.set(k, *v, e) + ";";
                    *out += &text::wrap(depth, &line);
                }
                Stmt::Store(b, i, e) if k.ty(e).lanes() > 1 => {
                    let (to, i, t) = (self.buffer(k, *b), self.expr(k, i), k.ty(e));
                    let line = format!("sq_store_{t}({to}, {i}, {});", self.expr(k, e));
                    *out += &text::wrap(depth, &line);
                }
                Stmt::Store(b, i, e) => {
                    let line = format!("{} = {};", self.element(k, *b, i), self.expr(k, e));
                    *out += &text::wrap(depth, &line);
                }
                Stmt::For { var, trip, body, .. } => {
                    let v = variable(k, *var);
                    *out += &format!("{pad}for (size_t {v} = 0; {v} < {trip}u; {v}++) {{\n");
                    self.block(k, body, depth + 1, out);
                    *out += &format!("{pad}}}\n");
                }
                Stmt::Fence => *out += &format!("{pad}{};\n", self.call(Helper::Fence, &[])),
                Stmt::Note(text) => *out += &format!("{pad}/* {} */\n", one_line(text)),
            }
        }
    }

    /// `v = e`, as `v += ..` where it reads so and nothing is promoted.
    fn set(&mut self, k: &Kernel, v: Var, e: &Expr) -> String {
        let name = variable(k, v);
        if let Expr::Bin(op, a, b) = e
            && **a == Expr::Var(v)
            && !promotes(k.var(v).ty)
            && k.var(v).ty.lanes() == 1
            && let Some(sign) = self.infix(*op, k.var(v).ty)
        {
            return format!("{name} {sign}= {}", self.expr(k, b));
        }
        format!("{name} = {}", self.expr(k, e))
    }

    fn expr(&mut self, k: &Kernel, e: &Expr) -> String {
        match e {
            Expr::Lit(l) => literal(*l),
            Expr::Var(v) => variable(k, *v),
            Expr::Load(b, i) => self.element(k, *b, i),
            Expr::LoadN { buf, at, group, ty } => {
                format!(
                    "sq_{}_{ty}({}, {})",
                    text::load(*group, *ty),
                    self.buffer(k, *buf),
                    self.expr(k, at)
                )
            }
            Expr::Vector(..) | Expr::Un(..) | Expr::Bin(..) | Expr::Cast(..) | Expr::Select(..)
                if text::on_vectors(k, e) =>
            {
                let call = text::vector_operation(k, e);
                let mut args: Vec<String> = call.args.into_iter().map(|a| self.expr(k, a)).collect();
                args.extend(call.number.map(|n| n.to_string()));
                format!("sq_{}({})", call.name, args.join(", "))
            }
            Expr::Vector(..) => unreachable!("works on vectors"),
            Expr::Un(op, a) => {
                let t = k.ty(a);
                match op {
                    UnOp::Not if t == Ty::Bool => format!("!{}", self.tight(k, a)),
                    UnOp::Not => narrowed(t, format!("~{}", self.tight(k, a)), true),
                    UnOp::Neg => narrowed(t, format!("-{}", self.tight(k, a)), true),
                    UnOp::Popcnt => {
                        let a = self.expr(k, a);
                        self.call(Helper::Popcount, &[&a])
                    }
                }
            }
            Expr::Cast(t, a) => self.cast(k, *t, a),
            Expr::Select(c, a, b) => {
                let t = k.ty(a);
                let sides = [c, a, b].map(|e| {
                    let bracket = infix_form(e, k) || matches!(printed(e, k), Expr::Select(..));
                    if bracket { self.tight(k, e) } else { self.expr(k, e) }
                });
                narrowed(t, format!("{} ? {} : {}", sides[0], sides[1], sides[2]), false)
            }
            Expr::Bin(op, a, b) => self.binary(k, *op, a, b),
        }
    }

    fn binary(&mut self, k: &Kernel, op: BinOp, a: &Expr, b: &Expr) -> String {
        if let Some((helper, x)) = saturation(k, op, a, b) {
            let x = self.expr(k, x);
            return self.call(helper, &[&x]);
        }
        let t = k.ty(a);
        let Some(sign) = self.infix(op, t) else {
            let (a, b) = (self.expr(k, a), self.expr(k, b));
            return match op {
                BinOp::Min => self.call(Helper::Min(t), &[&a, &b]),
                BinOp::Max => self.call(Helper::Max(t), &[&a, &b]),
                // The amount is of the operand's type; any integer type holds it.
                _ => self.call(Helper::Shr(t), &[&a, &b]),
            };
        };
        let [a, b] = [(a, true), (b, false)].map(|(e, left)| {
            let e = printed(e, k);
            // What is cast back to a narrow type is no longer infix.
            let bracket = matches!(e, Expr::Select(..)) || infix_form(e, k) && !text::bare(op, e, left);
            if bracket { self.tight(k, e) } else { self.expr(k, e) }
        });
        let text = format!("{a} {sign} {b}");
        match op {
            BinOp::Lt | BinOp::Ge | BinOp::Eq => text,
            _ if t == Ty::Bool => text,
            _ => narrowed(t, text, false),
        }
    }

    /// The operator, where C has one with the meaning of the kernel IR.
    fn infix(&self, op: BinOp, t: Ty) -> Option<&'static str> {
        let signed = t.signed();
        Some(match op {
            BinOp::Add => "+",
            BinOp::Sub => "-",
            BinOp::Mul => "*",
            // Operands have no effect, so that it does not matter whether the second is computed.
            BinOp::And if t == Ty::Bool => "&&",
            BinOp::Or if t == Ty::Bool => "||",
            BinOp::Xor if t == Ty::Bool => "!=",
            BinOp::And => "&",
            BinOp::Or => "|",
            BinOp::Xor => "^",
            BinOp::Shl => "<<",
            BinOp::Shr if !signed => ">>",
            BinOp::Lt => "<",
            BinOp::Ge => ">=",
            BinOp::Eq => "==",
            BinOp::Shr | BinOp::Min | BinOp::Max => return None,
        })
    }

    fn cast(&mut self, k: &Kernel, to: Ty, a: &Expr) -> String {
        let from = k.ty(a);
        if ty(from) == ty(to) {
            return self.expr(k, a);
        }
        let signed = to.signed();
        let ((least, greatest), (low, high)) = (from.range(), to.range());
        if !signed || (low <= least && greatest <= high) {
            return format!("({}){}", ty(to), self.tight(k, a));
        }
        // Out of range, a signed conversion is the compiler's choice; an unsigned one is not.
        let (unsigned, helper) = match to {
            Ty::I8 => (Ty::U8, Helper::ToI8),
            Ty::I16 => (Ty::U16, Helper::ToI16),
            _ => (Ty::U32, Helper::ToI32),
        };
        let bits = if ty(from) == ty(unsigned) {
            self.expr(k, a)
        } else {
            format!("({}){}", ty(unsigned), self.tight(k, a))
        };
        self.call(helper, &[&bits])
    }

    fn call(&mut self, helper: Helper, args: &[&str]) -> String {
        self.helpers.insert(helper);
        format!("{}_{}({})", self.prefix, helper.name(), args.join(", "))
    }

    /// An operand of something that binds tighter than any infix operator.
    fn tight(&mut self, k: &Kernel, e: &Expr) -> String {
        let e = printed(e, k);
        let text = self.expr(k, e);
        let negative = text.starts_with('-');
        if negative || infix_form(e, k) || matches!(e, Expr::Select(..)) && !promotes(k.ty(e)) {
            format!("({text})")
        } else {
            text
        }
    }

    fn element(&mut self, k: &Kernel, b: Buf, i: &Expr) -> String {
        format!("{}[{}]", self.buffer(k, b), self.expr(k, i))
    }

    fn buffer(&self, k: &Kernel, b: Buf) -> String {
        let d = k.buf(b);
        if d.role == Role::Const {
            self.table(k, d)
        } else {
            names::local(&d.name)
        }
    }
}

/// The expression whose text stands for `e`: a conversion between types that are one in C leaves none of its own.
fn printed<'a>(e: &'a Expr, k: &Kernel) -> &'a Expr {
    match e {
        Expr::Cast(to, a) if ty(*to) == ty(k.ty(a)) => printed(a, k),
        _ => e,
    }
}

/// The function of a clamp to what so many bits hold, and its operand.
fn saturation<'a>(k: &Kernel, op: BinOp, a: &'a Expr, b: &Expr) -> Option<(Helper, &'a Expr)> {
    let (BinOp::Min, Expr::Bin(BinOp::Max, x, least), Expr::Lit(Lit::Int(most, Ty::I32))) = (op, a, b) else {
        return None;
    };
    let Expr::Lit(Lit::Int(least, _)) = **least else {
        return None;
    };
    let bits = |most: i64| (most + 1).trailing_zeros() as u8;
    let whole = (most + 1).count_ones() == 1 && *most > 0 && *most <= 0xffff;
    let helper = match least {
        0 => Helper::Saturate(bits(*most), false),
        least if least == -most - 1 => Helper::Saturate(bits(*most) + 1, true),
        _ => return None,
    };
    (whole && k.ty(a) == Ty::I32).then_some((helper, &**x))
}

/// Whether an expression is printed with an infix operator outermost.
fn infix_form(e: &Expr, k: &Kernel) -> bool {
    let Expr::Bin(op, a, _) = printed(e, k) else {
        return false;
    };
    let t = k.ty(a);
    match op {
        _ if t.lanes() > 1 => false,
        BinOp::Min | BinOp::Max => false,
        BinOp::Shr => !t.signed() && !promotes(t),
        BinOp::Lt | BinOp::Ge | BinOp::Eq => true,
        _ => t == Ty::Bool || !promotes(t),
    }
}

/// Whether C computes in `int` what the kernel IR computes in `t`.
fn promotes(t: Ty) -> bool {
    matches!(t, Ty::Bool | Ty::U8 | Ty::I8 | Ty::U16 | Ty::I16)
}

/// A result that C has promoted to `int`, cast back.
fn narrowed(t: Ty, text: String, unary: bool) -> String {
    match (promotes(t), unary) {
        (false, _) => text,
        (true, true) => format!("({}){text}", ty(t)),
        (true, false) => format!("({})({text})", ty(t)),
    }
}

fn parameter(b: &BufDecl) -> String {
    let constant = if b.role == Role::In { "const " } else { "" };
    format!(
        "{constant}{} *restrict {} /* [{}] */",
        ty(b.ty),
        names::local(&b.name),
        b.len
    )
}

fn variable(k: &Kernel, v: Var) -> String {
    names::local(&k.var(v).name)
}

/// A literal of its own type, or of one that converts to it unchanged.
pub fn literal(l: Lit) -> String {
    match l {
        Lit::Int(v, Ty::Bool) => (if v == 0 { "false" } else { "true" }).into(),
        Lit::Int(v, t @ (Ty::U32 | Ty::Idx)) => text::integer(v, t) + "u",
        // The least number has no literal: its magnitude is out of range.
        Lit::Int(v, Ty::I32) if v == i64::from(i32::MIN) => "INT32_MIN".into(),
        Lit::Int(i64::MIN, Ty::I64) => "INT64_MIN".into(),
        Lit::Int(v, Ty::I64) => format!("INT64_C({v})"),
        Lit::Int(v, t) => text::integer(v, t),
        Lit::F32(v) => text::float(v) + "f",
    }
}

/// Name of a type.
pub fn ty(t: Ty) -> Cow<'static, str> {
    Cow::Borrowed(match t {
        Ty::Vec(..) => return format!("sq_{t}").into(),
        Ty::U16 => "uint16_t",
        Ty::I16 => "int16_t",
        Ty::Bool => "bool",
        Ty::U8 => "uint8_t",
        Ty::I8 => "int8_t",
        Ty::U32 => "uint32_t",
        // A narrower type would wrap, and keep compilers from stepping addresses on 64-bit machines.
        Ty::Idx => "size_t",
        Ty::I32 => "int32_t",
        Ty::I64 => "int64_t",
        Ty::F32 => "float",
    })
}
