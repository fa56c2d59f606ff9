//! The kernels, each written once as a builder over the kernel IR. One family a file, one row in [`FAMILIES`].

mod bits;
mod im2col;
mod nest;
pub mod pool;
mod scalar;
mod tiles;
mod vector_dot;
mod vector_row;
mod vector_xnor;
mod view;
mod window;
mod words;
mod xnor;

use crate::kir::Kernel;
pub use nest::Job;
pub use view::{Layout, View};

/// A way to compute a linear layer.
pub struct Family {
    /// What plans and reports call it.
    pub name: &'static str,
    /// What it does, in a line.
    pub doc: &'static str,
    /// Why it cannot build a job, if so.
    pub refuses: fn(&Job) -> Option<String>,
    /// Builds a job that it does not refuse.
    pub build: fn(&Job) -> Kernel,
}

/// Weights above which straight-line code is no candidate: it would be longer than any small device's flash.
const UNROLL_LIMIT: usize = 4096;

/// Every family, plainest last.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "vector-xnor",
        doc: "packed signs by packed weights, a vector of outputs at a time",
        refuses: vector_xnor::refuses,
        build: vector_xnor::build,
    },
    Family {
        name: "vector-dot",
        doc: "bytes by weights expanded to bytes, dot products of four",
        refuses: vector_dot::refuses,
        build: vector_dot::build,
    },
    Family {
        name: "vector-row",
        doc: "bytes by weights expanded to bytes, products summed across lanes",
        refuses: vector_row::refuses,
        build: vector_row::build,
    },
    Family {
        name: "vector-code",
        doc: "bytes by packed weights under masks, dot products of four",
        refuses: vector_dot::refuses_codes,
        build: vector_dot::build_codes,
    },
    Family {
        name: "xnor",
        doc: "packed signs by packed weights, exclusive or and population count",
        refuses: xnor::refuses,
        build: xnor::build,
    },
    Family {
        name: "unrolled",
        doc: "weights as code: additions and subtractions, nothing for zeros",
        refuses: |job| {
            let n = job.weights.shape.iter().product::<usize>();
            (n > UNROLL_LIMIT).then(|| format!("{n} weights are more than {UNROLL_LIMIT}"))
        },
        build: |job| scalar::build(job, true),
    },
    Family {
        name: "words",
        doc: "packed weights, shifted out of words of 32",
        refuses: words::refuses,
        build: words::build,
    },
    Family {
        name: "scalar",
        doc: "one weight after the other, of any kind",
        refuses: |_| None,
        build: |job| scalar::build(job, false),
    },
];
