//! Prompt lookup: what followed when the last tokens stood in the text before.
//!
//! Every position is filed under a hash of the [`KEY`] tokens that end there, and linked to the one
//! filed there before, as in the match finders of LZ77 (Deutsch, RFC 1951, section 4). Of the
//! places where the last tokens stood, the one with the longest text in common is taken, the newest
//! of several. A suffix automaton would find the longest in constant time, but it does not go back:
//! here the newest position is taken out by one store. The search is bounded by the number of
//! places and by the length that counts, so that no text makes it slow, and memory is taken once,
//! four bytes a position and as many for the table.

use crate::TokenId;
use crate::pages::{MemoryError, zeros};

/// The positions of a text, by the tokens that end there.
#[derive(Debug)]
pub(crate) struct Lookup {
    /// The newest position filed under a hash, [`NOWHERE`] without one; a power of two of them.
    heads: Box<[u32]>,
    /// For each position the one filed before it under the same hash.
    before: Vec<u32>,
    /// Tokens that stand for something else: what holds one of them is never filed.
    opaque: Vec<TokenId>,
}

/// An earlier text that ends like the whole one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// The position after it.
    end: usize,
    /// Tokens in common, at most [`LENGTH_MAX`].
    pub(crate) len: usize,
}

impl Lookup {
    /// For texts of up to `context` tokens.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn new(context: usize, opaque: Vec<TokenId>) -> Result<Self, MemoryError> {
        let mut heads = zeros("drafts", table(context))?;
        heads.fill(NOWHERE);
        let mut before = Vec::new();
        let bytes = (context * size_of::<u32>()) as u64;
        before.try_reserve_exact(context).map_err(|_| MemoryError { what: "drafts", bytes })?;
        Ok(Self { heads: heads.into_boxed_slice(), before, opaque })
    }

    /// The bytes of one.
    pub(crate) fn bytes(context: usize) -> u64 {
        ((table(context) + context) * size_of::<u32>()) as u64
    }

    /// Where the longest earlier text ends that ends like `text`, of which all that was seen before
    /// is as it was.
    pub(crate) fn find(&mut self, text: &[TokenId]) -> Option<Found> {
        self.read(text);
        self.longest(text)
    }

    /// Appends up to `most` tokens that followed what was found for `text`.
    pub(crate) fn follow(
        &self,
        found: Found,
        text: &[TokenId],
        most: usize,
        out: &mut Vec<TokenId>,
    ) {
        // Text that repeats itself goes on into what is drafted.
        let period = text.len() - found.end;
        let opaque = |id: &TokenId| self.opaque.contains(id);
        let next = (0..most).map(|i| text[found.end + i % period]).take_while(|id| !opaque(id));
        out.extend(next);
    }

    /// Forgets all but the first `tokens` tokens of `text`.
    pub(crate) fn truncate(&mut self, text: &[TokenId], tokens: usize) {
        while self.before.len() > tokens {
            let at = self.before.len() - 1;
            let older = self.before.pop().unwrap_or(NOWHERE);
            if let Some(slot) = self.slot(text, at) {
                self.heads[slot] = older;
            }
        }
    }

    /// Files the positions of `text` that are new.
    fn read(&mut self, text: &[TokenId]) {
        while self.before.len() < text.len() {
            let at = self.before.len();
            let older = self
                .slot(text, at)
                .map_or(NOWHERE, |slot| std::mem::replace(&mut self.heads[slot], at as u32));
            self.before.push(older);
        }
    }

    /// The longest earlier text that ends like `text`.
    fn longest(&self, text: &[TokenId]) -> Option<Found> {
        let last = text.len().checked_sub(1)?;
        let (mut best, mut longest) = (None, KEY - 1);
        let mut at = self.before[last];
        for _ in 0..PLACES_MAX {
            if at == NOWHERE {
                break;
            }
            let end = at as usize + 1;
            let pairs = text[..end].iter().rev().zip(text.iter().rev());
            let is_same = |(a, b): &(&TokenId, &TokenId)| a == b && !self.opaque.contains(a);
            let len = pairs.take(LENGTH_MAX).take_while(is_same).count();
            if len > longest {
                (best, longest) = (Some(Found { end, len }), len);
                if len == LENGTH_MAX {
                    break;
                }
            }
            at = self.before[at as usize];
        }
        best
    }

    /// Where the position is filed; `None` where tokens end there that are too few or opaque.
    fn slot(&self, text: &[TokenId], at: usize) -> Option<usize> {
        let key = text[..=at].last_chunk::<KEY>()?;
        if key.iter().any(|id| self.opaque.contains(id)) {
            return None;
        }
        // Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4).
        let mix = |hash: u64, id: &TokenId| {
            (hash ^ u64::from(*id)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
        };
        Some(key.iter().fold(0, mix) as usize & (self.heads.len() - 1))
    }
}

fn table(context: usize) -> usize {
    context.next_power_of_two()
}

/// Tokens that must be the same for a place to count. Two stand together too often by chance.
const KEY: usize = 3;

/// The most places that are looked at.
const PLACES_MAX: usize = 1024;

/// Places with so many tokens in common are as good as each other.
const LENGTH_MAX: usize = 64;

/// No position.
const NOWHERE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [TokenId; 0] = [];

    struct Random(u64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) as usize % n
        }
    }

    /// The end of the longest earlier text that ends like `text`, by trying all.
    fn naive(text: &[TokenId], opaque: &[TokenId]) -> Option<usize> {
        let common = |end: usize| {
            let pairs = text[..end].iter().rev().zip(text.iter().rev());
            pairs.take_while(|(a, b)| a == b && !opaque.contains(a)).count().min(LENGTH_MAX)
        };
        (1..text.len()).filter(|end| common(*end) >= KEY).max_by_key(|end| (common(*end), *end))
    }

    fn made(context: usize, opaque: Vec<TokenId>) -> Lookup {
        Lookup::new(context, opaque).expect("memory")
    }

    fn drafted(lookup: &mut Lookup, text: &[TokenId], most: usize) -> Vec<TokenId> {
        let mut out = Vec::new();
        if let Some(found) = lookup.find(text) {
            lookup.follow(found, text, most, &mut out);
        }
        out
    }

    /// Texts of few different tokens, which repeat all the time, cut back and gone on with.
    #[test]
    fn it_finds_what_trying_all_finds() {
        let mut found = 0;
        for seed in 0..60 {
            let mut random = Random(seed);
            let alphabet = 2 + random.below(6);
            let opaque = if seed % 2 == 0 { vec![0] } else { Vec::new() };
            let mut lookup = made(400, opaque.clone());
            let mut text: Vec<TokenId> = Vec::new();
            for _ in 0..120 {
                if random.below(8) == 0 {
                    let tokens = random.below(text.len() + 1);
                    lookup.truncate(&text, tokens);
                    text.truncate(tokens);
                }
                let more = (random.below(7) + 1).min(400 - text.len());
                text.extend((0..more).map(|_| random.below(alphabet) as TokenId));
                let wanted = naive(&text, &opaque).map_or(Vec::new(), |end| {
                    let mut all = text.clone();
                    for i in 0..9 {
                        all.push(all[end + i]);
                    }
                    let next = all[text.len()..].iter().copied();
                    next.take_while(|id| !opaque.contains(id)).collect()
                });
                assert_eq!(drafted(&mut lookup, &text, 9), wanted, "seed {seed}: {text:?}");
                found += usize::from(!wanted.is_empty());
            }
        }
        assert!(found > 1000, "{found}");
    }

    #[test]
    fn what_repeats_goes_on_and_what_is_new_does_not() {
        let mut lookup = made(16, Vec::new());
        assert_eq!(drafted(&mut lookup, &[], 4), NOTHING);
        assert_eq!(drafted(&mut lookup, &[1], 4), NOTHING);
        assert_eq!(drafted(&mut lookup, &[1, 2, 3, 4, 5], 4), NOTHING);
        assert_eq!(drafted(&mut lookup, &[1, 2, 3, 4, 5, 1, 2], 4), NOTHING);
        assert_eq!(drafted(&mut lookup, &[1, 2, 3, 4, 5, 1, 2, 3], 4), [4, 5, 1, 2]);
        let mut lookup = made(16, Vec::new());
        assert_eq!(drafted(&mut lookup, &[7, 7, 7, 7], 3), [7, 7, 7]);
    }

    /// The longest of several, and the newest of equals.
    #[test]
    fn the_longest_is_taken() {
        let text = [9, 1, 2, 3, 4, 8, 1, 2, 3, 5, 7, 1, 2, 3, 6, 9, 1, 2, 3];
        assert_eq!(drafted(&mut made(32, Vec::new()), &text, 1), [4]);
        assert_eq!(drafted(&mut made(32, Vec::new()), &text[1..], 1), [6]);
    }

    /// How much is in common with an earlier text.
    #[test]
    fn the_length_in_common_is_told() {
        let text = [9, 1, 2, 3, 4, 8, 1, 2, 3, 5, 9, 1, 2, 3, 4];
        let found = |text: &[TokenId]| made(32, Vec::new()).find(text).map(|f| f.len);
        assert_eq!((found(&text), found(&text[..9]), found(&text[..10])), (Some(5), Some(3), None));
        assert_eq!(found(&[7; 200]), Some(LENGTH_MAX));
    }

    /// Soft tokens of a picture are alike, and none is ever drafted or matched.
    #[test]
    fn pictures_are_no_text() {
        let text = [1, 2, 3, 99, 99, 99, 99, 5, 1, 2, 3];
        assert_eq!(drafted(&mut made(32, vec![99]), &text, 4), NOTHING);
        assert_eq!(drafted(&mut made(32, vec![99]), &text[..7], 4), NOTHING);
        assert_eq!(drafted(&mut made(32, vec![98]), &text, 4), [99, 99, 99, 99]);
    }

    /// A text of one token is the worst case of a match finder.
    #[test]
    fn no_text_is_slow() {
        let text = vec![5; 1 << 17];
        let mut lookup = made(text.len(), Vec::new());
        let begun = std::time::Instant::now();
        for len in (1000..text.len()).step_by(64) {
            assert_eq!(drafted(&mut lookup, &text[..len], 7).len(), 7);
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
