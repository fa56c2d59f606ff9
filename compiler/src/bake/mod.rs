//! `sqc bake`: the folded network as an ONNX file in standard operators, which every runtime reads the same way.

pub mod onnx;

use crate::diag::{Code, Diag, Result};
use crate::import::Model;
use crate::ir::{Elem, Geometry, Graph, NodeId, Op, Ty, WeightData, Weights, Window};
use onnx::{Attribute, Builder};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use tract_onnx::pb::tensor_proto::DataType;

/// Writes `model`, as it was imported, to `path`: opset 13, quantised weights as int8 with DequantizeLinear, signs as
/// GreaterOrEqual and Where (ONNX's Sign of 0 is 0).
///
/// # Errors
/// [`Code::WriteOutput`]; then what was at `path` before is still there.
pub fn bake(model: &Model, path: &Path) -> Result<()> {
    let bytes = encode(model);
    let failed = |e: std::io::Error| Vec::from(Diag::new(Code::WriteOutput, e.kind().to_string()).file(path));
    let dir = path
        .parent()
        .filter(|d| !d.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let part = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    std::fs::write(part.path(), bytes).map_err(failed)?;
    part.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

/// The bytes of that file.
pub fn encode(model: &Model) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.file.metadata = model.metadata.clone();
    writer.file.graph.name = model.name.clone();
    for id in model.graph.order() {
        writer.add(model, id);
    }
    writer.file.encode()
}

#[derive(Default)]
struct Writer {
    file: Builder,
    /// The tensor that carries each node's value.
    tensors: HashMap<NodeId, String>,
    /// Names of nodes so far; a model may give one name twice.
    names: HashSet<String>,
}

impl Writer {
    fn add(&mut self, model: &Model, id: NodeId) {
        let g = &model.graph;
        let ty = &g.node(id).ty;
        let Some(&operand) = g.operands(id).first() else {
            self.file.input(&model.input, dtype(ty.elem), &extents(ty));
            self.tensors.insert(id, model.input.clone());
            return;
        };
        let x = self.tensors[&operand].clone();
        if g.node(id).op == Op::Output {
            if x != model.output {
                self.file
                    .node("Identity", &self.unique("output"), &[&x], &model.output, &[]);
            }
            self.file.output(&model.output, dtype(ty.elem), &extents(ty));
            return;
        }
        let name = self.unique(&g.node(id).name);
        let is_result = g.users(id).iter().any(|user| g.node(*user).op == Op::Output);
        let out = if is_result {
            model.output.clone()
        } else {
            format!("{name}.out")
        };
        let tensor = self.operation(g, id, &name, &x, &g.node(operand).ty, &out);
        self.names.insert(name);
        self.tensors.insert(id, tensor);
    }

    fn unique(&self, name: &str) -> String {
        let numbered = (2..).map(|i| format!("{name}.{i}"));
        let free = std::iter::once(name.to_owned())
            .chain(numbered)
            .find(|n| !self.names.contains(n));
        free.unwrap_or_default() // the numbers do not run out
    }

    /// Adds the nodes for one operation on the tensor `x` of type `ty`; returns the tensor of the result: `out`, or `x` itself
    /// where nothing is to be done.
    fn operation(&mut self, g: &Graph, id: NodeId, name: &str, x: &str, ty: &Ty, out: &str) -> String {
        let file = &mut self.file;
        match &g.node(id).op {
            Op::Input | Op::Output | Op::FromSign => x.to_owned(),
            Op::Dequantize { scale, zero_point } => {
                let inputs = quantizer(file, name, x, *scale, *zero_point, ty.elem);
                file.node("DequantizeLinear", name, &refs(&inputs), out, &[])
            }
            Op::Quantize { scale, zero_point } => {
                let inputs = quantizer(file, name, x, *scale, *zero_point, g.node(id).ty.elem);
                file.node("QuantizeLinear", name, &refs(&inputs), out, &[])
            }
            Op::Conv { weights, geom, bias } => {
                let inputs = product(file, name, x, weights, &weights.shape, bias.as_deref());
                file.node("Conv", name, &refs(&inputs), out, &conv_attributes(weights, geom))
            }
            Op::Dense { weights, bias } => {
                let inputs = product(file, name, x, weights, &weights.shape[..2], bias.as_deref());
                file.node("Gemm", name, &refs(&inputs), out, &[("transB", Attribute::Int(1))])
            }
            Op::BatchNorm {
                scale,
                bias,
                mean,
                variance,
                epsilon,
            } => {
                let parameters = [("scale", scale), ("bias", bias), ("mean", mean), ("variance", variance)];
                let names = parameters.map(|(part, p)| file.floats(&format!("{name}.{part}"), &[p.len()], p));
                let inputs = [x, &names[0], &names[1], &names[2], &names[3]];
                file.node(
                    "BatchNormalization",
                    name,
                    &inputs,
                    out,
                    &[("epsilon", Attribute::Float(*epsilon))],
                )
            }
            Op::Affine { mul, div, add } => {
                // Per channel of a map: [C, 1, 1] against [N, C, H, W].
                let dims = |n: usize| {
                    if n > 1 && ty.shape.len() == 3 {
                        vec![n, 1, 1]
                    } else {
                        vec![n]
                    }
                };
                let mut step = |op: &str, part: &str, x: &str, values: &[f32], out: &str| {
                    let values = file.floats(&format!("{name}.{part}"), &dims(values.len()), values);
                    file.node(op, &format!("{name}.{op}"), &[x, &values], out, &[])
                };
                let product = step("Mul", "mul", x, mul, &format!("{name}.product"));
                let quotient = step("Div", "div", &product, div, &format!("{name}.quotient"));
                step("Add", "add", &quotient, add, out)
            }
            Op::Relu => file.node("Relu", name, &[x], out, &[]),
            Op::Clip { lo, hi } => {
                let bounds = [("min", *lo), ("max", *hi)];
                let [lo, hi] = bounds.map(|(part, v)| file.floats(&format!("{name}.{part}"), &[], &[v]));
                file.node("Clip", name, &[x, &lo, &hi], out, &[])
            }
            Op::Sign => {
                let levels = [("zero", 0.0), ("one", 1.0), ("minus_one", -1.0)];
                let [zero, one, minus_one] = levels.map(|(n, v)| file.floats(&format!("sign.{n}"), &[], &[v]));
                let condition = format!("{name}.condition");
                file.node("GreaterOrEqual", &condition, &[x, &zero], &condition, &[]);
                file.node("Where", name, &[&condition, &one, &minus_one], out, &[])
            }
            Op::Flatten => file.node("Flatten", name, &[x], out, &[("axis", Attribute::Int(1))]),
            Op::MaxPool(window) => file.node("MaxPool", name, &[x], out, &pool_attributes(window)),
            Op::AveragePool(window) => {
                let mut attributes = pool_attributes(window).to_vec();
                attributes.push(("count_include_pad", Attribute::Int(1)));
                file.node("AveragePool", name, &[x], out, &attributes)
            }
            Op::Add => {
                let both = g.operands(id);
                file.node("Add", name, &[x, &self.tensors[&both[1]]], out, &[])
            }
            Op::Linear { .. } | Op::Join(_) => unreachable!("an imported graph holds no fused operation"),
        }
    }
}

/// The inputs of QuantizeLinear or DequantizeLinear with one scale and a zero point of type `elem`.
fn quantizer(file: &mut Builder, name: &str, x: &str, scale: f32, zero_point: i32, elem: Elem) -> Vec<String> {
    let scale = file.floats(&format!("{name}.scale"), &[], &[scale]);
    let zero = file.initializer(&format!("{name}.zero_point"), dtype(elem), &[], vec![zero_point as u8]);
    vec![x.to_owned(), scale, zero]
}

/// The inputs of Conv or Gemm: `x`, the weights as `f32`, the bias if there is one.
fn product(file: &mut Builder, layer: &str, x: &str, w: &Weights, dims: &[usize], bias: Option<&[f32]>) -> Vec<String> {
    let weights = match &w.data {
        WeightData::Float(values) => file.floats(&format!("{layer}.weight"), dims, values),
        WeightData::Coded { codes, scale, .. } => {
            let bytes = codes.iter().map(|c| *c as u8).collect();
            let codes = file.initializer(&format!("{layer}.weight"), DataType::Int8, dims, bytes);
            let alike = scale.windows(2).all(|pair| pair[0] == pair[1]);
            let (scale, scale_dims) = if alike {
                (&scale[..1], vec![])
            } else {
                (&scale[..], vec![scale.len()])
            };
            let step = file.floats(&format!("{layer}.weight_scale"), &scale_dims, scale);
            let zeros = vec![0; scale.len()];
            let zero = file.initializer(
                &format!("{layer}.weight_zero_point"),
                DataType::Int8,
                &scale_dims,
                zeros,
            );
            let node = format!("{layer}.weight.dequantize");
            let axis = [("axis", Attribute::Int(0))];
            file.node(
                "DequantizeLinear",
                &node,
                &[&codes, &step, &zero],
                &format!("{layer}.weight.f32"),
                &axis,
            )
        }
    };
    let bias = bias.map(|b| file.floats(&format!("{layer}.bias"), &[b.len()], b));
    [x.to_owned(), weights].into_iter().chain(bias).collect()
}

fn conv_attributes(weights: &Weights, geom: &Geometry) -> [(&'static str, Attribute); 5] {
    let [_, _, rows, columns] = weights.shape;
    [
        ("dilations", ints(&geom.dilation)),
        ("group", Attribute::Int(geom.groups as i64)),
        ("kernel_shape", ints(&[rows, columns])),
        ("pads", ints(&geom.pads)),
        ("strides", ints(&geom.stride)),
    ]
}

fn pool_attributes(window: &Window) -> [(&'static str, Attribute); 3] {
    [
        ("kernel_shape", ints(&window.size)),
        ("pads", ints(&window.pads)),
        ("strides", ints(&window.stride)),
    ]
}

fn ints(values: &[usize]) -> Attribute {
    Attribute::Ints(values.iter().map(|v| *v as i64).collect())
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn dtype(elem: Elem) -> DataType {
    match elem {
        Elem::U8 => DataType::Uint8,
        Elem::I8 => DataType::Int8,
        Elem::I32 => DataType::Int32,
        Elem::Real | Elem::Sign | Elem::F32 => DataType::Float,
    }
}

/// With the batch in front.
fn extents(ty: &Ty) -> Vec<Option<usize>> {
    std::iter::once(None)
        .chain(ty.shape.iter().copied().map(Some))
        .collect()
}
