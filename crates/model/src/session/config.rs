//! What a session is made for, and the memory that it takes.

use carat_gguf::Gguf;

use super::{Ahead, SessionError};
use crate::arena::Need;
use crate::audio::AudioShape;
use crate::config::Config;
use crate::draft::{self, DRAFT_MAX, DraftConfig, DrafterShape};
use crate::error::Result;
use crate::model::{Model, template_bytes};
use crate::projector::ProjectorShape;
use crate::text::kv_cache::{KvCache, KvLimits, KvType, Snapshot};
use crate::tokenizer::Tokenizer;
use crate::vision::{PATCH_SIDE, TOKENS_MAX};
use crate::{Isa, TokenId, text, weights};

/// How a session runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct SessionConfig {
    /// Most tokens the session may hold; 0 is the model's own context length. The cache of full
    /// layers takes memory as the conversation grows.
    pub context: usize,
    /// Threads that compute, at most [`threads_max`](crate::threads_max); 0 is the number of cores
    /// that the process may use. Sessions of a model with the same number share these threads and
    /// the scratch memory, and take turns.
    pub threads: usize,
    /// Whether the session has threads and scratch memory of its own instead.
    pub own_threads: bool,
    /// Most tokens evaluated in one pass; scratch memory grows with it.
    pub prefill_chunk: usize,
    /// How keys and values are stored.
    pub kv: KvType,
    /// Tokens that [`Session::truncate`](crate::Session::truncate) can always take back, however
    /// long the session is.
    pub rollback: usize,
    /// Most marks that [`Session::mark`](crate::Session::mark) keeps, each of the size of a sliding
    /// window of keys and values: 335 MB for the 12B with f16.
    pub marks: usize,
    /// Whether several tokens are evaluated at once while the session generates, of which the later
    /// ones are guessed.
    pub draft: DraftConfig,
    /// Most bytes that the model and this session may take together, as [`Memory::total`] counts
    /// them with a full context; `None` is no limit but that of the system. Memory of other
    /// sessions is not counted.
    pub max_memory: Option<u64>,
    /// The instruction set.
    #[cfg_attr(feature = "serde", serde(with = "crate::isa_name"))]
    pub isa: Isa,
}

impl Default for SessionConfig {
    /// The model's own context, all cores, chunks of 256, f16, 64 tokens of rollback, no marks, no
    /// drafts, no limit of memory, the best instruction set of this machine.
    fn default() -> Self {
        Self {
            context: 0,
            threads: 0,
            own_threads: false,
            prefill_chunk: 256,
            kv: KvType::default(),
            rollback: 64,
            marks: 0,
            draft: DraftConfig::default(),
            max_memory: None,
            isa: Isa::best(),
        }
    }
}

/// Bytes of memory that a model and a session need: what the system is asked for. Beside it a
/// program has its own code, and the files of media take what they are while they are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Memory {
    /// The text model's weights, shared by all its sessions.
    pub weights: u64,
    /// Those of them that are experts; 0 without some. With a [cache
    /// file](crate::OpenOptions::cache) the system reads them from there as they are needed, and
    /// takes their memory back where it is short.
    pub experts: u64,
    /// Those of the experts that one token is sent through.
    pub experts_of_token: u64,
    /// The weights of the projector, shared as well; 0 without one.
    pub projector: u64,
    /// The weights of the drafter, shared as well; 0 without one.
    pub drafter: u64,
    /// The tokeniser and the chat template, shared as well.
    pub tokenizer: u64,
    /// Keys and values, once the context is full, and all marks.
    pub kv: u64,
    /// Scratch memory, logits, tokens and drafts; with a projector that sees, for the longest
    /// picture, which is counted too.
    pub scratch: u64,
    /// Weights that stay in the model's file, of which each token reads one row: the per-layer
    /// embeddings of Gemma 4 E2B and E4B. They take no memory and are no part of the total.
    pub on_disk: u64,
}

impl Memory {
    /// What a session over the text model in `gguf` would need: [`MemoryPlan`] tells it for several
    /// sessions and with a projector.
    ///
    /// # Errors
    /// Those of [`MemoryPlan::new`] and [`MemoryPlan::session`].
    pub fn plan(gguf: &Gguf<'_>, session: &SessionConfig) -> Result<Self> {
        MemoryPlan::new(gguf)?.session(session)
    }

    /// What a session over an open model needs.
    pub(super) fn of(
        model: &Model,
        limits: KvLimits,
        chunk: usize,
        marks: usize,
        draft: DraftConfig,
    ) -> Self {
        let projector = model.projector_shape();
        let [experts, experts_of_token] = model.expert_bytes();
        Self {
            weights: model.text_bytes(),
            experts,
            experts_of_token,
            projector: projector.map_or(0, |projector| projector.bytes),
            drafter: model.drafter_shape().map_or(0, |drafter| drafter.bytes),
            tokenizer: (model.tokenizer().bytes() + model.template_bytes()) as u64,
            on_disk: model.bytes_on_disk(),
            kv: kv_bytes(model.config(), limits, marks),
            scratch: work_space(
                model.config(),
                Parts { projector, drafter: model.drafter_shape(), draft },
                limits,
                chunk,
            ),
        }
    }

    /// What must be there for a session to go on at all where experts are read from a cache file as
    /// they are needed: all of it but the experts that a token does not use.
    pub fn least(&self) -> u64 {
        self.total() - self.experts + self.experts_of_token
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        let shared = self.weights + self.projector + self.drafter + self.tokenizer;
        (shared + self.scratch).saturating_add(self.kv)
    }

    /// Refuses a session that takes more than it may.
    pub(super) fn check(&self, most: Option<u64>) -> Result<()> {
        match most.filter(|most| *most < self.total()) {
            Some(most) => Err(SessionError::MaxMemory { memory: Box::new(*self), most }.into()),
            None => Ok(()),
        }
    }
}

/// The memory that sessions over a model in a file would need. Nothing is loaded but the
/// vocabulary, and nothing is reserved.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    config: Config,
    weights: u64,
    on_disk: u64,
    experts: [u64; 2],
    tokenizer: u64,
    turning_pairs: Option<usize>,
    projector: Option<ProjectorShape>,
    drafter: Option<DrafterShape>,
}

impl MemoryPlan {
    /// A plan for the text model in `gguf`.
    ///
    /// # Errors
    /// Those of [`Model::open`](crate::Model::open) that can be known beforehand.
    pub fn new(gguf: &Gguf<'_>) -> Result<Self> {
        let tokenizer = Tokenizer::from_gguf(gguf)?.bytes() + template_bytes(gguf)?;
        Ok(Self { tokenizer: tokenizer as u64, ..Self::without_vocabulary(gguf)? })
    }

    /// A plan that takes no time: the vocabulary is not read and counts as nothing.
    ///
    /// # Errors
    /// As [`MemoryPlan::new`], faults of the vocabulary and the template left out.
    pub fn without_vocabulary(gguf: &Gguf<'_>) -> Result<Self> {
        let config = Config::from_gguf(gguf)?;
        Ok(Self {
            weights: weights::check(gguf, &config)?,
            on_disk: weights::table_bytes(gguf, &config),
            experts: weights::expert_bytes(gguf, &config)?,
            turning_pairs: weights::turning_pairs(gguf, &config)?,
            tokenizer: 0,
            projector: None,
            drafter: None,
            config,
        })
    }

    /// The plan for the model with a projector: pictures and sound are counted.
    ///
    /// # Errors
    /// If the file is no projector that this engine can use.
    pub fn with_projector(self, gguf: &Gguf<'_>) -> Result<Self> {
        Ok(Self { projector: Some(ProjectorShape::of(gguf)?), ..self })
    }

    /// The plan for the model with a drafter.
    ///
    /// # Errors
    /// If the file is no drafter that this engine can use, or one of another model.
    pub fn with_drafter(self, gguf: &Gguf<'_>) -> Result<Self> {
        Ok(Self { drafter: Some(DrafterShape::of(gguf, &self.config)?), ..self })
    }

    /// What a session would need.
    ///
    /// # Errors
    /// Those of [`Session::new`](crate::Session::new) that can be known beforehand.
    pub fn session(&self, session: &SessionConfig) -> Result<Memory> {
        let (limits, chunk) = limits(&self.config, self.turning_pairs, session)?;
        let drafter = self.drafter.as_ref();
        let parts = Parts { projector: self.projector, drafter, draft: session.draft };
        let [experts, experts_of_token] = self.experts;
        Ok(Memory {
            weights: self.weights,
            experts,
            experts_of_token,
            projector: self.projector.map_or(0, |projector| projector.bytes),
            drafter: self.drafter.as_ref().map_or(0, |drafter| drafter.bytes),
            tokenizer: self.tokenizer,
            on_disk: self.on_disk,
            kv: kv_bytes(&self.config, limits, session.marks),
            scratch: work_space(&self.config, parts, limits, chunk),
        })
    }
}

fn kv_bytes(config: &Config, limits: KvLimits, marks: usize) -> u64 {
    // A caller may name any number of marks.
    let marks = (marks as u64).saturating_mul(Snapshot::bytes_max(config, limits));
    KvCache::bytes(config, limits).saturating_add(marks)
}

/// What stands beside a text model, and what a session does with it.
#[derive(Clone, Copy)]
struct Parts<'a> {
    projector: Option<ProjectorShape>,
    drafter: Option<&'a DrafterShape>,
    draft: DraftConfig,
}

fn work_space(config: &Config, parts: Parts<'_>, limits: KvLimits, chunk: usize) -> u64 {
    let tokens = limits.context * size_of::<TokenId>();
    let logits = config.vocab * size_of::<f32>();
    // A picture's pixels and its rows are there while it is pushed.
    let patch = PATCH_SIDE * PATCH_SIDE * 3 + config.hidden * size_of::<f32>();
    let picture = longest_picture(parts.projector, limits) * patch;
    let scratch = scratch_of(config, parts, limits, chunk).bytes();
    (scratch + logits + tokens + picture) as u64 + Ahead::bytes(config, limits, parts.draft)
}

/// Tokens of the longest picture that fits; 0 for a model that does not see.
fn longest_picture(projector: Option<ProjectorShape>, limits: KvLimits) -> usize {
    let sees = projector.is_some_and(|projector| projector.vision.is_some());
    if sees { TOKENS_MAX.min(limits.context) } else { 0 }
}

/// Scratch of a session: text, pictures, sound and drafts take turns in it.
pub(super) fn scratch(model: &Model, limits: KvLimits, chunk: usize, draft: DraftConfig) -> Need {
    let (projector, drafter) = (model.projector_shape(), model.drafter_shape());
    scratch_of(model.config(), Parts { projector, drafter, draft }, limits, chunk)
}

fn scratch_of(config: &Config, parts: Parts<'_>, limits: KvLimits, chunk: usize) -> Need {
    let Parts { projector, drafter, draft } = parts;
    let picture = longest_picture(projector, limits);
    // A picture whose tokens see each other is one pass, however long it is.
    let image = if config.pictures_see_themselves() { picture } else { 0 };
    let projector = projector.unwrap_or_default();
    let text = text::need(config, limits, chunk.max(image), draft.most);
    let seen = projector.vision.map_or(Need::default(), |shape| shape.need(picture));
    let heard = projector.audio.map_or(Need::default(), AudioShape::need);
    let drafted = drafter.map(|drafter| draft::need(drafter, limits.context));
    text.or(seen).or(heard).or(drafted.unwrap_or_default())
}

/// The limits of the cache and the length of a chunk.
pub(super) fn limits(
    config: &Config,
    turning_pairs: Option<usize>,
    session: &SessionConfig,
) -> Result<(KvLimits, usize)> {
    let context = match session.context {
        0 => config.context,
        n if n <= config.context => n,
        wanted => return Err(SessionError::ContextTooLong { wanted, model: config.context }.into()),
    };
    if session.prefill_chunk == 0 {
        let (setting, wanted) = ("prefill_chunk", "1 or more");
        return Err(SessionError::Setting { setting, found: 0, wanted }.into());
    }
    if session.draft.most > DRAFT_MAX {
        let (setting, found, wanted) = ("draft.most", session.draft.most, "at most 7");
        return Err(SessionError::Setting { setting, found, wanted }.into());
    }
    let (kind, rollback) = (session.kv, session.rollback);
    let limits = KvLimits { kind, context, rollback, turning_pairs };
    Ok((limits, session.prefill_chunk.min(context)))
}
