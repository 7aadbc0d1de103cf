//! The program: see the library, which has all of it.

use std::io::Write;
use std::process::ExitCode;

use carat_serve::Args;
use clap::Parser;

fn main() -> ExitCode {
    match carat_serve::run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // That nobody reads it is no failure.
            let _ = writeln!(std::io::stderr(), "carat-serve: {error:#}");
            ExitCode::FAILURE
        }
    }
}
