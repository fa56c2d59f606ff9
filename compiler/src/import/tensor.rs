//! Constant tensors of a file: decoded with every length checked.

use super::external;
use crate::diag::{Code, Diag};
use std::path::Path;
use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

/// A constant tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Const {
    /// Extents; empty for a scalar.
    pub dims: Vec<usize>,
    /// Row-major values.
    pub data: Data,
    /// Set on `f32` values that are `code * scale`: what they were made of.
    pub codes: Option<Codes>,
}

/// Values by element type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    F32(Vec<f32>),
    U8(Vec<u8>),
    I8(Vec<i8>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
}

/// Integers with a scale per tensor, or per index of one axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Codes {
    /// Zero point already taken off.
    pub values: Vec<i32>,
    /// One, or as many as the axis is long.
    pub scale: Vec<f32>,
    /// The axis that `scale` runs along.
    pub axis: usize,
}

impl Const {
    /// A tensor of `f32`.
    pub fn f32(dims: Vec<usize>, values: Vec<f32>) -> Self {
        Const {
            dims,
            data: Data::F32(values),
            codes: None,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::F32(v) => v.len(),
            Data::U8(v) => v.len(),
            Data::I8(v) => v.len(),
            Data::I32(v) => v.len(),
            Data::I64(v) => v.len(),
            Data::Bool(v) => v.len(),
        }
    }

    /// The values, if they are `f32`.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The values of an 8-bit or 32-bit integer tensor.
    pub fn as_integers(&self) -> Option<Vec<i32>> {
        match &self.data {
            Data::U8(v) => Some(v.iter().map(|&x| i32::from(x)).collect()),
            Data::I8(v) => Some(v.iter().map(|&x| i32::from(x)).collect()),
            Data::I32(v) => Some(v.clone()),
            _ => None,
        }
    }

    /// Name of the element type.
    pub fn type_name(&self) -> &'static str {
        match &self.data {
            Data::F32(_) => "float32",
            Data::U8(_) => "uint8",
            Data::I8(_) => "int8",
            Data::I32(_) => "int32",
            Data::I64(_) => "int64",
            Data::Bool(_) => "bool",
        }
    }
}

/// Number of elements of a shape that a file claims; absent if negative or absurd.
pub(super) fn element_count(dims: &[i64]) -> Option<(Vec<usize>, usize)> {
    let dims: Vec<usize> = dims.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<_>>()?;
    let count = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    Some((dims, count))
}

/// Reads the data of tensors that lie in other files into the message.
pub(super) fn inline_external(t: &mut TensorProto, model: &Path) -> Result<(), Diag> {
    if t.data_location == Some(1) {
        t.raw_data = external::read(&t.external_data, model).map_err(|d| d.tensor(&t.name))?;
        t.data_location = None;
        t.external_data.clear();
    }
    Ok(())
}

/// Decodes a tensor. Nothing is allocated beyond what the file really holds.
pub(super) fn decode(t: &TensorProto) -> Result<Const, Diag> {
    let bad = |found: String| Diag::new(Code::BadInitializer, found).tensor(&t.name);
    let (dims, count) = element_count(&t.dims).ok_or_else(|| bad(format!("has the dimensions {:?}", t.dims)))?;
    let kind = DataType::try_from(t.data_type).unwrap_or(DataType::Undefined);
    if t.segment.is_some() {
        return Err(bad("is split into segments".into()));
    }
    let raw = &t.raw_data;
    let bytes = |size: usize| {
        if count.checked_mul(size) == Some(raw.len()) {
            Ok(raw.chunks_exact(size))
        } else {
            Err(bad(format!(
                "holds {} bytes for {count} elements of {size} bytes",
                raw.len()
            )))
        }
    };
    let length = |held: usize| {
        if held == count {
            Ok(())
        } else {
            Err(bad(format!("holds {held} values for the dimensions {:?}", t.dims)))
        }
    };
    let narrow = |range: std::ops::RangeInclusive<i32>| {
        length(t.int32_data.len())?;
        match t.int32_data.iter().find(|x| !range.contains(x)) {
            Some(x) => Err(bad(format!("holds {x}, outside its element type"))),
            None => Ok(()),
        }
    };
    let packed = !raw.is_empty();
    let data = match kind {
        DataType::Float if packed => Data::F32(
            bytes(4)?
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
        ),
        DataType::Float => {
            length(t.float_data.len())?;
            Data::F32(t.float_data.clone())
        }
        DataType::Uint8 if packed => Data::U8(bytes(1)?.map(|b| b[0]).collect()),
        DataType::Uint8 => {
            narrow(0..=255)?;
            Data::U8(t.int32_data.iter().map(|&x| x as u8).collect())
        }
        DataType::Int8 if packed => Data::I8(bytes(1)?.map(|b| b[0] as i8).collect()),
        DataType::Int8 => {
            narrow(-128..=127)?;
            Data::I8(t.int32_data.iter().map(|&x| x as i8).collect())
        }
        DataType::Int32 if packed => Data::I32(
            bytes(4)?
                .map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
        ),
        DataType::Int32 => {
            length(t.int32_data.len())?;
            Data::I32(t.int32_data.clone())
        }
        DataType::Int64 if packed => {
            let word = |b: &[u8]| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
            Data::I64(bytes(8)?.map(word).collect())
        }
        DataType::Int64 => {
            length(t.int64_data.len())?;
            Data::I64(t.int64_data.clone())
        }
        DataType::Bool if packed => Data::Bool(bytes(1)?.map(|b| b[0] != 0).collect()),
        DataType::Bool => {
            length(t.int32_data.len())?;
            Data::Bool(t.int32_data.iter().map(|&x| x != 0).collect())
        }
        other => {
            let found = format!("has the element type {} ({})", other.as_str_name(), t.data_type);
            return Err(Diag::new(Code::UnsupportedType, found).tensor(&t.name));
        }
    };
    if let Data::F32(values) = &data
        && let Some(at) = values.iter().position(|v| !v.is_finite())
    {
        let found = format!("element {at} is {}", values[at]);
        return Err(Diag::new(Code::NotFinite, found).tensor(&t.name));
    }
    Ok(Const {
        dims,
        data,
        codes: None,
    })
}
