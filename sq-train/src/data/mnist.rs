//! MNIST (LeCun, Cortes, Burges): 60,000 and 10,000 images of 28x28 handwritten digits, four idx files.

use super::{Dataset, Split, idx};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

const CLASSES: u8 = 10;

/// Reads the four files from `directory` or `directory/mnist`, plain or with `.gz`.
pub fn load(directory: &Path) -> Result<Split> {
    Ok(Split {
        train: read_half(directory, "train")?,
        test: read_half(directory, "t10k")?,
    })
}

fn read_half(directory: &Path, half: &str) -> Result<Dataset> {
    let images_path = find(directory, &format!("{half}-images-idx3-ubyte"))?;
    let labels_path = find(directory, &format!("{half}-labels-idx1-ubyte"))?;
    let (images, labels) = (idx::read(&images_path)?, idx::read(&labels_path)?);
    let [count, rows, columns] = images.dims[..] else {
        anyhow::bail!(
            "{}: {} dimensions, images have 3",
            images_path.display(),
            images.dims.len()
        );
    };
    ensure!(
        labels.dims == [count],
        "{}: labels {:?} for {count} images",
        labels_path.display(),
        labels.dims
    );
    if let Some(at) = labels.data.iter().position(|&label| label >= CLASSES) {
        let offset = idx::header_len(labels.dims.len()) + at;
        anyhow::bail!(
            "{}: label {} at offset {offset} is no digit",
            labels_path.display(),
            labels.data[at]
        );
    }
    Ok(Dataset {
        images: images.data,
        labels: labels.data,
        shape: [1, rows, columns],
    })
}

fn find(directory: &Path, name: &str) -> Result<PathBuf> {
    let nested = directory.join("mnist");
    [directory, &nested]
        .iter()
        .flat_map(|dir| [dir.join(name), dir.join(format!("{name}.gz"))])
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "no {name} or {name}.gz in {} or {}",
                directory.display(),
                nested.display()
            )
        })
}
