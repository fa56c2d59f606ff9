//! The body of `infer`: calls of the kernels over parts of the arena.
//!
//! The parts that a call uses are split off their pool from front to back, so that safe Rust sees them disjoint. Lengths and
//! offsets are constants, so that the optimiser removes every check.

use super::kernel::{id, local};
use crate::emit::{arguments, names, pool_name};
use crate::kir::{Arg, Call, Program, Role};
use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

/// A stretch of a pool that one parameter uses, or several that overlap and only read.
struct Part {
    name: Ident,
    start: u32,
    end: u32,
    users: usize,
    written: bool,
}

/// One call, in a block of its own where it needs parts of the arena.
pub fn call(p: &Program, call: &Call, input: &Ident, output: &Ident) -> TokenStream {
    let pools: Vec<Vec<Part>> = (0..p.pools.len())
        .map(|pool| parts(p, call, pool, &[input, output]))
        .collect();
    let splits = pools.iter().enumerate().flat_map(|(pool, parts)| split(p, pool, parts));
    let args = arguments(p, call).map(|(param, arg)| match arg {
        Arg::Input => quote!(#input),
        Arg::Output => quote!(#output),
        Arg::Arena { pool, offset } => {
            let part = pools[pool].iter().find(|q| q.start <= offset && offset < q.end);
            let part = part.unwrap_or_else(|| unreachable!("every argument lies in a part"));
            let name = &part.name;
            if part.users == 1 {
                return quote!(#name);
            }
            let (skip, len) = (number(offset - part.start), number(param.len));
            quote!(shared::<_, #len>(#name, #skip))
        }
    });
    let (kernel, args) = (local(&p.kernels[call.kernel].name), args.collect::<Vec<_>>());
    let mut run = quote!(kernels::#kernel(#(#args),*););
    if p.kernels[call.kernel].is_vector() {
        // The note is printed as a comment.
        run = quote! {
            note!("SAFETY: lib.rs requires the features.");
            unsafe { #run }
        };
    }
    if pools.iter().all(Vec::is_empty) {
        return run;
    }
    quote!({
        #(#splits)*
        #run
    })
}

/// The disjoint parts of a pool that a call uses, from front to back, each named after its parameter.
fn parts(p: &Program, call: &Call, of: usize, ports: &[&Ident]) -> Vec<Part> {
    let mut taken: Vec<String> = ports.iter().map(|i| i.to_string()).collect();
    taken.extend(["arena".into(), "rest".into()]);
    let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
    let mut all: Vec<Part> = arguments(p, call)
        .filter_map(|(param, arg)| match arg {
            Arg::Arena { pool, offset } if pool == of => Some(Part {
                name: id(&names::unique(&param.name, &taken)),
                start: offset,
                end: offset + param.len,
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

/// Binds the parts of a pool.
fn split(p: &Program, pool: usize, parts: &[Part]) -> Vec<TokenStream> {
    let field = field(p, pool);
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

/// Name of a pool's field; a number sets a second pool of one type apart.
pub fn field(p: &Program, pool: usize) -> Ident {
    let ty = p.pools[pool].ty;
    match p.pools[..pool].iter().filter(|q| q.ty == ty).count() {
        0 => id(pool_name(ty)),
        n => format_ident!("{}{n}", pool_name(ty)),
    }
}

fn number(n: u32) -> Literal {
    Literal::u32_unsuffixed(n)
}
