//! What a conversation brings to a forward pass.

use std::ops::Range;
use std::sync::Arc;

use crate::TokenId;

use super::kv_cache::KvCache;

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
    /// Whether these are numbers.
    pub(super) is_finite: bool,
    /// Row of the first token in the pass.
    pub(super) row: usize,
    /// Where the pass stages the keys and values of sliding layers, in bytes.
    pub(super) staged: Range<usize>,
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
        Self { kv, ids, media, rows, logits, is_finite: true, row: 0, staged: 0..0 }
    }

    /// Whether the pass kept what it computed: it does not where logits are no numbers.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_finite
    }

    /// The positions of the tokens.
    pub(super) fn span(&self) -> Span<'a> {
        let (start, context) = (self.kv.len(), self.kv.context());
        Span { start, tokens: self.ids.len(), context, media: self.media, has_keys: true }
    }

    /// The rows of the tokens in the pass.
    pub(super) fn rows_of_pass(&self) -> Range<usize> {
        self.row..self.row + self.ids.len()
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
