//! Data sets from their official files, and batches of them.
//!
//! | `--data` | what is read |
//! |---|---|
//! | `mnist`, `fashion-mnist` | four idx files, plain or gzipped, in the data directory or a folder of that name in it |
//! | `cifar10` | the six files of the binary version, in the data directory or in `cifar-10-batches-bin` or `cifar10` in it |
//! | a folder | `train/CLASS/*.png` and `test/CLASS/*.png`, also `.jpg` and `.jpeg` |
//! | a file `*.npz` | arrays `x_train`, `y_train`, `x_test`, `y_test`, or `train_images`, `train_labels`, ... |

mod batch;
mod cifar10;
mod digits;
mod folder;
pub mod idx;
mod npz;
mod pixels;

pub use batch::{Augment, batch, shuffled};
pub use pixels::{Normalise, Pixels};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Environment variable that names the directory of data sets.
pub const DATA_DIR: &str = "SQ_DATA_DIR";

/// Names of data sets that [`load`] knows beside folders and npz files.
pub const NAMES: [&str; 3] = ["mnist", "fashion-mnist", "cifar10"];

/// Labelled images, raw as the sensor gave them.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Pixels, `[images, channels, rows, columns]`.
    pub images: Vec<u8>,
    /// One class per image.
    pub labels: Vec<u16>,
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
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Images to learn from.
    pub train: Dataset,
    /// Images to measure with.
    pub test: Dataset,
    /// Names of the classes; a label is an index into them.
    pub classes: Vec<String>,
}

/// What to read, and how large images are to be where files may differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// A name of [`NAMES`], a folder, or a file that ends in `.npz`.
    pub data: String,
    /// Rows and columns that the images of a folder are scaled to; where `None`, they must be alike.
    pub size: Option<[usize; 2]>,
    /// Channels that the images of a folder are converted to: 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
}

impl Source {
    /// What the data set is called away from this machine: a known name, or the last part of a path.
    pub fn name(&self) -> String {
        let last = Path::new(&self.data).file_name();
        last.map_or(self.data.clone(), |name| name.to_string_lossy().into_owned())
    }
}

/// The directory of data sets: `given`, else what [`DATA_DIR`] names.
///
/// # Errors
/// Neither.
pub fn directory(given: Option<&Path>) -> Result<PathBuf> {
    match (given, std::env::var_os(DATA_DIR)) {
        (Some(dir), _) => Ok(dir.to_path_buf()),
        (None, Some(dir)) => Ok(PathBuf::from(dir)),
        (None, None) => bail!("no data directory: give --data-dir or set {DATA_DIR}"),
    }
}

/// Reads a data set; those of [`NAMES`] from the directory `data_dir`, or else what [`DATA_DIR`] names.
///
/// # Errors
/// An unknown name; a file that is missing, short or damaged, with its path and the offset.
pub fn load(source: &Source, data_dir: Option<&Path>) -> Result<Split> {
    let name = &*source.data;
    let split = match name {
        "mnist" => digits::load(
            &directory(data_dir)?,
            name,
            &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
        )?,
        "fashion-mnist" => digits::load(&directory(data_dir)?, name, &digits::FASHION)?,
        "cifar10" => cifar10::load(&directory(data_dir)?)?,
        _ if name.ends_with(".npz") => npz::load(Path::new(name))?,
        _ if Path::new(name).is_dir() => folder::load(Path::new(name), source)?,
        _ => bail!(
            "unknown data set `{name}`: not one of {}, not a folder, not a file that ends in .npz",
            NAMES.join(", ")
        ),
    };
    for (half, set) in [("training", &split.train), ("test", &split.test)] {
        ensure!(!set.is_empty(), "{name}: no {half} images");
        ensure!(
            set.shape.iter().all(|&side| side > 0),
            "{name}: {half} images of no pixels, {:?} (channels, rows, columns)",
            set.shape
        );
    }
    ensure!(
        split.train.shape == split.test.shape,
        "{name}: training images are {:?}, test images {:?} (channels, rows, columns)",
        split.train.shape,
        split.test.shape
    );
    Ok(split)
}

/// The bytes of the file at `path`.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_say_what_is_known() {
        let source = Source {
            data: "minst".into(),
            size: None,
            channels: 3,
        };
        let message = load(&source, None).unwrap_err().to_string();
        assert_eq!(
            message,
            "unknown data set `minst`: not one of mnist, fashion-mnist, cifar10, not a folder, not a file that ends in .npz"
        );
    }
}
