//! The settings of a sampler.

use super::SamplerError;
use crate::TokenId;

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
    /// Is subtracted from a token's logit once for each time that it was accepted in this answer
    /// (OpenAI's API reference, "frequency_penalty"); 0 is off, less than 0 favours repetition.
    pub frequency_penalty: f32,
    /// Is subtracted once from the logit of every token that was accepted in this answer (OpenAI's
    /// API reference, "presence_penalty"); 0 is off, less than 0 favours repetition.
    pub presence_penalty: f32,
    /// Numbers that are added to the logits of tokens before everything else. Minus infinity
    /// forbids a token. No token may be there twice.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Start of the random sequence.
    pub seed: u64,
}

impl SamplerConfig {
    /// What Gemma's model card advises: temperature 1.0, top-p 0.95, top-k 64.
    #[must_use]
    pub fn gemma() -> Self {
        Self { temperature: 1.0, top_k: 64, top_p: 0.95, ..Self::default() }
    }

    pub(super) fn validate(&self, vocab_size: usize) -> Result<(), SamplerError> {
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
        check("repetition_last_n", n as f32, n <= WINDOW_MAX, "at most 1048576")?;
        let f = self.frequency_penalty;
        check("frequency_penalty", f, f.is_finite(), "a finite number, mostly between -2 and 2")?;
        let p = self.presence_penalty;
        check("presence_penalty", p, p.is_finite(), "a finite number, mostly between -2 and 2")?;
        self.validate_bias(vocab_size)
    }

    fn validate_bias(&self, vocab_size: usize) -> Result<(), SamplerError> {
        for &(token, bias) in &self.logit_bias {
            if token as usize >= vocab_size {
                return Err(SamplerError::NoToken { token, vocab_size });
            }
            if bias.is_nan() || bias == f32::INFINITY {
                return Err(SamplerError::Bias { token, bias });
            }
        }
        let mut tokens: Vec<TokenId> = self.logit_bias.iter().map(|(token, _)| *token).collect();
        tokens.sort_unstable();
        match tokens.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(SamplerError::BiasTwice { token: pair[0] }),
            None => Ok(()),
        }
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
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

/// Longest window of the repetition penalty, in tokens: it is reserved when a sampler is made.
const WINDOW_MAX: usize = 1 << 20;
