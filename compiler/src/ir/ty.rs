//! Types of the values that flow along the edges of a [`Graph`](super::Graph).

use std::fmt;

/// What one element of a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elem {
    /// A real number. Only imported graphs hold these: no pass leaves one behind.
    Real,
    /// An integer in 0..=255.
    U8,
    /// An integer in -128..=127.
    I8,
    /// -1 or +1.
    Sign,
    /// An exact sum, within the bounds of the layer that makes it. Only an [`Op::Join`](super::Op::Join) reads it.
    I32,
    /// An IEEE 754 binary32, computed in the order that the operation documents.
    F32,
}

/// Element and logical shape of a value. The batch dimension is not part of it: generated code handles one sample.
///
/// A map is `[channels, height, width]`, a vector is `[features]`. How a value lies in memory is the plan's matter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ty {
    /// What each element is.
    pub elem: Elem,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}

impl Ty {
    /// A type from its parts.
    pub fn new(elem: Elem, shape: impl Into<Vec<usize>>) -> Self {
        Ty {
            elem,
            shape: shape.into(),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `[channels, height, width]`; a vector is a map of one pixel.
    pub fn chw(&self) -> [usize; 3] {
        match self.shape[..] {
            [c, h, w] => [c, h, w],
            _ => [self.len(), 1, 1],
        }
    }
}

impl fmt::Display for Elem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Elem::Real => "real",
            Elem::U8 => "u8",
            Elem::I8 => "i8",
            Elem::Sign => "sign",
            Elem::I32 => "i32",
            Elem::F32 => "f32",
        })
    }
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.elem)?;
        for (i, d) in self.shape.iter().enumerate() {
            if i > 0 {
                f.write_str("x")?;
            }
            write!(f, "{d}")?;
        }
        f.write_str("]")
    }
}
