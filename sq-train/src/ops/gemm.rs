//! A checked front of the `gemm` crate's matrix product.

use gemm::{Parallelism, gemm};

/// A matrix to read: element `(i, j)` is `data[i * row + j * column]`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// Elements.
    pub data: &'a [f32],
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub column: usize,
}

/// A matrix to write, laid out as [`Matrix`].
pub struct MatrixMut<'a> {
    /// Elements.
    pub data: &'a mut [f32],
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub column: usize,
}

/// `c [m, n] = a [m, k] * b [k, n]`, added to `c` where `accumulate`, on the calling thread.
///
/// # Panics
/// If a dimension is 0 or an operand is too short for its strides.
#[allow(unsafe_code)] // the product works on raw pointers; the bounds are checked here, once per product
pub fn product(m: usize, k: usize, n: usize, a: Matrix, b: Matrix, c: MatrixMut, accumulate: bool) {
    assert!(m > 0 && k > 0 && n > 0, "empty matrix product");
    assert!(
        (m - 1) * a.row + (k - 1) * a.column < a.data.len(),
        "left operand too short"
    );
    assert!(
        (k - 1) * b.row + (n - 1) * b.column < b.data.len(),
        "right operand too short"
    );
    assert!((m - 1) * c.row + (n - 1) * c.column < c.data.len(), "result too short");
    assert!(n == 1 || m == 1 || c.row != c.column, "elements of the result overlap");
    // SAFETY: every address that the strides reach lies within its slice by the assertions above; `c` is borrowed
    // mutably, so it overlaps neither operand; all strides are within `isize` as slice lengths are.
    unsafe {
        gemm(
            m,
            n,
            k,
            c.data.as_mut_ptr(),
            c.column as isize,
            c.row as isize,
            accumulate,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_and_accumulation() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [2, 3] by rows
        let b = [1.0, 0.0, 2.0, 1.0, 0.0, 3.0]; // [3, 2] by columns
        let mut c = [10.0; 4];
        let run = |c: &mut [f32], accumulate| {
            let (a, b) = (
                Matrix {
                    data: &a,
                    row: 3,
                    column: 1,
                },
                Matrix {
                    data: &b,
                    row: 1,
                    column: 3,
                },
            );
            product(
                2,
                3,
                2,
                a,
                b,
                MatrixMut {
                    data: c,
                    row: 2,
                    column: 1,
                },
                accumulate,
            );
        };
        run(&mut c, false);
        assert_eq!(c, [7.0, 10.0, 16.0, 22.0]);
        run(&mut c, true);
        assert_eq!(c, [14.0, 20.0, 32.0, 44.0]);
    }

    #[test]
    #[should_panic(expected = "right operand too short")]
    fn short_operand() {
        let one = Matrix {
            data: &[1.0; 3],
            row: 2,
            column: 1,
        };
        product(
            1,
            2,
            2,
            one,
            one,
            MatrixMut {
                data: &mut [0.0; 2],
                row: 2,
                column: 1,
            },
            false,
        );
    }
}
