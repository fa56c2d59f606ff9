//! Folders of PNG and JPEG files: `train/CLASS/FILE` and `test/CLASS/FILE`. Classes are the folders of `train` in the order of
//! their names; files are read in the order of theirs.

use super::{Dataset, Source, Split};
use anyhow::{Context, Result, bail, ensure};
use image::imageops::FilterType;
use image::{DynamicImage, ImageReader};
use std::path::{Path, PathBuf};

/// Reads the images below `root`, scaled and converted as `source` says.
///
/// # Errors
/// A folder that cannot be listed, a class without training images, an image that cannot be read or has another size.
pub fn load(root: &Path, source: &Source) -> Result<Split> {
    let classes = names(&root.join("train"))?;
    ensure!(
        !classes.is_empty(),
        "{}: no class folders",
        root.join("train").display()
    );
    for class in names(&root.join("test"))? {
        ensure!(
            classes.contains(&class),
            "{}: no class of that name in {}",
            root.join("test").join(&class).display(),
            root.join("train").display()
        );
    }
    let train = read_half(&root.join("train"), &classes, source)?;
    for (label, class) in classes.iter().enumerate() {
        ensure!(
            train.labels.contains(&(label as u16)),
            "{}: a class without a .png, .jpg or .jpeg to learn from; add some or remove the folder",
            root.join("train").join(class).display()
        );
    }
    Ok(Split {
        train,
        test: read_half(&root.join("test"), &classes, source)?,
        classes,
    })
}

/// Names of the folders in `directory`, sorted.
fn names(directory: &Path) -> Result<Vec<String>> {
    let folders = entries(directory)?.into_iter().filter(|path| path.is_dir());
    Ok(folders
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let list = std::fs::read_dir(directory).with_context(|| {
        format!(
            "cannot list {}: a data folder holds train/CLASS/*.png and test/CLASS/*.png",
            directory.display()
        )
    })?;
    let mut paths: Vec<PathBuf> = list.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

fn read_half(half: &Path, classes: &[String], source: &Source) -> Result<Dataset> {
    let mut set = Dataset {
        images: vec![],
        labels: vec![],
        shape: [source.channels, 0, 0],
    };
    for (label, class) in classes.iter().enumerate() {
        let folder = half.join(class);
        if !folder.is_dir() {
            continue; // a class without test images
        }
        for path in entries(&folder)? {
            let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
            if !["png", "jpg", "jpeg"].iter().any(|known| extension == *known) {
                continue;
            }
            let (pixels, size) = read(&path, source)?;
            let shape = [source.channels, size[0], size[1]];
            if set.is_empty() {
                set.shape = shape;
            }
            ensure!(
                set.shape == shape,
                "{}: {}x{} pixels where the images before have {}x{}; give --size ROWSxCOLUMNS to scale all",
                path.display(),
                size[0],
                size[1],
                set.shape[1],
                set.shape[2]
            );
            set.images.extend(pixels);
            set.labels.push(label as u16);
        }
    }
    Ok(set)
}

/// Pixels of one file, `[channels, rows, columns]`, and its rows and columns.
fn read(path: &Path, source: &Source) -> Result<(Vec<u8>, [usize; 2])> {
    let mut image = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .with_context(|| format!("cannot open {}", path.display()))?
        .decode()
        .with_context(|| format!("{} is damaged", path.display()))?;
    if let Some([rows, columns]) = source.size {
        image = image.resize_exact(columns as u32, rows as u32, FilterType::Triangle);
    }
    let size = [image.height() as usize, image.width() as usize];
    Ok((planes(image, source.channels)?, size))
}

fn planes(image: DynamicImage, channels: usize) -> Result<Vec<u8>> {
    Ok(match channels {
        1 => image.into_luma8().into_raw(),
        3 => {
            let pixels = image.into_rgb8().into_raw();
            (0..3)
                .flat_map(|c| pixels.iter().skip(c).step_by(3).copied().collect::<Vec<u8>>())
                .collect()
        }
        _ => bail!("images have 1 channel or 3, not {channels}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;

    fn source(size: Option<[usize; 2]>, channels: usize) -> Source {
        Source {
            data: String::new(),
            size,
            channels,
        }
    }

    fn write(path: PathBuf, width: u32, colour: [u8; 3]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(width, 2, image::Rgb(colour)).save(path).unwrap();
    }

    #[test]
    fn reads_classes_in_order_in_colour_and_grey() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        write(at("train/cat/1.png"), 3, [10, 20, 30]);
        write(at("train/ant/2.png"), 3, [40, 40, 40]);
        write(at("train/ant/1.png"), 3, [50, 60, 70]);
        write(at("test/cat/1.png"), 3, [1, 2, 3]);
        std::fs::write(at("train/cat/notes.txt"), "not an image").unwrap();
        let split = load(temp.path(), &source(None, 3)).unwrap();
        assert_eq!(split.classes, ["ant", "cat"]);
        assert_eq!(split.train.labels, [0, 0, 1]);
        assert_eq!(split.train.shape, [3, 2, 3]);
        assert_eq!(split.train.image(0), [[50; 6], [60; 6], [70; 6]].concat());
        let grey = load(temp.path(), &source(Some([4, 5]), 1)).unwrap();
        assert_eq!((grey.train.shape, grey.train.image(1)), ([1, 4, 5], &[40u8; 20][..]));
    }

    #[test]
    fn mistakes_are_named_with_their_file() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        let message = || format!("{:#}", load(temp.path(), &source(None, 3)).unwrap_err());
        assert!(
            message().contains("a data folder holds train/CLASS/*.png"),
            "{}",
            message()
        );
        write(at("train/cat/1.png"), 3, [0; 3]);
        write(at("train/cat/2.png"), 4, [0; 3]);
        std::fs::create_dir(at("test")).unwrap();
        assert!(
            message().contains("2.png: 2x4 pixels where the images before have 2x3; give --size"),
            "{}",
            message()
        );
        let bytes = std::fs::read(at("train/cat/1.png")).unwrap();
        std::fs::write(at("train/cat/1.png"), &bytes[..bytes.len() / 2]).unwrap();
        assert!(message().contains("1.png is damaged: "), "{}", message());
        write(at("train/cat/1.png"), 4, [0; 3]);
        std::fs::create_dir(at("train/eel")).unwrap();
        assert!(message().contains("eel: a class without a .png"), "{}", message());
        write(at("test/dog/1.png"), 3, [0; 3]);
        assert!(message().contains("dog: no class of that name in"), "{}", message());
    }
}
