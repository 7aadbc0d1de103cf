//! Several tokens a pass: guesses of what comes next, which one forward pass verifies.
//!
//! Decoding is bound by reading weights, and a pass over a few tokens reads them once. So a session
//! that is about to evaluate the last token of its text lets some that are likely to follow take
//! part in the pass, its *drafts*. What they were good for shows later: tokens are still chosen
//! one by one, and where the chosen one is the draft that stands there, what the pass computed for
//! it is taken over and no other pass is run. Where it is another one, the rest is dropped, and
//! nothing of it was ever in the cache. A row of a pass has the same bits whatever other rows are
//! there, so the text is the same with drafts and without, however tokens are chosen.
//!
//! ```no_run
//! use carat::{DraftConfig, Input, Model, Sampler, SamplerConfig, Session, SessionConfig};
//!
//! # fn main() -> Result<(), carat::Error> {
//! let model = Model::open("gemma.gguf")?;
//! let draft = DraftConfig { most: 4, ..Default::default() };
//! let mut session = Session::new(&model, SessionConfig { draft, ..Default::default() })?;
//! session.push(Input::Prompt("<bos>Say it again: the quick brown fox"))?;
//! let mut sampler = Sampler::new(SamplerConfig::default(), model.tokenizer().vocab_size())?;
//! for token in session.generate(&mut sampler).take(32) {
//!     println!("{}", token?);
//! }
//! println!("{:?}", session.draft_stats());
//! # Ok(())
//! # }
//! ```

mod drafter;
mod forward;
mod head;
mod length;
mod lookup;
mod tensors;

use std::fmt;

use carat_kernels::GROUP_COLUMNS;

use crate::TokenId;
pub use drafter::drafters_beside;
pub(crate) use drafter::{Drafter, DrafterShape};
pub(crate) use forward::{Start, draft, need};
pub(crate) use length::{By, Length, Pass};
pub(crate) use lookup::{Found, Lookup};

/// How a session drafts.
///
/// A draft is kept if it is the token that is chosen anyway, also with sampling, where the random
/// number of a token depends on its position alone. Rejection sampling (Leviathan, Kalman and
/// Matias, 2023) would keep a few more: a draft of probability `q` for the drafter and `p` for the
/// model with probability `min(1, p / q)`, not `p`. But its text is another one with drafts than
/// without and merely distributed alike, which statistics alone can show; it needs probabilities
/// of every draft, which lookups, forced tokens and scripts do not have; and masks, penalties and
/// bias would have to be applied to both sides. Here the text is equal bit for bit, with drafts and
/// without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct DraftConfig {
    /// Most tokens that are drafted for one pass, at most [`DRAFT_MAX`]; 0 drafts nothing. Each
    /// takes the memory of a row of logits and of its keys and values in sliding layers.
    pub most: usize,
    /// Whether fewer tokens are drafted, or none, as measured times and the share of drafts that
    /// was right have it. Otherwise there are always as many as the source gives.
    pub adaptive: bool,
}

impl Default for DraftConfig {
    /// No drafts; adaptive where there are some.
    fn default() -> Self {
        Self { most: 0, adaptive: true }
    }
}

/// The most tokens that can be drafted for one pass, which has [`GROUP_COLUMNS`] tokens then.
pub const DRAFT_MAX: usize = GROUP_COLUMNS - 1;

/// Guesses what comes next. Wrong guesses cost time and change nothing else.
pub trait DraftSource: Send + Sync {
    /// Appends to `out` up to `most` tokens, at least 1, which may follow `tokens`, all that the
    /// session holds, in order; those that the model cannot say are cut with what follows them.
    ///
    /// It is called again for each pass. The session may hold other tokens then, or fewer.
    fn draft(&mut self, tokens: &[TokenId], most: usize, out: &mut Vec<TokenId>);
}

/// Where the drafts of a session come from.
#[derive(Default)]
#[non_exhaustive]
pub enum Drafts {
    /// There are none.
    Off,
    /// The session's own text, prompt and earlier turns included: what followed when the last
    /// tokens stood there before. It costs next to nothing, and is right where text is repeated: in
    /// edits, summaries, code, JSON.
    #[default]
    Lookup,
    /// The model's drafter ([`OpenOptions::drafter`](crate::OpenOptions::drafter)): a small network
    /// that was trained to guess what the model says next, in any text.
    Drafter,
    /// Both: the session's own text where much of what was said last stood there before, or the
    /// drafter has nothing to go on from; the drafter everywhere else. Each has its own share of
    /// right guesses, and so its own number of drafts. Without a drafter it is the text alone.
    Auto,
    /// Something else.
    Source(Box<dyn DraftSource>),
    /// The model's drafter works, and what something else says takes the place of its drafts: so
    /// its time can be measured with any share of right drafts.
    Rehearsal(Box<dyn DraftSource>),
}

impl fmt::Debug for Drafts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::Lookup => "Lookup",
            Self::Drafter => "Drafter",
            Self::Auto => "Auto",
            Self::Source(_) => "Source",
            Self::Rehearsal(_) => "Rehearsal",
        })
    }
}

/// What drafts were good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DraftStats {
    /// Tokens that were drafted and took part in a pass.
    pub drafted: usize,
    /// Those of them that became text.
    pub accepted: usize,
    /// Passes over at most [`DRAFT_MAX`] + 1 tokens whose last logits were wanted, with drafts or
    /// without.
    pub passes: usize,
    /// Tokens of the text that these passes evaluated, accepted drafts among them.
    pub tokens: usize,
}

impl DraftStats {
    /// Tokens of the text for each pass; `None` before the first one.
    #[must_use]
    pub fn tokens_per_pass(&self) -> Option<f64> {
        (self.passes > 0).then(|| self.tokens as f64 / self.passes as f64)
    }

    /// The share of drafted tokens that became text; `None` before the first one.
    #[must_use]
    pub fn acceptance(&self) -> Option<f64> {
        (self.drafted > 0).then(|| self.accepted as f64 / self.drafted as f64)
    }

    /// What was counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            drafted: self.drafted.saturating_sub(before.drafted),
            accepted: self.accepted.saturating_sub(before.accepted),
            passes: self.passes.saturating_sub(before.passes),
            tokens: self.tokens.saturating_sub(before.tokens),
        }
    }
}
