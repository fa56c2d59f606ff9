//! The `sqc` binary, built once per test process.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Path of the binary, built from this workspace in the profile of the test.
pub fn sqc() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--bin", "sqc"])
            .current_dir(super::root());
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "sqc builds");
        // This test lies in <target>/<profile>/deps.
        let test = std::env::current_exe().expect("a test has a path");
        let profile = test.ancestors().nth(2).expect("a test lies in <profile>/deps");
        profile.join("sqc")
    })
}
