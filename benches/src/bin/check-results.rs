//! Checks results of machines before they are taken into the repository:
//!
//! ```sh
//! cargo run -p carat-bench --bin check-results -- benches/results/*.json
//! ```
//!
//! Every file is a line: `ok`, or what is wrong with it. The exit code is 1 if one is wrong.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use carat_bench::protocol::check;
use carat_bench::text::printable;

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    let mut wrong = 0;
    let paths: Vec<_> = std::env::args_os().skip(1).collect();
    for path in &paths {
        let path = Path::new(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let found = match fs::read_to_string(path) {
            Ok(text) => check(&name, &text),
            Err(e) => Err(vec![format!("it cannot be read ({e})")]),
        };
        let said = match found {
            Ok(record) => format!("ok, {} marks", record.marks.len()),
            Err(why) => {
                wrong += 1;
                why.join("; ")
            }
        };
        // Nobody may be reading; the exit code is told all the same.
        let _ = writeln!(out, "{}: {}", printable(&name, 120), printable(&said, 4000));
    }
    if paths.is_empty() {
        let _ = writeln!(out, "no files were named: give those of benches/results");
    }
    ExitCode::from(u8::from(wrong > 0 || paths.is_empty()))
}
