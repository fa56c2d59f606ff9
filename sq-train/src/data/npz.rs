//! NumPy archives: uint8 images `[n, rows, columns]`, `[n, rows, columns, channels]` or `[n, channels, rows, columns]`, and
//! integer labels `[n]` or `[n, 1]`, under the names that Keras or MedMNIST gives them.

use super::{Dataset, Split};
use anyhow::{Context, Result, bail, ensure};
use npyz::npz::{NpzArchive, file_name_from_array_name};
use npyz::{DType, NpyFile, Order, TypeChar};
use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Names of the four arrays: training images and labels, test images and labels.
const NAMES: [[&str; 4]; 2] = [
    ["x_train", "y_train", "x_test", "y_test"],
    ["train_images", "train_labels", "test_images", "test_labels"],
];

/// Reads the archive at `path`.
///
/// # Errors
/// A file that is no npz, lacks an array, or holds one of another type or shape, or a damaged one, with its name and offset.
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

/// The bytes of an array's entry, read to the end, where its checksum is compared.
fn entry(archive: &mut Archive, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut entry = archive
        .zip_archive()
        .by_name(&file_name_from_array_name(name))
        .context("is damaged")?;
    let outcome = entry.read_to_end(&mut bytes);
    outcome.with_context(|| format!("is damaged: cannot read on from offset {}", bytes.len()))?;
    Ok(bytes)
}

/// The array in the bytes of an entry, which must hold its elements and nothing else, and its shape.
fn parse(bytes: &[u8]) -> Result<(NpyFile<&[u8]>, Vec<usize>)> {
    let array = NpyFile::new(bytes).context("is damaged: its header is not one of NumPy's")?;
    let shape: Vec<usize> = array.shape().iter().map(|&dim| dim as usize).collect();
    let header = array.header().clone();
    let data = array.into_inner();
    let (start, size) = (bytes.len() - data.len(), header.dtype().num_bytes().unwrap_or(0));
    let expected = shape
        .iter()
        .try_fold(size, |product, &dim| product.checked_mul(dim))
        .with_context(|| format!("its dimensions {shape:?} overflow"))?;
    ensure!(
        data.len() >= expected,
        "is damaged: ends at offset {} within its elements, {shape:?} of {size} bytes, which end at {}",
        bytes.len(),
        start.saturating_add(expected)
    );
    ensure!(
        data.len() == expected,
        "is damaged: {} bytes too many at offset {}",
        data.len() - expected,
        start + expected
    );
    Ok((NpyFile::with_header(header, data), shape))
}

fn images(archive: &mut Archive, name: &str) -> Result<(Vec<u8>, [usize; 3])> {
    let bytes = entry(archive, name)?;
    let (array, shape) = parse(&bytes)?;
    ensure!(
        array.order() == Order::C,
        "is in Fortran order; save it with numpy.ascontiguousarray"
    );
    ensure!(
        kind(&array)? == (TypeChar::Uint, 1),
        "images are uint8, not {}",
        array.dtype().descr()
    );
    let pixels = read::<u8>(array)?;
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
    let bytes = entry(archive, name)?;
    let (array, shape) = parse(&bytes)?;
    ensure!(
        matches!(shape[..], [_] | [_, 1]),
        "labels are [n] or [n, 1], not {shape:?}"
    );
    match kind(&array)? {
        (TypeChar::Uint, 1) => narrow(read::<u8>(array)?),
        (TypeChar::Uint, 2) => narrow(read::<u16>(array)?),
        (TypeChar::Uint, 4) => narrow(read::<u32>(array)?),
        (TypeChar::Uint, 8) => narrow(read::<u64>(array)?),
        (TypeChar::Int, 1) => narrow(read::<i8>(array)?),
        (TypeChar::Int, 2) => narrow(read::<i16>(array)?),
        (TypeChar::Int, 4) => narrow(read::<i32>(array)?),
        (TypeChar::Int, 8) => narrow(read::<i64>(array)?),
        _ => bail!("labels are integers, not {}", array.dtype().descr()),
    }
}

fn narrow<T: TryInto<u16> + Copy + Display>(values: Vec<T>) -> Result<Vec<u16>> {
    let label = |(i, &value): (usize, &T)| {
        let label = value.try_into().ok();
        label.with_context(|| format!("label {value} at index {i} is not in 0..=65535"))
    };
    values.iter().enumerate().map(label).collect()
}

fn kind<R: Read>(array: &NpyFile<R>) -> Result<(TypeChar, u64)> {
    match array.dtype() {
        DType::Plain(plain) => Ok((plain.type_char(), plain.size_field())),
        other => bail!("is structured: {}", other.descr()),
    }
}

fn read<T: npyz::Deserialize>(array: NpyFile<&[u8]>) -> Result<Vec<T>> {
    array.into_vec().context("cannot be read")
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

    #[test]
    fn labels_may_be_integers_of_any_width() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("set.npz");
        fn one<T: npyz::AutoSerialize + Clone>(path: &Path, values: &[T]) -> Result<Vec<u16>> {
            let mut npz = NpzWriter::create(path).unwrap();
            array(&mut npz, "y", &[values.len() as u64], values);
            drop(npz);
            labels(&mut NpzArchive::open(path).unwrap(), "y")
        }
        assert_eq!(one(&path, &[1u8, 2]).unwrap(), [1, 2]);
        assert_eq!(one(&path, &[1u16, 2]).unwrap(), [1, 2]);
        assert_eq!(one(&path, &[1u32, 2]).unwrap(), [1, 2]);
        assert_eq!(one(&path, &[1u64, 2]).unwrap(), [1, 2]);
        assert_eq!(one(&path, &[1i8, 2]).unwrap(), [1, 2]);
        assert_eq!(one(&path, &[1i16, 2]).unwrap(), [1, 2]);
        assert_eq!(one(&path, &[1i32, 2]).unwrap(), [1, 2]);
        let message = one(&path, &[1u64, u64::MAX]).unwrap_err().to_string();
        assert_eq!(message, "label 18446744073709551615 at index 1 is not in 0..=65535");
        let message = one(&path, &[1.0f32]).unwrap_err().to_string();
        assert!(message.starts_with("labels are integers, not "), "{message}");
    }

    #[test]
    fn a_changed_byte_and_a_wrong_length_are_named() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("set.npz");
        let mut npz = NpzWriter::create(&path).unwrap();
        // Numbers that do not compress, so that the middle of the file is in their midst.
        let noise: Vec<u8> = (0..4000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        array(&mut npz, "y", &[4000], &noise);
        drop(npz);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let message = format!("{:#}", labels(&mut NpzArchive::open(&path).unwrap(), "y").unwrap_err());
        assert!(
            message.starts_with("is damaged: cannot read on from offset "),
            "{message}"
        );

        // The header of 4000 elements with another number of them.
        bytes[middle] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let whole = entry(&mut NpzArchive::open(&path).unwrap(), "y").unwrap();
        let message = |bytes: &[u8]| parse(bytes).err().unwrap().to_string();
        let header = whole.len() - 4000;
        let short = message(&whole[..whole.len() - 5]);
        let (ends, end) = (whole.len() - 5, whole.len());
        assert_eq!(
            short,
            format!("is damaged: ends at offset {ends} within its elements, [4000] of 1 bytes, which end at {end}")
        );
        assert_eq!(
            message(&[&whole[..], &[0; 2]].concat()),
            format!("is damaged: 2 bytes too many at offset {}", header + 4000)
        );
    }
}
