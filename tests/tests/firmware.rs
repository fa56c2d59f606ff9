//! The firmware of `tests/firmware`, built with a freshly generated crate, on the emulated boards: its classes and scores are
//! those of the interpreter.

use sq_tests::tools::{require_target, require_tool};
use sq_tests::{binary, committed, root};
use sqc::ir::eval::{self, Tensor};
use sqc::progress::Silent;
use sqc::target::Target;
use sqc::{data, driver, package, plan};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the firmware's Cargo.toml names.
const MODEL: &str = "lenet5_int8";

/// Images that a board classifies; about a second each.
const IMAGES: usize = 10;

/// Where a copy of the firmware for `target` lies. It stays, so that its dependencies are built once.
fn copy(target: &str) -> PathBuf {
    let (from, to) = (
        root().join("tests/firmware"),
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("firmware-{target}")),
    );
    for file in [
        ".cargo/config.toml",
        "Cargo.lock",
        "Cargo.toml",
        "boards/microbit.x",
        "boards/mps2-an386.x",
        "build.rs",
        "src/main.rs",
    ] {
        let path = to.join(file);
        fs::create_dir_all(path.parent().expect("a file lies in a directory")).expect("directories can be made");
        fs::copy(from.join(file), path).expect("the firmware can be copied");
    }
    to
}

/// What the firmware prints.
fn run(directory: &Path, triple: &str) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["run", "--release", "--locked", "--quiet", "--target", triple])
        .current_dir(directory);
    // The workspace's settings are not the firmware's.
    cargo
        .env("CARGO_TARGET_DIR", directory.join("target"))
        .env_remove("RUSTFLAGS");
    let output = cargo.output().expect("cargo runs");
    let text = [output.stdout, output.stderr]
        .map(|t| String::from_utf8_lossy(&t).into_owned())
        .concat();
    assert!(output.status.success(), "{triple}: {text}");
    text
}

/// Class and scores of every image in the firmware's words.
fn parse(text: &str) -> Vec<(usize, Vec<f32>)> {
    let line = |(number, line): (usize, &str)| {
        let line = line.strip_prefix(&format!("image {number}: class ")).expect("a class");
        let (class, scores) = line.split_once(", scores ").expect("scores");
        let scores = scores.split(' ').map(|s| s.parse().expect("a score")).collect();
        (class.parse().expect("a class"), scores)
    };
    text.lines()
        .filter(|l| l.starts_with("image "))
        .enumerate()
        .map(line)
        .collect()
}

fn check(target: &str) {
    let t = Target::load(target).expect("the target is known");
    if !require_target(&t) || !require_tool("timeout") {
        return;
    }
    let triple = t.rust.triple.expect("a board has a triple");
    let directory = copy(target);
    let mut compile = Command::new(binary::sqc());
    compile
        .args(["compile", "--quiet"])
        .arg(committed(MODEL))
        .args(["--target", target]);
    compile.arg("--out").arg(directory.join("gen").join(MODEL));
    compile.arg("--runtime").arg(root().join("runtime"));
    assert!(compile.status().expect("sqc runs").success());

    let images = directory.join("images.bin");
    if images.exists() {
        fs::remove_file(&images).expect("the images of another run can be removed");
    }
    assert_eq!(parse(&run(&directory, &triple)).len(), 3, "the crate's own samples");

    let model = driver::read(&committed(MODEL), None).expect("the model is sound");
    let c = driver::compile(model, target, &plan::Options::default(), &Silent, &mut |_, _, _| ())
        .expect("the model compiles");
    let ty = package::input_ty(&c.graph);
    let samples = match data::default_dir() {
        Some(mnist) => data::load(&mnist, &ty, IMAGES).expect("the data set is sound"),
        None => data::synthetic(&ty, IMAGES),
    };
    fs::write(&images, &samples.bytes).expect("images can be written");
    let want: Vec<_> = (0..IMAGES)
        .map(|i| {
            let scores = eval::eval(&c.graph, &Tensor::from_bytes(ty.elem, samples.get(i))).to_f32();
            let class = (0..scores.len()).fold(0, |best, k| if scores[k] > scores[best] { k } else { best });
            (class, scores)
        })
        .collect();
    // Rust prints the shortest digits that read back as the same f32.
    assert_eq!(parse(&run(&directory, &triple)), want, "{target}, {}", samples.source);
}

#[test]
fn images_are_classified_on_a_cortex_m0() {
    check("cortex-m0");
}

#[test]
fn images_are_classified_on_a_cortex_m4() {
    check("cortex-m4");
}
