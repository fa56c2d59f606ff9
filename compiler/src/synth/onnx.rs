//! A line as an ONNX file that every runtime reads: integer weights behind `DequantizeLinear`, 8-bit activations as
//! `QuantizeLinear` and `DequantizeLinear`, binary ones as `Where(x >= 0, 1, -1)`, ternary ones as `Round(Clip(x, -1, 1))`.

use super::{Activations, Form, HEAD, Layer, Spec, TAIL, Weights};
use crate::bake::onnx::{Attribute, Builder};
use crate::random::SplitMix64;
use tract_onnx::pb::tensor_proto::DataType;

/// What a step of 8-bit activations stands for. Sums have a standard deviation near 1, so that values spread over the whole
/// range and a few of them saturate.
const STEP: f32 = 1.0 / 40.0;

/// The file's bytes.
///
/// # Panics
/// If the layers do not fit one another; those of a parsed line do.
pub fn onnx(spec: &Spec, form: Form) -> Vec<u8> {
    let shapes = spec.shapes().expect("layers that fit");
    let mut net = Net {
        m: Builder::default(),
        spec,
        random: SplitMix64(spec.seed),
        at: String::new(),
    };
    net.m.graph.name = spec.to_string();
    net.image();
    let mut flat = spec.sample.len() == 1;
    match (form, spec.activations) {
        // Behind the image a rectifier is no layer.
        (Form::Layers, Activations::Float) if !flat => net.conv(HEAD, spec.sample[0], None, [1, 1, 0]),
        (Form::Network, _) | (_, Activations::Float) => {}
        (Form::Layers, _) => net.quantizer(HEAD),
    }
    let mut numbers = [0; 3];
    for (i, layer) in spec.layers.iter().enumerate() {
        let [convs, pools, denses] = &mut numbers;
        let (kind, number) = match layer {
            Layer::Conv { .. } => ("conv", convs),
            Layer::MaxPool(_) => ("pool", pools),
            Layer::Dense(_) => ("fc", denses),
        };
        *number += 1;
        let name = format!("{kind}{number}");
        let channels = shapes[i][0];
        match *layer {
            Layer::Conv {
                outputs,
                kernel,
                stride,
                pad,
            } => net.conv(&name, channels, outputs, [kernel, stride, pad]),
            Layer::MaxPool(size) => net.max_pool(&name, size),
            Layer::Dense(outputs) => {
                net.dense(&name, shapes[i].iter().product(), outputs, &mut flat);
            }
        }
        let last = i + 1 == spec.layers.len();
        // A pool stands before the quantizer where that is a sign, behind it where it has steps; both are what trainers write.
        let waits =
            spec.activations == Activations::Binary && matches!(spec.layers.get(i + 1), Some(Layer::MaxPool(_)));
        let done = spec.activations != Activations::Binary && matches!(layer, Layer::MaxPool(_));
        if !(waits || done || last && form == Form::Network) {
            net.quantizer(&name);
        }
    }
    let mut outputs = shapes[spec.layers.len()];
    if form == Form::Layers {
        let channels = outputs[0];
        match flat {
            true => net.dense(TAIL, channels, 1, &mut flat),
            false => net.conv(TAIL, channels, Some(1), [1, 1, 0]),
        }
        outputs[0] = 1;
    }
    let scores = net.at;
    let result: Vec<Option<usize>> = match flat {
        true => vec![None, Some(outputs[0])],
        false => [None].into_iter().chain(outputs.map(Some)).collect(),
    };
    net.m.output(&scores, DataType::Float, &result);
    net.m.encode()
}

struct Net<'a> {
    m: Builder,
    spec: &'a Spec,
    random: SplitMix64,
    /// Name of the tensor that the next node reads.
    at: String,
}

impl Net<'_> {
    /// Adds a node that reads the last result, and then `further`.
    fn node(&mut self, op: &str, name: &str, further: &[&str], attributes: &[(&str, Attribute)]) {
        let inputs: Vec<&str> = [&*self.at].into_iter().chain(further.iter().copied()).collect();
        self.at = self.m.node(op, name, &inputs, &format!("{name}.out"), attributes);
    }

    /// A byte per element: of both signs where activations have both. A float where they are.
    fn image(&mut self) {
        let batch = [None].into_iter();
        let shape: Vec<_> = batch.chain(self.spec.sample.iter().copied().map(Some)).collect();
        let dtype = match self.spec.activations {
            Activations::Uint8 => DataType::Uint8,
            Activations::Int8 | Activations::Ternary | Activations::Binary => DataType::Int8,
            Activations::Float => DataType::Float,
        };
        self.m.input("image", dtype, &shape);
        self.at = "image".into();
        if dtype == DataType::Float {
            return;
        }
        // Bytes at random have a standard deviation of 74.
        self.m.floats("image.scale", &[], &[1.0 / 74.0]);
        self.m.initializer("image.zero", dtype, &[], vec![0]);
        self.node(
            "DequantizeLinear",
            "image.dequantize",
            &["image.scale", "image.zero"],
            &[],
        );
    }

    fn quantizer(&mut self, layer: &str) {
        if let Activations::Uint8 | Activations::Float = self.spec.activations {
            self.node("Relu", &format!("{layer}.relu"), &[], &[]);
        }
        let dtype = match self.spec.activations {
            Activations::Binary => return self.sign(layer),
            Activations::Ternary => return self.round(layer),
            Activations::Int8 => DataType::Int8,
            Activations::Uint8 => DataType::Uint8,
            Activations::Float => return,
        };
        self.m.floats("step", &[], &[STEP]);
        self.m.initializer("step.zero", dtype, &[], vec![0]);
        self.node(
            "QuantizeLinear",
            &format!("{layer}.quantize"),
            &["step", "step.zero"],
            &[],
        );
        self.node(
            "DequantizeLinear",
            &format!("{layer}.dequantize"),
            &["step", "step.zero"],
            &[],
        );
    }

    fn sign(&mut self, layer: &str) {
        for (name, value) in [("zero", 0.0), ("one", 1.0), ("minus_one", -1.0)] {
            self.m.floats(name, &[], &[value]);
        }
        self.node("GreaterOrEqual", &format!("{layer}.compare"), &["zero"], &[]);
        self.node("Where", &format!("{layer}.sign"), &["one", "minus_one"], &[]);
    }

    fn round(&mut self, layer: &str) {
        for (name, value) in [("one", 1.0), ("minus_one", -1.0)] {
            self.m.floats(name, &[], &[value]);
        }
        self.node("Clip", &format!("{layer}.clip"), &["minus_one", "one"], &[]);
        self.node("Round", &format!("{layer}.round"), &[], &[]);
    }

    fn conv(&mut self, name: &str, channels: usize, outputs: Option<usize>, [kernel, stride, pad]: [usize; 3]) {
        let (outputs, groups) = outputs.map_or((channels, channels), |n| (n, 1));
        let weights = self.weights(name, &[outputs, channels / groups, kernel, kernel]);
        let both = |n: usize| vec![n as i64; 2];
        let attributes = [
            ("kernel_shape", Attribute::Ints(both(kernel))),
            ("strides", Attribute::Ints(both(stride))),
            ("pads", Attribute::Ints([both(pad), both(pad)].concat())),
            ("group", Attribute::Int(groups as i64)),
        ];
        self.node("Conv", name, &weights.each_ref().map(String::as_str), &attributes);
    }

    fn dense(&mut self, name: &str, inputs: usize, outputs: usize, flat: &mut bool) {
        if !std::mem::replace(flat, true) {
            self.node(
                "Flatten",
                &format!("{name}.flatten"),
                &[],
                &[("axis", Attribute::Int(1))],
            );
        }
        let weights = self.weights(name, &[outputs, inputs]);
        let transposed = [("transB", Attribute::Int(1))];
        self.node("Gemm", name, &weights.each_ref().map(String::as_str), &transposed);
    }

    fn max_pool(&mut self, name: &str, size: usize) {
        let both = Attribute::Ints(vec![size as i64; 2]);
        self.node(
            "MaxPool",
            name,
            &[],
            &[("kernel_shape", both.clone()), ("strides", both)],
        );
    }

    /// Weights of this shape and a bias per output; the names of both tensors.
    fn weights(&mut self, layer: &str, shape: &[usize]) -> [String; 2] {
        let (outputs, taps) = (shape[0], shape[1..].iter().product::<usize>());
        let zeros = match self.spec.weights {
            Weights::Binary => 0,
            Weights::Ternary => outputs * taps * usize::from(self.spec.zeros) / 100,
        };
        let mut codes: Vec<i8> = (0..outputs * taps)
            .map(|i| match self.random.next() & 1 {
                _ if i < zeros => 0,
                0 => -1,
                _ => 1,
            })
            .collect();
        for i in (1..codes.len()).rev() {
            codes.swap(i, self.random.below(i + 1));
        }
        let live = (outputs * taps - zeros).max(1) as f32 / outputs as f32;
        let scale: Vec<f32> = (0..outputs)
            .map(|_| (1.0 + self.random.unit() / 4.0) / live.sqrt())
            .collect();
        let bias: Vec<f32> = (0..outputs).map(|_| self.random.unit() / 4.0).collect();
        let [code, step, zero, weight, bias_name] =
            ["code", "scale", "zero", "weight", "bias"].map(|part| format!("{layer}.{part}"));
        let bytes = codes.iter().map(|c| *c as u8).collect();
        self.m.initializer(&code, DataType::Int8, shape, bytes);
        self.m.floats(&step, &[outputs], &scale);
        self.m.initializer(&zero, DataType::Int8, &[outputs], vec![0; outputs]);
        self.m.node(
            "DequantizeLinear",
            &format!("{weight}.dequantize"),
            &[&code, &step, &zero],
            &weight,
            &[("axis", Attribute::Int(0))],
        );
        self.m.floats(&bias_name, &[outputs], &bias);
        [weight, bias_name]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{Class, inspect};
    use crate::{import, passes};
    use std::path::Path;

    fn layers(line: &str, form: Form) -> (import::Model, Vec<String>) {
        let bytes = onnx(&line.parse().unwrap(), form);
        let model = import::from_bytes(&bytes, Path::new("synth.onnx")).unwrap_or_else(|e| panic!("{line}: {e:#?}"));
        let fused = passes::run(model.graph.clone(), &mut |_, _| {}).unwrap_or_else(|e| panic!("{line}: {e:#?}"));
        let names = fused
            .order()
            .into_iter()
            .map(|id| fused.node(id).name.clone())
            .collect();
        (model, names)
    }

    #[test]
    fn every_kind_compiles_to_the_layers_that_were_asked_for() {
        for weights in ["binary", "ternary"] {
            for activations in ["binary", "ternary", "int8", "uint8", "float"] {
                let line = format!("3x12x12 8C3-MP2-16C3s2-DW3-32FC-10FC w={weights} x={activations}");
                let (model, _) = layers(&line, Form::Network);
                let found = inspect(&model);
                let names: Vec<&str> = found.layers.iter().map(|l| &*l.name).collect();
                assert_eq!(names, ["conv1", "conv2", "conv3", "fc1", "fc2"], "{line}");
                for layer in &found.layers {
                    match &layer.weights {
                        Class::Binary { .. } => assert_eq!(weights, "binary"),
                        Class::Ternary { zeros, .. } => assert!((zeros - 0.5).abs() < 0.01, "{line}: {zeros}"),
                        other => panic!("{line}: {other}"),
                    }
                }
            }
        }
    }

    #[test]
    fn layers_alone_stand_between_a_quantizer_and_a_score() {
        for activations in ["binary", "ternary", "int8", "uint8", "float"] {
            let (model, names) = layers(&format!("64x6x6 32C3 x={activations}"), Form::Layers);
            let all = inspect(&model).layers;
            let layer = all.iter().find(|l| l.name == "conv1").expect("a layer");
            let reads = match activations {
                "binary" => "sign",
                "ternary" => "int8",
                "float" => "float32",
                quantised => quantised,
            };
            assert_eq!((&*layer.reads, &*layer.yields), (reads, reads));
            assert_eq!(names.len(), 5, "{names:?}");
            assert!(names[1].starts_with(HEAD), "{names:?}");
            assert_eq!(names[2], "conv1");
            assert_eq!(names[3], TAIL);
        }
    }

    #[test]
    fn the_same_line_gives_the_same_bytes() {
        let spec: Spec = "16 8FC".parse().unwrap();
        assert_eq!(onnx(&spec, Form::Network), onnx(&spec, Form::Network));
        let other: Spec = "16 8FC seed=1".parse().unwrap();
        assert_ne!(onnx(&spec, Form::Network), onnx(&other, Form::Network));
    }
}
