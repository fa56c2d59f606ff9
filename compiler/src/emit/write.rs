//! Files to disk, whole or not at all.

use super::{Files, REPORT};
use crate::diag::{Code, Diag, Result};
use std::path::{Path, PathBuf};
use std::{fs, io, process};

/// Writes `files` as the directory `dir`. They are written beside it first and then renamed into place, so that `dir` is
/// never half-written. A directory that is there already is replaced if it is empty or carries our report, else refused
/// with [`Code::WriteOutput`]; so is everything that the file system refuses, and then nothing is left behind.
pub fn write(files: &Files, dir: &Path) -> Result<()> {
    let failed = |what: String| Vec::from(Diag::new(Code::WriteOutput, what).file(dir));
    // `a/..` and `.` have no name to put a sibling beside; an absolute path without dots has.
    let target = absolute(dir).map_err(|e| failed(e.to_string()))?;
    if !replaceable(&target).map_err(|e| failed(e.to_string()))? {
        let diag = Diag::new(
            Code::WriteOutput,
            format!("`{}` is there and was not written by sqc", dir.display()),
        );
        return Err(diag.file(dir).help("name a new directory, or remove this one").into());
    }
    let (new, old) = (sibling(&target, "new"), sibling(&target, "old"));
    let done = fill(files, &new).and_then(|()| swap(&new, &old, &target));
    if done.is_err() {
        // Whatever stopped the work is reported; a second failure while tidying up would hide it.
        let _ = fs::remove_dir_all(&new);
    }
    done.map_err(|e| failed(e.to_string()))
}

fn absolute(dir: &Path) -> io::Result<PathBuf> {
    match dir.canonicalize() {
        Ok(path) => Ok(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let path = std::path::absolute(dir)?;
            if path.file_name().is_none() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the directory has no name"));
            }
            Ok(path)
        }
        Err(e) => Err(e),
    }
}

/// Whether nothing is lost when the directory is replaced.
fn replaceable(dir: &Path) -> io::Result<bool> {
    match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e),
        Ok(mut entries) => Ok(entries.next().is_none() || is_ours(&dir.join(REPORT))),
    }
}

fn is_ours(report: &Path) -> bool {
    let json = fs::read(report)
        .ok()
        .and_then(|t| serde_json::from_slice::<serde_json::Value>(&t).ok());
    json.is_some_and(|v| v["generator"] == "sqc")
}

/// A hidden name beside `dir` that no other process uses.
fn sibling(dir: &Path, what: &str) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(".{name}.{what}-{}", process::id()))
}

fn fill(files: &Files, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for (path, text) in &files.0 {
        let path = dir.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    Ok(())
}

/// Puts `new` in the place of `target`; if that fails, `target` is as it was.
fn swap(new: &Path, old: &Path, target: &Path) -> io::Result<()> {
    let replaced = match fs::rename(target, old) {
        Ok(()) => true,
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(e),
    };
    if let Err(e) = fs::rename(new, target) {
        if replaced {
            fs::rename(old, target)?;
        }
        return Err(e);
    }
    if replaced { fs::remove_dir_all(old) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Files {
        let report = r#"{"generator": "sqc"}"#;
        let all = [(REPORT, report), ("src/lib.rs", text)];
        Files(all.map(|(path, text)| (path.to_string(), text.to_string())).into())
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_directory_is_made_and_replaced_whole() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("gen/net");
        write(&files("one"), &out).unwrap();
        fs::write(out.join("stale.rs"), "").unwrap();
        write(&files("two"), &out).unwrap();
        assert_eq!(fs::read_to_string(out.join("src/lib.rs")).unwrap(), "two");
        assert!(!out.join("stale.rs").exists());
        assert_eq!(names(&root.path().join("gen")), ["net"]);
    }

    #[test]
    fn what_is_not_ours_stays() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("home");
        fs::create_dir(&out).unwrap();
        write(&files("empty is fine"), &out).unwrap();
        fs::write(out.join(REPORT), "{}").unwrap();
        let e = write(&files("no"), &out).unwrap_err();
        assert_eq!(e[0].code, Code::WriteOutput);
        assert_eq!(fs::read_to_string(out.join("src/lib.rs")).unwrap(), "empty is fine");
        assert_eq!(names(root.path()), ["home"]);
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        for out in ["file", "file/below"] {
            assert_eq!(
                write(&files(""), &root.path().join(out)).unwrap_err()[0].code,
                Code::WriteOutput
            );
        }
        let mut clash = files("");
        clash
            .0
            .insert("src".into(), "a file where a directory is wanted".into());
        clash.0.insert("src/lib.rs".into(), String::new());
        assert!(write(&clash, &root.path().join("net")).is_err());
        assert_eq!(names(root.path()), ["file"]);
    }
}
