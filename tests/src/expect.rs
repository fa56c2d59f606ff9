//! Expectations in files. `SQC_BLESS=1` rewrites those that differ.

use std::fs;
use std::path::Path;

/// Compares `actual` with the file at `path`, relative to `tests/`.
///
/// # Panics
/// If they differ, with both texts and the command that accepts the new one.
pub fn file(path: &str, actual: &str) {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let expected = fs::read_to_string(&full).unwrap_or_default();
    if expected == actual {
        return;
    }
    if std::env::var_os("SQC_BLESS").is_some() {
        fs::create_dir_all(full.parent().expect("a file lies in a directory")).expect("expectations can be written");
        fs::write(&full, actual).expect("expectations can be written");
        return;
    }
    panic!("{path} expects\n{expected}\nbut this is\n{actual}\nrun the test with SQC_BLESS=1 to accept it");
}
