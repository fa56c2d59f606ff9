//! The kernels, each written once as a builder over the kernel IR. One family a file, one row in [`FAMILIES`].

mod bits;
mod carry_save;
mod chunks;
mod codes;
mod depthwise;
mod im2col;
pub mod join;
mod nest;
mod planes;
pub mod pool;
mod scalar;
mod slices;
mod split;
mod sums;
mod tiles;
mod vector_dot;
mod vector_row;
mod vector_sums;
mod vector_xnor;
mod view;
mod window;
mod windows;
mod words;
mod xnor;

use crate::kir::Kernel;
pub use chunks::FEW_TAPS;
pub use nest::{Job, Packed};
use sums::Code;
pub use view::{Layout, View};
pub use windows::copies as copies_windows;

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

impl Family {
    /// Whether it sums tiles, so that [`Job::turns`] means something to it.
    pub fn sums_tiles(&self) -> bool {
        self.name.contains("vector-") || self.name.ends_with("xnor-tile")
    }

    /// Whether it packs the operand first.
    pub fn splits(&self) -> bool {
        self.name.starts_with("split-")
    }
}

/// Weights above which straight-line code is no candidate: it would be longer than any small device's flash.
const UNROLL_LIMIT: usize = 4096;

/// The same where channels are kept apart. There the code is written anew for each edge of the map, nine times for a padded
/// one: 128 channels of 3x3 would be 65 KB, which C compilers take minutes for.
const UNROLL_APART_LIMIT: usize = 256;

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
        name: "vector-row-code",
        doc: "bytes by packed weights shifted out of bytes, products summed across lanes",
        refuses: vector_row::refuses_codes,
        build: vector_row::build_codes,
    },
    Family {
        name: "vector-code",
        doc: "bytes by packed weights under masks, dot products of four",
        refuses: vector_dot::refuses_codes,
        build: vector_dot::build_codes,
    },
    Family {
        name: "vector-sums",
        doc: "four operands at a time, weights as indices of tables of sums in vectors",
        refuses: vector_sums::refuses,
        build: vector_sums::build,
    },
    Family {
        name: "vector-carry-save",
        doc: "packed signs by packed weights, a vector of outputs at a time, added bit by bit before they are counted",
        refuses: vector_xnor::refuses_carry_save,
        build: vector_xnor::build_carry_save,
    },
    Family {
        name: "xnor-tile",
        doc: "packed signs by packed weights, exclusive or and population count, eight sums at a time",
        refuses: vector_xnor::refuses_words,
        build: vector_xnor::build_words,
    },
    Family {
        name: "carry-save",
        doc: "packed signs by packed weights, added bit by bit before they are counted",
        refuses: carry_save::refuses,
        build: carry_save::build,
    },
    Family {
        name: "xnor",
        doc: "packed signs by packed weights, exclusive or and population count",
        refuses: xnor::refuses,
        build: xnor::build,
    },
    Family {
        name: "split-vector-xnor",
        doc: "ternary operands packed as two bits each, by packed weights, a vector of outputs at a time",
        refuses: |job| split::refuses(job, vector_xnor::refuses),
        build: |job| vector_xnor::build(&split::job(job)),
    },
    Family {
        name: "split-vector-carry-save",
        doc: "ternary operands packed as two bits each, by packed weights, a vector of outputs at a time, added bit by bit before they are counted",
        refuses: |job| split::refuses(job, vector_xnor::refuses_carry_save),
        build: |job| vector_xnor::build_carry_save(&split::job(job)),
    },
    Family {
        name: "split-xnor-tile",
        doc: "ternary operands packed as two bits each, by packed weights, exclusive or and population count, eight sums at a time",
        refuses: |job| split::refuses(job, vector_xnor::refuses_words),
        build: |job| vector_xnor::build_words(&split::job(job)),
    },
    Family {
        name: "split-carry-save",
        doc: "ternary operands packed as two bits each, by packed weights, added bit by bit before they are counted",
        refuses: |job| split::refuses(job, carry_save::refuses),
        build: |job| carry_save::build(&split::job(job)),
    },
    Family {
        name: "split-xnor",
        doc: "ternary operands packed as two bits each, by packed weights, exclusive or and population count",
        refuses: |job| split::refuses(job, xnor::refuses),
        build: |job| xnor::build(&split::job(job)),
    },
    Family {
        name: "bit-slices",
        doc: "packed signs of channels apart, a word of channels at a time",
        refuses: slices::refuses,
        build: slices::build,
    },
    Family {
        name: "depthwise",
        doc: "channels apart, the taps of each in straight-line code",
        refuses: depthwise::refuses,
        build: depthwise::build,
    },
    Family {
        name: "unrolled",
        doc: "weights as code: additions and subtractions, nothing for zeros",
        refuses: |job| {
            let n = job.weights.shape.iter().product::<usize>();
            if depthwise::refuses(job).is_none() && n > UNROLL_APART_LIMIT {
                return Some(format!(
                    "{n} weights of channels apart are more than {UNROLL_APART_LIMIT}"
                ));
            }
            (n > UNROLL_LIMIT).then(|| format!("{n} weights are more than {UNROLL_LIMIT}"))
        },
        build: |job| scalar::build(job, true),
    },
    Family {
        name: "pairs",
        doc: "weights as code: additions and subtractions for two pixels at a time, nothing for zeros",
        refuses: |job| chunks::refuses(job, 2),
        build: |job| chunks::build(job, 2),
    },
    Family {
        name: "singles",
        doc: "weights as code: additions and subtractions for one pixel, nothing for zeros",
        refuses: |job| chunks::refuses(job, 1),
        build: |job| chunks::build(job, 1),
    },
    Family {
        name: "sums-16",
        doc: "four binary weights at a time, as an index of a table of sums",
        refuses: |job| Code::FOUR_BITS.refuses(job),
        build: |job| Code::FOUR_BITS.build(job),
    },
    Family {
        name: "sums-16-strips",
        doc: "four binary weights at a time, as an index of a table of sums, each for all rows of the kernel",
        refuses: |job| Code::FOUR_BITS.in_strips().refuses(job),
        build: |job| Code::FOUR_BITS.in_strips().build(job),
    },
    Family {
        name: "sums-256",
        doc: "eight binary weights at a time, as an index of a table of sums",
        refuses: |job| Code::EIGHT_BITS.refuses(job),
        build: |job| Code::EIGHT_BITS.build(job),
    },
    Family {
        name: "sums-256-strips",
        doc: "eight binary weights at a time, as an index of a table of sums, each for all rows of the kernel",
        refuses: |job| Code::EIGHT_BITS.in_strips().refuses(job),
        build: |job| Code::EIGHT_BITS.in_strips().build(job),
    },
    Family {
        name: "sums-9",
        doc: "two ternary weights at a time, as an index of a table of sums",
        refuses: |job| Code::TWO_TRITS.refuses(job),
        build: |job| Code::TWO_TRITS.build(job),
    },
    Family {
        name: "sums-9-strips",
        doc: "two ternary weights at a time, as an index of a table of sums, each for all rows of the kernel",
        refuses: |job| Code::TWO_TRITS.in_strips().refuses(job),
        build: |job| Code::TWO_TRITS.in_strips().build(job),
    },
    Family {
        name: "sums-81",
        doc: "four ternary weights at a time, as an index of a table of sums",
        refuses: |job| Code::FOUR_TRITS.refuses(job),
        build: |job| Code::FOUR_TRITS.build(job),
    },
    Family {
        name: "sums-81-strips",
        doc: "four ternary weights at a time, as an index of a table of sums, each for all rows of the kernel",
        refuses: |job| Code::FOUR_TRITS.in_strips().refuses(job),
        build: |job| Code::FOUR_TRITS.in_strips().build(job),
    },
    Family {
        name: "sums-243",
        doc: "five ternary weights at a time, in a byte, as an index of a table of sums",
        refuses: |job| Code::FIVE_TRITS.refuses(job),
        build: |job| Code::FIVE_TRITS.build(job),
    },
    Family {
        name: "sums-243-strips",
        doc: "five ternary weights at a time, in a byte, as an index of a table of sums, each for all rows of the kernel",
        refuses: |job| Code::FIVE_TRITS.in_strips().refuses(job),
        build: |job| Code::FIVE_TRITS.in_strips().build(job),
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
