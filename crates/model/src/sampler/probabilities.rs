//! How likely the model finds tokens.

use super::choose::{RUN, any_above, check};
use super::random::exp;
use super::{SamplerError, TokenId};

/// A token and the natural logarithm of its probability, minus infinity for one that is suppressed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogProbability {
    /// The token.
    pub token: TokenId,
    /// The logarithm, in nats.
    pub log_probability: f64,
}

/// The tokens that [`log_probabilities`] was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct LogProbabilities {
    /// The token that was chosen.
    pub chosen: LogProbability,
    /// The likeliest tokens, from the likeliest down, of equally likely ones the lowest id first.
    /// The chosen one may be among them. Suppressed tokens never are.
    pub likeliest: Vec<LogProbability>,
}

/// The log-probabilities of `chosen` and of the `n` likeliest tokens: the logarithm of the softmax
/// of `logits` as they are, whatever a sampler makes of them.
///
/// One pass over the logits; the sum is that of the same numbers in the same order everywhere.
///
/// # Errors
/// [`SamplerError::NoToken`] if `chosen` has no logit, [`SamplerError::TooManyLikeliest`] if `n` is
/// above [`LIKELIEST_MAX`], [`SamplerError::NotFinite`] for a logit that is NaN or plus infinity,
/// [`SamplerError::NoCandidate`] if all are minus infinity.
pub fn log_probabilities(
    logits: &[f32],
    chosen: TokenId,
    n: usize,
) -> Result<LogProbabilities, SamplerError> {
    let vocab_size = logits.len();
    let Some(&chosen_logit) = logits.get(chosen as usize) else {
        return Err(SamplerError::NoToken { token: chosen, vocab_size });
    };
    if n > LIKELIEST_MAX {
        return Err(SamplerError::TooManyLikeliest { wanted: n, most: LIKELIEST_MAX });
    }
    let mut likeliest: Vec<(f32, TokenId)> = Vec::with_capacity(n + 1);
    // The sum of exp(logit - top) over what was seen, and the highest logit of it.
    let (mut top, mut sum) = (f32::NEG_INFINITY, 0.0);
    for (run, logits) in logits.chunks(RUN).enumerate() {
        let first = run * RUN;
        let highest = highest(first, logits)?;
        if highest == f32::NEG_INFINITY {
            continue;
        }
        if highest > top {
            sum *= exp(f64::from(top) - f64::from(highest));
            top = highest;
        }
        sum += logits.iter().map(|logit| exp(f64::from(*logit) - f64::from(top))).sum::<f64>();
        let floor = |likeliest: &[(f32, TokenId)]| match likeliest.len() {
            len if len == n => likeliest.last().map_or(f32::INFINITY, |last| last.0),
            _ => f32::NEG_INFINITY,
        };
        if !any_above(logits, floor(&likeliest)) {
            continue;
        }
        for (id, &logit) in (first as TokenId..).zip(logits) {
            // An equal logit with a higher id comes after those that are held.
            if logit > floor(&likeliest) {
                let at = likeliest.partition_point(|held| held.0 >= logit);
                likeliest.insert(at, (logit, id));
                likeliest.truncate(n);
            }
        }
    }
    if top == f32::NEG_INFINITY {
        return Err(SamplerError::NoCandidate { vocab_size });
    }
    let of = |(logit, token): (f32, TokenId)| LogProbability {
        token,
        log_probability: f64::from(logit) - f64::from(top) - sum.ln(),
    };
    Ok(LogProbabilities {
        chosen: of((chosen_logit, chosen)),
        likeliest: likeliest.into_iter().map(of).collect(),
    })
}

/// The highest of a run of logits, the first of which is that of token `first`.
fn highest(first: usize, logits: &[f32]) -> Result<f32, SamplerError> {
    if any_above(logits, f32::MAX) {
        (first as TokenId..).zip(logits).try_for_each(|(id, logit)| check(id, *logit))?;
    }
    Ok(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max))
}

/// The most likeliest tokens that [`log_probabilities`] gives.
pub const LIKELIEST_MAX: usize = 64;
