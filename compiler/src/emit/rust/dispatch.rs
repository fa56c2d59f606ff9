//! A crate with the code of several targets. An arena belongs to the best of them that the processor can run: which one, its
//! constructor finds out, so that a call costs a jump.

use super::{
    Network, Variant, common, constants, crate_doc, header, infer_doc, model, network, network_files, parameters,
    print, readme, selftest, signature,
};
use crate::emit::{BASELINE, Files, Meta, REPORT, RuntimeDep, names, report, uses_vectors};
use crate::kir::Program;
use crate::target::Dispatch;
use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

/// Prints `variants`, best first, and a program for the processors that can run none of them.
pub fn emit(p: &Program, m: &Meta, variants: &[Variant], dispatch: &Dispatch, dep: &RuntimeDep) -> Files {
    let name = names::snake(&m.model_name);
    let header = header(m);
    let mut files = common(&name, p, m, dep);
    let all: Vec<Code> = variants
        .iter()
        .map(|&v| Code::new(v.name(), v))
        .chain([Code::new(BASELINE.into(), Variant { program: p, meta: m })])
        .collect();
    for code in &all {
        let Variant { program, meta } = code.variant;
        files.insert(
            format!("src/{}.rs", code.name),
            format!("{header}\n{}", print(code.module())),
        );
        files.extend(network_files(&format!("src/{}", code.name), program, meta));
    }
    let library = library(&name, p, m, &all, dispatch, dep);
    files.insert("src/lib.rs".into(), format!("{header}\n{}", print(library)));
    files.insert("README.md".into(), readme(&name, p, m, variants));
    files.insert(REPORT.into(), report::report(p, m, variants));
    Files(files)
}

/// One target's code.
struct Code<'a> {
    /// What its module is called.
    name: String,
    variant: Variant<'a>,
}

impl Code<'_> {
    fn new(name: String, variant: Variant<'_>) -> Code<'_> {
        Code { name, variant }
    }

    /// What rustc calls the features that it needs.
    fn features(&self) -> &[String] {
        match uses_vectors(self.variant.program) {
            true => &self.variant.meta.simd.features,
            false => &[],
        }
    }

    fn ident(&self) -> Ident {
        format_ident!("{}", self.name)
    }

    /// Its variant of the arena.
    fn arm(&self) -> Ident {
        format_ident!("{}", names::camel(&self.name))
    }

    /// The module: as a crate for this target alone, but that `infer` is compiled for its features.
    fn module(&self) -> TokenStream {
        let Variant { program, meta } = self.variant;
        let Network {
            modules,
            arena,
            infer,
            helpers,
        } = network(program, meta, false);
        let doc = match self.name == BASELINE {
            true => " For every processor.".to_string(),
            false => format!(" For {}.", meta.target),
        };
        let features = (!self.features().is_empty()).then(|| {
            let list = self.features().join(",");
            quote!(#[target_feature(enable = #list)])
        });
        quote! {
            #![doc = #doc]

            #modules
            #arena
            #features
            #infer
            #helpers
        }
    }

    /// The call of `infer` with what the arena holds.
    fn call(&self, p: &Program) -> TokenStream {
        let (module, (input, output)) = (self.ident(), parameters(p));
        let call = quote!(#module::infer(arena, #input, #output));
        if self.features().is_empty() {
            return call;
        }
        let note = match self.name == BASELINE {
            true => "SAFETY: every processor of this architecture has the features.",
            false => "SAFETY: the arena was made where the features are.",
        };
        quote!({
            note!(#note);
            unsafe { #call }
        })
    }
}

fn library(name: &str, p: &Program, m: &Meta, all: &[Code], dispatch: &Dispatch, dep: &RuntimeDep) -> TokenStream {
    let modules: Vec<_> = all.iter().map(Code::ident).collect();
    let arms: Vec<_> = all.iter().map(Code::arm).collect();
    let targets = all.iter().map(|code| match code.name == BASELINE {
        true => BASELINE,
        false => code.variant.meta.target.as_str(),
    });
    let calls = all.iter().map(|code| code.call(p));
    let has = format_ident!("{}", dispatch.rust);
    let (baseline, picks) = all
        .split_last()
        .map_or((None, &[][..]), |(last, first)| (Some(last), first));
    let picks = picks.iter().map(|code| {
        let (module, arm, features) = (code.ident(), code.arm(), &code.variant.meta.simd.features);
        quote! {
            if #(std::arch::#has!(#features))&&* {
                return Arena(Code::#arm(#module::Arena::new()));
            }
        }
    });
    let base = baseline.map(|code| {
        let (module, arm) = (code.ident(), code.arm());
        quote!(Arena(Code::#arm(#module::Arena::new())))
    });
    let (doc, infer_doc, signature) = (
        crate_doc(name, p, m, &[all[0].variant]),
        infer_doc(p, m),
        signature(p, &format_ident!("arena")),
    );
    let (constants, selftest, model) = (constants(p, m), selftest(), model(name, p, dep));
    quote! {
        #doc
        #![deny(unsafe_op_in_unsafe_fn)]

        pub mod golden;
        #(mod #modules;)*

        #constants

        /// Where the layers leave their results. What it holds between two calls does not matter: one may serve many.
        pub struct Arena(Code);

        #[allow(clippy::large_enum_variant, reason = "it is made for one processor and stays there")]
        enum Code {
            #(#arms(#modules::Arena)),*
        }

        impl Arena {
            /// For the best code that this processor can run.
            pub fn new() -> Self {
                #(#picks)*
                #base
            }

            /// What that code was compiled for.
            pub fn target(&self) -> &'static str {
                match &self.0 {
                    #(Code::#arms(_) => #targets),*
                }
            }
        }

        impl Default for Arena {
            fn default() -> Self {
                Self::new()
            }
        }

        #infer_doc
        pub fn #signature {
            match &mut arena.0 {
                #(Code::#arms(arena) => #calls),*
            }
        }

        #selftest
        #model
    }
}
