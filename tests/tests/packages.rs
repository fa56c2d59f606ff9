//! What `sqc compile` writes, through the binary: the same files every time, and packages whose own tests pass.

use sq_tests::{MODELS, binary, committed, root};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command that must succeed.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = [output.stdout, output.stderr]
        .map(|t| String::from_utf8_lossy(&t).into_owned())
        .concat();
    assert!(output.status.success(), "{command:?}\n{text}");
    text
}

fn compile(model: &str, out: &Path, flags: &[&str]) {
    let mut command = Command::new(binary::sqc());
    succeed(
        command
            .arg("compile")
            .arg(committed(model))
            .arg("--out")
            .arg(out)
            .args(flags),
    );
}

/// Every file under a directory, with its bytes.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).expect("the package can be listed") {
            let path = entry.expect("the package can be listed").path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    let name = path.strip_prefix(dir).expect("it lies in there").to_owned();
                    all.insert(name, fs::read(&path).expect("the package can be read"));
                }
            }
        }
    }
    all
}

#[test]
fn two_runs_write_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    for model in MODELS {
        for flags in [
            &["--target", "native"][..],
            &["--target", "cortex-m4", "--lang", "c", "--optimize", "speed"],
        ] {
            compile(model, &first, flags);
            compile(model, &second, flags);
            let (first, second) = (contents(&first), contents(&second));
            assert!(first.len() >= 5, "{:?}", first.keys());
            assert!(first == second, "{model} {flags:?}: two runs differ");
        }
    }
}

#[test]
fn a_crate_passes_its_own_tests_with_and_without_the_runtime() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let runtime = root().join("runtime");
    let runtime = runtime.to_str().expect("the path is UTF-8");
    for model in MODELS {
        for flags in [&["--standalone"][..], &["--runtime", runtime]] {
            let out = dir.path().join(model);
            compile(model, &out, &[&["--target", "native"][..], flags].concat());
            let mut cargo = Command::new(env!("CARGO"));
            cargo
                .args(["test", "--offline", "--release", "--quiet"])
                .current_dir(&out);
            cargo
                .env("CARGO_TARGET_DIR", dir.path().join("target"))
                // These replace the flags in the crate's own `.cargo/config.toml`.
                .env("RUSTFLAGS", "-Dwarnings -Ctarget-cpu=native");
            let text = succeed(&mut cargo);
            assert!(text.contains("2 passed"), "{model} {flags:?}: {text}");
        }
    }
}

/// Warnings that the C is free of, and what gcc watches at run time; clang's sanitizers are a package of their own.
const C_FLAGS: [(&str, &str); 2] = [
    (
        "gcc",
        "-Wall -Wextra -Wconversion -Wpedantic -Werror -fsanitize=address,undefined -fno-sanitize-recover=all",
    ),
    ("clang", "-Wall -Wextra -Wconversion -Wpedantic -Werror -O2"),
];

#[test]
fn c_sources_pass_their_own_tests() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    for model in MODELS {
        let out = dir.path().join(model);
        compile(model, &out, &["--target", "native", "--lang", "c"]);
        for (compiler, flags) in C_FLAGS {
            let build = dir.path().join(format!("{model}-{compiler}"));
            let mut cmake = Command::new("cmake");
            cmake.arg("-S").arg(&out).arg("-B").arg(&build);
            succeed(
                cmake
                    .arg(format!("-DCMAKE_C_COMPILER={compiler}"))
                    .arg(format!("-DCMAKE_C_FLAGS={flags}")),
            );
            succeed(Command::new("cmake").arg("--build").arg(&build));
            succeed(
                Command::new("ctest")
                    .arg("--output-on-failure")
                    .arg("--test-dir")
                    .arg(&build),
            );
        }
    }
}

#[test]
fn packages_say_what_compilers_are_to_optimise_for() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    for (goal, cargo, cc) in [("size", "opt-level = \"s\"", "-Os"), ("speed", "opt-level = 3", "-O2")] {
        for (lang, files, wanted) in [
            ("rust", ["Cargo.toml", "README.md"], cargo),
            ("c", ["CMakeLists.txt", "README.md"], cc),
        ] {
            let out = dir.path().join(lang);
            compile(
                MODELS[0],
                &out,
                &["--target", "cortex-m4", "--optimize", goal, "--lang", lang],
            );
            for file in files {
                let text = fs::read_to_string(out.join(file)).expect("the package can be read");
                assert!(text.contains(wanted), "{goal}, {file}: {text}");
            }
        }
    }
}

#[test]
fn a_package_of_ours_is_replaced() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let out = dir.path().join("net");
    compile("lenet5_int8", &out, &["--target", "native", "--standalone"]);
    compile("lenet5_int8", &out, &["--target", "native", "--lang", "c"]);
    let files = contents(&out);
    assert!(files.contains_key(Path::new("lenet5_int8.h")) && !files.contains_key(Path::new("Cargo.toml")));
    assert_eq!(
        fs::read_dir(dir.path()).expect("it can be listed").count(),
        1,
        "nothing lies beside it"
    );
}

#[test]
fn every_form_can_be_dumped() {
    let dump = |form: &str| {
        let mut command = Command::new(binary::sqc());
        let args = ["--target", "generic", "--dump", form];
        succeed(command.arg("compile").arg(committed("lenet5_int8")).args(args))
    };
    let graph = dump("ir");
    assert!(
        graph.starts_with("; import\n") && graph.contains("; fuse_pool\n"),
        "{graph}"
    );
    assert!(dump("plan").contains("conv1"));
    assert!(dump("kir").contains("fc2"));
}
