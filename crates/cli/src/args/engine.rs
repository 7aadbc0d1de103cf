//! What commands that answer have in common: the memory, the threads and the instruction set that a
//! session takes, its cache file and its drafts.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use carat::{
    Config, DRAFT_MAX, DraftConfig, Isa, KvType, Model, OpenOptions, SessionConfig, drafters_beside,
};
use clap::{Args, ValueEnum};

use super::at_least_one;
use crate::Usage;
use crate::chosen::Chosen;
use crate::hub;

/// How much memory and machine a session takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineArgs {
    /// Most tokens of prompt and answer [default: 8192, more where the prompt needs it]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) ctx: Option<usize>,
    /// How keys and values are stored: q8 takes half of f16
    #[arg(long, value_enum, default_value_t = Kv::F16)]
    kv: Kv,
    /// Keep the repacked weights in a file as large as the model, for a start within a second
    /// [default FILE: the model's name with .cache added]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    cache: Option<Option<PathBuf>>,
    /// Guess the next tokens and verify several in one pass, which changes no answer: `lookup`
    /// guesses what followed in the text before, FILE is the model's drafter (gemma4-assistant),
    /// which guesses where the text before says little, `off` does not guess [default: the drafter
    /// beside the model, or off]
    #[arg(long, value_name = "FILE|off|lookup", value_parser = drafts)]
    draft: Option<DraftsArg>,
    /// Compare all of the model and all of the cache file before they are used
    #[arg(long, requires = "cache")]
    verify_cache: bool,
    /// Refuse to take more memory, such as 6GiB or 500MB, with a full context [default: what the
    /// machine has]
    #[arg(long, value_name = "SIZE", value_parser = crate::memory::size)]
    pub(crate) max_memory: Option<u64>,
    #[command(flatten)]
    pub(crate) cpu: CpuArgs,
}

/// Where guesses of the next tokens come from.
#[derive(Clone, Debug)]
enum DraftsArg {
    Off,
    Lookup,
    Drafter(PathBuf),
}

/// The part of the machine that works.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct CpuArgs {
    /// Threads [default: one for every physical core]
    #[arg(short, long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,
    /// Instruction set [default: the best of this CPU]
    #[arg(long, value_name = "NAME", env = "CARAT_ISA", value_parser = isa)]
    pub(crate) isa: Option<Isa>,
    /// Prompt tokens evaluated together
    #[arg(long, value_name = "N", value_parser = at_least_one,
          default_value_t = SessionConfig::default().prefill_chunk)]
    pub(crate) chunk: usize,
}

// A comment on a variant would make clap spread every `--help` over two lines an option.
/// Storage of the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kv {
    F32,
    F16,
    Q8,
}

impl EngineArgs {
    /// The cache file of a model, where one is wished for.
    ///
    /// # Errors
    /// If the model is no file.
    pub(crate) fn cache(&self, model: &Chosen) -> Result<Option<PathBuf>> {
        match (&self.cache, model) {
            (None, _) => Ok(None),
            (Some(named), Chosen::File(path)) => Ok(Some(cache_file(named.as_deref(), path))),
            (Some(_), Chosen::BuiltIn) => bail!(Usage(
                "the built-in model has no cache file: leave --cache out, or name a model with -m"
                    .to_owned()
            )),
        }
    }

    pub(crate) fn open<'a>(
        &self,
        projector: Option<&'a Path>,
        cache: Option<&'a Path>,
        drafter: Option<&'a Path>,
    ) -> OpenOptions<'a> {
        OpenOptions { cache, drafter, verify_cache: self.verify_cache, ..self.cpu.open(projector) }
    }

    /// The drafter file of a model: the one that was named, or the smallest that lies beside it, or
    /// the one that was pulled for it.
    pub(crate) fn drafter(&self, model: &Chosen) -> Option<PathBuf> {
        match (&self.draft, model) {
            (Some(DraftsArg::Drafter(named)), _) => Some(named.clone()),
            (Some(DraftsArg::Off | DraftsArg::Lookup), _) | (None, Chosen::BuiltIn) => None,
            (None, Chosen::File(model)) => {
                let beside = drafters_beside(model).unwrap_or_default().into_iter().next();
                beside.or_else(|| hub::drafter(model))
            }
        }
    }

    /// The drafter that was named.
    pub(crate) fn drafter_mut(&mut self) -> Option<&mut PathBuf> {
        match &mut self.draft {
            Some(DraftsArg::Drafter(named)) => Some(named),
            _ => None,
        }
    }

    /// Whether a drafter file was named.
    pub(crate) fn names_drafter(&self) -> bool {
        matches!(self.draft, Some(DraftsArg::Drafter(_)))
    }

    /// The session for a conversation with `model` that needs at least `tokens_min` tokens.
    pub(crate) fn session(&self, model: &Model, tokens_min: usize) -> SessionConfig {
        self.planned(model.config(), model.drafts(), tokens_min)
    }

    /// The same before the model is open; `drafts` says whether it will have a drafter.
    pub(crate) fn planned(&self, model: &Config, drafts: bool, tokens_min: usize) -> SessionConfig {
        let most = CONTEXT_DEFAULT.max(tokens_min).min(model.context);
        let context = self.ctx.unwrap_or(most);
        SessionConfig { draft: self.drafting(drafts), ..self.cpu.session(context, self.kv) }
    }

    /// Whether a cache file is wished for.
    pub(crate) fn has_cache(&self) -> bool {
        self.cache.is_some()
    }

    fn drafting(&self, drafts: bool) -> DraftConfig {
        match drafts || matches!(self.draft, Some(DraftsArg::Lookup)) {
            true => DraftConfig { most: DRAFT_MAX, ..Default::default() },
            false => DraftConfig::default(),
        }
    }
}

/// The cache file that `--cache[=FILE]` means for the model at `model`.
pub(crate) fn cache_file(named: Option<&Path>, model: &Path) -> PathBuf {
    let beside = || {
        let mut path = model.as_os_str().to_owned();
        path.push(".cache");
        PathBuf::from(path)
    };
    named.map_or_else(beside, Path::to_owned)
}

impl CpuArgs {
    pub(crate) fn open<'a>(&self, projector: Option<&'a Path>) -> OpenOptions<'a> {
        let base = OpenOptions::default();
        OpenOptions { threads: self.threads.unwrap_or(base.threads), projector, ..base }
    }

    pub(crate) fn session(&self, context: usize, kv: Kv) -> SessionConfig {
        let base = SessionConfig::default();
        SessionConfig {
            context,
            threads: self.threads.unwrap_or(base.threads),
            prefill_chunk: self.chunk,
            kv: kv.into(),
            isa: self.isa.unwrap_or(base.isa),
            ..base
        }
    }
}

impl Kv {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
        }
    }
}

impl From<Kv> for KvType {
    fn from(kv: Kv) -> Self {
        match kv {
            Kv::F32 => Self::F32,
            Kv::F16 => Self::F16,
            Kv::Q8 => Self::Q8,
        }
    }
}

pub(crate) fn isa(name: &str) -> Result<Isa, String> {
    Isa::by_name(name).ok_or_else(|| {
        let names: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
        format!("this CPU has {}", names.join(", "))
    })
}

/// A number of threads that the library would start.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    match (at_least_one(text)?, carat::threads_max()) {
        (n, most) if n > most => Err(format!(
            "it must be at most {most}, four for each CPU that this process may use and at least 16"
        )),
        (n, _) => Ok(n),
    }
}

fn drafts(text: &str) -> Result<DraftsArg, String> {
    match text {
        "off" => Ok(DraftsArg::Off),
        "lookup" => Ok(DraftsArg::Lookup),
        "" => Err("it must be off, lookup or the name of a drafter file".to_owned()),
        file => Ok(DraftsArg::Drafter(PathBuf::from(file))),
    }
}

/// Room for a long answer; the memory of full layers is taken only as the conversation grows.
const CONTEXT_DEFAULT: usize = 8192;
