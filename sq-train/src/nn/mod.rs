//! Networks and their layers. [`Conv`] and [`Dense`] are ordinary modules of the framework and drop into any model of it:
//! their weights are quantised in the forward pass, and the regulariser's gradient is added in the backward pass, so that the
//! model's own loss and training loop need no change but a call of `project` after each optimizer step.

mod activation;
mod config;
mod layers;
mod net;
mod norm;

pub use activation::{Activation, ActivationConfig, ActivationKind, Range};
pub use config::{Method, QuantConfig};
pub use layers::{Conv, Dense};
pub use net::{Net, Value};
pub use norm::Norm;
