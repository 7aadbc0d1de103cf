//! From logits to the next token.
//!
//! The steps run in llama.cpp's order: repetition penalty, top-k, top-p, min-p, temperature, draw.
//! Hugging Face divides by the temperature before the filters; at the model card's temperature of
//! 1.0 the two agree. We filter first because then the candidates do not depend on the temperature:
//! heat flattens the choice among good tokens and never lets in a bad one.
//!
//! The same seed and logits give the same tokens on every machine: ties go to the lowest id, sums
//! run in a fixed order in f64, the exponential is the one below (the C library's differs between
//! platforms in its last bit), and the random numbers are SplitMix64 (Steele, Lea and Flood, "Fast
//! splittable pseudorandom number generators", OOPSLA 2014). Every buffer is sized in `new`;
//! `sample` and `accept` allocate nothing.

mod random;

use std::cmp::Ordering;

use crate::TokenId;
use random::{SplitMix64, exp};

/// How the next token is chosen. `Default` is greedy.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct SamplerConfig {
    /// Divides the logits of the candidates that are left. 0 takes the likeliest token and ignores
    /// the filters.
    pub temperature: f32,
    /// Keeps the `top_k` likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the fewest likeliest tokens whose probabilities sum to at least `top_p`; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least `min_p` times as likely as the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of recent tokens (CTRL, Keskar et al. 2019);
    /// 1 is off.
    pub repetition_penalty: f32,
    /// How many of the last accepted tokens are penalised; 0 is off, 1048576 the most.
    pub repetition_last_n: usize,
    /// Start of the random sequence.
    pub seed: u64,
}

impl SamplerConfig {
    /// What Gemma's model card advises: temperature 1.0, top-p 0.95, top-k 64.
    #[must_use]
    pub fn gemma() -> Self {
        Self { temperature: 1.0, top_k: 64, top_p: 0.95, ..Self::default() }
    }

    fn validate(&self) -> Result<(), SamplerError> {
        let check = |field, value: f32, ok: bool, wanted| {
            if ok { Ok(()) } else { Err(SamplerError::OutOfRange { field, value, wanted }) }
        };
        let t = self.temperature;
        check("temperature", t, t.is_finite() && t >= 0.0, "a finite number of at least 0")?;
        let p = self.top_p;
        check("top_p", p, p > 0.0 && p <= 1.0, "above 0 and at most 1")?;
        let m = self.min_p;
        check("min_p", m, (0.0..=1.0).contains(&m), "between 0 and 1")?;
        let r = self.repetition_penalty;
        check("repetition_penalty", r, r.is_finite() && r > 0.0, "a finite number above 0")?;
        let n = self.repetition_last_n;
        check("repetition_last_n", n as f32, n <= WINDOW_MAX, "at most 1048576")
    }
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            repetition_last_n: 64,
            seed: 0,
        }
    }
}

/// Why no token could be sampled.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// A setting is not a number that the step can work with.
    #[error("sampler setting {field} is {value}; set it to {wanted}")]
    OutOfRange {
        /// Field of [`SamplerConfig`].
        field: &'static str,
        /// What it holds.
        value: f32,
        /// What it may hold.
        wanted: &'static str,
    },
    /// A logit is NaN or infinite, which no sound model computes.
    #[error(
        "the logit of token {token} is {logit}, a finite number is wanted: \
         the model file is damaged or made with weights that overflow, fetch or convert it again"
    )]
    NotFinite {
        /// The first token with such a logit.
        token: TokenId,
        /// Its logit.
        logit: f32,
    },
    /// Every logit is minus infinity, which is how suppressed tokens are marked.
    #[error("all {vocab_size} tokens are suppressed: leave at least one to choose")]
    NoCandidate {
        /// Number of logits seen.
        vocab_size: usize,
    },
}

/// Draws tokens; owns the random state and the window of recent tokens.
#[derive(Clone, Debug)]
pub struct Sampler {
    config: SamplerConfig,
    random: SplitMix64,
    vocab_size: usize,
    candidates: Vec<Candidate>,
    weights: Vec<f64>,
    penalised: Vec<f32>,
    recent: Recent,
}

impl Sampler {
    /// A sampler for `vocab_size` logits.
    ///
    /// # Errors [`SamplerError::OutOfRange`] for a setting that is NaN, negative or otherwise
    /// without meaning.
    pub fn new(config: SamplerConfig, vocab_size: usize) -> Result<Self, SamplerError> {
        config.validate()?;
        let penalise = config.repetition_penalty != 1.0 && config.repetition_last_n > 0;
        let greedy = config.temperature == 0.0;
        let held = if greedy { 0 } else { candidate_capacity(config.top_k, vocab_size) };
        Ok(Self {
            random: SplitMix64::new(config.seed),
            vocab_size,
            candidates: Vec::with_capacity(held),
            weights: Vec::with_capacity(held),
            penalised: Vec::with_capacity(if penalise { vocab_size } else { 0 }),
            recent: Recent::new(if penalise { config.repetition_last_n } else { 0 }, vocab_size),
            config,
        })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &SamplerConfig {
        &self.config
    }

    /// Chooses a token. One whose logit is minus infinity is suppressed and never chosen.
    ///
    /// # Errors
    /// [`SamplerError::NotFinite`] for a logit that is NaN or plus infinity,
    /// [`SamplerError::NoCandidate`] when all tokens are suppressed.
    ///
    /// # Panics
    /// When `logits` does not have the length given to [`Sampler::new`].
    pub fn sample(&mut self, logits: &[f32]) -> Result<TokenId, SamplerError> {
        let (got, want) = (logits.len(), self.vocab_size);
        assert_eq!(got, want, "sample: {got} logits for a vocabulary of {want}");
        if self.recent.is_empty() {
            return self.choose(logits);
        }
        let mut penalised = std::mem::take(&mut self.penalised);
        penalised.clear();
        penalised.extend_from_slice(logits);
        self.recent.penalise(&mut penalised, self.config.repetition_penalty);
        let chosen = self.choose(&penalised);
        self.penalised = penalised;
        chosen
    }

    /// Tells the repetition penalty that `token` is now part of the text.
    pub fn accept(&mut self, token: TokenId) {
        self.recent.push(token);
    }

    /// Forgets the accepted tokens and starts the random sequence anew.
    pub fn reset(&mut self) {
        self.random = SplitMix64::new(self.config.seed);
        self.recent.clear();
    }

    fn choose(&mut self, logits: &[f32]) -> Result<TokenId, SamplerError> {
        let nothing = SamplerError::NoCandidate { vocab_size: logits.len() };
        if self.config.temperature == 0.0 {
            return argmax(logits)?.ok_or(nothing);
        }
        self.keep_top_k(logits)?;
        let Some(top) = self.candidates.iter().max_by(|a, b| a.rank(b)) else {
            return Err(nothing);
        };
        let top = top.logit;
        if self.config.top_p < 1.0 {
            self.keep_top_p(top);
        } else if self.config.top_k > 0 {
            // A cut leaves no order that draws could rely on; without one the ids ascend.
            self.candidates.sort_unstable_by(Candidate::likelier_first);
        }
        let min_p = f64::from(self.config.min_p);
        self.candidates.retain(|c| weight(c.logit, top, 1.0) >= min_p);
        Ok(self.draw(top))
    }

    /// Fills `candidates` with the `top_k` likeliest logits, in no order.
    fn keep_top_k(&mut self, logits: &[f32]) -> Result<(), SamplerError> {
        let k = if self.config.top_k == 0 { usize::MAX } else { self.config.top_k };
        let capacity = candidate_capacity(self.config.top_k, self.vocab_size);
        let mut floor = f32::NEG_INFINITY;
        self.candidates.clear();
        for (logits, first) in logits.chunks(SCAN).zip((0..).step_by(SCAN)) {
            if !any_above(logits, floor) {
                continue;
            }
            for (id, &logit) in (first..).zip(logits) {
                // True for minus infinity; an equal logit with a higher id loses to the k that are
                // held.
                if logit <= floor {
                    continue;
                }
                check(id, logit)?;
                if self.candidates.len() == capacity {
                    floor = cut_to(&mut self.candidates, k);
                    if logit <= floor {
                        continue;
                    }
                }
                self.candidates.push(Candidate { logit, id });
            }
        }
        if self.candidates.len() > k {
            cut_to(&mut self.candidates, k);
        }
        Ok(())
    }

    /// Sorts ever longer runs of the likeliest candidates until they hold `top_p` of the
    /// probability.
    fn keep_top_p(&mut self, top: f32) {
        let total: f64 = self.candidates.iter().map(|c| weight(c.logit, top, 1.0)).sum();
        let wanted = f64::from(self.config.top_p) * total;
        let (mut sorted, mut sum) = (0, 0.0);
        while sorted < self.candidates.len() {
            let run = (sorted * 3).max(SORT_RUN).min(self.candidates.len() - sorted);
            let rest = &mut self.candidates[sorted..];
            if run < rest.len() {
                rest.select_nth_unstable_by(run, Candidate::likelier_first);
            }
            rest[..run].sort_unstable_by(Candidate::likelier_first);
            for index in 0..run {
                sum += weight(rest[index].logit, top, 1.0);
                if sum >= wanted {
                    self.candidates.truncate(sorted + index + 1);
                    return;
                }
            }
            sorted += run;
        }
    }

    /// Draws from the candidates in their order; `top` is the highest logit, so there is one.
    fn draw(&mut self, top: f32) -> TokenId {
        let temperature = f64::from(self.config.temperature);
        self.weights.clear();
        self.weights.extend(self.candidates.iter().map(|c| weight(c.logit, top, temperature)));
        let mut left = self.random.unit() * self.weights.iter().sum::<f64>();
        // Rounding can leave a rest after the last subtraction; it belongs to the last that can be.
        let mut last = self.candidates[0].id;
        for (candidate, weight) in self.candidates.iter().zip(&self.weights) {
            if left < *weight {
                return candidate.id;
            }
            left -= weight;
            if *weight > 0.0 {
                last = candidate.id;
            }
        }
        last
    }
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    logit: f32,
    id: TokenId,
}

impl Candidate {
    /// Greater means likelier; of equal logits the lower id.
    fn rank(&self, other: &Self) -> Ordering {
        // Numbers are compared as numbers, so that -0.0 and 0.0 tie; NaN never becomes a candidate.
        let by_logit = self.logit.partial_cmp(&other.logit).unwrap_or(Ordering::Equal);
        by_logit.then_with(|| other.id.cmp(&self.id))
    }

    fn likelier_first(a: &Self, b: &Self) -> Ordering {
        b.rank(a)
    }
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

    fn is_empty(&self) -> bool {
        self.ring.is_empty()
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
                // No penalty makes a number infinite, whose sign would mean something else.
                *logit = if logit.is_finite() { less.clamp(f32::MIN, f32::MAX) } else { *logit };
            }
        }
        for &token in &self.ring {
            self.seen[token as usize / 64] = 0;
        }
    }
}

fn argmax(logits: &[f32]) -> Result<Option<TokenId>, SamplerError> {
    let (mut best, mut best_id) = (f32::NEG_INFINITY, None);
    for (logits, first) in logits.chunks(SCAN).zip((0..).step_by(SCAN)) {
        if !any_above(logits, best) {
            continue;
        }
        for (id, &logit) in (first..).zip(logits) {
            if logit <= best {
                continue;
            }
            check(id, logit)?;
            (best, best_id) = (logit, Some(id));
        }
    }
    Ok(best_id)
}

/// Refuses a logit that no token may have.
fn check(token: TokenId, logit: f32) -> Result<(), SamplerError> {
    if logit < f32::INFINITY { Ok(()) } else { Err(SamplerError::NotFinite { token, logit }) }
}

/// The error for a model's logits, `[rows, vocab]`, one of which at least is not finite.
pub(crate) fn not_finite(rows: &[f32], vocab: usize) -> SamplerError {
    let first = rows.iter().position(|logit| !logit.is_finite()).unwrap_or(0);
    SamplerError::NotFinite { token: (first % vocab) as TokenId, logit: rows[first] }
}

/// Whether a logit is above `floor` or NaN. No branch for each of them: of a large vocabulary
/// hardly any run has one, and the compiler makes vectors of the comparison.
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "one comparison that is true for NaN, too")]
fn any_above(logits: &[f32], floor: f32) -> bool {
    logits.iter().fold(false, |any, logit| any | !(*logit <= floor))
}

/// Keeps the `k` likeliest candidates and returns the logit of the last of them.
fn cut_to(candidates: &mut Vec<Candidate>, k: usize) -> f32 {
    let (_, last, _) = candidates.select_nth_unstable_by(k - 1, Candidate::likelier_first);
    let floor = last.logit;
    candidates.truncate(k);
    floor
}

/// Room for twice `top_k`, so that a cut pays for at least `top_k` additions; at least a page of
/// them.
fn candidate_capacity(top_k: usize, vocab_size: usize) -> usize {
    if top_k == 0 { vocab_size } else { top_k.saturating_mul(2).max(512).min(vocab_size.max(1)) }
}

/// exp((logit - top) / temperature): 1 for the likeliest.
fn weight(logit: f32, top: f32, temperature: f64) -> f64 {
    exp((f64::from(logit) - f64::from(top)) / temperature)
}

/// Logits that are compared at once with what one must exceed.
const SCAN: usize = 64;

/// First run that top-p sorts; at 95 % most steps need less.
const SORT_RUN: usize = 64;

/// Longest window of the repetition penalty, in tokens: it is reserved in `new`.
const WINDOW_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logit_that_is_no_number_is_named_by_its_column() {
        let rows = [0.0, 1.0, 2.0, 3.0, f32::NEG_INFINITY, f32::NAN]; // two rows of three
        let SamplerError::NotFinite { token, logit } = not_finite(&rows, 3) else { panic!() };
        assert_eq!((token, logit), (1, f32::NEG_INFINITY));
    }
}
