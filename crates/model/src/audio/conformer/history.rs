//! What the layers remember of the tokens that were embedded last.

use super::ConformerShape;
use super::attention::PAST;

/// The last keys and values of every layer, and the last inputs of its convolution.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct History {
    /// The first token that was heard.
    start: usize,
    /// The next one to hear; none while tokens are embedded.
    next: Option<usize>,
    /// `[layers]` of `[heads][PAST][head]` keys, as many values, and `[taps − 1][width]` inputs.
    floats: Vec<f32>,
    /// Keys of a layer, and inputs, in floats.
    lengths: [usize; 2],
}

/// One layer's part. Of its keys and values the last `tokens` mean something.
#[derive(Debug)]
pub(super) struct Past<'a> {
    pub(super) tokens: usize,
    pub(super) keys: &'a mut [f32],
    pub(super) values: &'a mut [f32],
    /// Zeros before the first token.
    pub(super) gated: &'a mut [f32],
}

impl History {
    pub(super) fn new(shape: ConformerShape) -> Self {
        let lengths @ [keys, gated] = [PAST * shape.width, (shape.taps - 1) * shape.width];
        let floats = vec![0.0; shape.layers * (2 * keys + gated)];
        Self { start: 0, next: None, floats, lengths }
    }

    /// Begins to embed tokens from `wanted` on, and returns the first token to embed: an earlier
    /// one, `reach` before, where the history is not that of the tokens before.
    pub(super) fn begin(&mut self, wanted: usize, reach: usize) -> usize {
        if self.next.take() == Some(wanted) {
            return wanted;
        }
        self.start = wanted.saturating_sub(reach);
        self.floats.fill(0.0);
        self.start
    }

    /// All tokens before `next` are embedded.
    pub(super) fn end(&mut self, next: usize) {
        self.next = Some(next);
    }

    /// What layer `i` remembers before token `at`.
    pub(super) fn layer(&mut self, i: usize, at: usize) -> Past<'_> {
        let [keys, gated] = self.lengths;
        let layer = &mut self.floats[i * (2 * keys + gated)..][..2 * keys + gated];
        let (keys, rest) = layer.split_at_mut(keys);
        let (values, gated) = rest.split_at_mut(keys.len());
        Past { tokens: (at - self.start).min(PAST), keys, values, gated }
    }
}
