//! The `gemma4` scheme: byte-pair encoding by ranked merges over the characters of raw UTF-8.
//!
//! Text is cut between runs of newlines and the rest. A run that is itself a token is that token;
//! every other piece is merged by the ranks of `tokenizer.ggml.merges`.

use std::hash::{BuildHasher, RandomState};

use crate::TokenId;
use crate::tokenizer::TokenizerError;
use crate::tokenizer::merge::{Join, Joins, Symbol};
use crate::tokenizer::vocab::{NONE, TextIndex, Vocab, push_normalised};
use crate::words::head;

/// The merges and the newline runs.
#[derive(Debug)]
pub(super) struct Bpe {
    pairs: PairTable,
    /// (length, token) of every token made of newlines alone, sorted.
    newline_runs: Vec<(usize, TokenId)>,
}

impl Bpe {
    /// Reads `merges`: rank is position, "left right" with the space between two pieces.
    ///
    /// Merges are skipped when a part or the result is no token, or one that text may not give:
    /// such a merge can never be seen in a result of HF tokenizers either.
    pub(super) fn new<'a>(
        vocab: &mut Vocab,
        merges: impl ExactSizeIterator<Item = &'a str>,
    ) -> Result<Self, TokenizerError> {
        let index = TextIndex::new(vocab);
        let vocab = &*vocab;
        let mut pairs = PairTable::with_room_for(merges.len());
        let (mut joined, mut made) = (String::new(), 0);
        for (rank, merge) in merges.enumerate() {
            let mut spaces = splits(merge).peekable();
            if spaces.peek().is_none() {
                let text = head(merge);
                return Err(TokenizerError::BadMerge { index: rank, text });
            }
            // More than one space only where pieces hold spaces themselves; then the vocabulary
            // decides.
            for at in spaces {
                joined.clear();
                push_normalised(&mut joined, &merge[..at]);
                let cut = joined.len();
                push_normalised(&mut joined, &merge[at + 1..]);
                // Merges mostly come in the order of the tokens they make.
                let near = [made, made + 1].into_iter().find(|id| vocab.is_text(*id, &joined));
                let Some(id) = near.or_else(|| index.get(vocab, &joined)) else { continue };
                let (left, right) = joined.split_at(cut);
                let (Some(left), Some(right)) = (index.get(vocab, left), index.get(vocab, right))
                else {
                    continue;
                };
                pairs.insert(left, right, Join { rank: rank as u32, id });
                made = id;
                break;
            }
        }
        let all_newlines = |text: &str| !text.is_empty() && text.bytes().all(|b| b == b'\n');
        let runs = vocab.text_ids().filter(|id| all_newlines(vocab.text(*id)));
        let mut newline_runs: Vec<_> = runs.map(|id| (vocab.text(id).len(), id)).collect();
        newline_runs.sort_unstable();
        Ok(Self { pairs, newline_runs })
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.pairs.slots[..]) + size_of_val(&self.newline_runs[..])
    }

    /// The token that is a run of `len` newlines.
    pub(super) fn newline_run(&self, len: usize) -> Option<TokenId> {
        let at = self.newline_runs.partition_point(|run| run.0 < len);
        self.newline_runs.get(at).filter(|run| run.0 == len).map(|run| run.1)
    }

    /// Runs of newlines and runs of the rest, in order.
    pub(super) fn runs(text: &str) -> impl Iterator<Item = &str> {
        text.as_bytes().chunk_by(|a, b| (*a == b'\n') == (*b == b'\n')).scan(0, |at, run| {
            let start = *at;
            *at += run.len();
            // A newline byte is never part of a longer character, so these are character
            // boundaries.
            Some(&text[start..*at])
        })
    }
}

impl Joins for Bpe {
    fn join(&self, _piece: &str, left: &Symbol, right: &Symbol) -> Option<Join> {
        self.pairs.get(left.id, right.id)
    }
}

/// Where a merge may be split: at each space with something on both sides, of which a few are
/// tried.
fn splits(merge: &str) -> impl Iterator<Item = usize> {
    let inside = 1..merge.len().saturating_sub(1);
    inside.filter(|at| merge.as_bytes()[*at] == b' ').take(SPLITS_MAX)
}

/// From two tokens to their join: open addressing with multiply-shift hashing (Dietzfelbinger et
/// al. 1997), whose multiplier is random so that a file cannot be made to collide. 16 bytes a slot,
/// half of them filled.
#[derive(Debug)]
struct PairTable {
    slots: Vec<PairSlot>,
    multiplier: u64,
    shift: u32,
}

#[derive(Clone, Copy, Debug)]
struct PairSlot {
    left: TokenId,
    right: TokenId,
    rank: u32,
    id: TokenId,
}

impl PairTable {
    fn with_room_for(pairs: usize) -> Self {
        let size = (pairs * 2).next_power_of_two().max(2);
        let empty = PairSlot { left: NONE, right: NONE, rank: 0, id: NONE };
        let multiplier = RandomState::new().hash_one(pairs) | 1;
        Self { slots: vec![empty; size], multiplier, shift: 64 - size.trailing_zeros() }
    }

    /// Of two entries for one pair the first stays: it has the lower rank.
    fn insert(&mut self, left: TokenId, right: TokenId, Join { rank, id }: Join) {
        let at = self.find(left, right);
        if self.slots[at].left == NONE {
            self.slots[at] = PairSlot { left, right, rank, id };
        }
    }

    fn get(&self, left: TokenId, right: TokenId) -> Option<Join> {
        if left == NONE || right == NONE {
            return None;
        }
        let slot = self.slots[self.find(left, right)];
        (slot.left != NONE).then_some(Join { rank: slot.rank, id: slot.id })
    }

    /// The slot of the pair, or the empty one where it belongs; at least half of all are empty.
    fn find(&self, left: TokenId, right: TokenId) -> usize {
        let pair = u64::from(left) << 32 | u64::from(right);
        let mut at = (pair.wrapping_mul(self.multiplier) >> self.shift) as usize;
        loop {
            let slot = self.slots[at];
            if slot.left == NONE || (slot.left == left && slot.right == right) {
                return at;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

/// Two runs of 31 spaces, the longest of the family, and the space between them.
const SPLITS_MAX: usize = 63;
