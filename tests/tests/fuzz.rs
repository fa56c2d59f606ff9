//! Hostile files: mutated copies of a committed model through what `sqc inspect` does.
//!
//! The work is done by child processes under `ulimit -v`, so that their memory is limited by the system, and they are killed if
//! they hang.

use sq_tests::{binary, committed};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Copies that run inside the child.
const COPIES: u64 = 10_000;

/// Processes that share the work.
const CHILDREN: u64 = 2;

/// Copies that also run through the binary.
const THROUGH_THE_BINARY: u64 = 40;

/// Address space of a child: 1 GB, in the KiB of `ulimit -v`.
const LIMIT_KIB: u32 = 1_000_000;

/// No copy may take longer. The sound model takes a twentieth of it in the test profile.
const PATIENCE: Duration = Duration::from_secs(5);

/// Set in a child, to its number.
const INSIDE: &str = "SQ_FUZZ_INSIDE";

#[test]
fn mutated_models_are_read_or_refused() {
    if let Ok(part) = std::env::var(INSIDE) {
        return inspect_copies(part.parse().expect("the parent sets a number"));
    }
    let test = std::env::current_exe().expect("a test has a path");
    let mut child = limited(&test)
        .args([
            "--exact",
            "mutated_models_are_read_or_refused",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(INSIDE, "1")
        .spawn()
        .expect("the test runs itself");
    let status = wait(&mut child, Duration::from_secs(300));
    assert!(status, "the child failed; its output says at which copy");
}

#[test]
fn mutated_models_do_not_upset_the_binary() {
    let model = fs::read(committed("lenet5_int8")).expect("the model is there");
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let path = dir.path().join("mutant.onnx");
    for seed in 0..THROUGH_THE_BINARY {
        fs::write(&path, mutate(&model, seed)).expect("a mutant can be written");
        let mut command = limited(binary::sqc());
        let output = command.arg("inspect").arg(&path).output().expect("sqc runs");
        let message = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => assert_eq!(message, "", "copy {seed}"),
            Some(1) => assert!(
                message.contains("error[E0") && !message.contains("E0901"),
                "copy {seed}: {message}"
            ),
            code => panic!("copy {seed}: exit {code:?}: {message}"),
        }
    }
}

/// What `sqc inspect` does, without printing, for every copy of this child.
fn inspect_copies(part: u64) {
    let model = fs::read(committed("lenet5_int8")).expect("the model is there");
    let mut read = 0;
    for seed in (part..COPIES).step_by(CHILDREN as usize) {
        let began = Instant::now();
        let outcome =
            std::panic::catch_unwind(|| sqc::import::from_bytes(&mutate(&model, seed), Path::new("mutant.onnx")));
        match outcome {
            Err(_) => panic!("copy {seed} panics"),
            Ok(Ok(model)) => {
                read += 1;
                let text = sqc::inspect::inspect(&model).to_string();
                assert!(text.contains("total"), "copy {seed}");
            }
            Ok(Err(findings)) => {
                let text = sqc::diag::render::text(&findings);
                assert!(!text.is_empty() && !text.contains("E0901"), "copy {seed}: {text}");
            }
        }
        assert!(began.elapsed() < PATIENCE, "copy {seed} takes {:?}", began.elapsed());
    }
    // Most weights may change without breaking anything: a mutation that never gets past the decoder would test little.
    assert!(read > COPIES / CHILDREN / 20, "only {read} copies were read");
}

/// A command whose address space is limited.
fn limited(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -v {LIMIT_KIB}; exec \"$0\" \"$@\"")])
        .arg(program)
        .stdin(Stdio::null());
    command
}

/// Whether the child ends well in time; if it does not end, it is killed.
fn wait(child: &mut Child, patience: Duration) -> bool {
    let began = Instant::now();
    while began.elapsed() < patience {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status.success();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().expect("a child can be killed");
    false
}

/// A copy with one to four changes: bits flipped, bytes overwritten, a span of noise, a span copied from elsewhere in the
/// file, a span taken out, the end cut off. Half of them hit the first or last 4 KB, where the structure is.
fn mutate(model: &[u8], seed: u64) -> Vec<u8> {
    let mut rng = Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1);
    let mut bytes = model.to_vec();
    for _ in 0..1 + rng.below(4) {
        if bytes.is_empty() {
            break;
        }
        let edge = bytes.len().min(4096);
        let at = match rng.below(4) {
            0 => rng.below(edge),
            1 => bytes.len() - 1 - rng.below(edge),
            _ => rng.below(bytes.len()),
        };
        let len = (1 + rng.below(64)).min(bytes.len() - at);
        match rng.below(12) {
            0..=3 => bytes[at] ^= 1 << rng.below(8),
            4..=6 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5)],
            7 => bytes[at..at + len].iter_mut().for_each(|b| *b = rng.next() as u8),
            8 => {
                let from = rng.below(bytes.len() - len + 1);
                bytes.copy_within(from..from + len, at);
            }
            9 => drop(bytes.drain(at..at + len)),
            10 => {
                let span = bytes[at..at + len].to_vec();
                bytes.splice(at..at, span);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// Marsaglia's xorshift64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n
    }
}
