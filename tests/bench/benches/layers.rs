//! Generated code on this machine, a layer at a time: `cargo bench -p sq-bench --bench layers`.
//!
//! criterion keeps the figures of the last run and says what became slower.

use criterion::{Criterion, criterion_group, criterion_main};
use sqc::progress::Silent;
use sqc::synth::{self, Form, Spec};
use sqc::{bench, driver, import, package, plan};
use std::path::Path;
use std::time::Duration;

fn layers(c: &mut Criterion) {
    let mut group = c.benchmark_group("layers");
    let options = plan::Options {
        optimize: plan::Optimize::Speed,
        ..plan::Options::default()
    };
    for (name, line) in sq_bench::LAYERS {
        let spec: Spec = line.parse().expect("a sound line");
        let model =
            import::from_bytes(&synth::onnx(&spec, Form::Layers), Path::new("layer.onnx")).expect("a sound model");
        let compiled = driver::compile(model, "native", &options, &Silent, &mut |_, _, _| ()).expect("it compiles");
        let step = compiled
            .plan
            .steps
            .iter()
            .position(|s| !s.last().name.starts_with(synth::HEAD))
            .expect("a layer");
        let (program, operand) = bench::layer::alone(&compiled, step).expect("a layer of one operand");
        let work = package::scratch().expect("a directory");
        let built = package::build_part(&compiled, &program, work.path()).expect("it builds");
        group.bench_function(*name, |b| {
            // The program times itself: `iters` of its calls take as long as it says for one.
            b.iter_custom(|iters| {
                let rounds = built.time(&operand, 1).expect("it runs");
                Duration::from_nanos((rounds[0] * iters as f64) as u64)
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(100));
    targets = layers
}
criterion_main!(all);
