//! Smart Quantization: a layer's regulariser, its quantizer, and the depth that follows from its learned shape; and the
//! methods it is compared with.
//!
//! | file | says |
//! |---|---|
//! | `sq.rs` | the formulas for one weight |
//! | `rule.rs` | which formulas a layer uses, and the scales that follow from its weights |
//! | `quantizer.rs` | the same as a module of the framework: what is learned, and what is reported |

mod quantizer;
mod rule;
mod sq;

pub use quantizer::{LayerReport, Plain, Quantizer, clamp};
pub use rule::{Cut, Granularity, Rule, Scale, WeightKind};
pub(crate) use rule::{LLOYD_STEPS, TWN_THRESHOLD};
pub(crate) use sq::sign_or_zero;
pub use sq::{BETA_MAX, BETA_MIN, Depth, Power, Pull, SqShape};
