//! A node's attributes, checked on the way out.

use super::order;
use crate::diag::{Code, Diag};
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto, attribute_proto::AttributeType};

/// The attributes of one node.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a>(pub &'a NodeProto);

impl<'a> Attributes<'a> {
    fn find(&self, name: &str, kind: AttributeType) -> Result<Option<&'a AttributeProto>, Diag> {
        let Some(found) = self.0.attribute.iter().find(|a| a.name == name) else {
            return Ok(None);
        };
        // Old files leave the type out.
        if found.r#type != kind as i32 && found.r#type != AttributeType::Undefined as i32 {
            return Err(self.bad(name, format!("is no {}", kind.as_str_name())));
        }
        Ok(Some(found))
    }

    /// The error of an attribute.
    pub fn bad(&self, name: &str, found: impl std::fmt::Display) -> Diag {
        Diag::new(Code::BadAttribute, format!("`{name}` {found}")).node(order::name(self.0))
    }

    /// An integer.
    pub fn int(&self, name: &str, default: i64) -> Result<i64, Diag> {
        Ok(self.find(name, AttributeType::Int)?.map_or(default, |a| a.i))
    }

    /// A finite number.
    pub fn float(&self, name: &str, default: f32) -> Result<f32, Diag> {
        let value = self.find(name, AttributeType::Float)?.map_or(default, |a| a.f);
        if value.is_finite() {
            Ok(value)
        } else {
            Err(self.bad(name, format!("is {value}")))
        }
    }

    /// A string.
    pub fn string(&self, name: &str, default: &'a str) -> Result<&'a str, Diag> {
        match self.find(name, AttributeType::String)? {
            None => Ok(default),
            Some(a) => std::str::from_utf8(&a.s).map_err(|_| self.bad(name, "is no text")),
        }
    }

    /// A tensor.
    pub fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>, Diag> {
        Ok(self.find(name, AttributeType::Tensor)?.and_then(|a| a.t.as_ref()))
    }

    /// Integers, none if the attribute is absent.
    pub fn ints(&self, name: &str) -> Result<&'a [i64], Diag> {
        Ok(self.find(name, AttributeType::Ints)?.map_or(&[], |a| &a.ints))
    }

    /// `N` extents in a range.
    pub fn extents<const N: usize>(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<Option<[usize; N]>, Diag> {
        let Some(a) = self.find(name, AttributeType::Ints)? else {
            return Ok(None);
        };
        let ints: [i64; N] = a.ints[..]
            .try_into()
            .map_err(|_| self.bad(name, format!("has {} numbers, not {N}", a.ints.len())))?;
        if let Some(out) = ints.iter().find(|i| !range.contains(i)) {
            return Err(self.bad(
                name,
                format!("holds {out}, outside {}..={}", range.start(), range.end()),
            ));
        }
        Ok(Some(ints.map(|i| i as usize)))
    }

    /// Refuses any other value than the one that changes nothing.
    pub fn require(&self, name: &str, wanted: i64) -> Result<(), Diag> {
        match self.int(name, wanted)? {
            value if value == wanted => Ok(()),
            value => Err(self.bad(name, format!("is {value}; only {wanted} is supported"))),
        }
    }
}
