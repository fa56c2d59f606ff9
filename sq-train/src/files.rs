//! Files that are whole or absent whatever happens while they are written: a kill, a full disk, a loss of power.

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Ends the names of files that are being written; one that was left behind holds nothing that is needed.
const PART: &str = ".part";

/// Makes `bytes` the contents of the file at `path`: written beside it, forced to the disk, renamed into its place.
///
/// # Errors
/// A path that cannot be written; what stood there before still does.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(PART);
    let part = path.with_file_name(name);
    let written = write_through(&part, bytes).and_then(|()| rename(&part, path));
    written.with_context(|| {
        let _ = fs::remove_file(&part); // may not exist; the first error is the one to tell
        format!("cannot write {}", path.display())
    })
}

fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Renames a file or a folder whose contents are on the disk, so that the new name is there too.
///
/// # Errors
/// Those of the system.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder(to.parent().unwrap_or(Path::new(".")))
}

/// Forces to the disk what another library wrote to `path`.
///
/// # Errors
/// A file that cannot be opened or whose contents cannot be written.
pub fn sync(path: &Path) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Forces the names in a folder to the disk, where the system lets a folder be opened.
///
/// # Errors
/// Those of the system.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        true => File::open(folder)?.sync_all(),
        false => Ok(()),
    }
}

/// Writes `value` as JSON, as [`write`] does.
///
/// # Errors
/// A path that cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write(path, serde_json::to_string_pretty(value)?.as_bytes())
}

/// Reads JSON.
///
/// # Errors
/// A file that cannot be read or that holds something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a.json");
        write_json(&path, &[1, 2, 3]).unwrap();
        write_json(&path, &[4]).unwrap();
        assert_eq!(read_json::<Vec<i32>>(&path).unwrap(), [4]);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_named_and_leaves_what_was_there() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("taken");
        fs::create_dir(&folder).unwrap();
        let message = write(&folder, b"x").unwrap_err().to_string();
        assert!(message.starts_with("cannot write ") && folder.is_dir(), "{message}");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn numbers_are_read_as_they_were_written() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("numbers.json");
        // Values that a reader without exact rounding misses by one in the last place.
        let values: Vec<f64> = (1..2000)
            .map(|i| (f64::from(i) * 0.7).exp() / 3.0)
            .filter(|v| v.is_finite())
            .collect();
        write_json(&path, &values).unwrap();
        assert_eq!(read_json::<Vec<f64>>(&path).unwrap(), values);
    }
}
