//! What a conversation brings to a forward pass.

use std::ops::Range;
use std::sync::Arc;

use crate::TokenId;

use super::kv_cache::KvCache;
use crate::config::Config;

/// The tokens of one conversation in a forward pass, which follow those in its cache.
///
/// A prompt is a stream of as many tokens as a chunk has, decoding one of a single token. The
/// streams of a pass share the products with weights and nothing else.
pub(crate) struct Stream<'a> {
    pub(crate) kv: &'a mut KvCache,
    /// The tokens to evaluate, at least one.
    pub(crate) ids: &'a [TokenId],
    /// The media that some of these tokens belong to, in order.
    pub(crate) media: &'a [Placed],
    /// Receives the residual rows after the last layer, `[rows, hidden]`, of the last so many
    /// tokens.
    pub(crate) rows: &'a mut [f32],
    /// Receives the logits after the last token, `[vocab]`, if they are wanted.
    pub(crate) logits: Option<&'a mut [f32]>,
    /// Tokens that may follow these, where logits are wanted.
    pub(crate) ahead: Option<Ahead<'a>>,
    /// Whether these are numbers.
    pub(super) is_finite: bool,
    /// Row of the first token in the pass that still has one.
    pub(super) row: usize,
    /// The first tokens whose rows the pass has dropped.
    dropped: usize,
    /// Where the pass stages the keys and values of sliding layers, in bytes.
    pub(super) staged: Range<usize>,
}

/// Tokens in a forward pass that were guessed: they follow those of their stream and see them, and
/// the cache keeps nothing of them.
pub(crate) struct Ahead<'a> {
    /// The guessed tokens, at least one.
    pub(crate) ids: &'a [TokenId],
    /// Receives their residual rows after the last layer, `[ids, hidden]`.
    pub(crate) rows: &'a mut [f32],
    /// Receives the logits after each of them, `[ids, vocab]`.
    pub(crate) logits: &'a mut [f32],
    /// Receives the keys and values that rings would take, as a pass of so many tokens stages them.
    pub(crate) staged: &'a mut [u8],
    /// Whether each row of logits is of numbers, `[ids]`.
    pub(crate) are_finite: &'a mut [bool],
}

/// A row of the pass whose logits are wanted.
pub(super) struct Output<'a> {
    pub(super) row: usize,
    pub(super) logits: &'a mut [f32],
    pub(super) is_finite: &'a mut bool,
}

/// The positions of a stream in a forward pass.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    /// Position of the first token in the conversation.
    pub(super) start: usize,
    /// Number of tokens.
    pub(super) tokens: usize,
    /// Most positions of the conversation.
    pub(super) context: usize,
    media: &'a [Placed],
    /// Whether the tokens are among the keys, as those of a pass are, or only look at these.
    has_keys: bool,
}

impl<'a> Stream<'a> {
    /// A stream that takes part in a pass with `ids`.
    pub(crate) fn new(
        kv: &'a mut KvCache,
        ids: &'a [TokenId],
        media: &'a [Placed],
        rows: &'a mut [f32],
        logits: Option<&'a mut [f32]>,
    ) -> Self {
        let (ahead, is_finite, row, dropped, staged) = (None, true, 0, 0, 0..0);
        Self { kv, ids, media, rows, logits, ahead, is_finite, row, dropped, staged }
    }

    /// Whether the pass kept what it computed: it does not where logits are no numbers.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_finite
    }

    /// The positions of the tokens that have rows.
    pub(super) fn span(&self, config: &Config) -> Span<'a> {
        let (start, context) = (self.kv.len() + self.dropped, self.kv.context());
        let media = if config.pictures_see_themselves() { self.media } else { &[] };
        Span { start, tokens: self.tokens() - self.dropped, context, media, has_keys: true }
    }

    /// The number of tokens, guessed ones among them.
    pub(super) fn tokens(&self) -> usize {
        self.ids.len() + self.guessed().len()
    }

    /// The token of a row of this stream.
    pub(super) fn id(&self, t: usize) -> TokenId {
        self.ids.get(t).copied().unwrap_or_else(|| self.guessed()[t - self.ids.len()])
    }

    /// The token whose row of the per-layer embeddings the row `t` of this stream has: media have
    /// that of the padding (transformers, `get_per_layer_inputs` of `Gemma4Model`).
    pub(super) fn per_layer_id(&self, t: usize) -> TokenId {
        let at = self.kv.len() + t;
        let is_medium = self.media.iter().any(|placed| placed.at.contains(&at));
        if is_medium { PADDING } else { self.id(t) }
    }

    /// The tokens, without guessed ones, whose rows after the last layer are wanted: the last ones,
    /// which `rows` receives, and the one that logits are made of.
    fn wanted_rows(&self, hidden: usize) -> usize {
        (self.rows.len() / hidden).max(1).min(self.ids.len())
    }

    /// Whether there are rows that nobody wants after the last layer.
    pub(super) fn has_unwanted(&self, hidden: usize) -> bool {
        self.wanted_rows(hidden) < self.ids.len()
    }

    /// Drops the rows that nobody wants. Says which rows of the pass are kept; they are moved to
    /// `row` then.
    pub(super) fn keep_wanted(&mut self, hidden: usize, row: usize) -> Range<usize> {
        let wanted = self.wanted_rows(hidden);
        let kept = self.end() - wanted..self.rows_of_pass().end;
        (self.dropped, self.row) = (self.ids.len() - wanted, row);
        kept
    }

    fn guessed(&self) -> &[TokenId] {
        self.ahead.as_ref().map_or(&[], |ahead| ahead.ids)
    }

    /// The rows of the tokens in the pass.
    pub(super) fn rows_of_pass(&self) -> Range<usize> {
        self.row..self.row + self.tokens() - self.dropped
    }

    /// Where the rows of the pass end that are no guesses.
    pub(super) fn end(&self) -> usize {
        self.row + self.ids.len() - self.dropped
    }

    /// The number of rows whose logits are wanted.
    pub(super) fn wanted(&self) -> usize {
        usize::from(self.logits.is_some()) + self.guessed().len()
    }

    /// The rows whose logits, `[vocab]` each, are wanted, in order.
    pub(super) fn outputs(&mut self, vocab: usize) -> impl Iterator<Item = Output<'_>> {
        let end = self.end();
        let is_finite = &mut self.is_finite;
        let last = self.logits.as_deref_mut();
        let last = last.map(|logits| Output { row: end - 1, logits, is_finite });
        let guessed = self.ahead.iter_mut().flat_map(move |ahead| {
            let rows = ahead.logits.chunks_exact_mut(vocab).zip(&mut *ahead.are_finite);
            rows.zip(end..).map(|((logits, is_finite), row)| Output { row, logits, is_finite })
        });
        last.into_iter().chain(guessed)
    }
}

impl Span<'_> {
    /// The span of one query that follows the tokens in a cache and has no key among theirs.
    pub(super) fn looking_at(kv: &KvCache) -> Self {
        let (start, context) = (kv.len(), kv.context());
        Self { start, tokens: 1, context, media: &[], has_keys: false }
    }

    /// Without media, the token at position `q` sees positions below this.
    pub(super) fn end(&self, q: usize) -> usize {
        q + usize::from(self.has_keys)
    }

    /// On sliding layers the token at position `q` sees positions below this: [`Span::end`] for
    /// text, the end of its image for an image token.
    pub(super) fn visible(&self, q: usize) -> usize {
        let image = self.media.iter().find(|placed| placed.is_image && placed.at.contains(&q));
        image.map_or(self.end(q), |placed| placed.at.end)
    }
}

/// What tells a medium from another one: a BLAKE3 hash of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MediaKey(pub(crate) [u8; 32]);

/// A medium among the tokens of a conversation.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// The positions of its soft tokens.
    pub(crate) at: Range<usize>,
    pub(crate) is_image: bool,
    pub(crate) key: MediaKey,
    /// `[tokens, hidden]`, until they are evaluated.
    pub(crate) rows: Arc<[f32]>,
}

impl Placed {
    /// Copies the rows that fall into a pass, `x` of `[tokens, hidden]` from position `start`.
    pub(super) fn fill(&self, start: usize, hidden: usize, x: &mut [f32]) {
        let from = self.at.start.max(start);
        let to = self.at.end.min(start + x.len() / hidden);
        let rows = &self.rows[(from - self.at.start) * hidden..(to - self.at.start) * hidden];
        x[(from - start) * hidden..(to - start) * hidden].copy_from_slice(rows);
    }
}

/// The token of the padding in every Gemma 4.
const PADDING: TokenId = 0;
