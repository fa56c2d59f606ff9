//! What generated networks share: no `std`, no allocation, no dependencies, no panics.
#![no_std]
#![forbid(unsafe_code)]

pub mod metadata;
mod model;

pub use model::Model;
