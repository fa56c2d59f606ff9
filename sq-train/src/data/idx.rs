//! The idx format: bytes 0 and 1 are 0, byte 2 the element type, byte 3 the number of dimensions, then each dimension as a
//! big-endian u32, then the elements. Only unsigned bytes (type 8) are read; a file ending in `.gz` is decompressed.

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::Read;
use std::path::Path;

const UNSIGNED_BYTE: u8 = 8;

/// Contents of an idx file of bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Idx {
    /// Dimensions, outermost first.
    pub dims: Vec<usize>,
    /// Elements, the last dimension fastest.
    pub data: Vec<u8>,
}

/// Bytes before the elements.
pub fn header_len(dimensions: usize) -> usize {
    4 + 4 * dimensions
}

/// Reads the file at `path`.
///
/// # Errors
/// A file that cannot be read or decompressed, is not idx of bytes, or is shorter or longer than its header says; each
/// with the path and the offset in the decompressed data.
pub fn read(path: &Path) -> Result<Idx> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut bytes = Vec::new();
    let outcome = match path.extension().is_some_and(|e| e == "gz") {
        true => GzDecoder::new(file).read_to_end(&mut bytes),
        false => { file }.read_to_end(&mut bytes),
    };
    outcome.with_context(|| format!("{}: cannot read on from offset {}", path.display(), bytes.len()))?;
    parse(&bytes).with_context(|| format!("{} is damaged", path.display()))
}

/// Parses the decompressed bytes of an idx file.
///
/// # Errors
/// Bytes that are not idx of bytes, or shorter or longer than the header says, with the offset.
pub fn parse(bytes: &[u8]) -> Result<Idx> {
    ensure!(
        bytes.len() >= 4,
        "ends at offset {} within the magic number",
        bytes.len()
    );
    ensure!(
        bytes[..2] == [0, 0],
        "not an idx file: bytes {:02x?} at offset 0, expected 00 00",
        &bytes[..2]
    );
    ensure!(
        bytes[2] == UNSIGNED_BYTE,
        "element type {:#04x} at offset 2, expected 0x08 (unsigned byte)",
        bytes[2]
    );
    let start = header_len(bytes[3] as usize);
    ensure!(
        bytes.len() >= start,
        "ends at offset {} within the dimensions, which end at {start}",
        bytes.len()
    );
    let dims: Vec<usize> = bytes[4..start]
        .chunks_exact(4)
        .map(|d| u32::from_be_bytes([d[0], d[1], d[2], d[3]]) as usize)
        .collect();
    let elements = dims
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .context("dimensions at offset 4 overflow")?;
    let found = bytes.len() - start;
    ensure!(
        found >= elements,
        "ends at offset {}: {found} elements of {elements} ({dims:?})",
        bytes.len()
    );
    ensure!(
        found == elements,
        "{} bytes too many at offset {}",
        found - elements,
        start + elements
    );
    Ok(Idx {
        dims,
        data: bytes[start..].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const GOOD: [u8; 14] = [0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 7, 9];

    fn message(bytes: &[u8]) -> String {
        parse(bytes).unwrap_err().to_string()
    }

    #[test]
    fn reads_dimensions_and_elements() {
        assert_eq!(
            parse(&GOOD).unwrap(),
            Idx {
                dims: vec![1, 2],
                data: vec![7, 9]
            }
        );
    }

    #[test]
    fn damage_is_named_with_its_offset() {
        assert_eq!(message(&GOOD[..3]), "ends at offset 3 within the magic number");
        assert_eq!(
            message(&GOOD[..9]),
            "ends at offset 9 within the dimensions, which end at 12"
        );
        assert_eq!(message(&GOOD[..13]), "ends at offset 13: 1 elements of 2 ([1, 2])");
        assert_eq!(
            message(&[&GOOD[..], &[1, 2, 3]].concat()),
            "3 bytes too many at offset 14"
        );
        assert_eq!(
            message(b"PNG!"),
            "not an idx file: bytes [50, 4e] at offset 0, expected 00 00"
        );
        assert_eq!(
            message(&[0, 0, 13, 1, 0, 0, 0, 0]),
            "element type 0x0d at offset 2, expected 0x08 (unsigned byte)"
        );
        let huge = [&[0, 0, 8, 9][..], &[0xff; 36]].concat();
        assert_eq!(message(&huge), "dimensions at offset 4 overflow");
    }

    #[test]
    fn a_file_is_named_whole_or_gzipped_and_cut_short() {
        let dir = tempfile::tempdir().unwrap();
        let gz = dir.path().join("good.gz");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&GOOD).unwrap();
        let packed = encoder.finish().unwrap();
        std::fs::write(&gz, &packed).unwrap();
        assert_eq!(read(&gz).unwrap().data, [7, 9]);

        std::fs::write(&gz, &packed[..packed.len() - 9]).unwrap();
        let message = format!("{:#}", read(&gz).unwrap_err());
        assert!(message.contains("good.gz: cannot read on from offset"), "{message}");

        let plain = dir.path().join("short");
        std::fs::write(&plain, &GOOD[..13]).unwrap();
        let message = format!("{:#}", read(&plain).unwrap_err());
        assert!(message.contains("short is damaged: ends at offset 13"), "{message}");
    }
}
