//! A backend's float tensor with operators: the framework's type that has them hides its backend.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, get_device_settings};
use burn::tensor::{BoolDType, FloatDType, Shape};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A float tensor of backend `B`. Operators go element by element; a side of length 1 stretches.
pub struct Array<B: Backend>(pub FloatTensor<B>);

impl<B: Backend> Clone for Array<B> {
    fn clone(&self) -> Self {
        Array(self.0.clone())
    }
}

impl<B: Backend> Array<B> {
    /// A tensor of zeros like this one.
    pub fn zeros(&self) -> Self {
        Array(B::float_zeros(self.0.shape(), &self.0.device(), FloatDType::F32))
    }

    /// The same elements in another shape.
    pub fn reshape(self, shape: impl Into<Shape>) -> Self {
        Array(B::float_reshape(self.0, shape.into()))
    }

    /// Magnitudes.
    pub fn abs(self) -> Self {
        Array(B::float_abs(self.0))
    }

    /// 1, 0 or -1.
    pub fn sign(self) -> Self {
        Array(B::float_sign(self.0))
    }

    /// Square roots.
    pub fn sqrt(self) -> Self {
        Array(B::float_sqrt(self.0))
    }

    /// Inverses.
    pub fn recip(self) -> Self {
        Array(B::float_recip(self.0))
    }

    /// The nearest integers, halves to even.
    pub fn round(self) -> Self {
        Array(B::float_round(self.0))
    }

    /// The greater of each element and `low`.
    pub fn at_least(self, low: f32) -> Self {
        Array(B::float_clamp_min(self.0, low.into()))
    }

    /// Elements brought into an interval.
    pub fn clamp(self, low: f32, high: f32) -> Self {
        Array(B::float_clamp(self.0, low.into(), high.into()))
    }

    /// Sum of all elements, `[1]`.
    pub fn sum(self) -> Self {
        Array(B::float_sum(self.0)).reshape([1])
    }

    /// Sum of every row of a matrix, `[rows, 1]`. A matrix of one row is summed whole, for which backends have a parallel
    /// reduction.
    pub fn row_sums(self) -> Self {
        match self.0.shape()[0] {
            1 => self.sum().reshape([1, 1]),
            _ => Array(B::float_sum_dim(self.0, 1)),
        }
    }

    /// Greatest element of every row of a matrix, `[rows, 1]`.
    pub fn row_maxima(self) -> Self {
        Array(B::float_max_dim(self.0, 1))
    }

    /// 1 where `self < other`, else 0.
    pub fn less(self, other: Self) -> Self {
        let dtype = self.bools();
        Array(B::bool_into_float(
            B::float_lower(self.0, other.0, dtype),
            FloatDType::F32,
        ))
    }

    /// 1 where `self <= other`, else 0.
    pub fn less_equal(self, other: Self) -> Self {
        let dtype = self.bools();
        let mask = B::float_lower_equal(self.0, other.0, dtype);
        Array(B::bool_into_float(mask, FloatDType::F32))
    }

    /// 1 where `self < value`, else 0.
    pub fn below(self, value: f32) -> Self {
        let dtype = self.bools();
        let mask = B::float_lower_elem(self.0, value.into(), dtype);
        Array(B::bool_into_float(mask, FloatDType::F32))
    }

    /// 1 for 0 and 0 for 1.
    pub fn not(self) -> Self {
        -self + 1.0
    }

    /// How the device stores truth values.
    fn bools(&self) -> BoolDType {
        get_device_settings::<B>(&self.0.device()).bool_dtype
    }
}

macro_rules! operator {
    ($operator:ident, $method:ident, $array:ident, $scalar:ident) => {
        impl<B: Backend> $operator for Array<B> {
            type Output = Array<B>;
            fn $method(self, other: Array<B>) -> Array<B> {
                Array(B::$array(self.0, other.0))
            }
        }
        impl<B: Backend> $operator<f32> for Array<B> {
            type Output = Array<B>;
            fn $method(self, other: f32) -> Array<B> {
                Array(B::$scalar(self.0, other.into()))
            }
        }
    };
}

operator!(Add, add, float_add, float_add_scalar);
operator!(Sub, sub, float_sub, float_sub_scalar);
operator!(Mul, mul, float_mul, float_mul_scalar);
operator!(Div, div, float_div, float_div_scalar);

impl<B: Backend> Neg for Array<B> {
    type Output = Array<B>;
    fn neg(self) -> Array<B> {
        Array(B::float_neg(self.0))
    }
}
