//! Kernels as safe Rust functions over arrays of fixed length.

use crate::emit::{constants, names, table_name, text};
use crate::kir::{BinOp, Buf, BufDecl, Expr, Kernel, Lit, Program, Role, Stmt, Ty, UnOp, Var};
use crate::target::Simd;
use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::quote;

/// Tables and functions of every kernel.
pub fn kernels(p: &Program, simd: &Simd) -> String {
    let functions: Vec<String> = p.kernels.iter().map(|k| print(function(k, simd))).collect();
    let mut out = String::new();
    if p.kernels.iter().any(Kernel::is_vector) {
        out += "use super::simd::*;\n\n";
    }
    for (name, sign) in [("min_f32", quote!(<)), ("max_f32", quote!(>))] {
        if functions.iter().any(|f| f.contains(&format!("{name}("))) {
            let name = id(name);
            out += &print(quote! {
                #[inline(always)]
                fn #name(a: f32, b: f32) -> f32 { if a #sign b { a } else { b } }
            });
            out.push('\n');
        }
    }
    for (k, function) in p.kernels.iter().zip(&functions) {
        for b in constants(k) {
            let data = text::table(1, b.data.iter().map(|&l| digits(l)));
            out += &format!("static {}: [{}; {}] = [\n{data}];\n\n", table(k, b), ty(b.ty), b.len);
        }
        out += function;
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Items as text, in the usual style, with a blank line between them; notes become comments.
pub fn print(items: TokenStream) -> String {
    let file: syn::File = syn::parse2(items).unwrap_or_else(|e| unreachable!("the printer writes Rust: {e}"));
    let part = |attrs, items| {
        prettyplease::unparse(&syn::File {
            shebang: None,
            frontmatter: None,
            attrs,
            items,
        })
    };
    let mut parts = vec![part(file.attrs, vec![])];
    parts.extend(file.items.into_iter().map(|item| part(vec![], vec![item])));
    parts.retain(|p| !p.is_empty());
    let mut out = String::new();
    for line in parts.join("\n").lines() {
        match line
            .trim_start()
            .strip_prefix("note!(")
            .and_then(|l| l.strip_suffix(");"))
        {
            None => out += line,
            Some(quoted) => {
                let note: syn::LitStr = syn::parse_str(quoted).unwrap_or_else(|e| unreachable!("{quoted}: {e}"));
                out += &line[..line.len() - line.trim_start().len()];
                out += "// ";
                out += &note.value();
            }
        }
        out.push('\n');
    }
    out
}

fn function(k: &Kernel, simd: &Simd) -> TokenStream {
    let params = k.params().map(|b| {
        let (name, array) = (local(&b.name), array(b.ty, b.len));
        if b.role == Role::In {
            quote!(#name: &#array)
        } else {
            quote!(#name: &mut #array)
        }
    });
    let (doc, name, body) = (doc(k.doc.trim()), local(&k.name), block(k, &k.body));
    let locals = k.bufs.iter().filter(|b| b.role == Role::Local).map(|b| {
        let (name, array, len) = (local(&b.name), array(b.ty, b.len), Literal::u32_unsuffixed(b.len));
        quote!(let mut #name: #array = [0; #len];)
    });
    let unread = k.unread().map(|b| {
        let name = local(&b.name);
        quote!(let _ = #name;)
    });
    let features = (k.is_vector() && !simd.features.is_empty()).then(|| {
        let list = simd.features.join(",");
        quote!(#[target_feature(enable = #list)])
    });
    quote! {
        #doc
        #features
        pub fn #name(#(#params),*) { #(#unread)* #(#locals)* #(#body)* }
    }
}

fn block(k: &Kernel, body: &[Stmt]) -> Vec<TokenStream> {
    body.iter().map(|s| statement(k, s)).collect()
}

fn statement(k: &Kernel, s: &Stmt) -> TokenStream {
    match s {
        Stmt::Let(v, e) => {
            let (d, name, e) = (k.var(*v), variable(k, *v), expr(k, e));
            let (ty, mutable) = (ty(d.ty), d.mutable.then(|| quote!(mut)));
            quote!(let #mutable #name: #ty = #e;)
        }
        Stmt::Set(v, e) => set(k, *v, e),
        Stmt::Store(b, i, e) if k.ty(e).lanes() > 1 => {
            let (name, i, op, e) = (buffer(k, *b), expr(k, i), op("store", k.ty(e)), expr(k, e));
            quote!({
                let stored = #e;
                unsafe { #op(&mut #name[..], #i, stored) }
            })
        }
        Stmt::Store(b, i, e) => {
            let (to, e) = (element(k, *b, i), expr(k, e));
            quote!(#to = #e;)
        }
        Stmt::For { var, trip, body, .. } => {
            let (var, trip, body) = (variable(k, *var), Literal::u32_unsuffixed(*trip), block(k, body));
            quote!(for #var in 0..#trip { #(#body)* })
        }
        Stmt::Fence => quote!(core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);),
        Stmt::Note(text) => {
            let text = crate::emit::one_line(text);
            quote!(note!(#text);)
        }
    }
}

/// `v = e`, as `v += ..` where it reads so.
fn set(k: &Kernel, v: Var, e: &Expr) -> TokenStream {
    let name = variable(k, v);
    if let Expr::Bin(op, a, b) = e
        && **a == Expr::Var(v)
        && k.var(v).ty.lanes() == 1
        && let Some(sign) = infix(*op, k.var(v).ty)
    {
        let (sign, b) = (parse(&format!("{sign}=")), expr(k, b));
        return quote!(#name #sign #b;);
    }
    let e = expr(k, e);
    quote!(#name = #e;)
}

fn expr(k: &Kernel, e: &Expr) -> TokenStream {
    match e {
        Expr::Lit(l) => literal(*l),
        Expr::Var(v) => {
            let v = variable(k, *v);
            quote!(#v)
        }
        Expr::Load(b, i) => element(k, *b, i),
        Expr::LoadN { buf, at, group, ty } => {
            let (name, at) = (buffer(k, *buf), expr(k, at));
            let op = op(&text::load(*group, *ty), *ty);
            quote!(unsafe { #op(&#name[..], #at) })
        }
        Expr::Vector(..) | Expr::Un(..) | Expr::Bin(..) | Expr::Cast(..) | Expr::Select(..)
            if text::on_vectors(k, e) =>
        {
            let call = text::vector_operation(k, e);
            let name = id(&call.name);
            let number = call.number.map(|n| {
                let n = Literal::i64_unsuffixed(n);
                quote!(::<#n>)
            });
            let args = call.args.into_iter().map(|a| expr(k, a));
            quote!(#name #number(#(#args),*))
        }
        Expr::Vector(..) => unreachable!("works on vectors"),
        Expr::Un(op, a) => {
            let tight = tight(k, a);
            match op {
                UnOp::Not => quote!(!#tight),
                UnOp::Neg => quote!(-#tight),
                UnOp::Popcnt => quote!(#tight.count_ones()),
            }
        }
        Expr::Cast(t, a) => {
            let (t, a) = (ty(*t), tight(k, a));
            quote!(#a as #t)
        }
        Expr::Select(c, a, b) => {
            let (c, a, b) = (expr(k, c), expr(k, a), expr(k, b));
            quote!(if #c { #a } else { #b })
        }
        Expr::Bin(op, a, b) => binary(k, *op, a, b),
    }
}

fn binary(k: &Kernel, op: BinOp, a: &Expr, b: &Expr) -> TokenStream {
    let t = k.ty(a);
    let Some(sign) = infix(op, t) else {
        let (right, name) = (expr(k, b), method(op, t));
        if t == Ty::F32 {
            let left = expr(k, a);
            return quote!(#name(#left, #right));
        }
        let left = tight(k, a);
        return quote!(#left.#name(#right));
    };
    let side = |child: &Expr, left: bool| {
        let text = expr(k, child);
        // `a as T < b` would open generic arguments.
        let bracket = left && matches!(op, BinOp::Lt | BinOp::Shl);
        match child {
            Expr::Select(..) => quote!((#text)),
            Expr::Cast(..) if bracket => quote!((#text)),
            Expr::Bin(inner, inner_a, _) if infix(*inner, k.ty(inner_a)).is_some() && !text::bare(op, child, left) => {
                quote!((#text))
            }
            // A sum in a comparison may end in a cast just as well.
            Expr::Bin(_, _, last) if bracket && matches!(**last, Expr::Cast(..)) => quote!((#text)),
            Expr::Lit(_) if left => suffixed(child),
            _ => text,
        }
    };
    let (a, sign, b) = (side(a, true), parse(sign), side(b, false));
    quote!(#a #sign #b)
}

/// The operator, where Rust has one with the meaning of the kernel IR.
fn infix(op: BinOp, t: Ty) -> Option<&'static str> {
    let wraps = t.wraps();
    Some(match op {
        BinOp::Add if !wraps => "+",
        BinOp::Sub if !wraps => "-",
        BinOp::Mul if !wraps => "*",
        BinOp::And => "&",
        BinOp::Or => "|",
        BinOp::Xor => "^",
        BinOp::Shl => "<<",
        BinOp::Shr => ">>",
        BinOp::Lt => "<",
        BinOp::Ge => ">=",
        BinOp::Eq => "==",
        BinOp::Add | BinOp::Sub | BinOp::Mul | BinOp::Min | BinOp::Max => return None,
    })
}

/// The method, or the function for `f32`, that does what no operator does.
fn method(op: BinOp, t: Ty) -> Ident {
    id(match (op, t) {
        (BinOp::Min, Ty::F32) => "min_f32",
        (BinOp::Max, Ty::F32) => "max_f32",
        (BinOp::Min, _) => "min",
        (BinOp::Max, _) => "max",
        (BinOp::Add, _) => "wrapping_add",
        (BinOp::Sub, _) => "wrapping_sub",
        (BinOp::Mul, _) => "wrapping_mul",
        _ => unreachable!("{op:?} is an operator"),
    })
}

/// An operand of something that binds tighter than any operator.
fn tight(k: &Kernel, e: &Expr) -> TokenStream {
    let text = expr(k, e);
    match e {
        Expr::Lit(Lit::Int(v, _)) if *v >= 0 => suffixed(e),
        Expr::Lit(Lit::F32(v)) if !v.is_sign_negative() => suffixed(e),
        Expr::Lit(_) => {
            let text = suffixed(e);
            quote!((#text))
        }
        Expr::Var(_) | Expr::Load(..) | Expr::Un(UnOp::Popcnt, _) => text,
        Expr::Bin(op, a, _) if infix(*op, k.ty(a)).is_none() => text,
        _ => quote!((#text)),
    }
}

/// A literal that says its type, for places from which it cannot be inferred.
fn suffixed(e: &Expr) -> TokenStream {
    match e {
        Expr::Lit(Lit::Int(v, t)) if *t != Ty::Bool => parse(&format!("{}{}", text::integer(*v, *t), ty(*t))),
        Expr::Lit(Lit::F32(v)) => parse(&format!("{}f32", text::float(*v))),
        Expr::Lit(l) => literal(*l),
        _ => unreachable!("only literals take a suffix"),
    }
}

/// A literal whose type is known where it stands.
fn literal(l: Lit) -> TokenStream {
    parse(&digits(l))
}

/// A literal's text.
pub fn digits(l: Lit) -> String {
    match l {
        Lit::Int(v, Ty::Bool) => (v != 0).to_string(),
        Lit::Int(v, t) => text::integer(v, t),
        Lit::F32(v) => text::float(v),
    }
}

/// Documentation, an attribute a line.
pub fn doc(text: &str) -> TokenStream {
    let lines = text
        .lines()
        .map(|l| if l.is_empty() { String::new() } else { format!(" {l}") });
    quote!(#(#[doc = #lines])*)
}

fn element(k: &Kernel, b: Buf, i: &Expr) -> TokenStream {
    let (name, i) = (buffer(k, b), expr(k, i));
    quote!(#name[#i])
}

fn buffer(k: &Kernel, b: Buf) -> Ident {
    let d = k.buf(b);
    if d.role == Role::Const {
        table(k, d)
    } else {
        local(&d.name)
    }
}

/// A vector operation's function.
fn op(name: &str, t: Ty) -> Ident {
    id(&format!("{name}_{t}"))
}

fn table(k: &Kernel, b: &BufDecl) -> Ident {
    id(&names::screaming(&table_name(k, b)))
}

fn variable(k: &Kernel, v: Var) -> Ident {
    local(&k.var(v).name)
}

/// An identifier that is no reserved word.
pub fn local(name: &str) -> Ident {
    id(&names::local(name))
}

/// An identifier.
pub fn id(name: &str) -> Ident {
    Ident::new(name, Span::call_site())
}

/// `[T; N]`.
pub fn array(t: Ty, len: u32) -> TokenStream {
    let (t, len) = (ty(t), Literal::u32_unsuffixed(len));
    quote!([#t; #len])
}

/// Name of a type; a vector's with a capital letter.
pub fn ty(t: Ty) -> Ident {
    id(match t {
        Ty::Vec(..) => return id(&text::capital(&t.to_string())),
        Ty::U16 => "u16",
        Ty::I16 => "i16",
        Ty::Bool => "bool",
        Ty::U8 => "u8",
        Ty::I8 => "i8",
        Ty::U32 => "u32",
        Ty::I32 => "i32",
        Ty::I64 => "i64",
        Ty::F32 => "f32",
        Ty::Idx => "usize",
    })
}

fn parse(text: &str) -> TokenStream {
    text.parse().unwrap_or_else(|e| unreachable!("{text}: {e}"))
}
