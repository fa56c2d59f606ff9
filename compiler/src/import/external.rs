//! Tensors that lie in a file beside the model.

use crate::diag::{Code, Diag};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};
use tract_onnx::pb::StringStringEntryProto;

/// Bytes of one tensor. The file must lie in the model's directory, also after links are followed.
pub(super) fn read(entries: &[StringStringEntryProto], model: &Path) -> Result<Vec<u8>, Diag> {
    let bad = |found: String| Diag::new(Code::BadInitializer, found);
    let value = |key: &str| entries.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number = |key: &str| match value(key) {
        None => Ok(None),
        Some(text) => text
            .parse::<u64>()
            .map(Some)
            .map_err(|_| bad(format!("external data has the {key} `{text}`"))),
    };
    let location = value("location").ok_or_else(|| bad("external data names no file".into()))?;
    let relative = Path::new(location);
    if relative
        .components()
        .any(|c| !matches!(c, Component::Normal(_) | Component::CurDir))
    {
        return Err(bad(format!(
            "external data lies outside the model's directory: `{location}`"
        )));
    }
    let directory = match model.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let path = directory.join(relative);
    let fail = |e: std::io::Error| Diag::new(Code::ReadFile, format!("external data: {e}")).file(&path);
    let (home, real) = (
        directory.canonicalize().map_err(fail)?,
        path.canonicalize().map_err(fail)?,
    );
    if !real.starts_with(&home) {
        return Err(bad(format!(
            "external data lies outside the model's directory: `{location}`"
        )));
    }
    let mut file = File::open(&real).map_err(fail)?;
    let held = file.metadata().map_err(fail)?.len();
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.unwrap_or(held.saturating_sub(offset));
    if offset.checked_add(length).is_none_or(|end| end > held) {
        return Err(bad(format!(
            "external data wants bytes {offset}..{offset}+{length} of a file of {held}"
        )));
    }
    file.seek(SeekFrom::Start(offset)).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}
