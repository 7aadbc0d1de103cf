//! What can be wrong with settings and logits.

use crate::TokenId;

/// Why no token could be sampled.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// A setting is not a number that the step can work with.
    #[error("sampler setting {field} is {value}; set it to {wanted}")]
    OutOfRange {
        /// Field of [`SamplerConfig`](super::SamplerConfig).
        field: &'static str,
        /// What it holds.
        value: f32,
        /// What it may hold.
        wanted: &'static str,
    },
    /// A bias is not a number that can be added to a logit.
    #[error(
        "the logit bias of token {token} is {bias}; set it to a finite number, \
         or to -inf to forbid the token"
    )]
    Bias {
        /// The token.
        token: TokenId,
        /// Its bias.
        bias: f32,
    },
    /// Two biases for one token.
    #[error("token {token} has two logit biases; give it one")]
    BiasTwice {
        /// The token.
        token: TokenId,
    },
    /// A token that the vocabulary does not have.
    #[error("there is no token {token}; the vocabulary has {vocab_size}, numbered from 0")]
    NoToken {
        /// The token.
        token: TokenId,
        /// Number of tokens.
        vocab_size: usize,
    },
    /// More log-probabilities than are given.
    #[error("the {wanted} likeliest tokens were asked for; ask for at most {most}")]
    TooManyLikeliest {
        /// How many were asked for.
        wanted: usize,
        /// The most there can be, [`LIKELIEST_MAX`](super::LIKELIEST_MAX).
        most: usize,
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
    /// Every token is forbidden: its logit is minus infinity, which is how suppressed tokens are
    /// marked, or its bias is, or a mask leaves it out.
    #[error("all {vocab_size} tokens are suppressed: leave at least one to choose")]
    NoCandidate {
        /// Number of logits seen.
        vocab_size: usize,
    },
}
