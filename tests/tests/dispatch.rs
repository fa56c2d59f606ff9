//! Programs that pick their code at run time, on processors with and without the instructions.

use sq_tests::committed;
use sq_tests::tools::{require_target, require_tool};
use sqc::ir::eval::{self, Tensor};
use sqc::progress::Silent;
use sqc::target::{Lang, Run, Target};
use sqc::{data, driver, package, plan};

/// Instructions of one inference on each processor, where they are counted; the results are the interpreter's on all.
fn run(target: &str, emulator: &str, sysroot: &str, processors: &[&str], lang: Lang) -> Vec<Option<u64>> {
    let model = driver::read(&committed("lenet5_int8"), None).expect("the model is sound");
    let options = plan::Options {
        lang,
        ..plan::Options::default()
    };
    let c = driver::compile(model, target, &options, &Silent, &mut |_, _, _| ());
    let mut c = c.expect("it compiles");
    let samples = data::synthetic(&package::input_ty(&c.graph), 3);
    let elem = package::input_ty(&c.graph).elem;
    let exact = |sample| eval::eval(&c.graph, &Tensor::from_bytes(elem, sample)).to_bytes();
    let want: Vec<u8> = samples.bytes.chunks(samples.size).flat_map(exact).collect();
    let work = package::scratch().expect("a directory");
    let on = |processor: &&str| {
        c.target.run = Run::QemuUser {
            emulator: emulator.into(),
            cpu: processor.to_string(),
            sysroot: sysroot.into(),
        };
        let built = package::build(&c, &work.path().join(processor)).unwrap_or_else(|e| panic!("{}", e[0]));
        let got = built
            .infer(&samples.bytes)
            .unwrap_or_else(|e| panic!("{processor}: {}", e[0]));
        assert_eq!(got, want, "{processor}, {lang}");
        // The counter's marks are Arm's.
        (emulator == "qemu-aarch64").then(|| {
            built
                .measure(samples.get(0))
                .expect("it counts")
                .0
                .instructions
                .unwrap_or(0)
        })
    };
    processors.iter().map(on).collect()
}

#[test]
fn arm_takes_products_of_bytes_where_they_are() {
    if !require_target(&Target::load("aarch64-multi").expect("a target")) {
        return;
    }
    for lang in Lang::ALL {
        // Of 2012 without, of 2018 with dot products, and all that QEMU has: products of matrices, too.
        let counts = run(
            "aarch64-multi",
            "qemu-aarch64",
            "/usr/aarch64-linux-gnu",
            &["cortex-a53", "cortex-a76", "max"],
            lang,
        );
        assert!(counts.is_sorted_by(|a, b| a > b), "{lang}: {counts:?}");
    }
}

#[test]
fn x86_needs_nothing_beyond_sse2() {
    let target = Target::load("x86_64-multi").expect("a target");
    if !cfg!(target_arch = "x86_64") || !require_target(&target) || !require_tool("qemu-x86_64") {
        return;
    }
    for lang in Lang::ALL {
        // The first of all, and all that QEMU has: AVX2 since version 7.2.
        run("x86_64-multi", "qemu-x86_64", "/", &["qemu64", "max"], lang);
    }
}
