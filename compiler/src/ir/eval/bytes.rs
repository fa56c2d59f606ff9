//! Values as the bytes that cross the edges of the compiler: little-endian elements in logical order.

use super::Tensor;
use crate::ir::Elem;

impl Tensor {
    /// From bytes; a `sign` is read as an `i8`, a real number as a binary32.
    pub fn from_bytes(elem: Elem, bytes: &[u8]) -> Tensor {
        let signed = bytes.iter().map(|b| *b as i8);
        match elem {
            Elem::U8 => Tensor::U8(bytes.to_vec()),
            Elem::I8 => Tensor::I8(signed.collect()),
            Elem::Sign => Tensor::Sign(signed.map(|s| s > 0).collect()),
            Elem::I32 => {
                let (words, _) = bytes.as_chunks();
                Tensor::I32(words.iter().copied().map(i32::from_le_bytes).collect())
            }
            Elem::Real | Elem::F32 => {
                let (words, _) = bytes.as_chunks();
                Tensor::F32(words.iter().copied().map(f32::from_le_bytes).collect())
            }
        }
    }

    /// To bytes; a `sign` is written as an `i8`, -1 or +1.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Tensor::U8(v) => v.clone(),
            Tensor::I8(v) => v.iter().map(|x| *x as u8).collect(),
            Tensor::Sign(v) => v.iter().map(|plus| if *plus { 1 } else { 0xff }).collect(),
            Tensor::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Tensor::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    /// The elements as numbers. None of them is rounded, but for `i32` beyond 24 bits.
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Tensor::U8(v) => v.iter().copied().map(f32::from).collect(),
            Tensor::I8(v) => v.iter().copied().map(f32::from).collect(),
            Tensor::Sign(v) => v.iter().map(|plus| if *plus { 1.0 } else { -1.0 }).collect(),
            Tensor::I32(v) => v.iter().map(|x| *x as f32).collect(),
            Tensor::F32(v) => v.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_there_and_back() {
        let all = [
            (Elem::U8, Tensor::U8(vec![0, 255])),
            (Elem::I8, Tensor::I8(vec![-128, 127])),
            (Elem::Sign, Tensor::Sign(vec![true, false])),
            (Elem::I32, Tensor::I32(vec![-70_000, i32::MAX])),
            (Elem::F32, Tensor::F32(vec![-0.5, f32::MAX])),
        ];
        for (elem, tensor) in all {
            assert_eq!(Tensor::from_bytes(elem, &tensor.to_bytes()), tensor);
        }
    }
}
