//! From logits to the next token.
//!
//! The steps run in llama.cpp's order: logit bias, repetition penalty, frequency and presence
//! penalties, top-k, top-p, min-p, temperature, draw. Hugging Face divides by the temperature
//! before the filters; at the model card's temperature of 1.0 the two agree. We filter first
//! because then the candidates do not depend on the temperature: heat flattens the choice among
//! good tokens and never lets in a bad one. A mask says which tokens exist at all for one choice:
//! the rest are as if their logits were minus infinity.
//!
//! The same seed and logits give the same tokens on every machine: ties go to the lowest id, sums
//! run in a fixed order in f64, the exponential is the one below (the C library's differs between
//! platforms in its last bit), and the random numbers are SplitMix64 (Steele, Lea and Flood, "Fast
//! splittable pseudorandom number generators", OOPSLA 2014). The number of a draw depends on the
//! seed and on how many tokens were accepted before, not on how often was drawn: a token that was
//! drafted and one that is verified later are drawn with the same number. Every buffer is sized in
//! `new`; `sample` and `accept` allocate nothing.
//!
//! ```
//! use carat::{Sampler, SamplerConfig};
//!
//! # fn main() -> Result<(), carat::Error> {
//! let mut greedy = Sampler::new(SamplerConfig::default(), 3)?;
//! let token = greedy.sample(&[0.5, 2.0, -1.0])?;
//! greedy.accept(token);
//! assert_eq!(token, 1);
//! # Ok(())
//! # }
//! ```

mod adjust;
mod choose;
mod config;
mod error;
mod mask;
mod probabilities;
mod random;

use crate::TokenId;
use adjust::Adjust;
use choose::Chooser;

pub use config::SamplerConfig;
pub use error::SamplerError;
pub use mask::TokenMask;
pub use probabilities::{LIKELIEST_MAX, LogProbabilities, LogProbability, log_probabilities};

/// Draws tokens; owns the position in the random sequence and what the penalties remember.
#[derive(Clone, Debug)]
pub struct Sampler {
    config: SamplerConfig,
    vocab_size: usize,
    position: u64,
    adjust: Adjust,
    chooser: Chooser,
}

impl Sampler {
    /// A sampler for `vocab_size` logits.
    ///
    /// # Errors
    /// [`SamplerError::OutOfRange`] for a setting that is NaN, negative or otherwise without
    /// meaning; [`SamplerError::Bias`], [`SamplerError::BiasTwice`] and [`SamplerError::NoToken`]
    /// for a logit bias.
    pub fn new(config: SamplerConfig, vocab_size: usize) -> Result<Self, SamplerError> {
        config.validate(vocab_size)?;
        Ok(Self {
            adjust: Adjust::new(&config, vocab_size),
            chooser: Chooser::new(&config, vocab_size),
            config,
            vocab_size,
            position: 0,
        })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &SamplerConfig {
        &self.config
    }

    /// Chooses a token. One whose logit is minus infinity is suppressed and never chosen.
    ///
    /// Nothing is remembered: until [`Sampler::accept`] is called, the same logits give the same
    /// token.
    ///
    /// # Errors
    /// [`SamplerError::NotFinite`] for a logit that is NaN or plus infinity,
    /// [`SamplerError::NoCandidate`] when all tokens are suppressed.
    ///
    /// # Panics
    /// When `logits` does not have the length given to [`Sampler::new`].
    pub fn sample(&mut self, logits: &[f32]) -> Result<TokenId, SamplerError> {
        self.choose(logits, None)
    }

    /// Does what [`Sampler::sample`] does among the tokens of `allowed`. The logits of other tokens
    /// may be anything, NaN included.
    ///
    /// # Errors
    /// [`SamplerError::NotFinite`] for an allowed logit that is NaN or plus infinity,
    /// [`SamplerError::NoCandidate`] when no token is both allowed and not suppressed.
    ///
    /// # Panics
    /// When `logits` does not have the length given to [`Sampler::new`].
    pub fn sample_masked(
        &mut self,
        logits: &[f32],
        allowed: &TokenMask<'_>,
    ) -> Result<TokenId, SamplerError> {
        self.choose(logits, Some(allowed))
    }

    /// Says that `token` is now part of the text: the penalties count it, and the next draw takes
    /// the next random number. Any token can be accepted, one that was never drawn as well.
    pub fn accept(&mut self, token: TokenId) {
        self.adjust.accept(token);
        self.position = self.position.wrapping_add(1);
    }

    /// The number of the next draw: tokens accepted since the start of the sequence, unless
    /// [`Sampler::seek`] was called.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Makes the next draw that of number `position`. The penalties remember what they did.
    ///
    /// A sampler of drafts that has the same seed draws what will be drawn at that position.
    pub fn seek(&mut self, position: u64) {
        self.position = position;
    }

    /// Begins another answer: the frequency and presence penalties forget the tokens of the one
    /// before. The window of the repetition penalty and the random sequence go on.
    pub fn begin_answer(&mut self) {
        self.adjust.begin_answer();
    }

    /// Forgets the accepted tokens and starts the random sequence anew.
    pub fn reset(&mut self) {
        self.position = 0;
        self.adjust.clear();
    }

    fn choose(
        &mut self,
        logits: &[f32],
        allowed: Option<&TokenMask<'_>>,
    ) -> Result<TokenId, SamplerError> {
        let (got, want) = (logits.len(), self.vocab_size);
        assert_eq!(got, want, "sample: {got} logits for a vocabulary of {want}");
        let unit = random::unit(self.config.seed, self.position);
        self.chooser.choose(self.adjust.apply(logits), allowed, unit)
    }
}

/// The error for a model's logits, `[rows, vocab]`, one of which at least is not finite.
pub(crate) fn not_finite(rows: &[f32], vocab: usize) -> SamplerError {
    let first = rows.iter().position(|logit| !logit.is_finite()).unwrap_or(0);
    SamplerError::NotFinite { token: (first % vocab) as TokenId, logit: rows[first] }
}

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
