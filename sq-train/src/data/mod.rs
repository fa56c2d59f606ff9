//! Data sets from their official files, and batches of them.

mod batch;
pub mod idx;
mod mnist;

pub use batch::{batch, shifted_batch, shuffled};

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Environment variable that names the directory of data sets.
pub const DATA_DIR: &str = "SQ_DATA_DIR";

/// Names that [`load`] knows.
pub const NAMES: [&str; 1] = ["mnist"];

/// Labelled images, raw as the sensor gave them.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Pixels, `[images, channels, rows, columns]`.
    pub images: Vec<u8>,
    /// One class per image.
    pub labels: Vec<u8>,
    /// Channels, rows and columns of one image.
    pub shape: [usize; 3],
}

impl Dataset {
    /// Images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Pixels of image `i`.
    pub fn image(&self, i: usize) -> &[u8] {
        let size: usize = self.shape.iter().product();
        &self.images[i * size..(i + 1) * size]
    }

    /// The first `n` images, or all where there are fewer.
    pub fn take(mut self, n: usize) -> Dataset {
        self.labels.truncate(n);
        self.images.truncate(n * self.shape.iter().product::<usize>());
        self
    }
}

/// A training set and a test set.
#[derive(Clone, Debug)]
pub struct Split {
    /// Images to learn from.
    pub train: Dataset,
    /// Images to measure with.
    pub test: Dataset,
}

/// The directory of data sets: `given`, else what [`DATA_DIR`] names.
pub fn directory(given: Option<&Path>) -> Result<PathBuf> {
    match (given, std::env::var_os(DATA_DIR)) {
        (Some(dir), _) => Ok(dir.to_path_buf()),
        (None, Some(dir)) => Ok(PathBuf::from(dir)),
        (None, None) => bail!("no data directory: give --data-dir or set {DATA_DIR}"),
    }
}

/// The data set of this name from `directory` or its subdirectory of the same name.
///
/// # Errors
/// An unknown name; a file that is missing, short or damaged, with its path and the offset.
pub fn load(name: &str, directory: &Path) -> Result<Split> {
    match name {
        "mnist" => mnist::load(directory),
        _ => bail!("unknown data set `{name}`; known are {}", NAMES.join(", ")),
    }
}
