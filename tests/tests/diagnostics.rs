//! Every error, provoked through the binary, with its whole message. The expectations lie in `diagnostics/`.

use sq_tests::model::{DataType, initializer, node, tiny};
use sq_tests::{binary, committed, expect, root};
use sqc::bake::onnx::{Attribute, Builder, value_info};
use sqc::diag::Code;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with the files of one case; commands run in it.
struct Case {
    name: &'static str,
    dir: tempfile::TempDir,
    path: Option<PathBuf>,
}

impl Case {
    fn new(name: &'static str) -> Case {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        Case { name, dir, path: None }
    }

    /// With `model.onnx`.
    fn model(name: &'static str, model: &Builder) -> Case {
        Case::new(name).file("model.onnx", &model.encode())
    }

    fn file(self, name: &str, bytes: &[u8]) -> Case {
        fs::write(self.dir.path().join(name), bytes).expect("a case's file can be written");
        self
    }

    /// With no tool but those in `path`.
    fn tools(mut self, path: &Path) -> Case {
        self.path = Some(path.to_owned());
        self
    }

    /// Runs `sqc`, which must fail with 1, say what the expectation says, and leave nothing behind.
    fn fails(self, args: &[&str]) {
        let before = entries(self.dir.path());
        let mut command = Command::new(binary::sqc());
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("SQ_DATA_DIR");
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        let output = command.output().expect("sqc runs");
        let message = String::from_utf8(output.stderr).expect("messages are UTF-8");
        let message = without_scratch(&message);
        assert_eq!(output.status.code(), Some(1), "{}: {message}", self.name);
        assert_eq!(
            entries(self.dir.path()),
            before,
            "{}: something is left behind",
            self.name
        );
        expect::file(
            &format!("diagnostics/{}.txt", self.name),
            &format!("$ sqc {}\n{message}", args.join(" ")),
        );
    }
}

/// The message with `SCRATCH` for the directories that `sqc` builds in, whose names are random.
fn without_scratch(message: &str) -> String {
    let mut parts = message.split("/tmp/.tmp");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
        text + "SCRATCH" + &part[end..]
    })
}

/// Everything under a directory.
fn entries(dir: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(dir).expect("a case's directory can be listed") {
        let path = entry.expect("a case's directory can be listed").path();
        if path.is_dir() {
            all.extend(entries(&path));
        }
        all.insert(path);
    }
    all
}

const COMPILE: &[&str] = &["compile", "model.onnx", "--target", "generic", "--out", "out"];

// Files.

#[test]
fn missing_file() {
    Case::new("missing_file").fails(&["inspect", "model.onnx"]);
}

#[test]
fn random_bytes() {
    let noise: Vec<u8> = (0..2000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    Case::new("random_bytes")
        .file("model.onnx", &noise)
        .fails(&["inspect", "model.onnx"]);
}

#[test]
fn empty_file() {
    Case::new("empty_file")
        .file("model.onnx", &[])
        .fails(&["inspect", "model.onnx"]);
}

#[test]
fn truncated_file() {
    let whole = fs::read(committed("lenet5_int8")).expect("the model is there");
    Case::new("truncated_file")
        .file("model.onnx", &whole[..whole.len() / 2])
        .fails(COMPILE);
}

#[test]
fn output_is_a_file() {
    Case::model("output_is_a_file", &tiny())
        .file("out", b"mine")
        .fails(COMPILE);
}

#[test]
fn output_cannot_be_created() {
    // Not even root can write there.
    let args = [
        "compile",
        "model.onnx",
        "--target",
        "generic",
        "--out",
        "/proc/none/out",
    ];
    Case::model("output_cannot_be_created", &tiny()).fails(&args);
}

#[test]
fn output_belongs_to_someone_else() {
    let case = Case::model("output_belongs_to_someone_else", &tiny());
    fs::create_dir(case.dir.path().join("out")).expect("a directory can be made");
    fs::write(case.dir.path().join("out/thesis.tex"), "years of work").expect("a file can be written");
    case.fails(COMPILE);
}

#[test]
fn bake_cannot_write() {
    Case::model("bake_cannot_write", &tiny()).fails(&["bake", "model.onnx", "--out", "none/baked.onnx"]);
}

// The model as a file format.

#[test]
fn unknown_operators() {
    let mut m = tiny();
    m.graph.node[1].op_type = "Einsum".into();
    node(&mut m, "flatten").op_type = "Loop".into();
    Case::model("unknown_operators", &m).fails(&["inspect", "model.onnx"]);
}

#[test]
fn dynamic_shape() {
    let mut m = tiny();
    m.graph.input[0] = value_info("image", DataType::Uint8, &[None, Some(1), None, Some(4)]);
    Case::model("dynamic_shape", &m).fails(COMPILE);
}

#[test]
fn mismatched_shapes() {
    let mut m = tiny();
    initializer(&mut m, "fc.weight").dims = vec![4, 4];
    Case::model("mismatched_shapes", &m).fails(COMPILE);
}

#[test]
fn declared_output_is_another() {
    let mut m = tiny();
    m.graph.output[0] = value_info("scores", DataType::Float, &[None, Some(3)]);
    Case::model("declared_output_is_another", &m).fails(COMPILE);
}

#[test]
fn nan_weight() {
    let mut m = tiny();
    initializer(&mut m, "conv.weight").raw_data[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
    Case::model("nan_weight", &m).fails(COMPILE);
}

#[test]
fn missing_initializer() {
    let mut m = tiny();
    m.graph.initializer.retain(|t| t.name != "fc.bias");
    Case::model("missing_initializer", &m).fails(COMPILE);
}

#[test]
fn short_initializer() {
    let mut m = tiny();
    initializer(&mut m, "fc.weight").raw_data.truncate(60);
    Case::model("short_initializer", &m).fails(COMPILE);
}

#[test]
fn zero_stride() {
    let mut m = tiny();
    let mut other = Builder::default();
    other.node("Conv", "", &[], "", &[("strides", Attribute::Ints(vec![0, 1]))]);
    node(&mut m, "conv")
        .attribute
        .extend(other.graph.node[0].attribute.clone());
    Case::model("zero_stride", &m).fails(COMPILE);
}

#[test]
fn double_weights() {
    let mut m = tiny();
    let bytes = [0.25f64; 16].iter().flat_map(|w| w.to_le_bytes()).collect();
    let weights = initializer(&mut m, "fc.weight");
    (weights.data_type, weights.raw_data) = (DataType::Double as i32, bytes);
    Case::model("double_weights", &m).fails(COMPILE);
}

#[test]
fn cyclic_graph() {
    let mut m = tiny();
    node(&mut m, "conv").input[0] = "act.out".into();
    Case::model("cyclic_graph", &m).fails(COMPILE);
}

#[test]
fn huge_initializer() {
    let mut m = tiny();
    initializer(&mut m, "fc.weight").dims = vec![1 << 40, 1 << 40];
    Case::model("huge_initializer", &m).fails(COMPILE);
}

#[test]
fn huge_image() {
    let mut m = tiny();
    m.graph.input[0] = value_info("image", DataType::Uint8, &[None, Some(1), Some(1 << 30), Some(1 << 30)]);
    Case::model("huge_image", &m).fails(COMPILE);
}

#[test]
fn two_inputs() {
    let mut m = tiny();
    m.input("mask", DataType::Uint8, &[None, Some(1), Some(4), Some(4)]);
    Case::model("two_inputs", &m).fails(COMPILE);
}

#[test]
fn empty_graph() {
    Case::model("empty_graph", &Builder::default()).fails(COMPILE);
}

#[test]
fn external_data_outside_the_directory() {
    let mut m = tiny();
    let weights = initializer(&mut m, "fc.weight");
    weights.raw_data.clear();
    weights.data_location = Some(1);
    let entry = |key: &str, value: &str| tract_onnx::pb::StringStringEntryProto {
        key: key.into(),
        value: value.into(),
    };
    weights.external_data = vec![entry("location", "../../etc/passwd")];
    Case::model("external_data_outside_the_directory", &m).fails(COMPILE);
}

#[test]
fn sign_of_zero() {
    // ONNX's Sign of 0 is 0, a third value; whether it was meant cannot be known.
    let mut m = tiny();
    m.graph.node.retain(|n| n.name != "act.compare");
    let act = node(&mut m, "act");
    (act.op_type, act.input) = ("Sign".into(), vec!["conv.out".into()]);
    Case::model("sign_of_zero", &m).fails(COMPILE);
}

// What the passes cannot do, and what is expected.

#[test]
fn sum_too_large() {
    // 255 * 127 * 70,000 > 2^31; one weight of another magnitude, or the codes would be recognised as binary.
    let mut m = Builder::default();
    m.input("image", DataType::Uint8, &[None, Some(70_000)]);
    m.output("levels", DataType::Int8, &[None, Some(1)]);
    m.floats("scale", &[], &[1.0]);
    m.initializer("zero.u8", DataType::Uint8, &[], vec![0]);
    m.initializer("zero.i8", DataType::Int8, &[], vec![0]);
    m.node(
        "DequantizeLinear",
        "image.dequantize",
        &["image", "scale", "zero.u8"],
        "image.f32",
        &[],
    );
    let mut codes = vec![127; 70_000];
    codes[0] = 1;
    m.initializer("fc.codes", DataType::Int8, &[1, 70_000], codes);
    m.node(
        "DequantizeLinear",
        "fc.dequantize",
        &["fc.codes", "scale", "zero.i8"],
        "fc.weight",
        &[],
    );
    m.node(
        "Gemm",
        "fc",
        &["image.f32", "fc.weight"],
        "fc.out",
        &[("transB", Attribute::Int(1))],
    );
    m.node(
        "QuantizeLinear",
        "quantize",
        &["fc.out", "scale", "zero.i8"],
        "levels",
        &[],
    );
    Case::model("sum_too_large", &m).fails(COMPILE);
}

#[test]
fn no_layer_to_fuse_with() {
    let mut m = tiny();
    m.node("Relu", "early", &["image.f32"], "early.out", &[]);
    let relu = m.graph.node.pop().expect("just added");
    m.graph.node.insert(1, relu);
    node(&mut m, "conv").input[0] = "early.out".into();
    Case::model("no_layer_to_fuse_with", &m).fails(COMPILE);
}

#[test]
fn quantized_float_input() {
    let mut m = tiny();
    m.graph.input.clear();
    m.input("pixels", DataType::Float, &[None, Some(1), Some(4), Some(4)]);
    let scale = &["pixels", "image.scale", "image.zero"];
    m.node("QuantizeLinear", "image.quantize", scale, "image", &[]);
    let quantize = m.graph.node.pop().expect("just added");
    m.graph.node.insert(0, quantize);
    Case::model("quantized_float_input", &m).fails(COMPILE);
}

#[test]
fn not_as_expected() {
    Case::model("not_as_expected", &tiny()).fails(&["inspect", "model.onnx", "--expect", "binary"]);
}

// Plan and target.

#[test]
fn unknown_target() {
    Case::model("unknown_target", &tiny()).fails(&["compile", "model.onnx", "--target", "z80"]);
}

fn lenet(name: &'static str) -> Case {
    Case::new(name).file(
        "lenet5.onnx",
        &fs::read(committed("lenet5_int8")).expect("the model is there"),
    )
}

#[test]
fn ram_budget() {
    lenet("ram_budget").fails(&["compile", "lenet5.onnx", "--target", "cortex-m4", "--ram", "4K"]);
}

#[test]
fn flash_budget() {
    lenet("flash_budget").fails(&["compile", "lenet5.onnx", "--target", "cortex-m4", "--flash", "32K"]);
}

const VERIFY_ON_BOARD: &[&str] = &[
    "verify",
    "model.onnx",
    "--target",
    "cortex-m4",
    "--lang",
    "c",
    "--limit",
    "2",
];

/// Scripts in the place of tools.
fn fake(tools: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    for (name, script) in tools {
        let path = dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script can be written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a script can be made executable");
    }
    dir
}

#[test]
fn missing_tool() {
    let tools = fake(&[]);
    Case::model("missing_tool", &tiny())
        .tools(tools.path())
        .fails(VERIFY_ON_BOARD);
}

#[test]
fn build_fails() {
    let tools = fake(&[("arm-none-eabi-gcc", "echo 'model.c:1: error: out of ideas' >&2; exit 1")]);
    Case::model("build_fails", &tiny())
        .tools(tools.path())
        .fails(VERIFY_ON_BOARD);
}

/// The linker script's assertion, as the linker says it.
#[test]
fn board_too_small() {
    let linker = "case \"$*\" in *-nostartfiles*) echo 'ld: the program exceeds the flash' >&2; exit 1;; esac";
    let tools = fake(&[("arm-none-eabi-gcc", linker)]);
    Case::model("board_too_small", &tiny())
        .tools(tools.path())
        .fails(VERIFY_ON_BOARD);
}

#[test]
fn program_crashes() {
    let tools = fake(&[("arm-none-eabi-gcc", ""), ("qemu-system-arm", "exit 99")]);
    Case::model("program_crashes", &tiny())
        .tools(tools.path())
        .fails(VERIFY_ON_BOARD);
}

#[test]
fn outputs_differ() {
    // Two samples of two scores; and for the search, one sample of four packed words. Zeros are neither.
    let emulator = "printf '\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0' > results.bin";
    let tools = fake(&[("arm-none-eabi-gcc", ""), ("qemu-system-arm", emulator)]);
    Case::model("outputs_differ", &tiny())
        .tools(tools.path())
        .fails(VERIFY_ON_BOARD);
}

// Data sets.

const IDX: &[u8] = &[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 4];

#[test]
fn missing_data_set() {
    Case::model("missing_data_set", &tiny()).fails(&["verify", "model.onnx", "--data", "nowhere"]);
}

#[test]
fn corrupt_data_set() {
    let case = Case::model("corrupt_data_set", &tiny()).file("t10k-images-idx3-ubyte", IDX);
    case.fails(&["verify", "model.onnx", "--data", "."]);
}

#[test]
fn corrupt_gzip() {
    let case = Case::model("corrupt_gzip", &tiny()).file("images.gz", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 99]);
    case.fails(&["verify", "model.onnx", "--data", "images.gz"]);
}

#[test]
fn images_of_another_size() {
    let set = [&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2], &[1, 2, 3, 4][..]].concat();
    let case = Case::model("images_of_another_size", &tiny()).file("images", &set);
    case.fails(&["verify", "model.onnx", "--data", "images"]);
}

// The table.

/// Codes that no input provokes, each with the test that shows it instead.
const ELSEWHERE: &[(Code, &str)] = &[
    (
        Code::Reference,
        "compiler/src/reference.rs: an_unknown_node_is_an_error",
    ),
    (
        Code::ClassesDiffer,
        "compiler/src/verify/tie.rs: only_the_edge_of_a_step_is_a_tie",
    ),
    (Code::Internal, "compiler/src/main.rs: a_panic_is_shown_as_an_error"),
];

#[test]
fn every_code_is_unique_and_shown() {
    let ids: BTreeSet<_> = Code::ALL.iter().map(|c| c.id()).collect();
    assert_eq!(ids.len(), Code::ALL.len(), "two codes share an id");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("diagnostics");
    let shown: String = entries(&dir)
        .iter()
        .map(|p| fs::read_to_string(p).expect("expectations can be read"))
        .collect();
    for code in Code::ALL {
        let place = ELSEWHERE.iter().find(|(c, _)| c == code).map(|(_, place)| place);
        if let Some((file, test)) = place.and_then(|p| p.split_once(": ")) {
            let source = fs::read_to_string(root().join(file)).expect("the test's file is there");
            assert!(source.contains(&format!("fn {test}()")), "{file} has no test `{test}`");
        }
        let elsewhere = place.is_some();
        let here = shown.contains(&format!("error[{}]", code.id()));
        assert!(
            here != elsewhere,
            "{} `{}`: shown here {here}, elsewhere {elsewhere}",
            code.id(),
            code.title()
        );
    }
}

#[test]
fn usage_is_exit_2() {
    for args in [
        &["inspect"][..],
        &["compile", "m.onnx"],
        &["compile", "m.onnx", "--target", "native", "--ram", "lots"],
    ] {
        let output = Command::new(binary::sqc()).args(args).output().expect("sqc runs");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn json_carries_the_errors() {
    let case = Case::model("", &{
        let mut m = tiny();
        m.graph.node[1].op_type = "Einsum".into();
        m
    });
    let model = case.dir.path().join("model.onnx");
    let output = Command::new(binary::sqc())
        .args(["inspect", "--json"])
        .arg(model)
        .output()
        .expect("sqc runs");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the output is JSON");
    assert_eq!(json["errors"][0]["code"], Code::UnsupportedOperator.id());
    assert_eq!(json["errors"][0]["node"], "conv");
}

#[test]
fn the_model_that_the_broken_ones_start_from_is_sound() {
    let case = Case::model("", &tiny());
    let output = Command::new(binary::sqc())
        .args(COMPILE)
        .current_dir(case.dir.path())
        .output()
        .expect("sqc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
