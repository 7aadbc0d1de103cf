//! `carat inspect`: what a GGUF file holds, and whether this machine can run it.
//!
//! Any GGUF file will do: vocabularies without tensors, projectors, split models, architectures
//! that this engine does not run. Where no session is possible the report says why, and the exit
//! code is 1 unless the file is a projector or a drafter, of which nobody wants a session.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use carat::{Config, DRAFT_MAX, DraftConfig, Experts, Memory, MemoryPlan, SessionConfig};
use carat_gguf::{Gguf, Source, Tensor, TensorType};

use crate::args::InspectArgs;
use crate::load::about;
use crate::text::bytes;
use drafter::Drafting;
use machine::{Fit, Machine};
use senses::Senses;

mod drafter;
mod json;
pub(crate) mod machine;
mod senses;
mod show;

/// All that is printed, in either form.
struct Report<'a> {
    source: &'a Source,
    gguf: &'a Gguf<'a>,
    /// Ordered by the bytes they take, most first.
    types: Vec<TypeSum>,
    total: Sum,
    session: Result<SessionNeeds, carat::Error>,
    senses: Senses,
    drafting: Drafting,
    machine: Option<Machine>,
}

/// Some tensors together.
#[derive(Clone, Copy, Default)]
struct Sum {
    tensors: u64,
    parameters: u64,
    bytes: u64,
}

struct TypeSum {
    tensor_type: TensorType,
    sum: Sum,
}

struct SessionNeeds {
    experts: Option<Experts>,
    context: usize,
    kv: &'static str,
    /// Of a session with text alone.
    text: Memory,
    /// Of one with the projector that was named or lies beside the model, if it fits the model.
    media: Option<Result<Memory, carat::Error>>,
    /// Of one that drafts with the smallest drafter beside the model.
    drafts: Option<Result<Memory, carat::Error>>,
    /// What people call the model.
    model: Cow<'static, str>,
    /// Keys of the architecture that nothing is known of.
    ignored_keys: Vec<String>,
    /// Bytes of tensors for pictures and sound in the model's own file, which are not read.
    unread: u64,
}

pub(crate) fn inspect(args: &InspectArgs) -> Result<()> {
    let source = Source::open(&args.file).map_err(|e| about(&args.file, "cannot open", e))?;
    let gguf = source.parse().map_err(|e| about(&args.file, "cannot read", e))?;
    let report = Report::new(&source, &gguf, args);
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        serde_json::to_writer_pretty(&mut out, &json::report(&report))?;
        writeln!(out)?;
    } else {
        show::report(&mut out, &report, args.tensors)?;
    }
    out.flush()?;
    report.verdict().map_err(|e| about(&args.file, "cannot run", e))
}

impl<'a> Report<'a> {
    fn new(source: &'a Source, gguf: &'a Gguf<'a>, args: &InspectArgs) -> Self {
        let mut by_type = BTreeMap::<u32, TypeSum>::new();
        let mut total = Sum::default();
        for tensor in gguf.tensors() {
            let tensor_type = tensor.tensor_type;
            let entry = by_type.entry(tensor_type.id());
            let new = || TypeSum { tensor_type, sum: Sum::default() };
            entry.or_insert_with(new).sum.add(tensor);
            total.add(tensor);
        }
        let mut types: Vec<_> = by_type.into_values().collect();
        types.sort_by_key(|t| std::cmp::Reverse(t.sum.bytes));
        let senses = Senses::of(gguf, &args.file);
        let drafting = Drafting::of(gguf, &args.file);
        let session = SessionNeeds::plan(gguf, args, senses.projector(args), drafting.beside());
        let machine = Machine::this();
        Self { source, gguf, types, total, session, senses, drafting, machine }
    }

    /// Whether the model can run on this machine; text alone counts.
    fn verdict(&self) -> Result<()> {
        let needs = match &self.session {
            Ok(needs) => needs,
            Err(_) if self.senses.is_projector() || self.drafting.is_drafter() => return Ok(()),
            Err(e) => return Err(anyhow!(crate::sentence(e))),
        };
        let Some(machine) = &self.machine else { return Ok(()) };
        match machine.fit(SessionNeeds::total(&needs.text)) {
            Fit::Never(missing) if machine.paging(&needs.text).is_none() => Err(anyhow!(
                "this machine lacks {} of memory for a session of {} tokens",
                bytes(missing),
                needs.context
            )),
            _ => Ok(()),
        }
    }
}

impl Sum {
    fn add(&mut self, tensor: &Tensor<'_>) {
        self.tensors += 1;
        // The shape of one tensor fits; a file may name more of them than a u64 can count.
        self.parameters = self.parameters.saturating_add(tensor.shape.elements());
        self.bytes += tensor.data.len() as u64;
    }

    fn bits_per_parameter(self) -> f64 {
        self.bytes as f64 * 8.0 / self.parameters as f64
    }
}

impl SessionNeeds {
    /// What the program takes while a session is full.
    fn total(memory: &Memory) -> u64 {
        memory.total() + PROGRAM_BYTES
    }

    fn plan(
        gguf: &Gguf<'_>,
        args: &InspectArgs,
        projector: Option<PathBuf>,
        drafter: Option<&Path>,
    ) -> Result<Self, carat::Error> {
        let model = Config::from_gguf(gguf)?;
        let context = args.ctx.unwrap_or(CONTEXT_SHOWN.min(model.context));
        let config = SessionConfig { context, kv: args.kv.into(), ..SessionConfig::default() };
        let plan = MemoryPlan::new(gguf)?;
        let text = plan.session(&config)?;
        let with = |path: PathBuf| {
            let source = Source::open(&path)?;
            plan.clone().with_projector(&source.parse()?)?.session(&config)
        };
        let with_drafts = |path: &Path| {
            let source = Source::open(path)?;
            let draft = DraftConfig { most: DRAFT_MAX, ..Default::default() };
            let config = SessionConfig { draft, ..config.clone() };
            plan.clone().with_drafter(&source.parse()?)?.session(&config)
        };
        let for_media = gguf.tensors().iter().filter(|tensor| Senses::has(tensor));
        Ok(Self {
            experts: model.experts(),
            context,
            kv: args.kv.name(),
            text,
            media: projector.map(with),
            drafts: drafter.map(with_drafts),
            model: model.name(),
            ignored_keys: model.ignored_keys,
            unread: for_media.map(|tensor| tensor.data.len() as u64).sum(),
        })
    }
}

/// Code and constants of the program that a run reads into memory.
pub(crate) const PROGRAM_BYTES: u64 = 8 << 20;

/// What a chat of some length takes; the same as the default of `carat run`.
const CONTEXT_SHOWN: usize = 8192;
