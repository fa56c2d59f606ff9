//! CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009), binary version: records of a label
//! byte and 3072 pixels, `[3, 32, 32]`.

use super::{Dataset, Split, read_file};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];
const SHAPE: [usize; 3] = [3, 32, 32];
const RECORD: usize = 1 + 3 * 32 * 32;

/// Records of each file.
const RECORDS: usize = 10_000;

/// Reads the six files from `directory` or its folder `cifar-10-batches-bin` or `cifar10`.
///
/// # Errors
/// A file that is missing, short, long or damaged, with the offset.
pub fn load(directory: &Path) -> Result<Split> {
    load_records(directory, RECORDS)
}

/// As [`load`], from files of another number of records.
fn load_records(directory: &Path, records: usize) -> Result<Split> {
    let home = find(directory)?;
    let mut train = empty();
    for i in 1..=5 {
        read(&home.join(format!("data_batch_{i}.bin")), records, &mut train)?;
    }
    let mut test = empty();
    read(&home.join("test_batch.bin"), records, &mut test)?;
    Ok(Split {
        train,
        test,
        classes: CLASSES.map(String::from).to_vec(),
    })
}

fn find(directory: &Path) -> Result<PathBuf> {
    let places =
        [".", "cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin"].map(|place| directory.join(place));
    let found = places
        .iter()
        .find(|place| place.join("test_batch.bin").is_file())
        .cloned();
    found.with_context(|| {
        format!(
            "no test_batch.bin in {0}, {0}/cifar-10-batches-bin or {0}/cifar10: unpack CIFAR-10's binary version there",
            directory.display()
        )
    })
}

fn empty() -> Dataset {
    Dataset {
        images: vec![],
        labels: vec![],
        shape: SHAPE,
    }
}

fn read(path: &Path, records: usize, set: &mut Dataset) -> Result<()> {
    let bytes = read_file(path)?;
    for (i, record) in bytes.chunks(RECORD).enumerate() {
        let offset = i * RECORD;
        if record.len() < RECORD {
            bail!(
                "{} is damaged: ends at offset {} within the record that begins at {offset}; records have {RECORD} bytes",
                path.display(),
                bytes.len()
            );
        }
        ensure!(
            (record[0] as usize) < CLASSES.len(),
            "{} is damaged: label {} at offset {offset} is not below {}",
            path.display(),
            record[0],
            CLASSES.len()
        );
        set.labels.push(record[0].into());
        set.images.extend_from_slice(&record[1..]);
    }
    let found = bytes.len() / RECORD;
    ensure!(
        found == records,
        "{} is damaged: ends at offset {} after {found} records; CIFAR-10's files have {records}",
        path.display(),
        bytes.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, labels: &[u8], cut: usize) {
        let mut bytes: Vec<u8> = labels
            .iter()
            .flat_map(|&l| [vec![l], vec![l + 100; RECORD - 1]].concat())
            .collect();
        bytes.truncate(bytes.len() - cut);
        std::fs::write(dir.join(name), bytes).unwrap();
    }

    #[test]
    fn reads_records_in_order_and_names_damage() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("cifar-10-batches-bin");
        std::fs::create_dir(&dir).unwrap();
        (1..=5).for_each(|i| write(&dir, &format!("data_batch_{i}.bin"), &[i, 0], 0));
        write(&dir, "test_batch.bin", &[9, 9], 0);
        let split = load_records(temp.path(), 2).unwrap();
        assert_eq!(split.train.labels, [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
        assert_eq!(split.train.image(2)[3071], 102);
        assert_eq!((split.test.labels[0], &*split.classes[9]), (9, "truck"));

        let message = || load_records(temp.path(), 2).unwrap_err().to_string();
        for labels in [&[][..], &[1], &[1, 2, 3]] {
            write(&dir, "data_batch_3.bin", labels, 0);
            let (offset, count) = (labels.len() * RECORD, labels.len());
            let expected = format!("ends at offset {offset} after {count} records; CIFAR-10's files have 2");
            assert!(message().ends_with(&expected), "{}", message());
        }
        write(&dir, "data_batch_3.bin", &[1, 2], 10);
        assert!(message().ends_with(
            "data_batch_3.bin is damaged: ends at offset 6136 within the record that begins at 3073; records have 3073 bytes"
        ), "{}", message());
        write(&dir, "data_batch_3.bin", &[1, 12], 0);
        assert!(
            message().ends_with("data_batch_3.bin is damaged: label 12 at offset 3073 is not below 10"),
            "{}",
            message()
        );
        std::fs::remove_file(dir.join("data_batch_3.bin")).unwrap();
        assert!(
            message().starts_with("cannot read ") && message().ends_with("data_batch_3.bin"),
            "{}",
            message()
        );
        std::fs::remove_file(dir.join("test_batch.bin")).unwrap();
        assert!(message().starts_with("no test_batch.bin in"), "{}", message());
    }
}
