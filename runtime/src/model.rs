//! What every generated network offers, for code that takes any of them.

/// A compiled network. Generated crates implement it on a unit struct.
///
/// ```
/// fn classify<M: sq_runtime::Model>(arena: &mut M::Arena, input: &M::Input, scores: &mut M::Output) {
///     M::infer(arena, input, scores);
/// }
/// ```
pub trait Model {
    /// Name of the model.
    const NAME: &'static str;
    /// Elements of a sample.
    const INPUT_LEN: usize;
    /// Elements of a result.
    const OUTPUT_LEN: usize;
    /// Size of [`Self::Arena`] in bytes.
    const ARENA_BYTES: usize;
    /// SHA-256 of the model's file, in hexadecimal.
    const MODEL_SHA256: &'static str;

    /// Where the layers leave their results.
    type Arena: Default;
    /// A sample: an array of `INPUT_LEN` elements, row-major.
    type Input;
    /// A result: an array of `OUTPUT_LEN` elements, row-major.
    type Output;

    /// Computes `output` from `input`. What the arena held before does not matter.
    fn infer(arena: &mut Self::Arena, input: &Self::Input, output: &mut Self::Output);
}
