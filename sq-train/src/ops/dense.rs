//! Dense layers on plain slices, weights `[outputs, inputs]`: matrix products in panels of a fixed size, shared between cores.
//!
//! The framework's matrix product left the second core idle on skinny products (64x8192x1024, burn 0.22.1). Panels do not
//! depend on the number of threads, so neither do results.

use super::gemm::{Matrix, MatrixMut, product};
use rayon::prelude::*;

/// Rows of a panel: at 8192 inputs it is 1 MB, which fits a core's second-level cache.
const PANEL: usize = 32;

/// Sizes of one dense layer.
#[derive(Clone, Copy, Debug)]
pub struct DenseShape {
    /// Samples.
    pub batch: usize,
    /// Values that every sample has.
    pub inputs: usize,
    /// Values that come of it.
    pub outputs: usize,
}

/// `y [batch, outputs] = x [batch, inputs] w^T`.
pub fn forward(s: DenseShape, x: &[f32], w: &[f32]) -> Vec<f32> {
    // y^T [outputs, batch] = w [outputs, inputs] x^T
    let (a, b) = (rows(w, s.inputs), columns(x, s.inputs));
    transposed(&panels(s.outputs, s.inputs, s.batch, a, b), s.outputs, s.batch)
}

/// Gradient of the input, `[batch, inputs]`, from that of the output.
pub fn input_gradient(s: DenseShape, w: &[f32], dy: &[f32]) -> Vec<f32> {
    // dx^T [inputs, batch] = w^T [inputs, outputs] dy^T
    let (a, b) = (columns(w, s.inputs), columns(dy, s.outputs));
    transposed(&panels(s.inputs, s.outputs, s.batch, a, b), s.inputs, s.batch)
}

/// Gradient of the weights, `[outputs, inputs]`, from that of the output.
pub fn weight_gradient(s: DenseShape, x: &[f32], dy: &[f32]) -> Vec<f32> {
    // dw [outputs, inputs] = dy^T [outputs, batch] x
    panels(s.outputs, s.batch, s.inputs, columns(dy, s.outputs), rows(x, s.inputs))
}

/// A matrix by rows of this length.
fn rows(data: &[f32], length: usize) -> Matrix<'_> {
    Matrix {
        data,
        row: length,
        column: 1,
    }
}

/// The transpose of a matrix by rows of this length.
fn columns(data: &[f32], length: usize) -> Matrix<'_> {
    Matrix {
        data,
        row: 1,
        column: length,
    }
}

/// `a [m, k] b [k, n]` by rows, one task a panel of rows.
fn panels(m: usize, k: usize, n: usize, a: Matrix, b: Matrix) -> Vec<f32> {
    let mut c = vec![0.0; m * n];
    c.par_chunks_mut(PANEL * n).enumerate().for_each(|(i, panel)| {
        let a = Matrix {
            data: &a.data[i * PANEL * a.row..],
            ..a
        };
        let out = MatrixMut {
            row: n,
            column: 1,
            data: panel,
        };
        product(PANEL.min(m - i * PANEL), k, n, a, b, out, false);
    });
    c
}

/// `[columns, rows]` of `[rows, columns]`.
fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(rows).enumerate().for_each(|(c, out)| {
        out.iter_mut()
            .enumerate()
            .for_each(|(r, out)| *out = x[r * columns + c]);
    });
    out
}
