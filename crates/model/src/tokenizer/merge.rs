//! Merging neighbours, best first: what both schemes share.
//!
//! A piece starts as one symbol per character. A heap holds every pair of neighbours that the
//! scheme can join, ordered by rank and then from left to right; the best is joined, and its new
//! neighbours enter the heap, until it is empty. n characters cost O(n log n), also in one piece of
//! a megabyte.
//!
//! Pieces are cut where no token could ever lie across: between characters a and b when no token
//! has b after a. That changes no result and keeps the heap in the cache.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::TokenId;
use crate::tokenizer::vocab::{CharMap, NONE, Vocab};

/// A run of characters that is one token, or a single character that is none (`id` is [`NONE`]).
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    /// First byte in the piece.
    pub(super) start: u32,
    /// Length in bytes; 0 when the left neighbour has swallowed it.
    pub(super) len: u32,
    pub(super) id: TokenId,
    previous: u32,
    next: u32,
}

/// What joining two symbols gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Join {
    /// The lowest rank is joined first.
    pub(super) rank: u32,
    pub(super) id: TokenId,
}

/// A scheme: which neighbours can be joined.
pub(super) trait Joins {
    fn join(&self, piece: &str, left: &Symbol, right: &Symbol) -> Option<Join>;
}

/// The reusable memory of merging.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Reverse<Candidate>>,
}

/// A pair in the heap. `bytes` is the length of the pair when it was found: symbols only grow, so a
/// pair of another length is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: u32,
    bytes: u32,
    id: TokenId,
}

impl Merger {
    /// Merges `piece` and returns what is left of its symbols, in order.
    pub(super) fn merge(
        &mut self,
        joins: &impl Joins,
        chars: &CharMap,
        piece: &str,
    ) -> impl Iterator<Item = &Symbol> {
        self.symbols.clear();
        for (index, (start, c)) in (0_u32..).zip(piece.char_indices()) {
            self.symbols.push(Symbol {
                start: start as u32,
                len: c.len_utf8() as u32,
                id: chars.get(c),
                previous: index.wrapping_sub(1),
                next: index + 1,
            });
        }
        if let Some(last) = self.symbols.last_mut() {
            last.next = NONE;
        }
        for left in 1..self.symbols.len() as u32 {
            self.consider(joins, piece, left - 1, left);
        }
        while let Some(Reverse(best)) = self.heap.pop() {
            self.apply(joins, piece, best);
        }
        self.symbols.iter().filter(|s| s.len > 0)
    }

    fn consider(&mut self, joins: &impl Joins, piece: &str, left: u32, right: u32) {
        let (l, r) = (&self.symbols[left as usize], &self.symbols[right as usize]);
        if let Some(Join { rank, id }) = joins.join(piece, l, r) {
            self.heap.push(Reverse(Candidate { rank, left, bytes: l.len + r.len, id }));
        }
    }

    fn apply(&mut self, joins: &impl Joins, piece: &str, best: Candidate) {
        let left = self.symbols[best.left as usize];
        let Some(&right) = self.symbols.get(left.next as usize) else { return };
        if left.len == 0 || left.len + right.len != best.bytes {
            return;
        }
        self.symbols[left.next as usize].len = 0;
        let next = right.next;
        let merged = Symbol { len: best.bytes, id: best.id, next, ..left };
        self.symbols[best.left as usize] = merged;
        if let Some(after) = self.symbols.get_mut(next as usize) {
            after.previous = best.left;
            self.consider(joins, piece, best.left, next);
        }
        if merged.previous != NONE {
            self.consider(joins, piece, merged.previous, best.left);
        }
    }
}

/// Which characters stand next to each other in some token: a set with false members but no missing
/// ones.
#[derive(Debug)]
pub(super) struct Neighbours {
    bits: Vec<u64>,
}

impl Neighbours {
    pub(super) fn new(vocab: &Vocab) -> Self {
        let mut bits = vec![0; 1 << (NEIGHBOUR_BITS - 6)];
        for id in vocab.text_ids() {
            let mut chars = vocab.text(id).chars();
            let Some(mut a) = chars.next() else { continue };
            for b in chars {
                let bit = Self::bit(a, b);
                bits[bit / 64] |= 1_u64 << (bit % 64);
                a = b;
            }
        }
        Self { bits }
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.bits[..])
    }

    /// The pieces of `text`; their concatenation is `text`, none is empty.
    pub(super) fn pieces<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let mut rest = text;
        std::iter::from_fn(move || {
            let mut chars = rest.char_indices();
            let (_, mut a) = chars.next()?;
            let cut = chars.find_map(|(at, b)| {
                let apart = !self.contains(std::mem::replace(&mut a, b), b);
                (apart || at >= PIECE_BYTES_MAX).then_some(at)
            });
            let (piece, after) = rest.split_at(cut.unwrap_or(rest.len()));
            rest = after;
            Some(piece)
        })
    }

    fn contains(&self, a: char, b: char) -> bool {
        let bit = Self::bit(a, b);
        self.bits[bit / 64] & (1 << (bit % 64)) != 0
    }

    fn bit(a: char, b: char) -> usize {
        // Fibonacci hashing (Knuth, TAOCP 6.4): the multiplier is 2^64 over the golden ratio.
        let pair = u64::from(u32::from(a)) << 32 | u64::from(u32::from(b));
        (pair.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - NEIGHBOUR_BITS)) as usize
    }
}

/// 2^20 bits are 128 KiB: they fit in the second-level cache and are sparse with Gemma's 200 000
/// pairs.
const NEIGHBOUR_BITS: u32 = 20;

/// A piece is cut here at the latest, so that 32-bit offsets hold: 256 MiB.
const PIECE_BYTES_MAX: usize = 1 << 28;
