//! Sessions of every kind for as long as one likes, and whether memory grows with them.
//!
//! ```text
//! cargo run --release -p carat-bench --example soak -- --minutes 20 --tokens 200000 --out FOLDER
//! ```
//!
//! It goes on until both the time is over and so many tokens were decoded, and writes `soak.csv`
//! and `soak.svg` to the folder: the memory of the process after the sessions before. The exit code
//! is 1 if memory grows by more than 1 MB in 10000 sessions, measured once the first fifth of them
//! has passed and every kind was there twice, or if a session says something else than before.

mod curve;
mod work;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs};

use curve::Sample;
use work::Work;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Options { minutes, tokens, out } = Options::from_args()?;
    let folder = tempfile::tempdir()?;
    let mut work = Work::new(folder.path())?;
    let (begun, time) = (Instant::now(), Duration::from_secs_f64(60.0 * minutes));
    let (mut samples, mut sessions, mut decoded) = (Vec::new(), 0, 0);
    while begun.elapsed() < time || decoded < tokens || sessions < 4 * Work::round() {
        decoded += work.session(sessions)?;
        sessions += 1;
        if sessions % EVERY == 0 {
            let resident = curve::resident().unwrap_or(0);
            samples.push(Sample { sessions, tokens: decoded, resident });
            fs::write(out.join("soak.csv"), curve::csv(&samples))?;
        }
    }
    let slope = curve::slope(&samples, (sessions / 5).max(2 * Work::round())).unwrap_or(0.0);
    let (growth, resident) = (slope * 10_000.0, samples.last().map_or(0, |last| last.resident));
    let title = format!(
        "{sessions} sessions, {decoded} tokens: {:.1} MB in the end, {:+.3} MB in 10000 sessions",
        resident as f64 / 1e6,
        growth / 1e6
    );
    fs::write(out.join("soak.svg"), curve::svg(&samples, &title))?;
    println!("{title}, {:.0} s", begun.elapsed().as_secs_f64());
    if curve::resident().is_none() {
        println!("this system does not say what memory the process has");
    }
    Ok(ExitCode::from(u8::from(growth > GROWTH_MAX)))
}

/// What the command line says.
struct Options {
    minutes: f64,
    tokens: usize,
    out: PathBuf,
}

impl Options {
    fn from_args() -> Result<Self, Box<dyn Error>> {
        let mut options = Self { minutes: 1.0, tokens: 0, out: PathBuf::from(".") };
        let mut args = env::args().skip(1);
        while let Some(name) = args.next() {
            let value = args.next().ok_or(USAGE)?;
            match &*name {
                "--minutes" => options.minutes = value.parse()?,
                "--tokens" => options.tokens = value.parse()?,
                "--out" => options.out = value.into(),
                _ => return Err(USAGE)?,
            }
        }
        if (0.0..1e6).contains(&options.minutes) { Ok(options) } else { Err(USAGE)? }
    }
}

const USAGE: &str = "usage: soak [--minutes N] [--tokens N] [--out FOLDER], less than 1e6 minutes";

/// Sessions between two samples.
const EVERY: usize = 10;

/// Bytes that memory may grow by in 10000 sessions.
const GROWTH_MAX: f64 = 1e6;
