//! Every pass keeps the meaning: random small networks give the same bits before and after.

use proptest::prelude::*;
use sqc::diag::Code;
use sqc::ir::eval::{Tensor, eval};
use sqc::ir::{Depth, Elem, Epilogue, Geometry, Graph, NodeId, Op, Ty, WeightData, Weights, Window, range, verify};
use sqc::passes;
use std::collections::BTreeMap;

/// SplitMix64: the whole network follows from one seed, so that a failure prints as one number.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Between -1 and 1.
    fn real(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// What the constants look like.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Numbers {
    /// Any `f32`: ties are as rare as in trained networks.
    Any,
    /// Small multiples of 1/4: every other sum is a tie.
    Ties,
}

struct Net {
    random: Random,
    numbers: Numbers,
    graph: Graph,
    at: NodeId,
}

impl Net {
    fn number(&mut self, scale: f32) -> f32 {
        match self.numbers {
            Numbers::Any => self.random.real() * scale,
            Numbers::Ties => (self.random.real() * scale * 4.0).round() / 4.0,
        }
    }

    fn positive(&mut self, scale: f32) -> f32 {
        match self.numbers {
            Numbers::Any => (self.random.real().abs() + 0.01) * scale,
            Numbers::Ties => self.random.pick(&[0.25, 0.5, 1.0, 2.0]),
        }
    }

    fn many(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| self.number(scale)).collect()
    }

    fn ty(&self) -> Ty {
        self.graph.node(self.at).ty.clone()
    }

    fn push(&mut self, op: Op, ty: Ty) {
        let name = format!("node{}", self.graph.len());
        self.at = self.graph.add(name, op, ty, &[self.at]);
    }

    fn step(&mut self, op: Op) {
        let ty = Ty::new(Elem::Real, self.ty().shape);
        self.push(op, ty);
    }

    fn weights(&mut self, shape: [usize; 4]) -> Weights {
        let depth = self.random.pick(&[Depth::Binary, Depth::Ternary, Depth::Int8]);
        let count: usize = shape.iter().product();
        let codes = (0..count)
            .map(|_| match depth {
                Depth::Binary => self.random.pick(&[-1, 1]),
                Depth::Ternary => self.random.pick(&[-1, 0, 0, 1]),
                // -128 has no negative, which a falling channel would need.
                Depth::Int8 => (self.random.below(255) as i32 - 127) as i8,
            })
            .collect();
        let scale = (0..shape[0]).map(|_| self.positive(0.1)).collect();
        Weights {
            shape,
            data: WeightData::Coded { depth, codes, scale },
        }
    }

    fn bias(&mut self, outputs: usize) -> Option<Vec<f32>> {
        self.random.chance(40).then(|| self.many(outputs, 2.0))
    }

    /// A convolution, or a dense layer behind a flattening; `padding` says whether a 0 may stand at the border.
    fn layer(&mut self, padding: bool) {
        let map = self.ty();
        let [c, h, w] = map.chw();
        if map.shape.len() == 1 || self.random.chance(25) {
            if map.shape.len() > 1 {
                let vector = Ty::new(map.elem, [map.len()]);
                self.push(Op::Flatten, vector);
            }
            let outputs = 1 + self.random.below(6);
            let weights = self.weights([outputs, map.len(), 1, 1]);
            let bias = self.bias(outputs);
            self.push(Op::Dense { weights, bias }, Ty::new(Elem::Real, [outputs]));
            return;
        }
        let groups = if self.random.chance(20) { c } else { 1 };
        let outputs = groups * (1 + self.random.below(4));
        let pads = if padding && self.random.chance(50) {
            [0; 4].map(|_: usize| self.random.below(2))
        } else {
            [0; 4]
        };
        let kernel = [1 + self.random.below(3.min(h)), 1 + self.random.below(3.min(w))];
        let geom = Geometry {
            stride: [1 + self.random.below(2), 1 + self.random.below(2)],
            pads,
            dilation: if kernel[0] * 2 <= h && kernel[1] * 2 <= w {
                [1 + self.random.below(2), 1]
            } else {
                [1, 1]
            },
            groups,
        };
        let shape = [outputs, c / groups, kernel[0], kernel[1]];
        let [rows, columns] = verify::conv_extent(map.chw(), shape, &geom).unwrap();
        let weights = self.weights(shape);
        let bias = self.bias(outputs);
        self.push(
            Op::Conv { weights, geom, bias },
            Ty::new(Elem::Real, [outputs, rows, columns]),
        );
    }

    fn batch_norm(&mut self, falling: bool) {
        let channels = self.ty().chw()[0];
        let mut scale = self.many(channels, 2.0);
        if !falling {
            scale.iter_mut().for_each(|s| *s = s.abs());
        }
        let variance = (0..channels)
            .map(|_| match self.random.below(4) {
                0 => 0.0,
                1 => self.positive(1e-6),
                _ => self.positive(100.0),
            })
            .collect();
        let op = Op::BatchNorm {
            scale,
            bias: self.many(channels, 3.0),
            mean: self.many(channels, 3.0),
            variance,
            epsilon: self.random.pick(&[1e-5, 1e-3, 0.25]),
        };
        self.step(op);
    }

    /// Per channel, or for all alike.
    fn affine(&mut self, alike: bool) {
        let n = if alike { 1 } else { self.ty().chw()[0] };
        let mul = (0..n).map(|_| self.positive(2.0)).collect();
        let op = Op::Affine {
            mul,
            div: vec![self.random.pick(&[1.0, 3.0, 255.0])],
            add: self.many(n, 2.0),
        };
        self.step(op);
    }

    fn pool(&mut self) {
        let ty = self.ty();
        let [c, h, w] = ty.chw();
        if ty.shape.len() != 3 {
            return;
        }
        let size = [1 + self.random.below(2.min(h)), 1 + self.random.below(2.min(w))];
        let pads = if self.random.chance(30) {
            [0, 0, size[0] - 1, size[1] - 1]
        } else {
            [0; 4]
        };
        let stride = if self.random.chance(70) { size } else { [1, 1] };
        let window = Window { size, stride, pads };
        let [rows, columns] = verify::pool_extent([c, h, w], &window).unwrap();
        self.push(Op::MaxPool(window), Ty::new(ty.elem, [c, rows, columns]));
    }

    fn average_pool(&mut self) {
        let ty = self.ty();
        let [c, h, w] = ty.chw();
        if ty.shape.len() != 3 {
            return;
        }
        let window = if self.random.chance(40) {
            let (size, stride) = ([h, w], [1, 1]);
            let pads = [0; 4];
            Window { size, stride, pads }
        } else {
            let size = [1 + self.random.below(h), 1 + self.random.below(w)];
            let stride = [1 + self.random.below(2), 1 + self.random.below(2)];
            let pads = [0, 0, size[0] - 1, 0];
            Window { size, stride, pads }
        };
        let [rows, columns] = verify::pool_extent([c, h, w], &window).unwrap();
        self.push(Op::AveragePool(window), Ty::new(Elem::Real, [c, rows, columns]));
    }

    /// A residual block around a convolution by 1 that is normalised, or two, and a quantizer; its operand may be pooled.
    fn residual(&mut self) -> bool {
        if self.random.chance(40) {
            self.pool();
        }
        let shortcut = self.at;
        let ty = self.ty();
        let [c, ..] = ty.chw();
        let convolution = |net: &mut Net| {
            let weights = net.weights([c, c, 1, 1]);
            let (geom, bias) = (Geometry::UNIT, net.bias(c));
            net.push(Op::Conv { weights, geom, bias }, ty.clone());
            net.batch_norm(true);
        };
        convolution(self);
        if self.random.chance(40) {
            self.bytes();
            convolution(self);
        }
        let name = format!("node{}", self.graph.len());
        self.at = self.graph.add(name, Op::Add, ty, &[self.at, shortcut]);
        if self.random.chance(50) {
            self.step(Op::Clip { lo: -1.0, hi: 1.0 });
            self.bytes();
            return true;
        }
        self.quantizer()
    }

    /// A value stored in 8 bits.
    fn bytes(&mut self) {
        let (scale, zero_point) = (self.positive(0.5), 0);
        let shape = self.ty().shape;
        self.push(Op::Quantize { scale, zero_point }, Ty::new(Elem::I8, shape));
        self.step(Op::Dequantize { scale, zero_point });
    }

    /// Batch normalisation, rectifier, pool and affine steps in an order that has a fused form.
    fn steps(&mut self) {
        if self.random.chance(20) {
            let alike = self.random.chance(50);
            self.affine(alike);
        }
        if self.random.chance(70) {
            self.batch_norm(true);
        }
        for _ in 0..2 {
            match self.random.below(7) {
                0 | 1 => self.pool(),
                2 | 3 => self.step(Op::Relu),
                // Behind a rectifier, channels that differ would each need a clamp of their own.
                4 => self.affine(true),
                5 => {
                    let lo = self.number(2.0);
                    let hi = lo + self.positive(2.0);
                    self.step(Op::Clip { lo, hi });
                }
                _ => {}
            }
        }
    }

    /// A quantizer and what reads it; returns whether its 0 means 0 in the end.
    fn quantizer(&mut self) -> bool {
        let shape = self.ty().shape;
        if self.random.chance(50) {
            self.push(Op::Sign, Ty::new(Elem::Sign, shape));
            if self.random.chance(20) {
                self.pool();
            }
            self.step(Op::FromSign);
            return true;
        }
        // Ternary: a clipped round.
        if self.random.chance(25) {
            self.step(Op::Clip { lo: -1.0, hi: 1.0 });
            let (scale, zero_point) = (1.0, 0);
            self.push(Op::Quantize { scale, zero_point }, Ty::new(Elem::I8, shape));
            self.step(Op::Dequantize { scale, zero_point });
            return true;
        }
        let (elem, zero_point) = self.random.pick(&[
            (Elem::I8, 0),
            (Elem::U8, 0),
            (Elem::U8, 128),
            (Elem::I8, -128),
            (Elem::I8, 5),
            (Elem::U8, 100),
        ]);
        let scale = self.positive(0.5);
        self.push(Op::Quantize { scale, zero_point }, Ty::new(elem, shape));
        if self.random.chance(20) {
            self.pool();
        }
        let scale = if self.random.chance(80) {
            scale
        } else {
            self.positive(0.5)
        };
        self.step(Op::Dequantize { scale, zero_point });
        zero_point == 0 || matches!((elem, zero_point), (Elem::U8, 128) | (Elem::I8, -128))
    }
}

fn network(seed: u64, numbers: Numbers) -> Graph {
    let mut random = Random(seed);
    let mut graph = Graph::new();
    let shape = if random.chance(20) {
        vec![1 + random.below(9)]
    } else {
        vec![1 + random.below(3), 2 + random.below(6), 2 + random.below(6)]
    };
    let elem = random.pick(&[Elem::U8, Elem::I8]);
    let at = graph.add("input", Op::Input, Ty::new(elem, shape), &[]);
    let mut net = Net {
        random,
        numbers,
        graph,
        at,
    };
    let zero_point = net.random.pick(&[0, 0, 3]);
    let scale = net.positive(0.1);
    net.step(Op::Dequantize { scale, zero_point });
    let mut padding = zero_point == 0;
    if net.random.chance(20) {
        let add = net.number(1.0);
        padding &= add == 0.0;
        let (mul, add) = (vec![net.positive(2.0)], vec![add]);
        net.step(Op::Affine {
            mul,
            div: vec![255.0],
            add,
        });
    }
    // Now and then a quantizer reads the image itself.
    if net.random.chance(10) {
        padding = net.quantizer();
    }
    for _ in 0..1 + net.random.below(3) {
        if padding && net.random.chance(15) {
            net.average_pool();
            padding = net.quantizer();
        }
        if net.ty().shape.len() == 3 && net.random.chance(15) {
            padding = net.residual();
        }
        net.layer(padding);
        net.steps();
        padding = net.quantizer();
    }
    if net.random.chance(50) {
        if padding && net.random.chance(30) {
            net.average_pool();
        }
        net.layer(padding);
    }
    let ty = net.ty();
    net.push(Op::Output, ty);
    net.graph
}

fn input(g: &Graph, random: &mut Random) -> Tensor {
    let ty = &g.node(g.find(|op| *op == Op::Input)[0]).ty;
    let mut byte = || random.next() as u8;
    match ty.elem {
        Elem::U8 => Tensor::U8((0..ty.len()).map(|_| byte()).collect()),
        _ => Tensor::I8((0..ty.len()).map(|_| byte() as i8).collect()),
    }
}

/// Integer parts must agree in every bit; the float scores at the end within `rounding`.
fn agree(exact: &Tensor, fused: &Tensor, rounding: f32) -> bool {
    match (exact, fused) {
        (Tensor::F32(a), Tensor::F32(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= rounding)
        }
        _ => exact == fused,
    }
}

/// By how much the scores of `g` may be off. Zero for layers in real numbers, whose results are rounded once.
///
/// A layer rounds two constants, a product and a sum, each by at most half of an epsilon of what its sums can reach, which may be far
/// more than the scores themselves where zero points cancel. Where its operand is `f32` it rounds every product and every sum
/// before, and hands on what the operand is off by.
fn rounding(g: &Graph) -> f32 {
    // Of every `f32` value the greatest magnitude, and how far it may be off.
    let mut known: BTreeMap<NodeId, (f32, f32)> = BTreeMap::new();
    for id in g.order().into_iter().filter(|id| g.node(*id).ty.elem == Elem::F32) {
        let operands = g.operands(id);
        let of = |operand: &NodeId| known.get(operand).copied().unwrap_or_default();
        let bounds = match &g.node(id).op {
            Op::Linear {
                weights,
                epilogue: Epilogue::Float { mul, add, .. },
                ..
            } => {
                let (reach, off) = of(&operands[0]);
                let taps = weights.shape[1..].iter().product();
                let sums = match range::sums(g, id) {
                    Some(sums) => sums
                        .iter()
                        .map(|(lo, hi)| (lo.abs().max(hi.abs()) as f32, 0.0))
                        .collect(),
                    None => magnitudes(weights, taps)
                        .map(|sum| (sum * reach, sum * off + taps as f32 * f32::EPSILON * sum * reach))
                        .collect::<Vec<_>>(),
                };
                let scores = sums
                    .into_iter()
                    .zip(mul.iter().zip(add))
                    .map(|((sum, off), (mul, add))| {
                        let reach = sum * mul.abs() + add.abs();
                        (reach, off * mul.abs() + 2.0 * f32::EPSILON * reach)
                    });
                scores.fold((0.0, 0.0), |(a, b), (reach, off)| (reach.max(a), off.max(b)))
            }
            _ => {
                let (reach, off) = operands.iter().map(of).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
                (reach, off + f32::EPSILON * reach)
            }
        };
        known.insert(id, bounds);
    }
    g.find(|op| *op == Op::Output)
        .iter()
        .filter_map(|id| known.get(id))
        .map(|(_, off)| *off)
        .sum()
}

/// Of each output the sum of its weights' magnitudes; where they are coded, of the codes'.
fn magnitudes(weights: &Weights, taps: usize) -> impl Iterator<Item = f32> + '_ {
    let magnitude = |at: usize| match &weights.data {
        WeightData::Coded { codes, .. } => f32::from(codes[at]).abs(),
        WeightData::Float(v) => v[at].abs(),
    };
    (0..weights.shape[0]).map(move |o| (o * taps..(o + 1) * taps).map(magnitude).sum())
}

/// Whether the network has a fused form; if so, it must mean the same after every pass.
fn check(seed: u64, numbers: Numbers) -> Result<bool, TestCaseError> {
    let imported = network(seed, numbers);
    verify::verify(&imported).map_err(TestCaseError::fail)?;
    let mut after: Vec<(&str, Graph)> = vec![("import", imported.clone())];
    let mut keep = |name, g: &Graph| {
        if after.last().is_none_or(|(_, last)| last.to_string() != g.to_string()) {
            after.push((name, g.clone()));
        }
    };
    let fused = match passes::run(imported.clone(), &mut keep) {
        Ok(fused) => fused,
        Err(found) => {
            prop_assert!(
                found.iter().all(|d| d.code == Code::NotFused),
                "{:?}\n{}",
                found,
                imported
            );
            return Ok(false);
        }
    };
    prop_assert!(
        after
            .last()
            .is_some_and(|(_, last)| last.to_string() == fused.to_string())
    );
    let mut random = Random(!seed);
    for _ in 0..2 {
        let x = input(&imported, &mut random);
        let meaning = eval(&imported, &x);
        for (pass, g) in &after[1..] {
            let value = eval(g, &x);
            prop_assert!(
                agree(&meaning, &value, rounding(g)),
                "after {}: {:?}, not {:?}\n{}\n{}",
                pass,
                value,
                meaning,
                imported,
                g
            );
        }
    }
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn passes_keep_the_meaning(seed: u64) {
        prop_assert!(check(seed, Numbers::Any)?, "no fused form:\n{}", network(seed, Numbers::Any));
    }

    #[test]
    fn passes_keep_the_meaning_on_ties(seed: u64) {
        prop_assert!(check(seed, Numbers::Ties)?, "no fused form:\n{}", network(seed, Numbers::Ties));
    }
}

/// Zero points that cancel: scores of 0 are the difference of sums of some thousand. A layer that sums averages, which are `f32`.
#[test]
fn scores_are_off_by_the_rounding_of_what_sums_reach() {
    for seed in [5_251_349_226_035_566_457, 12_521_411_499_024_694_970] {
        check(seed, Numbers::Any).unwrap();
    }
}
