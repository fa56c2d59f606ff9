//! Keys of the `metadata_props` entries that `sq-train` writes into an ONNX file.
//!
//! They inform people and reports. The compiler never lets them decide anything: weights and activations are
//! recognised from the tensors.

/// Architecture name, for example `lenet5`.
pub const ARCH: &str = "sq.arch";
/// Data set the network was trained on, for example `mnist`.
pub const DATA: &str = "sq.data";
/// Seed of the training run, decimal.
pub const SEED: &str = "sq.seed";
/// Number of epochs trained, decimal.
pub const EPOCHS: &str = "sq.epochs";
/// Accuracy on the test set, as a fraction, decimal.
pub const TEST_ACCURACY: &str = "sq.test_accuracy";
/// Activation kind: `float`, `int8` or `binary`.
pub const ACTIVATIONS: &str = "sq.activations";
/// Depth of every quantised layer: `conv1=ternary,conv2=binary,...`.
pub const DEPTHS: &str = "sq.depths";
/// The command line that made the file.
pub const COMMAND: &str = "sq.command";
