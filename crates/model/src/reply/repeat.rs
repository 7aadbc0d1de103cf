//! Notices that a model does nothing but repeat itself.
//!
//! What is sought is a cycle: the last tokens are the same `period` tokens over and over. How long
//! that may go on depends on what is repeated. Nobody writes a paragraph of different words four
//! times running, but rows of dashes, tables of zeros, `ha ha ha` and lines of code may well be
//! repeated for hundreds of tokens, and all of those are cycles of few different tokens. So a cycle
//! of `d` different tokens is a loop after `4096 / d` tokens, at least 200 and at most 1024, and
//! after four repeats in any case. In numbers: a sentence of 20 tokens may come ten times, a line
//! with 8 different tokens may fill 512, and a matrix of 16 x 16 zeros passes.

use crate::TokenId;

/// Watches the tokens of an answer for a cycle of at most 256 tokens that repeats itself.
///
/// A token costs one comparison for each period. Nothing is allocated after construction.
#[derive(Clone, Debug)]
pub struct LoopGuard {
    /// The last tokens from `head` on, the latest first; all twice, so that they are one slice.
    history: Vec<TokenId>,
    head: usize,
    len: usize,
    /// For each period from 1 on: how many of the last tokens equal the one a period before.
    runs: Vec<u32>,
    sorted: Vec<TokenId>,
}

/// A cycle that repeats itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Tokens in the cycle.
    pub period: usize,
    /// Tokens that were made of it so far, at least four times the period.
    pub tokens: usize,
}

impl LoopGuard {
    /// A guard that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            history: vec![0; 2 * PERIOD_MAX],
            head: 0,
            len: 0,
            runs: vec![0; PERIOD_MAX],
            sorted: Vec::with_capacity(PERIOD_MAX),
        }
    }

    /// Adds a token and says whether the last ones are a loop, of the shortest cycle that they are
    /// made of.
    pub fn accept(&mut self, token: TokenId) -> Option<Repeat> {
        let before = &self.history[self.head..self.head + self.len];
        let mut is_long = false;
        for ((run, before), period) in self.runs.iter_mut().zip(before).zip(1_u32..) {
            *run = if *before == token { run.saturating_add(1) } else { 0 };
            is_long |= run.saturating_add(period) >= least(period);
        }
        self.head = (self.head + PERIOD_MAX - 1) % PERIOD_MAX;
        self.history[self.head] = token;
        self.history[self.head + PERIOD_MAX] = token;
        self.len = (self.len + 1).min(PERIOD_MAX);
        if is_long { self.judge() } else { None }
    }

    /// Forgets what was seen.
    pub fn reset(&mut self) {
        self.len = 0;
        self.runs.fill(0);
    }

    /// Whether the shortest cycle has gone on for too long. Longer ones that fit as well are
    /// multiples of it: they have the same tokens and are no longer in all.
    fn judge(&mut self) -> Option<Repeat> {
        let runs = self.runs.iter().zip(1_u32..);
        let mut long = runs.filter(|(run, period)| run.saturating_add(*period) >= least(*period));
        let (run, period) = long.next()?;
        let (tokens, period) = (run.saturating_add(period), period as usize);
        self.sorted.clear();
        self.sorted.extend_from_slice(&self.history[self.head..self.head + period]);
        self.sorted.sort_unstable();
        self.sorted.dedup();
        let variety = self.sorted.len() as u32;
        let needed = (VARIETY_TOKENS / variety).clamp(TOKENS_MIN, TOKENS_MAX);
        (tokens >= needed).then_some(Repeat { period, tokens: tokens as usize })
    }
}

impl Default for LoopGuard {
    fn default() -> Self {
        Self::new()
    }
}

/// The fewest tokens of a cycle of this period that can be a loop.
fn least(period: u32) -> u32 {
    TOKENS_MIN.max(REPEATS_MIN * period)
}

/// A repeated page has a few hundred tokens; longer cycles are left to the limit of the answer.
const PERIOD_MAX: usize = 256;

const REPEATS_MIN: u32 = 4;

const TOKENS_MIN: u32 = 200;

const TOKENS_MAX: u32 = 1024;

/// Tokens times different tokens of a cycle that make a loop.
const VARIETY_TOKENS: u32 = 4096;
