//! Smart Quantization training: networks whose layers choose binary or ternary weights by themselves.
//!
//! Method: R. Razani, G. Morin, E. Sari, V. Partovi Nia, "Adaptive Binary-Ternary Quantization", arXiv 1909.12205.
//!
//! | room | job | knows burn |
//! |---|---|---|
//! | [`arch`] | architectures as lists of layers, and the graph of shapes that one makes | no |
//! | [`data`] | data sets from their official files, batches in an order of our own | no |
//! | [`quant`] | the formulas of Smart Quantization and its baselines; `quantizer.rs` makes a module of them | only there |
//! | [`ops`] | the operations that the framework lacks or has slowly, with their gradients | only the glue |
//! | [`nn`] | quantised layers, and the network built from a graph | yes |
//! | [`optim`] | optimizers and schedules | only the optimizers |
//! | [`train`] | the loop: objective, schedule, reports | yes |
//! | [`device`] | where networks train: the CPU, GPUs | yes |
//! | [`parallel`] | the gradients of a batch over several devices | yes |
//! | [`settings`] | which settings of two runs differ, by the names of their flags | no |
//! | [`checkpoint`] | a run on disk, resumed bit for bit | yes |
//! | [`network`] | a trained network as plain numbers, which is all that [`export`] sees | no |
//! | [`export`] | ONNX writing; [`mod@reference`] runs the file in tract | no |
//! | [`results`], [`plot`] | tables and pictures of finished runs | no |
//! | [`mod@bench`] | the time of a step | no |

pub mod arch;
pub mod bench;
pub mod checkpoint;
pub mod data;
pub mod device;
pub mod export;
mod files;
pub mod network;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod parallel;
pub mod plot;
pub mod progress;
pub mod quant;
pub mod reference;
pub mod results;
pub mod settings;
pub mod train;
