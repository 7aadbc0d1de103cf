//! What a session is made for, and the memory that it takes.

use carat_gguf::Gguf;

use super::SessionError;
use crate::arena::Need;
use crate::audio::Audio;
use crate::config::Config;
use crate::error::Result;
use crate::model::Model;
use crate::text::kv_cache::{KvCache, KvLimits, KvType};
use crate::vision::TOKENS_MAX;
use crate::{Isa, text, weights};

/// How a session runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Most tokens the session may hold; 0 is the model's own context length. The cache of full
    /// layers takes memory as the conversation grows.
    pub context: usize,
    /// Threads that compute, at most [`threads_max`](crate::threads_max); 0 is the number of cores
    /// that the process may use.
    pub threads: usize,
    /// Most tokens evaluated in one pass; scratch memory grows with it.
    pub prefill_chunk: usize,
    /// How keys and values are stored.
    pub kv: KvType,
    /// Tokens that [`Session::truncate`](crate::Session::truncate) can always take back, however
    /// long the session is.
    pub rollback: usize,
    /// The instruction set.
    pub isa: Isa,
}

impl Default for SessionConfig {
    /// The model's own context, all cores, chunks of 256, f16, 64 tokens of rollback, the best
    /// instruction set of this machine.
    fn default() -> Self {
        Self {
            context: 0,
            threads: 0,
            prefill_chunk: 256,
            kv: KvType::default(),
            rollback: 64,
            isa: Isa::best(),
        }
    }
}

/// Bytes of memory that a session needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The model's weights, shared by all its sessions.
    pub weights: u64,
    /// Keys and values, once the context is full.
    pub kv: u64,
    /// Scratch memory and logits.
    pub scratch: u64,
}

impl Memory {
    /// What a session over the model in `gguf` would need. Nothing is loaded or reserved.
    ///
    /// # Errors
    /// Those of [`Model::open`](crate::Model::open) and [`Session::new`](crate::Session::new) that
    /// can be known beforehand.
    pub fn plan(gguf: &Gguf<'_>, session: &SessionConfig) -> Result<Self> {
        let config = Config::from_metadata(gguf.metadata())?;
        let weights = weights::check(gguf, &config)?;
        let turning_pairs = weights::turning_pairs(gguf, &config)?;
        let (limits, chunk) = limits(&config, turning_pairs, session)?;
        Ok(Self::new(weights, &config, limits, chunk))
    }

    fn new(weights: u64, config: &Config, limits: KvLimits, chunk: usize) -> Self {
        let logits = Need::of::<f32>(config.vocab);
        Self {
            weights,
            kv: KvCache::bytes(config, limits),
            scratch: text::need(config, limits, chunk).and(logits).bytes() as u64,
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.kv + self.scratch
    }
}

/// Scratch of a session: text, pictures and sound take turns in it.
pub(super) fn scratch(model: &Model, limits: KvLimits, chunk: usize) -> Need {
    let projector = model.projector();
    let vision = projector.and_then(|p| p.vision.as_ref());
    let audio = projector.and_then(|p| p.audio.as_ref());
    // A picture is one pass, however long it is.
    let image = vision.map_or(0, |_| TOKENS_MAX.min(limits.context));
    let text = text::need(model.config(), limits, chunk.max(image));
    let seen = vision.map_or(Need::default(), |(vision, _)| vision.need());
    text.or(seen).or(audio.map_or(Need::default(), |_| Audio::need()))
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
    let (kind, rollback) = (session.kv, session.rollback);
    let limits = KvLimits { kind, context, rollback, turning_pairs };
    Ok((limits, session.prefill_chunk.min(context)))
}
