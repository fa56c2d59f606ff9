//! Networks of random weights from a line of text, for benchmarks and tests.
//!
//! The notation is that of the papers, with spaces or `-` between the parts:
//!
//! ```text
//! 3x32x32 128C3-128C3-MP2-256C3-256C3-MP2-512C3-512C3-MP2-1024FC-10FC w=ternary x=int8
//! 64x56x56 64C3 w=binary x=binary
//! ```
//!
//! | part | meaning |
//! |---|---|
//! | `CxHxW`, `N` | the sample: a map of C channels, or a vector; comes first |
//! | `nCk` | convolution to n channels with a k x k kernel and zero padding of k / 2; `s2` behind it: stride 2; `p0`: no padding |
//! | `DWk` | the same for each channel by itself (depthwise) |
//! | `nFC` | dense layer with n outputs |
//! | `MPk` | k x k max-pooling |
//! | `w=` | weights: `binary`, `ternary` (default) |
//! | `x=` | activations: `binary`, `ternary`, `int8` (default), `uint8`, `float` |
//! | `zeros=` | zeros among ternary weights, in percent (default 50) |
//! | `seed=` | other random numbers |
//!
//! The same line gives the same file on every machine.

mod onnx;

pub use onnx::onnx;

use std::fmt;
use std::str::FromStr;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Extents of a sample: `[channels, rows, columns]` or `[features]`.
    pub sample: Vec<usize>,
    /// The layers, in order; at least one.
    pub layers: Vec<Layer>,
    /// What the weights are.
    pub weights: Weights,
    /// What flows between the layers.
    pub activations: Activations,
    /// Zeros among ternary weights, in percent; exact to a weight in every layer.
    pub zeros: u8,
    /// Starts the random numbers.
    pub seed: u64,
}

/// A layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A convolution; `outputs` is absent where each channel has a kernel of its own.
    Conv {
        /// Output channels.
        outputs: Option<usize>,
        /// Rows and columns of the kernel.
        kernel: usize,
        /// Step between windows, both ways.
        stride: usize,
        /// Zeros on each side.
        pad: usize,
    },
    /// A dense layer with this many outputs.
    Dense(usize),
    /// Max-pooling of windows of this size.
    MaxPool(usize),
}

/// What weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// -a or +a.
    Binary,
    /// -a, 0 or +a.
    Ternary,
}

/// What layers read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activations {
    /// -1 or +1: sums are compared with a threshold per channel.
    Binary,
    /// -1, 0 or +1: sums are compared with two thresholds.
    Ternary,
    /// -128..=127: sums are requantised.
    Int8,
    /// 0..=255 behind a rectifier: sums are requantised.
    Uint8,
    /// Floats behind a rectifier.
    Float,
}

/// How much of a network is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The layers, as they stand: the first reads the image, the last yields scores.
    Network,
    /// The layers between a quantizer of the image ([`HEAD`]), for maps of floats a layer, and a layer with one output per pixel
    /// ([`TAIL`]), so that they read and write what they would in the midst of a network.
    Layers,
}

/// Name of what is before [`Form::Layers`].
pub const HEAD: &str = "head";

/// Name of the layer behind [`Form::Layers`].
pub const TAIL: &str = "tail";

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Spec, String> {
        let mut parts = text.split([' ', '-']).filter(|p| !p.is_empty());
        let sample = parts.next().unwrap_or_default();
        let extents: Option<Vec<usize>> = sample.split('x').map(count).collect();
        let Some(extents) = extents.filter(|e| matches!(e.len(), 1 | 3)) else {
            return Err(format!("`{sample}` is no sample; write 3x32x32 or 1024"));
        };
        let mut spec = Spec {
            sample: extents,
            layers: vec![],
            weights: Weights::Ternary,
            activations: Activations::Int8,
            zeros: 50,
            seed: 0,
        };
        for part in parts {
            match part.split_once('=') {
                Some((key, value)) => spec.set(key, value)?,
                None => spec.layers.push(part.parse()?),
            }
        }
        if spec.layers.is_empty() {
            return Err("there is no layer; write for example `64x56x56 64C3`".into());
        }
        spec.shapes()?;
        Ok(spec)
    }
}

fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|n| (1..=1 << 20).contains(n))
}

impl Spec {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let unknown = |values: &str| Err(format!("`{key}={value}`: {key} is {values}"));
        match (key, value) {
            ("w", "binary") => self.weights = Weights::Binary,
            ("w", "ternary") => self.weights = Weights::Ternary,
            ("w", _) => return unknown("binary or ternary"),
            ("x", "binary") => self.activations = Activations::Binary,
            ("x", "ternary") => self.activations = Activations::Ternary,
            ("x", "int8") => self.activations = Activations::Int8,
            ("x", "uint8") => self.activations = Activations::Uint8,
            ("x", "float") => self.activations = Activations::Float,
            ("x", _) => return unknown("binary, ternary, int8, uint8 or float"),
            ("zeros", _) => match value.parse() {
                Ok(percent @ 0..=90) => self.zeros = percent,
                _ => return unknown("0 to 90 percent"),
            },
            ("seed", _) => match value.parse() {
                Ok(seed) => self.seed = seed,
                Err(_) => return unknown("a number"),
            },
            _ => return Err(format!("`{key}` is none of w, x, zeros, seed")),
        }
        Ok(())
    }

    /// `[channels, rows, columns]` of the sample and behind every layer.
    fn shapes(&self) -> Result<Vec<[usize; 3]>, String> {
        let sample = match self.sample[..] {
            [c, h, w] => [c, h, w],
            _ => [self.sample.iter().product(), 1, 1],
        };
        let mut shapes = vec![sample];
        for layer in &self.layers {
            let above = shapes[shapes.len() - 1];
            let below = layer.shape(above);
            let below = below.ok_or_else(|| format!("`{layer}` does not fit a map of {above:?}"))?;
            shapes.push(below);
        }
        Ok(shapes)
    }
}

impl FromStr for Layer {
    type Err = String;

    fn from_str(part: &str) -> Result<Layer, String> {
        let layer = || {
            if let Some(outputs) = part.strip_suffix("FC") {
                return Some(Layer::Dense(count(outputs)?));
            }
            if let Some(size) = part.strip_prefix("MP") {
                return Some(Layer::MaxPool(count(size)?));
            }
            let (outputs, rest) = match part.strip_prefix("DW") {
                Some(rest) => (None, rest),
                None => {
                    let (outputs, rest) = part.split_once('C')?;
                    (Some(count(outputs)?), rest)
                }
            };
            let (rest, pad) = match rest.split_once('p') {
                Some((rest, pad)) => (rest, Some(pad.parse().ok()?)),
                None => (rest, None),
            };
            let (kernel, stride) = match rest.split_once('s') {
                Some((kernel, stride)) => (count(kernel)?, count(stride)?),
                None => (count(rest)?, 1),
            };
            let pad = pad.unwrap_or(kernel / 2);
            (pad < kernel).then_some(Layer::Conv {
                outputs,
                kernel,
                stride,
                pad,
            })
        };
        layer().ok_or_else(|| format!("`{part}` is no layer; write 64C3, 64C3s2, 64C3p0, DW3, MP2 or 10FC"))
    }
}

impl Layer {
    /// What the layer makes of a map of this shape; nothing if it does not fit.
    fn shape(&self, [c, h, w]: [usize; 3]) -> Option<[usize; 3]> {
        let windows = |extent: usize, size: usize, stride: usize| Some(extent.checked_sub(size)? / stride + 1);
        match *self {
            Layer::Conv {
                outputs,
                kernel,
                stride,
                pad,
            } => {
                let rows = windows(h + 2 * pad, kernel, stride)?;
                Some([outputs.unwrap_or(c), rows, windows(w + 2 * pad, kernel, stride)?])
            }
            Layer::Dense(outputs) => Some([outputs, 1, 1]),
            Layer::MaxPool(size) => Some([c, windows(h, size, size)?, windows(w, size, size)?]),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Layer::Dense(outputs) => write!(f, "{outputs}FC"),
            Layer::MaxPool(size) => write!(f, "MP{size}"),
            Layer::Conv {
                outputs,
                kernel,
                stride,
                pad,
            } => {
                match outputs {
                    Some(n) => write!(f, "{n}C{kernel}")?,
                    None => write!(f, "DW{kernel}")?,
                }
                if stride != 1 {
                    write!(f, "s{stride}")?;
                }
                if pad != kernel / 2 {
                    write!(f, "p{pad}")?;
                }
                Ok(())
            }
        }
    }
}

/// The whole line, defaults included.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sample: Vec<String> = self.sample.iter().map(usize::to_string).collect();
        let layers: Vec<String> = self.layers.iter().map(Layer::to_string).collect();
        let weights = match self.weights {
            Weights::Binary => "binary",
            Weights::Ternary => "ternary",
        };
        let activations = match self.activations {
            Activations::Binary => "binary",
            Activations::Ternary => "ternary",
            Activations::Int8 => "int8",
            Activations::Uint8 => "uint8",
            Activations::Float => "float",
        };
        write!(
            f,
            "{} {} w={weights} x={activations}",
            sample.join("x"),
            layers.join("-")
        )?;
        if self.weights == Weights::Ternary && self.zeros != 50 {
            write!(f, " zeros={}", self.zeros)?;
        }
        if self.seed != 0 {
            write!(f, " seed={}", self.seed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back() {
        for (line, whole) in [
            ("64x56x56 64C3 w=binary x=binary", "64x56x56 64C3 w=binary x=binary"),
            ("1024 1024FC", "1024 1024FC w=ternary x=int8"),
            (
                "3x32x32 128C3s2-DW3p0 MP2 10FC x=uint8 zeros=30 seed=7",
                "3x32x32 128C3s2-DW3p0-MP2-10FC w=ternary x=uint8 zeros=30 seed=7",
            ),
        ] {
            let spec: Spec = line.parse().unwrap();
            assert_eq!(spec.to_string(), whole);
            assert_eq!(whole.parse(), Ok(spec));
        }
    }

    #[test]
    fn shapes_follow_the_layers() {
        let spec: Spec = "3x32x32 8C3-MP2-16C5p0-4C3s2-10FC".parse().unwrap();
        let shapes = vec![
            [3, 32, 32],
            [8, 32, 32],
            [8, 16, 16],
            [16, 12, 12],
            [4, 6, 6],
            [10, 1, 1],
        ];
        assert_eq!(spec.shapes(), Ok(shapes));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |line: &str| line.parse::<Spec>().unwrap_err();
        assert_eq!(error(""), "`` is no sample; write 3x32x32 or 1024");
        assert_eq!(error("3x32"), "`3x32` is no sample; write 3x32x32 or 1024");
        assert_eq!(error("16"), "there is no layer; write for example `64x56x56 64C3`");
        assert_eq!(
            error("16 8LSTM"),
            "`8LSTM` is no layer; write 64C3, 64C3s2, 64C3p0, DW3, MP2 or 10FC"
        );
        assert_eq!(error("1x4x4 8C7p0"), "`8C7p0` does not fit a map of [1, 4, 4]");
        assert_eq!(error("16 8FC w=int4"), "`w=int4`: w is binary or ternary");
        assert_eq!(error("16 8FC zeros=95"), "`zeros=95`: zeros is 0 to 90 percent");
        assert_eq!(error("16 8FC depth=2"), "`depth` is none of w, x, zeros, seed");
    }
}
