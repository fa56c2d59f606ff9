//! How long work tells how far it is. The library reports; who shows it, and whether, is the command line's matter.

/// Hears about work that takes a while. Called from several threads.
pub trait Progress: Sync {
    /// A new step of `total` units begins; the one before it is over.
    fn begin(&self, step: &str, total: u64);
    /// So many more units are done.
    fn advance(&self, units: u64);
}

/// Nobody listens.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64) {}
}
