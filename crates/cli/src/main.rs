//! The `carat` program: parse arguments, call the engine, print.
//!
//! Answers go to standard output, everything else to standard error. A failure is one sentence
//! with its causes; the exit code is 0 for done, 1 for failed and 2 for a command line that makes
//! no sense. A reader that closes its pipe early is code 1 without a word: it knows what it did.

#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nobody reads")]

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::args::{ChatArgs, Cli, Command, EvalCommand, RunArgs};
use crate::interrupt::Interrupted;
use crate::text::say;

mod answer;
mod args;
mod bench;
mod builtin;
mod chat;
mod chosen;
mod completions;
#[cfg(feature = "demo")]
mod demo;
mod eval;
mod examples;
mod hub;
mod inspect;
mod interrupt;
mod load;
mod media;
mod memory;
mod progress;
mod prompt;
mod reply;
mod room;
mod run;
mod sampling;
mod talk;
mod text;
mod voice;

fn main() -> ExitCode {
    let words: Vec<_> = env::args_os().collect();
    let help = help_of(&words);
    let mut cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(e) => return not_understood(&e, &words, &help),
    };
    // A positional argument takes what a blank parts from --cache.
    let word = match &cli.command {
        Command::Run(RunArgs { prompt: Some(prompt), .. }) => Some(prompt.clone()),
        Command::Chat(ChatArgs { positional: Some(model), .. }) => {
            Some(model.display().to_string())
        }
        _ => None,
    };
    if let Some(tip) = cache_tip(&words).filter(|_| word.is_some_and(|word| is_cache_name(&word))) {
        say!("carat: {tip} (see `{help}`)");
        return ExitCode::from(USAGE);
    }
    let result = hub::settle(&mut cli.command).and_then(|()| match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Chat(args) => chat::chat(args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::demo(args),
        Command::Pull(args) => hub::pull(args),
        Command::List(args) => hub::list(args),
        Command::Remove(args) => hub::remove(args),
        Command::Inspect(args) => inspect::inspect(args),
        Command::Bench(args) => bench::bench(args),
        Command::Completions(args) => completions::completions(args),
        Command::Eval(EvalCommand::Tokenize(args)) => eval::tokenize::tokenize(args),
        Command::Eval(EvalCommand::Template(args)) => eval::template::template(args),
        Command::Eval(EvalCommand::Logits(args)) => eval::logits::logits(args),
        Command::Eval(EvalCommand::Draft(args)) => eval::draft::draft(args),
        Command::Eval(EvalCommand::Image(args)) => eval::image::image(args),
        Command::Eval(EvalCommand::Video(args)) => eval::video::video(args),
        Command::Eval(EvalCommand::Audio(args)) => eval::audio::audio(args),
        Command::Eval(EvalCommand::Perplexity(args)) => eval::perplexity::perplexity(args),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if is_broken_pipe(&e) => ExitCode::from(FAILURE),
        Err(e) if e.is::<Interrupted>() => {
            say!("carat: {e}");
            ExitCode::from(FAILURE)
        }
        Err(e) => {
            // Names that a file gives are in it.
            say!("carat: {} (see `{help}`)", text::visible(&sentence(e.as_ref())));
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

/// What shows the help of the command that `words` name, as far as they name one.
fn help_of(words: &[OsString]) -> String {
    let (mut said, mut command) = (String::from("carat"), Cli::command());
    for word in words.iter().skip(1) {
        let Some(next) = command.find_subcommand(word) else { break };
        let _ = write!(said, " {}", next.get_name());
        command = next.clone();
    }
    said + " --help"
}

/// What to do about a `--cache` that a word follows: an option with a value of its own would take
/// it.
fn cache_tip(words: &[OsString]) -> Option<String> {
    let at = words.iter().position(|word| word == "--cache")?;
    let next = words.get(at + 1)?.to_str().filter(|next| !next.starts_with('-'))?;
    Some(format!("the file of --cache stands after an equals sign: --cache={next}"))
}

/// Whether a word is more likely the name of a cache file.
fn is_cache_name(word: &str) -> bool {
    let is_word = !word.contains(char::is_whitespace);
    is_word && (word.ends_with(".cache") || std::path::Path::new(word).is_file())
}

/// Prints help and version as they are, and anything else as one sentence.
fn not_understood(e: &clap::Error, words: &[OsString], help: &str) -> ExitCode {
    let text = e.render();
    if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match e.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(FAILURE),
        };
    }
    if e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = write!(io::stderr(), "{text}");
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
    let is_taken = matches!(e.kind(), ErrorKind::UnknownArgument | ErrorKind::ArgumentConflict);
    if let Some(tip) = cache_tip(words).filter(|_| is_taken) {
        let _ = write!(said, " - tip: {tip}");
    }
    say!("{said} (see `{help}`)");
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
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        // A JSON writer does not show what it wraps.
        let json = || cause.downcast_ref::<serde_json::Error>()?.io_error_kind();
        io.or_else(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

const FAILURE: u8 = 1;
const USAGE: u8 = 2;
