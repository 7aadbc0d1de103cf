//! What `carat demo` can be told.

use clap::Args;

use crate::args::CpuArgs;

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Print what the gallery has, and ask nothing
    #[arg(long, conflicts_with = "check")]
    pub(super) list: bool,
    /// Ask only about item N of --list; for more items say it again
    #[arg(long, value_name = "N")]
    pub(super) item: Vec<usize>,
    /// Describe pictures and recordings in words instead of drawing them
    #[arg(long)]
    pub(super) no_pictures: bool,
    /// Print one JSON object a line: each item with its answer, then the sum
    #[arg(long)]
    pub(super) json: bool,
    /// Exit with code 1 if fewer than 9 of 10 answers are right
    #[arg(long)]
    pub(super) check: bool,
    #[command(flatten)]
    pub(super) cpu: CpuArgs,
}
