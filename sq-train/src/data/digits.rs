//! MNIST (LeCun, Cortes, Burges) and Fashion-MNIST (Xiao, Rasul, Vollgraf, arXiv 1708.07747): 60,000 and 10,000 images of
//! 28x28 pixels each, four idx files of the same names.

use super::{Dataset, Split, idx};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// Classes of Fashion-MNIST.
pub const FASHION: [&str; 10] = [
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

/// Reads the four files from `directory` or its folder `name`, plain or with `.gz`.
///
/// # Errors
/// A file that is missing or damaged, or labels that do not fit the images or the classes, with the offset.
pub fn load(directory: &Path, name: &str, classes: &[&str]) -> Result<Split> {
    Ok(Split {
        train: read_half(directory, name, "train", classes.len())?,
        test: read_half(directory, name, "t10k", classes.len())?,
        classes: classes.iter().map(|class| class.to_string()).collect(),
    })
}

fn read_half(directory: &Path, name: &str, half: &str, classes: usize) -> Result<Dataset> {
    let images_path = find(directory, name, &format!("{half}-images-idx3-ubyte"))?;
    let labels_path = find(directory, name, &format!("{half}-labels-idx1-ubyte"))?;
    let (images, labels) = (idx::read(&images_path)?, idx::read(&labels_path)?);
    let [count, rows, columns] = images.dims[..] else {
        bail!(
            "{}: {} dimensions, images have 3",
            images_path.display(),
            images.dims.len()
        );
    };
    ensure!(
        rows > 0 && columns > 0,
        "{}: images of {rows}x{columns} pixels, by the dimensions at offset 8",
        images_path.display()
    );
    ensure!(
        labels.dims == [count],
        "{}: labels {:?} for {count} images",
        labels_path.display(),
        labels.dims
    );
    if let Some(at) = labels.data.iter().position(|&label| label as usize >= classes) {
        let offset = idx::header_len(labels.dims.len()) + at;
        bail!(
            "{}: label {} at offset {offset} is not below {classes}",
            labels_path.display(),
            labels.data[at]
        );
    }
    Ok(Dataset {
        images: images.data,
        labels: labels.data.into_iter().map(u16::from).collect(),
        shape: [1, rows, columns],
    })
}

fn find(directory: &Path, set: &str, name: &str) -> Result<PathBuf> {
    let nested = directory.join(set);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The four files with two images of one row and two columns each.
    fn write(directory: &Path, labels: [u8; 2]) {
        for half in ["train", "t10k"] {
            let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2][..], &[1, 2, 3, 4]].concat();
            std::fs::write(directory.join(format!("{half}-images-idx3-ubyte")), images).unwrap();
            let labels = [&[0, 0, 8, 1, 0, 0, 0, 2][..], &labels].concat();
            std::fs::write(directory.join(format!("{half}-labels-idx1-ubyte")), labels).unwrap();
        }
    }

    #[test]
    fn reads_the_directory_or_its_subdirectory() {
        let temp = tempfile::tempdir().unwrap();
        let nested = temp.path().join("mnist");
        std::fs::create_dir(&nested).unwrap();
        write(&nested, [7, 9]);
        let split = load(temp.path(), "mnist", &["x"; 10]).unwrap();
        assert_eq!(
            split.train,
            Dataset {
                images: vec![1, 2, 3, 4],
                labels: vec![7, 9],
                shape: [1, 1, 2]
            }
        );
        assert_eq!(split.test.image(1), [3, 4]);
        assert_eq!(load(&nested, "mnist", &["x"; 10]).unwrap().train, split.train);
    }

    #[test]
    fn missing_files_and_wrong_labels_are_named() {
        let temp = tempfile::tempdir().unwrap();
        let message = load(temp.path(), "mnist", &["x"; 10]).unwrap_err().to_string();
        assert!(
            message.starts_with("no train-images-idx3-ubyte or train-images-idx3-ubyte.gz in"),
            "{message}"
        );
        let empty = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
        write(temp.path(), [7, 9]);
        std::fs::write(temp.path().join("train-images-idx3-ubyte"), empty).unwrap();
        let message = load(temp.path(), "mnist", &["x"; 10]).unwrap_err().to_string();
        assert!(
            message.ends_with("images of 0x0 pixels, by the dimensions at offset 8"),
            "{message}"
        );
        write(temp.path(), [7, 12]);
        let message = load(temp.path(), "mnist", &["x"; 10]).unwrap_err().to_string();
        assert!(
            message.ends_with("train-labels-idx1-ubyte: label 12 at offset 9 is not below 10"),
            "{message}"
        );
    }
}
