//! The harness itself: a network written by hand runs on every target, in both languages, and is measured.

use sq_tests::tools::require_target;
use sqc::kir::{Port, Ty};
use sqc::run::{self, Unit};
use sqc::target::{Lang, OptLevel};
use sqc::target::{Run, Target};
use std::collections::BTreeMap;

const RUST: &str = "
#![no_std]
pub struct Arena { words: [u32; 32] }
impl Arena { pub const fn new() -> Self { Arena { words: [0; 32] } } }
static WEIGHTS: [i8; 64] = [WEIGHTS_HERE];
#[inline(never)]
pub fn infer(arena: &mut Arena, image: &[u8; 32], scores: &mut [f32; 2]) {
    for (w, x) in arena.words.iter_mut().zip(image) { *w = *x as u32; }
    for o in 0..2 {
        let mut acc = 0;
        for i in 0..32 { acc += WEIGHTS[o * 32 + i] as i32 * arena.words[i] as i32; }
        scores[o] = acc as f32 * 0.5;
    }
}
";

const HEADER: &str = "
#include <stdint.h>
typedef struct { uint32_t words[32]; } tiny_arena;
void tiny_infer(tiny_arena *arena, const uint8_t image[32], float scores[2]);
";

const C: &str = "
#include \"tiny.h\"
static const int8_t tiny_weights[64] = {WEIGHTS_HERE};
void tiny_infer(tiny_arena *arena, const uint8_t image[32], float scores[2]) {
    for (int i = 0; i < 32; i++) arena->words[i] = image[i];
    for (int o = 0; o < 2; o++) {
        int32_t acc = 0;
        for (int i = 0; i < 32; i++) acc += tiny_weights[o * 32 + i] * (int32_t)arena->words[i];
        scores[o] = (float)acc * 0.5f;
    }
}
";

#[test]
fn a_network_runs_everywhere() {
    let input = Port {
        name: "image".into(),
        ty: Ty::U8,
        shape: vec![32],
    };
    let output = Port {
        name: "scores".into(),
        ty: Ty::F32,
        shape: vec![2],
    };
    let weights: Vec<i32> = (0..64).map(|i| i * 37 % 23 - 11).collect();
    let text: Vec<String> = weights.iter().map(i32::to_string).collect();
    let with_weights = |source: &str| source.replace("WEIGHTS_HERE", &text.join(", "));
    let samples: Vec<u8> = (0..64).map(|i| (i * 41) as u8).collect();
    let want: Vec<u8> = samples
        .chunks(32)
        .flat_map(|image| {
            weights
                .chunks(32)
                .map(move |row| row.iter().zip(image).map(|(w, &x)| w * i32::from(x)).sum::<i32>())
        })
        .flat_map(|sum| (sum as f32 * 0.5).to_le_bytes())
        .collect();
    let rust = BTreeMap::from([("src/lib.rs".to_string(), with_weights(RUST))]);
    let c = BTreeMap::from([
        ("tiny.h".to_string(), HEADER.to_string()),
        ("tiny.c".to_string(), with_weights(C)),
    ]);
    for name in Target::names() {
        let target = Target::load(name).expect("a target");
        if !require_target(&target) {
            continue;
        }
        for (lang, files) in [(Lang::Rust, &rust), (Lang::C, &c)] {
            let work = tempfile::tempdir().expect("a directory");
            let unit = Unit {
                files,
                name: "tiny",
                lang,
                level: OptLevel::default(),
                input: &input,
                output: &output,
            };
            let built = run::build(&unit, &target, work.path(), &run::Options::default())
                .unwrap_or_else(|e| panic!("{name} {lang:?}: {}", e[0]));
            let results = built
                .infer(&samples)
                .unwrap_or_else(|e| panic!("{name} {lang:?}: {}", e[0]));
            assert_eq!(results, want, "{name} {lang:?}");
            let (figures, result) = built
                .measure(&samples[..32])
                .unwrap_or_else(|e| panic!("{name} {lang:?}: {}", e[0]));
            assert_eq!(result, want[..result.len()], "{name} {lang:?}");
            assert_eq!(
                figures.instructions.is_some(),
                !matches!(target.run, Run::Host | Run::Wasi { .. }),
                "{name} {lang:?}"
            );
            let instructions = figures.instructions.unwrap_or(50);
            assert!((50..5000).contains(&instructions), "{name} {lang:?} {figures:?}");
            // Compilers may spell weights as immediate operands: then they count as code.
            let flash = figures.code + figures.constants;
            assert!((84..4000).contains(&flash), "{name} {lang:?} {figures:?}");
            assert!(figures.stack < 1000, "{name} {lang:?} {figures:?}");
        }
    }
}
