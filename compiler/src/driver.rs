//! The pipeline.

use crate::diag::Result;
use crate::import::{self, Model};
use crate::inspect::{self, Expect};
use std::path::Path;

/// Reads a model and holds it against what is expected of it.
///
/// # Errors
/// Everything that is wrong with the file, all at once.
pub fn read(path: &Path, expect: Option<Expect>) -> Result<Model> {
    let model = import::read(path)?;
    if let Some(expect) = expect {
        inspect::check(&inspect::inspect(&model), expect, path)?;
    }
    Ok(model)
}
