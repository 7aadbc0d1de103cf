//! `carat completions`: what shells complete, and the man pages. Both are made of the command line
//! itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::args::Cli;
use crate::text::{print, say};

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell that is to complete commands, options and their values
    #[arg(value_enum, required_unless_present = "man")]
    shell: Option<Shell>,
    /// Write the man pages into this folder instead, which is made where it is missing
    #[arg(long, value_name = "DIR", conflicts_with = "shell")]
    man: Option<PathBuf>,
}

pub(crate) fn completions(args: &CompletionsArgs) -> Result<()> {
    if let Some(shell) = args.shell {
        // The generator panics where it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "carat", &mut script);
        return print(&String::from_utf8(script).context("the script is no text")?);
    }
    if let Some(folder) = &args.man {
        let cannot = || format!("cannot write man pages to {}", folder.display());
        fs::create_dir_all(folder).with_context(cannot)?;
        // `carat help` is said on every page and needs none.
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        let pages = pages(&command, "", folder).with_context(cannot)?;
        say!("wrote {pages} man pages to {}", folder.display());
    }
    Ok(())
}

/// Writes the page of a command and those of the commands below it; says how many.
fn pages(command: &Command, above: &str, folder: &Path) -> Result<usize> {
    let name = format!("{above}{}", command.get_name());
    let mut written = 1;
    fs::write(folder.join(format!("{name}.1")), page(command, &name)?)?;
    for below in command.get_subcommands() {
        written += pages(below, &format!("{name}-"), folder)?;
    }
    Ok(written)
}

/// A page in the order of all man pages. What stands below the options keeps its lines: examples,
/// tables and paragraphs.
fn page(command: &Command, name: &str) -> Result<Vec<u8>> {
    let version = format!("carat {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name.to_uppercase()).source(version).manual("Carat");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(after) = command.get_after_help() {
        let after = after.to_string();
        let (title, rest) = match after.split_once('\n') {
            Some(("Examples:", rest)) => ("EXAMPLES", rest),
            _ => ("NOTES", after.as_str()),
        };
        let mut roff = Roff::new();
        roff.control("SH", [title]).control("nf", []);
        for line in rest.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []).to_writer(&mut page)?;
    }
    Ok(page)
}
