//! The compiler itself: `cargo bench -p sq-bench --bench compiler`.

use criterion::{Criterion, criterion_group, criterion_main};
use sqc::emit::RuntimeDep;
use sqc::package::{self, Vectors};
use sqc::progress::Silent;
use sqc::synth::{self, Form, Spec};
use sqc::target::Lang;
use sqc::{driver, import, plan};
use std::path::Path;
use std::time::Duration;

fn compiler(c: &mut Criterion) {
    let mut group = c.benchmark_group("VGG-7");
    let spec: Spec = format!("{} w=ternary x=int8", sq_bench::VGG7)
        .parse()
        .expect("a sound line");
    let bytes = synth::onnx(&spec, Form::Network);
    let read = || import::from_bytes(&bytes, Path::new("vgg7.onnx")).expect("a sound model");
    group.bench_function("import", |b| b.iter(read));
    for (target, lang) in ["generic", "cortex-m4"]
        .into_iter()
        .flat_map(|t| Lang::ALL.map(|l| (t, l)))
    {
        let compile = || {
            // VGG-7 fits no microcontroller: the budgets are lifted.
            let options = plan::Options {
                lang,
                flash: Some(u64::MAX),
                ram: Some(u64::MAX),
                ..plan::Options::default()
            };
            driver::compile(read(), target, &options, &Silent, &mut |_, _, _| ()).expect("it compiles")
        };
        group.bench_function(format!("compile for {target} in {lang}"), |b| b.iter(compile));
        let compiled = compile();
        group.bench_function(format!("print {lang} for {target}"), |b| {
            b.iter(|| package::package(&compiled, &RuntimeDep::Standalone, "", Vectors::default()));
        });
    }
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(5));
    targets = compiler
}
criterion_main!(all);
