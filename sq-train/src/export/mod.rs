//! A trained network as an ONNX file of standard operators (opset 13), checked against the trainer before it is written.
//!
//! * The input `image` is uint8 `[N, channels, rows, columns]`; a DequantizeLinear of scale 1/255 makes it f32.
//! * Quantised weights are int8 initializers of {-1, 0, 1}, followed by a DequantizeLinear whose scale is the layer's `mu`.
//! * Activations: Relu; Relu, QuantizeLinear, DequantizeLinear for int8 (zero point 0); GreaterOrEqual and Where for sign,
//!   since ONNX's Sign is 0 at 0. A max-pool stands before the quantizer; it commutes with all three.
//! * The output `scores` is f32 `[N, classes]`.

mod onnx;

use crate::network::{Function, Network, Stage, Weights};
use crate::nn::Net;
use crate::reference::Reference;
use crate::train;
use anyhow::{Context, Result, ensure};
use onnx::{Attribute, Graph};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::path::Path;

/// Factor of a raw pixel; the input's DequantizeLinear has it, and so has the trainer.
pub const INPUT_SCALE: f32 = 1.0 / 255.0;

/// Images in the check of an exported file.
const CHECK_IMAGES: usize = 64;

/// Tolerance of a score in that check, relative to the largest of its image.
const TOLERANCE: f32 = 1e-3;

/// Images of the check that may leave the tolerance where activations are quantised: two engines' f32 sums differ in the
/// last bits, and a value on the edge between two levels may fall on either side.
const TIES: usize = CHECK_IMAGES / 16;

/// The model card: keys of [`sq_runtime::metadata`] with their values.
pub type Card = Vec<(&'static str, String)>;

/// Writes `net` to `path` once tract, reading the same bytes, agrees with it.
///
/// # Errors
/// A disagreement, or a path that cannot be written; in both cases `path` is as it was.
pub fn export(net: &Net, card: &Card, path: &Path) -> Result<()> {
    let network = net.network();
    let bytes = encode(&network, card)?;
    check(net, &network, &bytes).context("the exported file does not agree with the trainer; nothing was written")?;
    let name = path
        .file_name()
        .with_context(|| format!("{} names no file", path.display()))?;
    let part = path.with_file_name(format!("{}.part", name.display()));
    let written = fs::write(&part, &bytes).and_then(|()| fs::rename(&part, path));
    written.with_context(|| {
        let _ = fs::remove_file(&part); // may not exist; the first error is the one to tell
        format!("cannot write {}", path.display())
    })
}

/// Runs the file in tract on generated images and compares the scores with the trainer's.
fn check(net: &Net, network: &Network, bytes: &[u8]) -> Result<()> {
    let images = drawings(network.input, CHECK_IMAGES);
    let theirs = Reference::new(bytes, network.input, CHECK_IMAGES)?.scores(&images)?;
    let ours = train::scores(net, &images, network.input)?;
    let float = |stage: &Stage| !matches!(stage, Stage::Activation { function, .. } if *function != Function::Relu);
    let allowed = if network.stages.iter().all(float) { 0 } else { TIES };
    let off = |(a, b): (&[f32], &[f32])| {
        let largest = a.iter().fold(1.0f32, |m, x| m.max(x.abs()));
        !a.iter().zip(b).all(|(x, y)| (x - y).abs() <= TOLERANCE * largest) // a NaN is off
    };
    let outside = ours
        .chunks(network.classes)
        .zip(theirs.chunks(network.classes))
        .filter(|&pair| off(pair))
        .count();
    ensure!(
        outside <= allowed,
        "tract's scores differ on {outside} of {CHECK_IMAGES} images"
    );
    Ok(())
}

/// Images of a few random rectangles, the same on every call.
fn drawings([channels, rows, columns]: [usize; 3], count: usize) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(0);
    let mut images = vec![0u8; count * channels * rows * columns];
    for plane in images.chunks_mut(rows * columns) {
        for _ in 0..6 {
            let (y, x) = (rng.random_range(0..rows), rng.random_range(0..columns));
            let (height, width, ink) = (
                rng.random_range(1..=rows / 3),
                rng.random_range(1..=columns / 3),
                rng.random(),
            );
            for row in plane.chunks_mut(columns).skip(y).take(height) {
                row.iter_mut().skip(x).take(width).for_each(|pixel| *pixel = ink);
            }
        }
    }
    images
}

/// The bytes of the ONNX file.
pub fn encode(network: &Network, card: &Card) -> Result<Vec<u8>> {
    let mut graph = Graph::default();
    graph.scalar("image_scale", INPUT_SCALE);
    graph.zero_point_u8("image_zero_point");
    graph.node(
        "DequantizeLinear",
        "image.dequantize",
        &["image", "image_scale", "image_zero_point"],
        "image.f32",
        [],
    );
    let mut value = "image.f32".to_string();
    for stage in &network.stages {
        value = add_stage(&mut graph, stage, &value);
    }
    graph.rename_last_output("scores");
    graph.encode("sq-train", network.input, network.classes, card)
}

/// Appends one stage that reads `input`; returns the name of its output.
fn add_stage(graph: &mut Graph, stage: &Stage, input: &str) -> String {
    match stage {
        Stage::Conv { name, weights, pad } => {
            let kernel = weights.dims[2] as i64;
            let weight = add_weights(graph, name, weights);
            let attributes = [
                Attribute::ints("dilations", &[1, 1]),
                Attribute::int("group", 1),
                Attribute::ints("kernel_shape", &[kernel; 2]),
                Attribute::ints("pads", &[*pad as i64; 4]),
                Attribute::ints("strides", &[1, 1]),
            ];
            graph.node("Conv", name, &[input, &weight], &output(name), attributes)
        }
        Stage::BatchNorm {
            name,
            gamma,
            beta,
            mean,
            variance,
            epsilon,
        } => {
            let parameters = [("scale", gamma), ("bias", beta), ("mean", mean), ("variance", variance)];
            let names =
                parameters.map(|(part, values)| graph.floats(&format!("{name}.{part}"), &[values.len()], values));
            let inputs = [input, &names[0], &names[1], &names[2], &names[3]];
            graph.node(
                "BatchNormalization",
                name,
                &inputs,
                &output(name),
                [Attribute::float("epsilon", *epsilon)],
            )
        }
        Stage::Activation { name, pool, function } => add_activation(graph, name, pool.as_deref(), *function, input),
        Stage::Flatten => graph.node(
            "Flatten",
            "flatten",
            &[input],
            "flatten.out",
            [Attribute::int("axis", 1)],
        ),
        Stage::Dense { name, weights, bias } => {
            let weight = add_weights(graph, name, weights);
            let mut inputs = vec![input, &weight];
            let bias = bias
                .as_ref()
                .map(|b| graph.floats(&format!("{name}.bias"), &[b.len()], b));
            inputs.extend(bias.as_deref());
            graph.node("Gemm", name, &inputs, &output(name), [Attribute::int("transB", 1)])
        }
    }
}

/// Int8 levels and their DequantizeLinear; returns the name of the f32 weights.
fn add_weights(graph: &mut Graph, layer: &str, weights: &Weights) -> String {
    let levels = graph.int8s(&format!("{layer}.weight"), &weights.dims, &weights.levels);
    let scale = graph.scalar(&format!("{layer}.weight_scale"), weights.scale);
    let zero = graph.zero_point_i8(&format!("{layer}.weight_zero_point"));
    let inputs = [levels.as_str(), &scale, &zero];
    graph.node(
        "DequantizeLinear",
        &format!("{layer}.weight.dequantize"),
        &inputs,
        &format!("{layer}.weight.f32"),
        [],
    )
}

fn add_activation(graph: &mut Graph, name: &str, pool: Option<&str>, function: Function, input: &str) -> String {
    let mut value = input.to_string();
    if function != Function::Sign {
        let relu = format!("{name}.relu");
        value = graph.node("Relu", &relu, &[&value], &output(&relu), []);
    }
    if let Some(pool) = pool {
        let attributes = [
            Attribute::ints("kernel_shape", &[2, 2]),
            Attribute::ints("pads", &[0; 4]),
            Attribute::ints("strides", &[2, 2]),
        ];
        value = graph.node("MaxPool", pool, &[&value], &output(pool), attributes);
    }
    match function {
        Function::Relu => value,
        Function::Int8 { scale } => {
            let scale = graph.scalar(&format!("{name}.scale"), scale);
            let zero = graph.zero_point_i8(&format!("{name}.zero_point"));
            let levels = format!("{name}.levels");
            let quantize = format!("{name}.quantize");
            graph.node("QuantizeLinear", &quantize, &[&value, &scale, &zero], &levels, []);
            let dequantize = format!("{name}.dequantize");
            graph.node(
                "DequantizeLinear",
                &dequantize,
                &[&levels, &scale, &zero],
                &output(name),
                [],
            )
        }
        Function::Sign => {
            let zero = graph.scalar("zero", 0.0);
            let (one, minus_one) = (graph.scalar("one", 1.0), graph.scalar("minus_one", -1.0));
            let condition = format!("{name}.condition");
            graph.node(
                "GreaterOrEqual",
                &format!("{name}.compare"),
                &[&value, &zero],
                &condition,
                [],
            );
            graph.node(
                "Where",
                &format!("{name}.sign"),
                &[&condition, &one, &minus_one],
                &output(name),
                [],
            )
        }
    }
}

fn output(name: &str) -> String {
    format!("{name}.out")
}
