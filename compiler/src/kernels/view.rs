//! How a value lies in a buffer.

use crate::ir::{Elem, Ty};
use crate::kir::build::{Builder, idx, int};
use crate::kir::{self, Buf, Expr};

/// Bits of the words that pack signs.
pub const WORD: usize = 32;

/// Order of a map's elements in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Channels outermost: `[c][h][w]`, as callers hand in and get back.
    Planar,
    /// Channels innermost: `[h][w][c]`.
    Interleaved,
    /// Signs, one bit each, +1 as 1, or the bits of ternary values: `[h][w][c / 32][planes]` words; channel c is bit `c % 32`,
    /// unused bits are 0.
    Packed,
}

/// A map in a buffer: its extents, element and order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Channels.
    pub c: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Rows of the map in memory, of which these may be a part.
    pub plane: usize,
    /// What an element is.
    pub elem: Elem,
    /// Bits of a packed element, each in a word of its own: one of a sign, two of a ternary value.
    pub planes: usize,
    /// Order in memory.
    pub layout: Layout,
}

impl View {
    /// A value of this type in this order.
    pub fn new(ty: &Ty, layout: Layout) -> Self {
        let [c, h, w] = ty.chw();
        View {
            c,
            h,
            w,
            plane: h,
            elem: ty.elem,
            planes: 1,
            layout,
        }
    }

    /// The order of values that belong to the arena.
    pub fn inner(ty: &Ty) -> Self {
        Self::new(
            ty,
            if ty.elem == Elem::Sign {
                Layout::Packed
            } else {
                Layout::Interleaved
            },
        )
    }

    /// Words or elements that one pixel takes beside its neighbour.
    pub fn pixel(&self) -> usize {
        match self.layout {
            Layout::Planar => 1,
            Layout::Interleaved => self.c,
            Layout::Packed => self.c.div_ceil(WORD) * self.planes,
        }
    }

    /// The same map, of which only so many rows in a row are there.
    pub fn rows(self, h: usize) -> Self {
        View { h, ..self }
    }

    /// Whether a pixel's channels are neighbours, unpacked.
    pub fn side_by_side(&self) -> bool {
        match self.layout {
            Layout::Planar => self.plane * self.w == 1,
            Layout::Interleaved => true,
            Layout::Packed => false,
        }
    }

    /// Number of words or elements, from the first to the last.
    pub fn elements(&self) -> usize {
        match self.layout {
            Layout::Planar => ((self.c - 1) * self.plane + self.h) * self.w,
            Layout::Interleaved | Layout::Packed => self.h * self.w * self.pixel(),
        }
    }

    /// Type of a word or element.
    pub fn ty(&self) -> kir::Ty {
        match self.elem {
            Elem::U8 => kir::Ty::U8,
            Elem::I8 => kir::Ty::I8,
            Elem::Sign => kir::Ty::U32,
            Elem::I32 => kir::Ty::I32,
            Elem::F32 | Elem::Real => kir::Ty::F32,
        }
    }

    /// Distance between rows.
    pub fn row(&self) -> usize {
        self.w * self.pixel()
    }

    /// The same map of packed ternary values.
    pub fn split(self) -> Self {
        View {
            elem: Elem::Sign,
            planes: 2,
            layout: Layout::Packed,
            ..self
        }
    }

    /// Number of the word that holds one of the bits of the 32 channels `group`.
    pub fn word(&self, group: Expr, plane: usize) -> Expr {
        match self.planes {
            1 => group,
            n => group * idx(n) + idx(plane),
        }
    }

    /// Index of channel (or word) `c` of the pixel in row `y` and column `x`.
    pub fn at(&self, c: Expr, y: Expr, x: Expr) -> Expr {
        let pixel = y * idx(self.row()) + x * idx(self.pixel());
        match self.layout {
            Layout::Planar => pixel + c * idx(self.plane * self.w),
            Layout::Interleaved | Layout::Packed => pixel + c,
        }
    }
}

/// Number of the word that holds bit `at`.
pub fn word(at: Expr) -> Expr {
    at >> idx(WORD.ilog2() as usize)
}

/// Bit `at` of packed words, 1 or 0; `word` is where its word lies.
pub fn bit(b: &Builder, buf: Buf, word: Expr, at: Expr) -> Expr {
    (b.load(buf, word) >> (at & idx(WORD - 1)).cast(kir::Ty::U32)) & int(1, kir::Ty::U32)
}
