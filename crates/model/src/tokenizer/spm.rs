//! The `llama` scheme: SentencePiece's byte-pair model, where scores rank the merges.
//!
//! Two neighbours can be joined when their text is a token; the token with the highest score is
//! made first, of equal scores the leftmost (SentencePiece, `bpe_model.cc`).

use crate::tokenizer::TokenizerError;
use crate::tokenizer::merge::{Join, Joins, Symbol};
use crate::tokenizer::vocab::{TextIndex, Vocab};

/// Ranks by token, and the way from text to token.
#[derive(Debug)]
pub(super) struct Spm {
    index: TextIndex,
    ranks: Vec<u32>,
}

impl Spm {
    pub(super) fn new(
        vocab: &mut Vocab,
        scores: impl ExactSizeIterator<Item = f64>,
    ) -> Result<Self, TokenizerError> {
        let (key, found, wanted) = ("tokenizer.ggml.scores", scores.len(), vocab.len());
        if found != wanted {
            return Err(TokenizerError::WrongLength { key, found, wanted });
        }
        let rank = |(id, score): (usize, f64)| {
            if score.is_nan() {
                Err(TokenizerError::BadScore { id })
            } else {
                Ok(rank(score as f32))
            }
        };
        let ranks = scores.enumerate().map(rank).collect::<Result<_, _>>()?;
        Ok(Self { index: TextIndex::new(vocab), ranks })
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.index.bytes() + size_of_val(&self.ranks[..])
    }

    /// This scheme on a piece of text.
    pub(super) fn joins<'a>(&'a self, vocab: &'a Vocab) -> impl Joins + 'a {
        SpmJoins { spm: self, vocab }
    }
}

struct SpmJoins<'a> {
    spm: &'a Spm,
    vocab: &'a Vocab,
}

impl Joins for SpmJoins<'_> {
    fn join(&self, piece: &str, left: &Symbol, right: &Symbol) -> Option<Join> {
        let text = &piece[left.start as usize..(right.start + right.len) as usize];
        let id = self.spm.index.get(self.vocab, text)?;
        Some(Join { rank: self.spm.ranks[id as usize], id })
    }
}

/// A number that is lower for a higher score: the bits of an f32 are ordered like a sign and a
/// magnitude.
fn rank(score: f32) -> u32 {
    // Adding 0 turns -0.0 into 0.0, which must tie.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn a_higher_score_has_a_lower_rank() {
        let scores = [f32::INFINITY, 3.5, 1e-30, 0.0, -1e-30, -1.0, -262_143.0, f32::NEG_INFINITY];
        assert!(scores.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])));
        assert_eq!(rank(0.0), rank(-0.0));
    }
}
