//! Numbers as text, for tables and expressions of both languages.

use crate::kir::{BinOp, Expr, Kernel, Lit, Ty, UnOp, VecOp};
use std::fmt::Write;

/// Columns that a line of a table may fill.
const COLUMNS: usize = 112;

/// Items separated by commas, broken into lines of about [`COLUMNS`] columns at a depth; ends with a line break.
///
/// Tables are laid out here rather than by prettyplease: they are most of the text and need none of its care.
pub fn table(depth: usize, items: impl IntoIterator<Item = String>) -> String {
    let mut out = String::new();
    let pad = "    ".repeat(depth);
    let mut column = 0;
    for item in items {
        if column == 0 || column + item.len() + 2 > COLUMNS {
            if column > 0 {
                out.push('\n');
            }
            out += &pad;
            column = pad.len();
        } else {
            out.push(' ');
            column += 1;
        }
        write!(out, "{item},").expect("writing to a string");
        column += item.len() + 1;
    }
    out.push('\n');
    out
}

/// A statement at a depth, broken at blanks where it is longer than [`COLUMNS`] columns; ends with a line break.
pub fn wrap(depth: usize, statement: &str) -> String {
    let mut out = "    ".repeat(depth);
    let mut column = out.len();
    for (i, word) in statement.split(' ').enumerate() {
        if i > 0 && column + 1 + word.len() > COLUMNS {
            out.push('\n');
            out += &"    ".repeat(depth + 1);
            column = 4 * (depth + 1);
        } else if i > 0 {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += word.len();
    }
    out.push('\n');
    out
}

/// The shortest decimal number that reads back as `v`, with a point or an exponent; valid in Rust, and in C with an `f` behind.
pub fn float(v: f32) -> String {
    format!("{v:?}")
}

/// An integer's digits without type: great words in hexadecimal, since they are bits more often than numbers.
pub fn integer(v: i64, ty: Ty) -> String {
    match ty {
        Ty::U32 if v > 0xffff => format!("0x{v:08x}"),
        _ => v.to_string(),
    }
}

/// Whether an infix `child` may stand without parentheses as the left or right operand of an infix `parent`. No table of
/// precedences, which differ between the languages: only what every reader knows, and no compiler warns about.
pub fn bare(parent: BinOp, child: &Expr, left: bool) -> bool {
    use BinOp::*;
    let Expr::Bin(op, ..) = child else { return true };
    match parent {
        Add | Mul | And | Or | Xor if *op == parent => left,
        Add | Sub => *op == Mul,
        Lt | Ge | Eq => matches!(op, Add | Sub | Mul),
        _ => false,
    }
}

/// Whether an expression makes a vector, or something of one.
pub fn on_vectors(k: &Kernel, e: &Expr) -> bool {
    k.ty(e).lanes() > 1 || e.operands().any(|a| k.ty(a).lanes() > 1)
}

/// A vector operation as both languages call it.
pub struct VectorCall<'e> {
    /// The function: what it does, the result's type and, where it does not follow from that, the operands'.
    pub name: String,
    /// A number that is part of the operation: by how much lanes are shifted, which of them are taken.
    pub number: Option<i64>,
    /// The other arguments.
    pub args: Vec<&'e Expr>,
}

/// The call of a vector operation.
pub fn vector_operation<'e>(k: &Kernel, e: &'e Expr) -> VectorCall<'e> {
    let ty = k.ty(e);
    let of = |i: usize| k.ty(e.operands().nth(i).expect("vector operations have operands"));
    let mut args: Vec<&Expr> = e.operands().collect();
    let mut number = None;
    let name = match e {
        Expr::Bin(op @ (BinOp::Shl | BinOp::Shr), a, by) => {
            let Expr::Vector(VecOp::Splat(_), amount) = &**by else {
                unreachable!("lanes are shifted by one constant")
            };
            let Expr::Lit(Lit::Int(n, _)) = amount[0] else {
                unreachable!("lanes are shifted by one constant")
            };
            (number, args) = (Some(n), vec![&**a]);
            format!("{}_{ty}", operation(*op))
        }
        Expr::Bin(op, a, _) => format!("{}_{}", operation(*op), k.ty(a)),
        Expr::Un(op, _) => match op {
            UnOp::Not => format!("not_{ty}"),
            UnOp::Neg => format!("neg_{ty}"),
            UnOp::Popcnt => format!("popcnt_{ty}"),
        },
        Expr::Cast(..) => format!("cast_{ty}_{}", of(0)),
        Expr::Select(..) => format!("select_{ty}"),
        Expr::Vector(VecOp::Mask, vectors) if vectors.iter().all(|v| matches!(v, Expr::Bin(..))) => {
            let Expr::Bin(compare, a, _) = &vectors[0] else {
                unreachable!("matched above")
            };
            args = vectors.iter().flat_map(Expr::operands).collect();
            let many = if vectors.len() == 1 {
                String::new()
            } else {
                vectors.len().to_string()
            };
            format!("{}_mask{many}_{}", operation(*compare), k.ty(a))
        }
        Expr::Vector(op, _) => match op {
            VecOp::Splat(_) => format!("splat_{ty}"),
            VecOp::Bits(_) => format!("bits_{ty}_{}", of(0)),
            VecOp::Dot => format!("dot_{ty}_{}_{}", of(1), of(2)),
            VecOp::DotGroup(at) => {
                number = Some((*at).into());
                format!("dot_group_{ty}_{}_{}", of(1), of(2))
            }
            VecOp::Matrix => format!("matrix_{ty}_{}_{}", of(1), of(2)),
            VecOp::Unzip { group, at: 0 } => format!("even{group}_{ty}"),
            VecOp::Unzip { group, .. } => format!("odd{group}_{ty}"),
            VecOp::Spread { group, at } => {
                number = Some((*at).into());
                format!("spread{group}_{ty}")
            }
            VecOp::Half(0) => format!("lower_{}", of(0)),
            VecOp::Half(_) => format!("upper_{}", of(0)),
            VecOp::Lookup => format!("lookup_{}", of(1)),
            VecOp::High => format!("high_{}", of(0)),
            VecOp::Pairs => format!("pairs_{}", of(0)),
            VecOp::Total => format!("total_{}", of(0)),
            VecOp::Mask => format!("mask_{}", of(0)),
        },
        Expr::Lit(_) | Expr::Var(_) | Expr::Load(..) | Expr::LoadN { .. } => unreachable!("no operation"),
    };
    VectorCall { name, number, args }
}

/// What a load of `group` elements into a vector is called.
pub fn load(group: u8, ty: Ty) -> String {
    match group == ty.lanes() {
        true => "load".into(),
        false => format!("repeat{group}"),
    }
}

/// Name of an operation on two vectors.
pub fn operation(op: BinOp) -> &'static str {
    match op {
        BinOp::Add => "add",
        BinOp::Sub => "sub",
        BinOp::Mul => "mul",
        BinOp::And => "and",
        BinOp::Or => "or",
        BinOp::Xor => "xor",
        BinOp::Shl => "shl",
        BinOp::Shr => "shr",
        BinOp::Min => "min",
        BinOp::Max => "max",
        BinOp::Lt => "lt",
        BinOp::Ge => "ge",
        BinOp::Eq => "eq",
    }
}

/// With a capital letter.
pub fn capital(name: &str) -> String {
    name[..1].to_uppercase() + &name[1..]
}

/// Elements of one type from their little-endian bytes.
pub fn elements(bytes: &[u8], ty: Ty) -> Vec<Lit> {
    let int = |v: i64| Lit::Int(v, ty);
    bytes
        .chunks_exact(ty.bytes() as usize)
        .map(|c| match (ty, c) {
            (Ty::I8, &[b]) => int((b as i8).into()),
            (_, &[b]) => int(b.into()),
            (Ty::I16, &[a, b]) => int(i16::from_le_bytes([a, b]).into()),
            (_, &[a, b]) => int(u16::from_le_bytes([a, b]).into()),
            (Ty::F32, &[a, b, c, d]) => Lit::F32(f32::from_le_bytes([a, b, c, d])),
            (Ty::I32, &[a, b, c, d]) => int(i32::from_le_bytes([a, b, c, d]).into()),
            (_, &[a, b, c, d]) => int(u32::from_le_bytes([a, b, c, d]).into()),
            (_, &[a, b, c, d, e, f, g, h]) => int(i64::from_le_bytes([a, b, c, d, e, f, g, h])),
            _ => unreachable!("elements have 1, 2, 4 or 8 bytes"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_break_their_lines() {
        assert_eq!(table(1, ["1".into(), "-2".into()]), "    1, -2,\n");
        let long = table(1, (0..100).map(|i| i.to_string()));
        assert!(long.lines().count() > 2 && long.lines().all(|l| l.len() <= COLUMNS && l.starts_with("    ")));
    }

    #[test]
    fn long_statements_break_at_blanks() {
        assert_eq!(wrap(1, "a = b;"), "    a = b;\n");
        let statement = ["x +"; 60].join(" ");
        let text = wrap(1, &statement);
        assert!(text.lines().all(|l| l.len() <= COLUMNS) && text.lines().count() == 3);
        assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), statement);
    }

    #[test]
    fn floats_read_back() {
        for v in [0.0, -0.0, 1.0, 0.1, 1e-45, f32::MAX, 16777216.0, 1.0 / 255.0] {
            let text = float(v);
            assert_eq!(text.parse::<f32>().unwrap().to_bits(), v.to_bits());
            assert!(text.contains(['.', 'e']), "{text} would be an integer");
        }
    }

    #[test]
    fn bytes_become_elements() {
        assert_eq!(elements(&[255, 1], Ty::I8), [Lit::Int(-1, Ty::I8), Lit::Int(1, Ty::I8)]);
        assert_eq!(elements(&[0, 0, 128, 63], Ty::F32), [Lit::F32(1.0)]);
        assert_eq!(elements(&[255; 4], Ty::U32), [Lit::Int(u32::MAX.into(), Ty::U32)]);
    }
}
