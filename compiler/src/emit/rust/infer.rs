//! The body of `infer`: calls of the kernels over parts of the arena.
//!
//! The parts that a call uses are split off their array from front to back, so that safe Rust sees them disjoint. Lengths and
//! offsets are constants, so that the optimiser removes every check. Where pools overlap, the array is one of words, and `cast`
//! sees parts of it as elements of other types.

use super::elements;
use super::kernel::{id, local, ty};
use crate::emit::{arguments, names, pool_name};
use crate::kir::{Arg, BufDecl, Call, Pool, Program, Role, SHARED_ALIGN, Ty};
use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

/// An array of the arena: a pool, or the words that all pools share.
pub struct Field {
    /// Its name.
    pub name: Ident,
    /// Type of an element.
    pub ty: Ty,
    /// Number of elements.
    pub len: u32,
}

/// The arrays of the arena, in the pools' order.
pub fn fields(p: &Program) -> Vec<Field> {
    if p.shares_memory() {
        return vec![Field {
            name: id(pool_name(Ty::U32)),
            ty: Ty::U32,
            len: p.arena() as u32 / SHARED_ALIGN,
        }];
    }
    let name = |i: usize, ty: Ty| match p.pools[..i].iter().filter(|q| q.ty == ty).count() {
        0 => id(pool_name(ty)),
        // A number sets a second pool of one type apart.
        n => format_ident!("{}{n}", pool_name(ty)),
    };
    let field = |(i, pool): (usize, &Pool)| Field {
        name: name(i, pool.ty),
        ty: pool.ty,
        len: pool.len,
    };
    p.pools.iter().enumerate().map(field).collect()
}

/// A stretch of an array that one parameter uses, or several that overlap and only read.
struct Part {
    name: Ident,
    start: u32,
    end: u32,
    users: usize,
    written: bool,
}

/// The array that an argument lies in, its first element there, and the one behind it.
fn place(p: &Program, param: &BufDecl, arg: Arg) -> Option<(usize, u32, u32)> {
    let Arg::Arena { pool, offset } = arg else { return None };
    if !p.shares_memory() {
        return Some((pool, offset, offset + param.len));
    }
    let first = p.pools[pool].at + offset * param.ty.bytes();
    let end = first + param.len * param.ty.bytes();
    Some((0, first / SHARED_ALIGN, end.div_ceil(SHARED_ALIGN)))
}

/// One call, in a block of its own where it needs parts of the arena. Kernels on vectors are unsafe to call where the target
/// names `features`.
pub fn call(p: &Program, call: &Call, input: &Ident, output: &Ident, features: bool) -> TokenStream {
    let fields = fields(p);
    let parts: Vec<Vec<Part>> = (0..fields.len()).map(|i| parts(p, call, i, &[input, output])).collect();
    let splits = fields
        .iter()
        .zip(&parts)
        .flat_map(|(field, parts)| split(&field.name, parts));
    let args = arguments(p, call).map(|(param, arg)| {
        let Some((field, start, end)) = place(p, param, arg) else {
            let len = number(param.len);
            return match arg {
                Arg::Input(0) if param.len == elements(&p.input) => quote!(#input),
                Arg::Input(offset) => {
                    let skip = number(offset);
                    quote!(shared::<_, #len>(#input, #skip))
                }
                Arg::Output(0) if param.len == elements(&p.output) => quote!(#output),
                Arg::Output(offset) => {
                    let skip = number(offset);
                    quote!(part::<_, #len>(#output, #skip).0)
                }
                Arg::Arena { .. } => unreachable!("it has a place"),
            };
        };
        let part = parts[field].iter().find(|q| q.start <= start && start < q.end);
        let part = part.unwrap_or_else(|| unreachable!("every argument lies in a part"));
        let (name, element, len) = (&part.name, ty(param.ty), number(param.len));
        let (skip, width) = (number(start - part.start), number(end - start));
        match (part.users, p.shares_memory()) {
            (1, false) => quote!(#name),
            (_, false) => quote!(shared::<_, #len>(#name, #skip)),
            (1, true) if param.ty == Ty::U32 => quote!(#name),
            (1, true) => quote!(cast::view_mut::<#element, #width, #len>(#name)),
            (_, true) if param.ty == Ty::U32 => quote!(shared::<_, #len>(#name, #skip)),
            (_, true) => quote!(cast::view::<#element, #width, #len>(shared::<_, #width>(#name, #skip))),
        }
    });
    let (kernel, args) = (local(&p.kernels[call.kernel].name), args.collect::<Vec<_>>());
    let mut run = quote!(kernels::#kernel(#(#args),*););
    if features && p.kernels[call.kernel].is_vector() {
        // The note is printed as a comment.
        run = quote! {
            note!("SAFETY: lib.rs requires the features.");
            unsafe { #run }
        };
    }
    if parts.iter().all(Vec::is_empty) {
        return run;
    }
    quote!({
        #(#splits)*
        #run
    })
}

/// The disjoint parts of array `of` that a call uses, from front to back, each named after its parameter.
fn parts(p: &Program, call: &Call, of: usize, ports: &[&Ident]) -> Vec<Part> {
    let mut taken: Vec<String> = ports.iter().map(|i| i.to_string()).collect();
    taken.extend(["arena".into(), "rest".into()]);
    let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
    let mut all: Vec<Part> = arguments(p, call)
        .filter_map(|(param, arg)| match place(p, param, arg)? {
            (field, start, end) if field == of => Some(Part {
                name: id(&names::unique(&param.name, &taken)),
                start,
                end,
                users: 1,
                written: param.role != Role::In,
            }),
            _ => None,
        })
        .collect();
    all.sort_by_key(|q| (q.start, q.end));
    let mut out: Vec<Part> = vec![];
    for q in all {
        match out.last_mut() {
            Some(last) if q.start < last.end => {
                debug_assert!(
                    !q.written && !last.written,
                    "an argument that is written overlaps no other"
                );
                last.end = last.end.max(q.end);
                last.users += 1;
            }
            _ => out.push(q),
        }
    }
    out
}

/// Binds the parts of an array.
fn split(field: &Ident, parts: &[Part]) -> Vec<TokenStream> {
    let mut at = 0;
    let mut out = vec![];
    for (i, part) in parts.iter().enumerate() {
        let from = if i == 0 {
            quote!(&mut arena.#field)
        } else {
            quote!(rest)
        };
        let rest = if i + 1 < parts.len() { id("rest") } else { id("_") };
        let (name, skip, len) = (&part.name, number(part.start - at), number(part.end - part.start));
        out.push(quote!(let (#name, #rest) = part::<_, #len>(#from, #skip);));
        at = part.end;
    }
    out
}

fn number(n: u32) -> Literal {
    Literal::u32_unsuffixed(n)
}
