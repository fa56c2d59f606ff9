//! Shared by the tests that span the workspace.
#![forbid(unsafe_code)]
