//! The network that is trained.

mod activation;
mod net;
mod norm;

pub use activation::{Activation, ActivationKind};
pub use net::Net;
pub use norm::Norm;
