//! What `carat bench` can be told.

use std::path::PathBuf;
use std::time::Duration;

use carat::{DRAFT_MAX, Isa, SessionConfig};
use carat_bench::draft::DraftPlan;
use carat_bench::measure::Options;
use carat_bench::synthetic::{Mix, Size};
use clap::{Args, ValueEnum};

use crate::args::{Kv, at_least_one, isa, threads};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Model file (GGUF; the first part of a split one)
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["synthetic", "from", "page"])]
    pub(crate) model: Option<PathBuf>,
    /// Projector file: measures a picture and sound as well [default: the mmproj*.gguf beside the
    /// model, if there is one]
    #[arg(long, value_name = "FILE", requires = "model")]
    pub(super) mmproj: Option<PathBuf>,
    /// Measure a model of random weights instead: no download
    #[arg(long, value_enum, value_name = "SIZE", conflicts_with = "model")]
    pub(super) synthetic: Option<SizeArg>,
    /// How the random weights are stored
    #[arg(long, value_enum, requires = "synthetic", default_value_t = MixArg::Q4_0)]
    pub(super) mix: MixArg,
    /// Where the random weights are kept, for the next time [default: in the cache folder, and gone
    /// once they are loaded]
    #[arg(long, value_name = "FILE", requires = "synthetic")]
    pub(super) keep: Option<PathBuf>,
    /// Measure the second start as well, and everything else, with the repacked weights in a cache
    /// file, which the first start writes if there is none [default FILE: the model's name with
    /// .cache added, gone with a model that is not kept]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true,
          conflicts_with = "from")]
    pub(super) cache: Option<Option<PathBuf>>,
    /// Measure nothing: make one report of results that `-o json` wrote
    #[arg(long, value_name = "JSON", num_args = 1.., conflicts_with_all = ["model", "synthetic"])]
    pub(super) from: Vec<PathBuf>,
    /// Measure by this version of the protocol that machines are compared by: half an hour on a
    /// quiet machine, twice the model's size of free disk. The result is saved as JSON
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u32).range(1..=1),
          conflicts_with_all = ["cache", "from", "prompt", "depth", "generate", "repetitions",
                                "no_roof", "threads"])]
    pub(super) protocol: Option<u32>,
    /// Folder for the result of the protocol [default: the current one; none with -o json]
    #[arg(long, value_name = "FOLDER", requires = "protocol")]
    pub(super) save: Option<PathBuf>,
    /// Go on where the protocol would refuse: on battery, with other programs at work
    #[arg(long, requires = "protocol")]
    pub(super) force: bool,
    /// Measure nothing: print one page of the protocol's results in a folder, as HTML
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["model", "synthetic", "from", "protocol"])]
    pub(super) page: Option<PathBuf>,
    /// What is printed
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,

    /// Lengths of prompts; 0 for none, and no pictures and sound either
    /// [default: 128,512,2048,8192]
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', help_heading = "Work")]
    prompt: Vec<usize>,
    /// Tokens in the session before decoding [default: 0,2048,8192,32768]
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', help_heading = "Work")]
    depth: Vec<usize>,
    /// Tokens to decode; 0 for none [default: 32]
    #[arg(short = 'n', long, value_name = "N", help_heading = "Work")]
    generate: Option<usize>,
    /// Samples of each test [default: 5]
    #[arg(short, long, value_name = "N", value_parser = at_least_one, help_heading = "Work")]
    repetitions: Option<usize>,
    /// Leave out what would not end within this time, loading and roof not counted
    #[arg(long, value_name = "SECONDS", default_value_t = 300,
          value_parser = clap::value_parser!(u64).range(1..=WEEK_SECONDS), help_heading = "Work")]
    budget: u64,
    /// Measure nothing but drafts: how many times as fast decoding is with 0 to 7 drafted tokens a
    /// pass, by the share of them that is right, each at the cost of the drafter beside the model,
    /// or of a synthetic one; -n, -r and the engine's options apply
    #[arg(long, conflicts_with_all = ["from", "output"], help_heading = "Work")]
    pub(super) draft: bool,
    /// With --draft: shares of right drafts to measure [default: 0,0.3,0.5,0.7,0.85,1]
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "draft",
          value_parser = share, help_heading = "Work")]
    right: Vec<f64>,
    /// With --draft: drafted tokens a pass to measure, 0 to 7, or `chosen` for as many as pay
    /// [default: all of them]
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "draft",
          value_parser = drafted, help_heading = "Work")]
    drafted: Vec<Drafted>,
    /// A few seconds of everything, to see that it works: no figures to compare
    #[arg(long, help_heading = "Work")]
    pub(super) quick: bool,
    /// Do not measure what the machine can do at most
    #[arg(long, help_heading = "Work")]
    pub(super) no_roof: bool,

    /// Numbers of threads [default: one for every physical core]
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', value_parser = threads,
          help_heading = "Engine")]
    pub(super) threads: Vec<usize>,
    /// Instruction set [default: the best of this CPU]
    #[arg(long, value_name = "NAME", env = "CARAT_ISA", value_parser = isa, help_heading = "Engine")]
    pub(super) isa: Option<Isa>,
    /// How keys and values are stored
    #[arg(long, value_enum, default_value_t = Kv::F16, help_heading = "Engine")]
    kv: Kv,
    /// Prompt tokens evaluated together
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Engine",
          default_value_t = SessionConfig::default().prefill_chunk)]
    chunk: usize,
}

/// A number of drafted tokens; none where the session chooses it.
#[derive(Clone, Copy, Debug)]
struct Drafted(Option<usize>);

fn drafted(text: &str) -> Result<Drafted, String> {
    match text.parse() {
        Ok(n) if n <= DRAFT_MAX => Ok(Drafted(Some(n))),
        _ if text == "chosen" => Ok(Drafted(None)),
        _ => Err(format!("it must be a number from 0 to {DRAFT_MAX}, or `chosen`")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "it must be a number from 0 to 1".to_owned())
}

// A comment on a variant would make clap spread every `--help` over two lines an option.
/// Forms of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
    Csv,
    Html,
}

/// Sizes of synthetic models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SizeArg {
    #[value(name = "12b")]
    B12,
    #[value(name = "26b")]
    A26,
    #[value(name = "e4b")]
    E4B,
    #[value(name = "e2b")]
    E2B,
    #[value(name = "1b")]
    B1,
}

/// Formats of synthetic models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum MixArg {
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_k_m")]
    Q4KM,
    #[value(name = "q8_0")]
    Q8_0,
}

/// Longer measurements are a mistake in the unit.
const WEEK_SECONDS: u64 = 7 * 24 * 3600;

impl BenchArgs {
    /// What --draft measures.
    pub(super) fn draft_plan(&self) -> DraftPlan {
        let mut plan = DraftPlan::default();
        if !self.right.is_empty() {
            plan.right.clone_from(&self.right);
        }
        if !self.drafted.is_empty() {
            plan.drafts = self.drafted.iter().map(|drafted| drafted.0).collect();
        }
        plan
    }

    pub(super) fn options(&self) -> Options {
        let list = |given: &[usize], usual: &[usize], quick: &[usize]| match given {
            [] if self.quick => quick.to_vec(),
            [] => usual.to_vec(),
            given => given.to_vec(),
        };
        let number = |given: Option<usize>, usual, quick| {
            given.unwrap_or(if self.quick { quick } else { usual })
        };
        let prompts = list(&self.prompt, &[128, 512, 2048, 8192], &[64]);
        Options {
            media: prompts.iter().any(|n| *n > 0),
            prompts,
            depths: list(&self.depth, &[0, 2048, 8192, 32_768], &[0, 64]),
            generate: number(self.generate, 32, 4),
            verify: true,
            readings: !self.no_roof,
            threads: list(&self.threads, &[0], &[0]),
            repetitions: number(self.repetitions, 5, 1),
            budget: Duration::from_secs(self.budget),
            isa: self.isa.unwrap_or(SessionConfig::default().isa),
            kv: self.kv.into(),
            chunk: self.chunk,
        }
    }
}

impl From<SizeArg> for Size {
    fn from(size: SizeArg) -> Self {
        match size {
            SizeArg::B12 => Self::B12,
            SizeArg::A26 => Self::A26,
            SizeArg::E4B => Self::E4B,
            SizeArg::E2B => Self::E2B,
            SizeArg::B1 => Self::B1,
        }
    }
}

impl From<MixArg> for Mix {
    fn from(mix: MixArg) -> Self {
        match mix {
            MixArg::Q4_0 => Self::Q4_0,
            MixArg::Q4KM => Self::Q4_K_M,
            MixArg::Q8_0 => Self::Q8_0,
        }
    }
}
