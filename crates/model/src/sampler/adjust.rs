//! What is done to logits before a token is chosen: bias, then penalties.
//!
//! No number becomes infinite on the way, since infinities mean something else; only a bias of
//! minus infinity makes one. Minus infinity stays what it is, whatever is added.

use super::SamplerConfig;
use crate::TokenId;

/// Biases, penalties and what they remember.
#[derive(Clone, Debug)]
pub(super) struct Adjust {
    bias: Vec<(TokenId, f32)>,
    repetition_penalty: f32,
    recent: Recent,
    frequency_penalty: f32,
    presence_penalty: f32,
    counts: Counts,
    adjusted: Vec<f32>,
}

impl Adjust {
    pub(super) fn new(config: &SamplerConfig, vocab_size: usize) -> Self {
        let is_repetition = config.repetition_penalty != 1.0 && config.repetition_last_n > 0;
        let is_counted = config.frequency_penalty != 0.0 || config.presence_penalty != 0.0;
        let is_on = is_repetition || is_counted || !config.logit_bias.is_empty();
        let window = if is_repetition { config.repetition_last_n } else { 0 };
        Self {
            bias: config.logit_bias.clone(),
            repetition_penalty: config.repetition_penalty,
            recent: Recent::new(window, vocab_size),
            frequency_penalty: config.frequency_penalty,
            presence_penalty: config.presence_penalty,
            counts: Counts::new(if is_counted { vocab_size } else { 0 }),
            adjusted: Vec::with_capacity(if is_on { vocab_size } else { 0 }),
        }
    }

    /// The logits with bias and penalties; where there are none, as they came.
    pub(super) fn apply<'a>(&'a mut self, logits: &'a [f32]) -> &'a [f32] {
        if self.bias.is_empty() && self.recent.ring.is_empty() && self.counts.seen.is_empty() {
            return logits;
        }
        self.adjusted.clear();
        self.adjusted.extend_from_slice(logits);
        for &(token, bias) in &self.bias {
            let logit = &mut self.adjusted[token as usize];
            // A token that is forbidden may have any logit.
            *logit = if bias == f32::NEG_INFINITY { bias } else { less(*logit, -f64::from(bias)) };
        }
        self.recent.penalise(&mut self.adjusted, self.repetition_penalty);
        let (frequency, presence) =
            (f64::from(self.frequency_penalty), f64::from(self.presence_penalty));
        for &token in &self.counts.seen {
            let count = f64::from(self.counts.counts[token as usize]);
            let logit = &mut self.adjusted[token as usize];
            *logit = less(*logit, count * frequency + presence);
        }
        &self.adjusted
    }

    pub(super) fn accept(&mut self, token: TokenId) {
        self.recent.push(token);
        self.counts.push(token);
    }

    /// Forgets how often tokens came, but not which came last.
    pub(super) fn begin_answer(&mut self) {
        self.counts.clear();
    }

    pub(super) fn clear(&mut self) {
        self.recent.clear();
        self.counts.clear();
    }
}

/// `logit - penalty`, finite if the logit is.
fn less(logit: f32, penalty: f64) -> f32 {
    if !logit.is_finite() {
        return logit;
    }
    let (least, most) = (f64::from(f32::MIN), f64::from(f32::MAX));
    (f64::from(logit) - penalty).clamp(least, most) as f32
}

/// The last accepted tokens, and one bit per token of the vocabulary so that each is penalised
/// once.
#[derive(Clone, Debug)]
struct Recent {
    ring: Vec<TokenId>,
    next: usize,
    window: usize,
    vocab_size: usize,
    seen: Vec<u64>,
}

impl Recent {
    fn new(window: usize, vocab_size: usize) -> Self {
        let seen = if window == 0 { 0 } else { vocab_size.div_ceil(64) };
        Self { ring: Vec::with_capacity(window), next: 0, window, vocab_size, seen: vec![0; seen] }
    }

    fn clear(&mut self) {
        self.ring.clear();
        self.next = 0;
    }

    fn push(&mut self, token: TokenId) {
        if self.window == 0 || token as usize >= self.vocab_size {
            return;
        }
        if self.ring.len() < self.window {
            self.ring.push(token);
        } else {
            self.ring[self.next] = token;
            self.next = (self.next + 1) % self.window;
        }
    }

    fn penalise(&mut self, logits: &mut [f32], penalty: f32) {
        for &token in &self.ring {
            let (word, bit) = (token as usize / 64, 1 << (token % 64));
            if self.seen[word] & bit == 0 {
                self.seen[word] |= bit;
                let logit = &mut logits[token as usize];
                let less = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
                *logit = if logit.is_finite() { less.clamp(f32::MIN, f32::MAX) } else { *logit };
            }
        }
        for &token in &self.ring {
            self.seen[token as usize / 64] = 0;
        }
    }
}

/// How often each token was accepted, and the tokens that were.
#[derive(Clone, Debug)]
struct Counts {
    counts: Vec<u32>,
    seen: Vec<TokenId>,
}

impl Counts {
    fn new(vocab_size: usize) -> Self {
        Self { counts: vec![0; vocab_size], seen: Vec::with_capacity(vocab_size) }
    }

    fn clear(&mut self) {
        for token in self.seen.drain(..) {
            self.counts[token as usize] = 0;
        }
    }

    fn push(&mut self, token: TokenId) {
        let Some(count) = self.counts.get_mut(token as usize) else { return };
        if *count == 0 {
            self.seen.push(token);
        }
        *count = count.saturating_add(1);
    }
}
