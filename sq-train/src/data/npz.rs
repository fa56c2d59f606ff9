//! NumPy archives: uint8 images `[n, rows, columns]`, `[n, rows, columns, channels]` or `[n, channels, rows, columns]`, and
//! integer labels `[n]` or `[n, 1]`, under the names that Keras or MedMNIST gives them.

use super::{Dataset, Split};
use anyhow::{Context, Result, bail, ensure};
use npyz::npz::NpzArchive;
use npyz::{DType, NpyFile, Order, TypeChar};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Names of the four arrays: training images and labels, test images and labels.
const NAMES: [[&str; 4]; 2] = [
    ["x_train", "y_train", "x_test", "y_test"],
    ["train_images", "train_labels", "test_images", "test_labels"],
];

/// Reads the archive at `path`.
pub fn load(path: &Path) -> Result<Split> {
    let mut archive = NpzArchive::open(path).with_context(|| format!("cannot open {} as npz", path.display()))?;
    let held: Vec<String> = archive.array_names().map(String::from).collect();
    let names = NAMES
        .iter()
        .find(|names| names.iter().all(|name| held.iter().any(|h| h == name)));
    let Some([x_train, y_train, x_test, y_test]) = names else {
        bail!(
            "{} holds {}; needed are {} or {}",
            path.display(),
            held.join(", "),
            NAMES[0].join(", "),
            NAMES[1].join(", ")
        );
    };
    let mut half = |x: &str, y: &str| -> Result<Dataset> {
        let (images, shape) = images(&mut archive, x).with_context(|| format!("{}, array {x}", path.display()))?;
        let labels = labels(&mut archive, y).with_context(|| format!("{}, array {y}", path.display()))?;
        let count = images.len() / shape.iter().product::<usize>().max(1);
        ensure!(
            labels.len() == count,
            "{}: {} labels in {y} for {count} images in {x}",
            path.display(),
            labels.len()
        );
        Ok(Dataset { images, labels, shape })
    };
    let (train, test) = (half(x_train, y_train)?, half(x_test, y_test)?);
    let classes = train
        .labels
        .iter()
        .chain(&test.labels)
        .max()
        .map_or(0, |&label| label as usize + 1);
    Ok(Split {
        train,
        test,
        classes: (0..classes).map(|class| class.to_string()).collect(),
    })
}

type Archive = NpzArchive<BufReader<File>>;

fn images(archive: &mut Archive, name: &str) -> Result<(Vec<u8>, [usize; 3])> {
    let array = archive.by_name(name)?.context("is missing")?;
    let shape: Vec<usize> = array.shape().iter().map(|&d| d as usize).collect();
    ensure!(
        array.order() == Order::C,
        "is in Fortran order; save it with numpy.ascontiguousarray"
    );
    let kind = kind(&array)?;
    ensure!(
        kind == (TypeChar::Uint, 1),
        "images are uint8, not {}",
        array.dtype().descr()
    );
    let expected: usize = shape.iter().product();
    let pixels = read::<u8, _>(array, expected)?;
    match shape[..] {
        [_, h, w] => Ok((pixels, [1, h, w])),
        [_, c @ (1 | 3), h, w] if !matches!(w, 1 | 3) => Ok((pixels, [c, h, w])),
        [_, h, w, c @ (1 | 3)] => Ok((channels_first(&pixels, h * w, c), [c, h, w])),
        _ => bail!(
            "images are [n, rows, columns], [n, rows, columns, 1 or 3] or [n, 1 or 3, rows, columns], not {shape:?}"
        ),
    }
}

fn channels_first(pixels: &[u8], map: usize, channels: usize) -> Vec<u8> {
    let image = |image: &[u8]| -> Vec<u8> {
        (0..channels)
            .flat_map(|c| (0..map).map(move |i| i * channels + c))
            .map(|at| image[at])
            .collect()
    };
    pixels.chunks((map * channels).max(1)).flat_map(image).collect()
}

fn labels(archive: &mut Archive, name: &str) -> Result<Vec<u16>> {
    let array = archive.by_name(name)?.context("is missing")?;
    let shape = array.shape().to_vec();
    let count = match shape[..] {
        [n] | [n, 1] => n as usize,
        _ => bail!("labels are [n] or [n, 1], not {shape:?}"),
    };
    let values: Vec<i64> = match kind(&array)? {
        (TypeChar::Uint, 1) => widen(read::<u8, _>(array, count)?),
        (TypeChar::Uint, 2) => widen(read::<u16, _>(array, count)?),
        (TypeChar::Int, 1) => widen(read::<i8, _>(array, count)?),
        (TypeChar::Int, 4) => widen(read::<i32, _>(array, count)?),
        (TypeChar::Int, 8) => read::<i64, _>(array, count)?,
        _ => bail!(
            "labels are uint8, uint16, int8, int32 or int64, not {}",
            array.dtype().descr()
        ),
    };
    let label = |(i, &value): (usize, &i64)| {
        u16::try_from(value).with_context(|| format!("label {value} at index {i} is not in 0..=65535"))
    };
    values.iter().enumerate().map(label).collect()
}

fn widen<T: Into<i64>>(values: Vec<T>) -> Vec<i64> {
    values.into_iter().map(Into::into).collect()
}

fn kind<R: Read>(array: &NpyFile<R>) -> Result<(TypeChar, u64)> {
    match array.dtype() {
        DType::Plain(plain) => Ok((plain.type_char(), plain.size_field())),
        other => bail!("is structured: {}", other.descr()),
    }
}

fn read<T: npyz::Deserialize, R: Read>(array: NpyFile<R>, count: usize) -> Result<Vec<T>> {
    array
        .data::<T>()
        .map_err(|error| anyhow::anyhow!("{error}"))?
        .enumerate()
        .map(|(i, value)| value.with_context(|| format!("ends within element {i} of {count}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use npyz::WriterBuilder;
    use npyz::npz::NpzWriter;

    fn array<T: npyz::AutoSerialize + Clone>(
        npz: &mut NpzWriter<std::io::BufWriter<File>>,
        name: &str,
        shape: &[u64],
        data: &[T],
    ) {
        let mut writer = npz
            .array(name, Default::default())
            .unwrap()
            .default_dtype()
            .shape(shape)
            .begin_nd()
            .unwrap();
        writer.extend(data.iter().cloned()).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn reads_both_layouts_and_names_what_is_wrong() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("set.npz");
        let bytes: Vec<u8> = (0..2 * 2 * 2 * 3).collect();
        let write = |labels: &[i64], last: &str| {
            let mut npz = NpzWriter::create(&path).unwrap();
            array(&mut npz, "x_train", &[2, 2, 2, 3], &bytes);
            array(&mut npz, "y_train", &[labels.len() as u64], labels);
            array(&mut npz, "x_test", &[1, 3, 2, 2], &bytes[..12]);
            array(&mut npz, last, &[1, 1], &[0u8]);
        };
        write(&[4, 0], "y_test");
        let split = load(&path).unwrap();
        assert_eq!(split.train.shape, [3, 2, 2]);
        assert_eq!(split.train.image(0), [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
        assert_eq!(split.test.image(0), &bytes[..12]);
        assert_eq!(
            (split.train.labels, split.test.labels, split.classes.len()),
            (vec![4, 0], vec![0], 5)
        );

        let message = || format!("{:#}", load(&path).unwrap_err());
        write(&[1, -1], "y_test");
        assert!(
            message().contains("set.npz, array y_train: label -1 at index 1 is not in 0..=65535"),
            "{}",
            message()
        );
        write(&[1], "y_test");
        assert!(
            message().contains("1 labels in y_train for 2 images in x_train"),
            "{}",
            message()
        );
        write(&[1, 0], "labels");
        assert!(
            message().contains("needed are x_train, y_train, x_test, y_test or train_images"),
            "{}",
            message()
        );
        std::fs::write(&path, b"PK").unwrap();
        assert!(message().contains("as npz"), "{}", message());
    }
}
