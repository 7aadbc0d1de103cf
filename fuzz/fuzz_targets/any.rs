//! All targets in one program, for `.ci/fuzz`: `FUZZ_TARGET` names the one that runs.
#![no_main]

use std::sync::LazyLock;

use carat_fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    *found.unwrap_or_else(|| {
        panic!("FUZZ_TARGET is `{name}`, wanted one of the names in fuzz/src/lib.rs")
    })
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (TARGET.run)(data);
});
