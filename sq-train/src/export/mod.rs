//! A trained network as an ONNX file of standard operators (opset 13), checked against the trainer before it is written.
//!
//! * The input `image` is uint8 `[N, channels, rows, columns]`, raw; a DequantizeLinear makes it f32 and is the normalisation,
//!   with one scale and zero point or one per channel.
//! * Quantised weights are int8 initializers, {-1, 0, 1} or -127 to 127, followed by a DequantizeLinear whose scale is the
//!   layer's `mu`, or along axis 0 every output channel's. Float weights are f32 initializers.
//! * Activations: Relu; Relu, QuantizeLinear, DequantizeLinear for int8 (zero point 0); Clip and Round for ternary;
//!   GreaterOrEqual and Where for binary, since ONNX's Sign is 0 at 0.
//! * The output `scores` is f32 `[N, classes]`.

mod card;
mod onnx;

pub use card::{Card, card};

use crate::arch::Window;
use crate::data::Pixels;
use crate::files;
use crate::network::{Function, Network, Stage};
use crate::nn::Net;
use crate::quant::{Depth, Plain};
use crate::reference::Reference;
use crate::train::{self, Config};
use anyhow::{Context, Result, ensure};
use onnx::{Attribute, Graph};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;

/// Images in the check of an exported file.
const CHECK_IMAGES: usize = 64;

/// Tolerance of a score in that check, relative to the largest of its image.
const TOLERANCE: f32 = 1e-3;

/// Images of the check that may leave the tolerance where activations are quantised: two engines' f32 sums differ in the
/// last bits, and a value on the edge between two levels may fall on either side.
const TIES: usize = CHECK_IMAGES / 16;

/// Writes `net`, trained by `config`, to `path` once tract, reading the same bytes, agrees with it.
///
/// # Errors
/// A disagreement, or a path that cannot be written; in both cases `path` is as it was.
pub fn export(net: &Net, config: &Config, card: &Card, path: &Path) -> Result<()> {
    let network = net.network();
    let bytes = encode(&network, &config.pixels, card)?;
    check(net, config, &network, &bytes)
        .context("the exported file does not agree with the trainer; nothing was written")?;
    ensure!(path.file_name().is_some(), "{} names no file", path.display());
    files::write(path, &bytes)
}

/// Runs the file in tract on generated images and compares the scores with the trainer's.
fn check(net: &Net, config: &Config, network: &Network, bytes: &[u8]) -> Result<()> {
    let images = drawings(network.input, CHECK_IMAGES);
    let theirs = Reference::new(bytes, network.input, CHECK_IMAGES)?.scores(&images)?;
    let ours = train::scores(net, config, &images);
    let quantised = |function: &Function| *function != Function::Relu;
    let ties = network
        .steps
        .iter()
        .any(|step| matches!(&step.stage, Stage::Activation(f) if quantised(f)));
    let allowed = if ties { TIES } else { 0 };
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
                rng.random_range(1..=(rows / 3).max(1)),
                rng.random_range(1..=(columns / 3).max(1)),
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
///
/// # Errors
/// A message that protobuf cannot encode.
pub fn encode(network: &Network, pixels: &Pixels, card: &Card) -> Result<Vec<u8>> {
    let mut graph = Graph::default();
    let mut values: Vec<String> = Vec::new();
    for step in &network.steps {
        let inputs: Vec<&str> = step.inputs.iter().map(|&i| values[i].as_str()).collect();
        let value = match &step.stage {
            Stage::Input => add_input(&mut graph, pixels),
            stage => add_stage(&mut graph, &step.name, stage, &inputs),
        };
        values.push(value);
    }
    graph.rename_last_output("scores");
    graph.encode("sq-train", network.input, network.classes, card)
}

/// The normalisation of the raw image; returns the name of its output.
fn add_input(graph: &mut Graph, pixels: &Pixels) -> String {
    let channels = pixels.scale.len();
    let (dims, axis) = match channels {
        1 => (vec![], None),
        _ => (vec![channels], Some(Attribute::int("axis", 1))),
    };
    let scale = graph.floats("image_scale", &dims, &pixels.scale);
    let zero = graph.uint8s("image_zero_point", &dims, &pixels.zero);
    let normalised = graph.node(
        "DequantizeLinear",
        "image.dequantize",
        &["image", &scale, &zero],
        "image.f32",
        axis,
    );
    let Some(step) = pixels.step else {
        return normalised;
    };
    let step = graph.scalar("image_step", step);
    let zero = graph.int8s("image_step_zero_point", &[], &[0]);
    let levels = graph.node(
        "QuantizeLinear",
        "image.quantize",
        &[&normalised, &step, &zero],
        "image.levels",
        [],
    );
    graph.node(
        "DequantizeLinear",
        "image.normalise",
        &[&levels, &step, &zero],
        "image.normalised",
        [],
    )
}

/// Appends one step that reads `inputs`; returns the name of its output.
fn add_stage(graph: &mut Graph, name: &str, stage: &Stage, inputs: &[&str]) -> String {
    let out = &output(name);
    match stage {
        Stage::Input => unreachable!("the first step"),
        Stage::Conv {
            weights,
            bias,
            window,
            groups,
        } => {
            let weight = add_weights(graph, name, weights);
            let bias = add_bias(graph, name, bias);
            let Window { kernel, stride, pad } = *window;
            let attributes = [
                Attribute::ints("dilations", &[1, 1]),
                Attribute::int("group", *groups as i64),
                Attribute::ints("kernel_shape", &[kernel as i64; 2]),
                Attribute::ints("pads", &[pad as i64; 4]),
                Attribute::ints("strides", &[stride as i64; 2]),
            ];
            let inputs: Vec<&str> = [inputs[0], &weight].into_iter().chain(bias.as_deref()).collect();
            graph.node("Conv", name, &inputs, out, attributes)
        }
        Stage::Dense { weights, bias } => {
            let weight = add_weights(graph, name, weights);
            let bias = add_bias(graph, name, bias);
            let inputs: Vec<&str> = [inputs[0], &weight].into_iter().chain(bias.as_deref()).collect();
            graph.node("Gemm", name, &inputs, out, [Attribute::int("transB", 1)])
        }
        Stage::BatchNorm {
            gamma,
            beta,
            mean,
            variance,
            epsilon,
        } => {
            let parameters = [("scale", gamma), ("bias", beta), ("mean", mean), ("variance", variance)];
            let names =
                parameters.map(|(part, values)| graph.floats(&format!("{name}.{part}"), &[values.len()], values));
            let inputs = [inputs[0], &names[0], &names[1], &names[2], &names[3]];
            graph.node(
                "BatchNormalization",
                name,
                &inputs,
                out,
                [Attribute::float("epsilon", *epsilon)],
            )
        }
        Stage::Activation(function) => add_activation(graph, name, *function, inputs[0]),
        Stage::MaxPool { size, stride } => graph.node("MaxPool", name, inputs, out, pool(*size, *stride)),
        Stage::AveragePool { size, stride } => graph.node("AveragePool", name, inputs, out, pool(*size, *stride)),
        Stage::Flatten => graph.node("Flatten", name, inputs, out, [Attribute::int("axis", 1)]),
        Stage::Add => graph.node("Add", name, inputs, out, []),
    }
}

fn pool(size: usize, stride: usize) -> [onnx_protobuf::AttributeProto; 3] {
    [
        Attribute::ints("kernel_shape", &[size as i64; 2]),
        Attribute::ints("pads", &[0; 4]),
        Attribute::ints("strides", &[stride as i64; 2]),
    ]
}

fn add_bias(graph: &mut Graph, layer: &str, bias: &Option<Vec<f32>>) -> Option<String> {
    bias.as_ref()
        .map(|b| graph.floats(&format!("{layer}.bias"), &[b.len()], b))
}

/// Weights; returns their name as f32.
fn add_weights(graph: &mut Graph, layer: &str, weights: &Plain) -> String {
    let name = format!("{layer}.weight");
    if weights.depth == Depth::Float {
        return graph.floats(&name, &weights.dims, &weights.floats);
    }
    let levels = graph.int8s(&name, &weights.dims, &weights.levels);
    let channels = weights.scales.len();
    let (dims, axis) = match channels {
        1 => (vec![], None),
        _ => (vec![channels], Some(Attribute::int("axis", 0))),
    };
    let scale = graph.floats(&format!("{layer}.weight_scale"), &dims, &weights.scales);
    let zero = graph.int8s(&format!("{layer}.weight_zero_point"), &dims, &vec![0; channels]);
    let inputs = [levels.as_str(), &scale, &zero];
    graph.node(
        "DequantizeLinear",
        &format!("{name}.dequantize"),
        &inputs,
        &format!("{name}.f32"),
        axis,
    )
}

fn add_activation(graph: &mut Graph, name: &str, function: Function, input: &str) -> String {
    let out = &output(name);
    match function {
        Function::Relu => graph.node("Relu", name, &[input], out, []),
        Function::Int8 { scale } => {
            let relu = format!("{name}.relu");
            let value = graph.node("Relu", &relu, &[input], &output(&relu), []);
            let scale = graph.scalar(&format!("{name}.scale"), scale);
            let zero = graph.int8s(&format!("{name}.zero_point"), &[], &[0]);
            let levels = format!("{name}.levels");
            let inputs = [value.as_str(), &scale, &zero];
            graph.node("QuantizeLinear", &format!("{name}.quantize"), &inputs, &levels, []);
            let inputs = [levels.as_str(), &scale, &zero];
            graph.node("DequantizeLinear", &format!("{name}.dequantize"), &inputs, out, [])
        }
        Function::Ternary => {
            let (low, high) = (graph.scalar("minus_one", -1.0), graph.scalar("one", 1.0));
            let clip = format!("{name}.clip");
            let value = graph.node("Clip", &clip, &[input, &low, &high], &output(&clip), []);
            graph.node("Round", &format!("{name}.round"), &[&value], out, [])
        }
        Function::Sign => {
            let zero = graph.scalar("zero", 0.0);
            let (one, minus_one) = (graph.scalar("one", 1.0), graph.scalar("minus_one", -1.0));
            let condition = format!("{name}.condition");
            graph.node(
                "GreaterOrEqual",
                &format!("{name}.compare"),
                &[input, &zero],
                &condition,
                [],
            );
            graph.node(
                "Where",
                &format!("{name}.sign"),
                &[&condition, &one, &minus_one],
                out,
                [],
            )
        }
    }
}

fn output(name: &str) -> String {
    format!("{name}.out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_images_can_be_drawn() {
        for shape in [[1, 1, 1], [3, 2, 2], [1, 1, 40]] {
            assert_eq!(drawings(shape, 5).len(), 5 * shape.iter().product::<usize>());
        }
    }
}
