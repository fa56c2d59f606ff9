//! `tract_rounds MODEL`: for every line of input, times a round of inferences by tract, optimised, on one thread, and prints the
//! nanoseconds of one.

use anyhow::{Context, Result};
use std::io::stdin;
use tract_onnx::prelude::*;

fn main() -> Result<()> {
    let path = std::env::args().nth(1).context("a model is needed")?;
    let model = onnx().model_for_path(path)?.into_optimized()?;
    let fact = model.input_fact(0)?.clone();
    let shape = fact.shape.as_concrete().context("the shape is dynamic")?;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|i: usize| (i % 7) as f32 / 7.0)
        .collect();
    let image = Tensor::from_shape(shape, &values)?;
    let model = model.into_runnable()?;
    for _ in stdin().lines() {
        let mut failed = Ok(());
        let time = sq_bench::round(|| {
            if let Err(e) = model.run(tvec!(image.clone().into())) {
                failed = Err(e);
            }
        });
        failed?;
        println!("{time}");
    }
    Ok(())
}
