//! The `carat` program: parse arguments, call the engine, print.
//!
//! Answers go to standard output, everything else to standard error. A failure is one sentence
//! with its causes; the exit code is 0 for done, 1 for failed and 2 for a command line that makes
//! no sense. A reader that closes its pipe early has what it wanted: that is no failure.

use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::{Cli, Command, EvalCommand};

mod args;
mod bench;
mod chat;
mod eval;
mod examples;
mod inspect;
mod interrupt;
mod load;
mod media;
mod progress;
mod prompt;
mod reply;
mod run;
mod text;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return not_understood(&e),
    };
    let result = match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Chat(args) => chat::chat(args),
        Command::Inspect(args) => inspect::inspect(args),
        Command::Bench(args) => bench::bench(args),
        Command::Eval(EvalCommand::Tokenize(args)) => eval::tokenize::tokenize(args),
        Command::Eval(EvalCommand::Template(args)) => eval::template::template(args),
        Command::Eval(EvalCommand::Logits(args)) => eval::logits::logits(args),
        Command::Eval(EvalCommand::Image(args)) => eval::image::image(args),
        Command::Eval(EvalCommand::Audio(args)) => eval::audio::audio(args),
        Command::Eval(EvalCommand::Perplexity(args)) => eval::perplexity::perplexity(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("carat: {}", sentence(e.as_ref()));
            ExitCode::from(if e.is::<Usage>() { USAGE } else { FAILURE })
        }
    }
}

/// The arguments are well-formed and still make no sense.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Prints help and version as they are, and anything else as one sentence.
fn not_understood(e: &clap::Error) -> ExitCode {
    let text = e.render();
    if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A help text that nobody reads to its end is no failure.
        let _ = e.print();
        return ExitCode::SUCCESS;
    }
    if e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprint!("{text}");
        return ExitCode::from(USAGE);
    }
    // clap's first paragraph is the error, a paragraph that begins with `tip:` how to mend it.
    let text = text.to_string();
    let mut said = String::from("carat:");
    for paragraph in text.split("\n\n") {
        let paragraph = paragraph.trim();
        let is_error = paragraph.starts_with("error:");
        if is_error || paragraph.starts_with("tip:") {
            let words = paragraph.trim_start_matches("error:").split_whitespace();
            said.push_str(if is_error { "" } else { " -" });
            words.for_each(|word| {
                let _ = write!(said, " {word}");
            });
        }
    }
    eprintln!("{said} (see `carat help`)");
    ExitCode::from(USAGE)
}

/// The error and its causes, leaving out a cause whose words the error before it already has.
fn sentence(e: &(dyn std::error::Error + 'static)) -> String {
    let mut said = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        let words = e.to_string();
        if !said.contains(&words) {
            said.push_str(": ");
            said.push_str(&words);
        }
        cause = e.source();
    }
    said
}

fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}

const FAILURE: u8 = 1;
const USAGE: u8 = 2;
