//! Samples to run a network on: an MNIST-like data set, or images made up here.
//!
//! A data set is a directory with `t10k-images-idx3-ubyte` and, if known, `t10k-labels-idx1-ubyte`, each plain or with
//! `.gz`: the test half of [MNIST](https://yann.lecun.com/exdb/mnist/) as it is published. It may lie in a directory `mnist`
//! of the given one, as `sq-train` has it. One file of images will do.

use crate::diag::{Code, Diag, Result};
use crate::ir::{Elem, Ty};
use crate::random::SplitMix64;
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Samples for a network's input.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// The samples one after the other: little-endian elements, row-major.
    pub bytes: Vec<u8>,
    /// Size of one sample.
    pub size: usize,
    /// What each one shows, if the set says so.
    pub labels: Option<Vec<u8>>,
    /// Where they come from, in a few words.
    pub source: String,
}

impl Samples {
    /// How many.
    pub fn count(&self) -> usize {
        self.bytes.len() / self.size
    }

    /// One of them.
    pub fn get(&self, i: usize) -> &[u8] {
        &self.bytes[i * self.size..][..self.size]
    }
}

/// The first `limit` samples of the set at `path` (a directory, or one idx file of images) for an input of type `ty`.
///
/// # Errors
/// [`Code::MissingData`], [`Code::BadData`] for a file that is not what its header says, [`Code::DataMismatch`] for images
/// that do not fit the input.
pub fn load(path: &Path, ty: &Ty, limit: usize) -> Result<Samples> {
    let (images, labels) = if path.is_dir() {
        let nested = path.join("mnist");
        let set = [path, &nested]
            .into_iter()
            .find_map(|dir| Some((find(dir, "t10k-images-idx3-ubyte")?, dir)));
        let Some((images, dir)) = set else {
            let found = "no `t10k-images-idx3-ubyte` or `t10k-images-idx3-ubyte.gz`, nor in a directory `mnist`";
            return Err(Diag::new(Code::MissingData, found).file(path).into());
        };
        (images, find(dir, "t10k-labels-idx1-ubyte"))
    } else {
        (path.to_owned(), None)
    };
    let mismatch = |found: String| Diag::new(Code::DataMismatch, found).file(&images);
    let set = Idx::read(&images)?;
    if ty.elem != Elem::U8 {
        return Err(mismatch(format!("images of bytes, but the input is {ty}")).into());
    }
    let (count, extents) = set.dims.split_first().map_or((0, &[][..]), |(n, rest)| (*n, rest));
    let size = extents.iter().product::<usize>();
    if size != ty.len() || count == 0 {
        return Err(mismatch(format!("{count} images of {extents:?}, but the input is {ty}")).into());
    }
    let labels = match labels {
        None => None,
        Some(file) => {
            let labels = Idx::read(&file)?;
            if labels.dims != [count] {
                let found = format!("labels {:?} for {count} images", labels.dims);
                return Err(Diag::new(Code::DataMismatch, found).file(file).into());
            }
            Some(labels.data)
        }
    };
    let used = count.min(limit);
    Ok(Samples {
        bytes: set.data[..used * size].to_vec(),
        size,
        labels: labels.map(|l| l[..used].to_vec()),
        source: format!("{used} of {count} images from {}", images.display()),
    })
}

/// Where the data set lies by default: `$SQ_DATA_DIR`, if that holds MNIST's files, or `mnist` in it, if that is a directory.
pub fn default_dir() -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os("SQ_DATA_DIR")?);
    let here = std::fs::read_dir(&dir).into_iter().flatten().flatten();
    let images = |name: std::ffi::OsString| name.to_string_lossy().starts_with("t10k-images");
    match here.map(|entry| entry.file_name()).any(images) {
        true => Some(dir),
        false => Some(dir.join("mnist")).filter(|dir| dir.is_dir()),
    }
}

/// `count` made-up samples for an input of type `ty`, the same on every machine and in every version.
///
/// Sample `i` shows a few overlapping rectangles on an empty ground, drawn with [SplitMix64](https://prng.di.unimi.it/splitmix64.c)
/// seeded by `i`: strokes and empty spaces, as in a digit, so that every layer sees both small and large sums. One sample in
/// eight is noise over the whole range instead, which reaches the extremes.
pub fn synthetic(ty: &Ty, count: usize) -> Samples {
    let bytes: Vec<u8> = (0..count as u64).flat_map(|i| one_synthetic(ty, i)).collect();
    Samples {
        size: bytes.len() / count.max(1),
        bytes,
        labels: None,
        source: format!("{count} synthetic samples"),
    }
}

fn one_synthetic(ty: &Ty, seed: u64) -> Vec<u8> {
    let mut rng = SplitMix64(seed);
    let [channels, rows, columns] = ty.chw();
    let mut plane = vec![0u8; channels * rows * columns];
    if seed % 8 == 7 {
        plane.iter_mut().for_each(|p| *p = rng.next() as u8);
    } else {
        for map in plane.chunks_mut(rows * columns) {
            for _ in 0..6 {
                let (top, left) = (rng.below(rows), rng.below(columns));
                let (height, width) = (1 + rng.below(rows.div_ceil(3)), 1 + rng.below(columns.div_ceil(3)));
                let ink = rng.next() as u8;
                for row in map.chunks_mut(columns).skip(top).take(height) {
                    row.iter_mut().skip(left).take(width).for_each(|p| *p = ink);
                }
            }
        }
    }
    match ty.elem {
        Elem::U8 => plane,
        // The same picture around 0.
        Elem::I8 => plane.iter().map(|p| p ^ 0x80).collect(),
        Elem::Sign => plane.iter().map(|p| if *p >= 128 { 1 } else { 0xff }).collect(),
        Elem::I32 => plane.iter().flat_map(|p| (i32::from(*p) - 128).to_le_bytes()).collect(),
        // Eighths in -16..16: sums of a few of them are exact in any order.
        Elem::Real | Elem::F32 => plane
            .iter()
            .flat_map(|p| ((*p as f32 - 128.0) / 8.0).to_le_bytes())
            .collect(),
    }
}

fn find(dir: &Path, stem: &str) -> Option<PathBuf> {
    [dir.join(stem), dir.join(format!("{stem}.gz"))]
        .into_iter()
        .find(|p| p.is_file())
}

/// An idx file of bytes: 0, 0, the element type (8: unsigned byte), the number of dimensions, each dimension as a big-endian
/// `u32`, then the elements.
struct Idx {
    dims: Vec<usize>,
    data: Vec<u8>,
}

/// More than any image set that is used to verify a network; a damaged gzip stream can claim anything.
const MAX_BYTES: u64 = 1 << 30;

impl Idx {
    fn read(path: &Path) -> Result<Idx> {
        let missing = |e: std::io::Error| Diag::new(Code::MissingData, e.to_string()).file(path);
        let damaged = |found: String| Vec::from(Diag::new(Code::BadData, found).file(path));
        let file = File::open(path).map_err(missing)?;
        let stream: Box<dyn Read> = match path.extension().is_some_and(|e| e == "gz") {
            true => Box::new(GzDecoder::new(file)),
            false => Box::new(file),
        };
        let mut bytes = Vec::new();
        let outcome = stream.take(MAX_BYTES).read_to_end(&mut bytes);
        outcome.map_err(|e| damaged(format!("cannot read on from offset {}: {e}", bytes.len())))?;
        Idx::parse(&bytes).map_err(damaged)
    }

    fn parse(bytes: &[u8]) -> Result<Idx, String> {
        let [0, 0, kind, rank, rest @ ..] = bytes else {
            return Err("not an idx file: it does not start with two zero bytes and a type".into());
        };
        if *kind != 8 {
            return Err(format!(
                "element type {kind:#04x} at offset 2; unsigned bytes (0x08) are read"
            ));
        }
        let Some((dims, data)) = rest.split_at_checked(4 * *rank as usize) else {
            return Err(format!("ends at offset {} within the dimensions", bytes.len()));
        };
        let dims: Vec<usize> = dims
            .chunks_exact(4)
            .map(|d| u32::from_be_bytes([d[0], d[1], d[2], d[3]]) as usize)
            .collect();
        let wanted = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        if wanted != Some(data.len()) {
            return Err(format!(
                "{} bytes of elements, but the header says {dims:?}",
                data.len()
            ));
        }
        Ok(Idx {
            dims,
            data: data.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idx_file_is_read_and_damage_is_named() {
        let good = [0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 7, 9];
        let idx = Idx::parse(&good).unwrap();
        assert_eq!((&idx.dims[..], &idx.data[..]), (&[1, 2][..], &[7, 9][..]));
        let error = |bytes: &[u8]| Idx::parse(bytes).err().unwrap();
        assert_eq!(error(&good[..9]), "ends at offset 9 within the dimensions");
        assert_eq!(error(&good[..13]), "1 bytes of elements, but the header says [1, 2]");
        assert_eq!(
            error(b"\0\0\x0d\0"),
            "element type 0x0d at offset 2; unsigned bytes (0x08) are read"
        );
        assert_eq!(
            error(b"PNG!"),
            "not an idx file: it does not start with two zero bytes and a type"
        );
        let huge = [&[0, 0, 8, 9][..], &[0xff; 36]].concat();
        assert!(error(&huge).starts_with("0 bytes of elements"));
    }

    #[test]
    fn a_set_may_lie_in_a_directory_of_its_name() {
        let temp = tempfile::tempdir().unwrap();
        let set = temp.path().join("mnist");
        std::fs::create_dir(&set).unwrap();
        let ty = Ty::new(Elem::U8, [1, 1, 2]);
        let missing = format!("{:?}", load(temp.path(), &ty, 9).unwrap_err());
        assert!(missing.contains("nor in a directory `mnist`"), "{missing}");
        let images = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 7, 9];
        std::fs::write(set.join("t10k-images-idx3-ubyte"), images).unwrap();
        std::fs::write(set.join("t10k-labels-idx1-ubyte"), [0, 0, 8, 1, 0, 0, 0, 1, 3]).unwrap();
        let samples = load(temp.path(), &ty, 9).unwrap();
        assert_eq!((samples.bytes, samples.labels), (vec![7, 9], Some(vec![3])));
    }

    #[test]
    fn synthetic_samples_are_deterministic_and_differ() {
        let ty = Ty::new(Elem::U8, [1, 28, 28]);
        let samples = synthetic(&ty, 9);
        assert_eq!((samples.count(), samples.size), (9, 784));
        assert_eq!(samples, synthetic(&ty, 9));
        assert_ne!(samples.get(0), samples.get(1));
    }
}
