//! `sqc verify`: every way to run a network agrees, on this machine and in emulators.

use sq_tests::tools::require_target;
use sq_tests::{MODELS, committed};
use sqc::progress::Silent;
use sqc::run::Lang;
use sqc::target::Target;
use sqc::{data, driver, package, plan, verify};

/// Verifies a model on a target with so many synthetic samples.
fn check(model: &str, target: &str, samples: usize) {
    if !require_target(&Target::load(target).expect("the target is known")) {
        return;
    }
    let path = committed(model);
    let m = driver::read(&path, None).expect("the model is sound");
    let c = driver::compile(m, target, &plan::Options::default(), &Silent, &mut |_, _, _| ());
    let c = c.unwrap_or_else(|e| panic!("{model} for {target}: {}", e[0]));
    let samples = data::synthetic(&package::input_ty(&c.graph), samples);
    let (report, findings) = verify::verify(&path, &c, &[Lang::Rust, Lang::C], &samples, &Silent)
        .unwrap_or_else(|e| panic!("{model} on {target}: {}", e[0]));
    assert_eq!(findings, [], "{model} on {target}:\n{report}");
    assert_eq!(report.runs.len(), 4);
    assert!(report.runs[2..].iter().all(|r| r.agree == samples.count()), "{report}");
}

#[test]
fn every_model_agrees_on_this_machine() {
    MODELS.iter().for_each(|model| check(model, "native", 200));
}

#[test]
fn every_target_agrees() {
    for target in Target::names() {
        check("lenet5_int8", target, 8);
        check("lenet5_binary", target, 8);
    }
}

#[test]
fn floats_agree_where_they_fit() {
    // 18 KB of f32 do not fit the micro:bit's 16 KB.
    let ram = |name: &str| Target::load(name).expect("the target is known").memory.ram;
    for target in Target::names().filter(|t| ram(t).is_none_or(|bytes| bytes > 0x4000)) {
        check("lenet5_float", target, 3);
    }
}
