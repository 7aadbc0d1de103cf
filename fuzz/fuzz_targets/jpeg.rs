//! libFuzzer's entry to `carat_fuzz::jpeg`; what is asserted stands there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    carat_fuzz::jpeg::jpeg(data);
});
