//! `Session`: one conversation with a model.
//!
//! A session holds the tokens so far and the KV cache of those that were evaluated. The two may
//! differ by the last token: what `generate` yields is appended at once and evaluated only when
//! the next token is wanted, so that it can be shown first.

mod ahead;
mod batch;
mod config;
mod disk;
mod error;
mod eval_draft;
mod evaluate;
mod fill;
mod generate;
mod listen;
mod marks;
mod media;
mod prompt;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::cancel::Cancel;
use crate::draft::DraftConfig;
use crate::engine::Engine;
use crate::error::Result;
use crate::model::Model;
use crate::pages::{MemoryError, zeros};
use crate::pool::WeightReading;
use crate::rendered::Rendered;
use crate::text::Placed;
use crate::text::kv_cache::{KvCache, KvLimits};
use crate::{Isa, Sampler, TokenId};
use ahead::Ahead;
pub use batch::{Seat, Step, evaluate, step};
use config::scratch;
pub use config::{Memory, MemoryPlan, SessionConfig};
pub use disk::{SavedSession, SavedSessionError};
pub use error::SessionError;
pub use generate::{Generate, Stop};
pub use listen::Listen;
use marks::Marks;
use media::Embedded;
pub use media::{Embedding, MediaPrompt, Medium, Part};
pub use prompt::PromptUsage;

/// The input of [`Session::push`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// Text that a user wrote: nothing in it is a special token. In an empty session the
    /// vocabulary's BOS comes first.
    Text(&'a str),
    /// The prompt that a chat template rendered: special tokens count where the template wrote
    /// them. In an empty session the vocabulary's BOS comes first, unless the prompt begins with
    /// it.
    Rendered(&'a Rendered),
    /// A prompt that the program wrote: special tokens are parsed. BOS as for [`Input::Rendered`].
    Prompt(&'a str),
    /// Words and media in the order given. In an empty session BOS comes first.
    Parts(&'a [Part<'a>]),
    /// As [`Input::Rendered`], with media for the placeholders that the template wrote, in order.
    Conversation {
        /// The prompt.
        prompt: &'a Rendered,
        /// As many as there are placeholders.
        media: &'a [Medium],
    },
    /// Tokens as they are; BOS is the caller's affair.
    Tokens(&'a [TokenId]),
    /// Tokens as they are, each run of soft tokens standing for the next embedding.
    Filled {
        /// The tokens.
        ids: &'a [TokenId],
        /// As many as there are runs.
        media: &'a [Embedding],
    },
}

/// The progress of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Progress {
    /// The number of tokens evaluated so far.
    pub done: usize,
    /// The number of tokens to evaluate in all.
    pub total: usize,
}

/// One conversation: tokens, their keys and values. Threads and scratch memory belong to the model,
/// whose sessions take turns with them.
pub struct Session {
    model: Model,
    engine: Arc<Engine>,
    cancel: Cancel,
    kv: KvCache,
    limits: KvLimits,
    /// The most tokens in a pass.
    chunk: usize,
    /// The tokens of the conversation; the cache holds the first `kv.len()` of them.
    tokens: Vec<TokenId>,
    /// The pictures and sounds among the tokens, in order.
    media: Vec<Placed>,
    /// The pictures whose rows can be used again.
    embedded: Embedded,
    /// The residual row after the last layer of the last token in the cache, `[hidden]`, where that
    /// is token `hidden_at`, counted from 1.
    hidden: Vec<f32>,
    hidden_at: usize,
    /// The logits after the last token in the cache, `[vocab]`, where that is token `logits_at`,
    /// counted from 1.
    logits: Vec<f32>,
    logits_at: usize,
    marks: Marks,
    /// The drafts, if there are some.
    ahead: Option<Box<Ahead>>,
    draft: DraftConfig,
    stop: Option<Stop>,
}

impl Session {
    /// Starts an empty session: reserves its memory, and starts threads if the model has none yet
    /// that suit it.
    ///
    /// # Errors
    /// If a setting is out of range, or the system has no memory or no threads to give.
    pub fn new(model: &Model, config: SessionConfig) -> Result<Self> {
        let (limits, chunk) = config::limits(model.config(), model.turning_pairs(), &config)?;
        Memory::of(model, limits, chunk, config.marks, config.draft).check(config.max_memory)?;
        let mut tokens = Vec::new();
        let bytes = (limits.context * size_of::<TokenId>()) as u64;
        tokens
            .try_reserve_exact(limits.context)
            .map_err(|_| MemoryError { what: "tokens", bytes })?;
        let engine = match config.own_threads {
            true => Arc::new(Engine::new(config.threads, config.isa)?),
            false => model.engine(config.threads, config.isa)?,
        };
        let draft = config.draft;
        engine.reserve(scratch(model, limits, chunk, draft))?;
        let mut session = Self {
            model: model.clone(),
            engine,
            cancel: Cancel::new(),
            kv: KvCache::new(model.config(), limits)?,
            limits,
            chunk,
            tokens,
            media: Vec::new(),
            embedded: Embedded::default(),
            hidden: zeros("a row", model.config().hidden)?,
            hidden_at: 0,
            logits: zeros("logits", model.config().vocab)?,
            logits_at: 0,
            marks: Marks::new(config.marks),
            ahead: None,
            draft,
            stop: None,
        };
        session.ahead = Ahead::new(&session)?;
        Ok(session)
    }

    /// Appends input and evaluates it.
    ///
    /// # Errors
    /// If the context cannot hold it (then nothing is appended), or a token does not exist.
    pub fn push(&mut self, input: Input<'_>) -> Result<()> {
        self.push_with(input, &mut |_| ControlFlow::Continue(()))
    }

    /// Appends input without evaluating it: the next [`Session::logits`], [`Session::generate`] or
    /// [`step`] does that.
    ///
    /// # Errors
    /// If the context cannot hold it (then nothing is appended), or a token does not exist.
    pub fn enqueue(&mut self, input: Input<'_>) -> Result<()> {
        self.written_out(input, Self::extend)
    }

    /// Does what [`Session::push`] does, and calls `progress` after every chunk, which may break
    /// off.
    ///
    /// # Errors
    /// As [`Session::push`], and [`Error::Cancelled`](crate::Error::Cancelled) if `progress` breaks
    /// before the end. The session then holds what was evaluated, and so it does if `progress`
    /// panics.
    pub fn push_with(
        &mut self,
        input: Input<'_>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<()> {
        self.written_out(input, |session, bos, ids, media| {
            session.append(bos, ids, media, progress)
        })
    }

    /// Calls `take` with the tokens and embeddings that input stands for, and the BOS that belongs
    /// before them.
    fn written_out(
        &mut self,
        input: Input<'_>,
        take: impl FnOnce(&mut Self, Option<TokenId>, &[TokenId], &[Embedding]) -> Result<()>,
    ) -> Result<()> {
        let (model, tokenizer) = (&self.model, self.model.tokenizer());
        let text = |ids| MediaPrompt { ids, media: Vec::new() };
        let filled = match input {
            Input::Tokens(ids) => return take(self, None, ids, &[]),
            Input::Filled { ids, media } => return take(self, None, ids, media),
            Input::Text(words) => text(tokenizer.encode(words)),
            Input::Rendered(rendered) => text(tokenizer.encode_rendered(rendered)),
            Input::Prompt(prompt) => text(tokenizer.encode_prompt(prompt)),
            Input::Parts(parts) => MediaPrompt::from_parts(model, parts)?,
            Input::Conversation { prompt, media } => {
                MediaPrompt::from_conversation(model, prompt, media)?
            }
        };
        let bos = self.bos_before(filled.ids.first().copied());
        take(self, bos, &filled.ids, &filled.media)
    }

    /// Continues the conversation: returns an iterator that samples a token from the logits after
    /// the one before, until the model ends its turn or the context is full.
    ///
    /// A token that was yielded is part of the session. Dropping the iterator ends generation.
    pub fn generate<'s>(&'s mut self, sampler: &'s mut Sampler) -> Generate<'s> {
        self.stop = None;
        Generate::new(self, sampler)
    }

    /// The reason for which the last [`Session::generate`] ended by itself; `None` if it did not,
    /// or if the conversation has been changed since.
    pub fn stop(&self) -> Option<Stop> {
        self.stop
    }

    /// Forgets all but the first `tokens` tokens, which must not end within a medium or right after
    /// one. What follows gives the same bits as in a new session. The length 0 is always possible,
    /// and so are the last [`SessionConfig::rollback`] tokens and every mark that
    /// [`Session::mark`] set. Between a mark and the next medium any length is possible, too, but
    /// the tokens after the mark are evaluated again.
    ///
    /// # Errors
    /// If the session is shorter, or sliding layers no longer hold what the next token would see.
    pub fn truncate(&mut self, tokens: usize) -> Result<()> {
        self.cut(tokens, tokens.saturating_sub(1))
    }

    /// [`Session::truncate`] where the cache need not hold more than `cached` tokens afterwards:
    /// the last token kept is evaluated again where its logits are wanted.
    fn cut(&mut self, tokens: usize, cached: usize) -> Result<()> {
        let have = self.tokens.len();
        if tokens > have {
            return Err(SessionError::TruncateBeyond { wanted: tokens, have }.into());
        }
        let cuts = |placed: &&Placed| placed.at.start < tokens && tokens <= placed.at.end;
        if let Some(Placed { at, .. }) = self.media.iter().find(cuts) {
            let (start, end) = (at.start, at.end + 1);
            return Err(SessionError::TruncateMedium { wanted: tokens, start, end }.into());
        }
        // Where all that stays is evaluated and its last row is gone, the last token is to be
        // evaluated again, too.
        let is_lost = tokens < have && tokens == self.kv.len() && cached < tokens;
        let has_row = self.hidden_at == tokens || self.logits_at == tokens;
        if tokens < self.kv.len() || is_lost && !has_row {
            self.come_back(tokens, cached)?;
        }
        self.forget(tokens);
        self.stop = None;
        Ok(())
    }

    /// The conversation so far.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// The number of tokens so far.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The most tokens that the session can hold.
    pub fn context(&self) -> usize {
        self.limits.context
    }

    /// A handle that ends what this session is doing, from any thread and at once. What was begun
    /// leaves no trace then: the session holds what it held before, or for a prompt its first
    /// chunks, and goes on with the same bits once [`Cancel::reset`] took the flag back.
    pub fn cancel_handle(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Lets `cancel` end what this session does from now on, in place of the handle it had.
    pub fn set_cancel(&mut self, cancel: Cancel) {
        self.cancel = cancel;
    }

    /// The number of threads that compute.
    pub fn threads(&self) -> usize {
        self.engine.threads()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.engine.isa()
    }

    /// How passes of few tokens read the weights of this model, as far as it was found out: on some
    /// machines four groups of rows side by side arrive much faster than one. Empty while another
    /// session evaluates tokens.
    pub fn weight_readings(&self) -> Vec<WeightReading> {
        self.engine.weight_readings()
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The logits after the last token, one for each token of the vocabulary; after
    /// [`Session::generate`] has sampled from them, those of suppressed tokens are −∞.
    ///
    /// # Errors
    /// [`SessionError::NothingPushed`] in an empty session, or no memory to evaluate the last
    /// token.
    pub fn logits(&mut self) -> Result<&[f32]> {
        self.settle()?;
        Ok(&self.logits)
    }

    /// The memory of the session, with the cache counted as if the context were full.
    pub fn memory(&self) -> Memory {
        Memory::of(&self.model, self.limits, self.chunk, self.marks.most(), self.draft)
    }

    /// The scratch memory in bytes: what this session needs, and the most that was used so far by
    /// any of the sessions that share it.
    pub fn scratch(&self) -> (usize, usize) {
        let declared = scratch(&self.model, self.limits, self.chunk, self.draft);
        (declared.bytes(), self.engine.high_water())
    }

    /// The vocabulary's BOS, if it belongs before the token `first`.
    fn bos_before(&self, first: Option<TokenId>) -> Option<TokenId> {
        self.model.tokenizer().bos_before(first).filter(|_| self.tokens.is_empty())
    }

    /// Drops tokens that are not in the cache, and the media among them.
    fn forget(&mut self, tokens: usize) {
        if let Some(ahead) = &mut self.ahead {
            ahead.forget(&self.tokens, tokens);
        }
        self.tokens.truncate(tokens);
        self.media.retain(|placed| placed.at.start < tokens);
        if let Some(last) = self.media.last_mut() {
            last.at.end = last.at.end.min(tokens);
        }
    }

    /// [`Session::rewind`] to evaluate again what comes then, of which no medium may be a part.
    fn go_back(&mut self, len: usize) -> Result<(), SessionError> {
        let cuts = |placed: &&Placed| placed.at.start <= len && len < placed.at.end;
        if let Some(Placed { at, .. }) = self.media.iter().find(cuts) {
            let (start, end) = (at.start, at.end + 1);
            return Err(SessionError::TruncateMedium { wanted: len, start, end });
        }
        self.rewind(len).map_err(|least| SessionError::Rollback { wanted: len, least })
    }

    /// Appends tokens after checking that they exist and fit.
    fn extend(&mut self, bos: Option<TokenId>, ids: &[TokenId], media: &[Embedding]) -> Result<()> {
        let vocab = self.model.config().vocab;
        if let Some(id) = bos.iter().chain(ids).find(|id| **id as usize >= vocab) {
            return Err(SessionError::Token { id: *id, vocab }.into());
        }
        let wanted = self.tokens.len() + bos.iter().len() + ids.len();
        if wanted > self.limits.context {
            return Err(SessionError::ContextFull { wanted, context: self.limits.context }.into());
        }
        let first = self.tokens.len() + bos.iter().len();
        let placed = media::place(&self.model, ids, media, first)?;
        self.media.extend(placed);
        self.tokens.extend(bos.iter().chain(ids));
        self.stop = None;
        Ok(())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("tokens", &self.tokens.len())
            .field("limits", &self.limits)
            .field("threads", &self.engine.threads())
            .finish_non_exhaustive()
    }
}
