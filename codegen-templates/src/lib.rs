//! Target descriptions, and the files that `sqc` copies or fills in.
#![forbid(unsafe_code)]
