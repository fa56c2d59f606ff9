//! What ARCHITECTURE.md says of the rooms holds: who imports whom, who knows which crate, and that rows have their files.

use sq_tests::root;
use sqc::passes;
use sqc::target::Target;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of the compiler's pipeline, and the rooms that their code, tests aside, may name.
const ROOMS: &[(&str, &[&str])] = &[
    ("diag", &[]),
    ("target", &["diag"]),
    ("ir", &[]),
    ("import", &["diag", "ir"]),
    ("passes", &["diag", "ir"]),
    ("kir", &["diag", "target"]),
    ("kernels", &["ir", "kir", "random", "target"]),
    ("plan", &["diag", "ir", "kernels", "kir", "random", "target"]),
    ("lower", &["ir", "kernels", "kir", "plan"]),
    ("emit", &["diag", "kir", "target"]),
    ("run", &["diag", "emit", "kir", "target"]),
];

/// Crates that some rooms know and no other: files and directories of `compiler/src`.
const CRATES: &[(&str, &[&str])] = &[
    ("petgraph", &["ir/graph.rs"]),
    ("clap", &["main.rs", "cli"]),
    ("tract_onnx", &["import", "reference.rs", "bake", "synth"]),
    ("onnx_protobuf", &[]),
    ("quote", &["emit/rust"]),
];

fn source() -> PathBuf {
    root().join("compiler/src")
}

/// Every Rust file below a file or directory, with its code up to where its tests begin.
fn code(path: &Path) -> Vec<(PathBuf, String)> {
    if path.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path)
            .expect("a directory")
            .map(|e| e.expect("an entry").path())
            .collect();
        entries.sort();
        return entries.iter().flat_map(|p| code(p)).collect();
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !name.ends_with(".rs") || name == "tests.rs" || name == "testing.rs" {
        return vec![];
    }
    let text = fs::read_to_string(path).expect("a source");
    // A module that is a file of its own ends no code.
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    vec![(path.to_owned(), text[..end].to_owned())]
}

/// Whether a line is a comment.
fn comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The rooms that a text names behind `crate::`.
fn named(text: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = text.lines().filter(|l| !comment(l)).collect();
    let text = lines.join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        // `$crate::` and `pub(crate)` are no imports.
        let group = rest.strip_prefix('{').map(|r| &r[..r.find("};").unwrap_or(0)]);
        let mut depth = 0;
        let heads: Vec<String> = match group {
            None => vec![rest.to_owned()],
            Some(group) => group
                .split(|c: char| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    c == ',' && depth == 0
                })
                .map(str::to_owned)
                .collect(),
        };
        let ident = |s: &String| {
            s.trim()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        };
        found.extend(heads.iter().map(ident).filter(|s: &String| !s.is_empty()));
    }
    found
}

#[test]
fn rooms_import_only_what_they_may() {
    for (room, allowed) in ROOMS {
        let place = [source().join(room), source().join(format!("{room}.rs"))];
        let files: Vec<_> = place.iter().filter(|p| p.exists()).flat_map(|p| code(p)).collect();
        assert!(!files.is_empty(), "{room}");
        for (path, text) in files {
            for other in named(&text) {
                let fine = other == *room || allowed.contains(&other.as_str());
                assert!(fine, "{} is in `{room}` and names `{other}`", path.display());
            }
        }
    }
}

#[test]
fn the_search_for_imports_sees_them() {
    let text =
        "use crate::diag::{Code, Diag};\nuse crate::{ir::{Op, Ty}, kir};\n// crate::run\nlet x = crate::emit::write;\n";
    let found: Vec<String> = named(text).into_iter().collect();
    assert_eq!(found, ["diag", "emit", "ir", "kir"]);
}

#[test]
fn crates_are_known_where_they_belong() {
    for (name, rooms) in CRATES {
        let mut used = false;
        for (path, text) in code(&source()) {
            let inside = rooms.iter().any(|room| path.starts_with(source().join(room)));
            let knows = text.lines().any(|l| !comment(l) && l.contains(&format!("{name}::")));
            assert!(!knows || inside, "{} knows {name}", path.display());
            used |= knows;
        }
        assert_eq!(used, !rooms.is_empty(), "{name}");
    }
}

#[test]
fn rows_and_files_agree() {
    let files = |directory: &str, ending: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root().join(directory)).expect("a directory");
        let names = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned());
        names
            .filter_map(|n| n.strip_suffix(ending).map(str::to_owned))
            .collect()
    };
    let targets: BTreeSet<String> = Target::names().map(str::to_owned).collect();
    assert_eq!(targets, files("codegen-templates/targets", ".toml"));
    let rows: BTreeSet<String> = passes::TABLE.iter().map(|row| row.name.to_owned()).collect();
    // What several passes share has no row.
    let shared = ["mod", "tests", "function", "layer", "rewrite", "ties"].map(str::to_owned);
    let passes: BTreeSet<String> = &files("compiler/src/passes", ".rs") - &BTreeSet::from(shared);
    assert_eq!(rows, passes);
}

/// The rooms that ARCHITECTURE.md lists exist.
#[test]
fn the_map_shows_what_is_there() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the map");
    let rooms = text
        .lines()
        .filter_map(|l| l.strip_prefix("| `src/"))
        .filter_map(|l| l.split('`').next());
    let rooms: Vec<&str> = rooms.collect();
    assert!(rooms.len() >= 10, "{rooms:?}");
    for room in rooms {
        assert!(source().join(room).exists(), "src/{room}");
    }
}
