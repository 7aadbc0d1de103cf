/// True where an emulator runs the tests, as `.ci/neon` has it, or the scalar kernels do, as
/// `.ci/run scalar` has it: what no instruction set changes may then be tested on fewer cases.
pub(crate) fn emulated() -> bool {
    std::env::var_os("CARAT_EMULATED").is_some()
}
