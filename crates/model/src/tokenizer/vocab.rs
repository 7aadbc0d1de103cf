//! The tokens' texts in one arena, what each token is, and the way from text to token.

use std::hash::{BuildHasher, RandomState};

use crate::TokenId;
use crate::tokenizer::TokenizerError;

/// What a token is to the tokeniser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ordinary text, the result of merges.
    Text,
    /// Plain text that is cut out before anything is merged: runs of white space, HTML tags.
    UserDefined,
    /// Structure: turns, media, tools, beginning and end. Never made from user text.
    Special,
    /// Never made from text.
    Unused,
    /// One byte of a character that is no token.
    Byte(u8),
}

impl Kind {
    /// Whether encoding ordinary text may give this token for its text.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::UserDefined)
    }
}

/// Texts and kinds of all tokens. Spaces are stored as [`SPACE`].
#[derive(Debug)]
pub(super) struct Vocab {
    text: String,
    /// Where each text starts, and the end of the last.
    starts: Vec<u32>,
    pub(super) kinds: Vec<Kind>,
    /// Length of the longest text, in bytes.
    pub(super) longest: usize,
}

impl Vocab {
    /// Copies the texts; `kinds` is still to be filled.
    pub(super) fn new<'a>(
        tokens: impl ExactSizeIterator<Item = &'a str> + Clone,
    ) -> Result<Self, TokenizerError> {
        let limit = |what, found, max: usize| {
            if found <= max { Ok(()) } else { Err(TokenizerError::TooLarge { what, found, max }) }
        };
        limit("tokens", tokens.len(), TOKENS_MAX)?;
        let spaces = |t: &str| t.bytes().filter(|b| *b == b' ').count() * (SPACE.len_utf8() - 1);
        let bytes: usize = tokens.clone().map(|t| t.len() + spaces(t)).sum();
        limit("bytes of text", bytes, u32::MAX as usize)?;

        let mut text = String::with_capacity(bytes);
        let mut starts = Vec::with_capacity(tokens.len() + 1);
        let mut longest = 0;
        for token in tokens {
            let start = text.len();
            starts.push(start as u32);
            push_normalised(&mut text, token);
            longest = longest.max(text.len() - start);
        }
        starts.push(text.len() as u32);
        Ok(Self { text, starts, kinds: Vec::new(), longest })
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.text.capacity() + size_of_val(&self.starts[..]) + size_of_val(&self.kinds[..])
    }

    pub(super) fn ids(&self) -> std::ops::Range<TokenId> {
        0..self.len() as TokenId
    }

    pub(super) fn get(&self, id: TokenId) -> Option<&str> {
        ((id as usize) < self.len()).then(|| self.text(id))
    }

    /// The text of a token that exists.
    #[inline]
    pub(super) fn text(&self, id: TokenId) -> &str {
        let id = id as usize;
        &self.text[self.starts[id] as usize..self.starts[id + 1] as usize]
    }

    pub(super) fn kind(&self, id: TokenId) -> Kind {
        self.kinds[id as usize]
    }

    /// Whether `id` is a token that encoding may give for `text`.
    pub(super) fn is_text(&self, id: TokenId, text: &str) -> bool {
        self.get(id) == Some(text) && self.kind(id).is_text()
    }

    /// The ids of the tokens that encoding may give for their text.
    pub(super) fn text_ids(&self) -> impl Iterator<Item = TokenId> + '_ {
        self.ids().filter(|id| self.kind(*id).is_text())
    }
}

/// From text to token, for tokens that encoding may give.
///
/// Open addressing over the arena of a [`Vocab`], so that no text is stored twice.
#[derive(Debug)]
pub(super) struct TextIndex {
    slots: Vec<TextSlot>,
    keys: [u64; 2],
}

/// The upper half of the hash spares most comparisons of texts.
#[derive(Clone, Copy, Debug)]
struct TextSlot {
    tag: u32,
    id: TokenId,
}

impl TextIndex {
    /// Indexes `vocab`. Of tokens with one text the lowest id is kept, the others become unused.
    pub(super) fn new(vocab: &mut Vocab) -> Self {
        let size = (vocab.len() * 2).next_power_of_two();
        let random = RandomState::new();
        let keys = [random.hash_one(0), random.hash_one(1)];
        let mut index = Self { slots: vec![TextSlot { tag: 0, id: NONE }; size], keys };
        for id in vocab.ids().filter(|id| vocab.kind(*id).is_text()).collect::<Vec<_>>() {
            let hash = index.hash(vocab.text(id));
            match index.find(vocab, vocab.text(id), hash) {
                Ok(_) => vocab.kinds[id as usize] = Kind::Unused,
                Err(slot) => index.slots[slot] = TextSlot { tag: (hash >> 32) as u32, id },
            }
        }
        index
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.slots[..])
    }

    pub(super) fn get(&self, vocab: &Vocab, text: &str) -> Option<TokenId> {
        if text.len() > vocab.longest {
            return None;
        }
        self.find(vocab, text, self.hash(text)).ok()
    }

    /// The token, or the empty slot where it belongs.
    fn find(&self, vocab: &Vocab, text: &str, hash: u64) -> Result<TokenId, usize> {
        let (tag, mask) = ((hash >> 32) as u32, self.slots.len() - 1);
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.id == NONE {
                return Err(at);
            }
            if slot.tag == tag && vocab.text(slot.id) == text {
                return Ok(slot.id);
            }
            at = (at + 1) & mask;
        }
    }

    /// Multiply and fold, eight bytes at a time, as wyhash does (github.com/wangyi-fudan/wyhash).
    /// The keys are random, so that a file cannot be made to collide.
    fn hash(&self, text: &str) -> u64 {
        let fold = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            product as u64 ^ (product >> 64) as u64
        };
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        let mut hash = self.keys[0] ^ text.len() as u64;
        for word in words {
            hash = fold(hash ^ u64::from_le_bytes(*word), self.keys[1]);
        }
        let tail = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        fold(hash ^ tail, self.keys[1] ^ self.keys[0])
    }
}

/// From one character to its token: a table of pages, since the characters of a vocabulary lie in
/// few of them.
#[derive(Debug)]
pub(super) struct CharMap {
    pages: Vec<u16>,
    ids: Vec<TokenId>,
}

impl CharMap {
    pub(super) fn new(vocab: &Vocab) -> Self {
        let mut map = Self { pages: vec![0; 0x11_0000 / PAGE], ids: vec![NONE; PAGE] };
        for id in vocab.text_ids() {
            let mut chars = vocab.text(id).chars();
            if let (Some(c), None) = (chars.next(), chars.next()) {
                map.insert(c, id);
            }
        }
        map
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.pages[..]) + size_of_val(&self.ids[..])
    }

    fn insert(&mut self, c: char, id: TokenId) {
        let page = &mut self.pages[c as usize / PAGE];
        if *page == 0 {
            // At most 0x1100 pages exist, so the number fits.
            *page = (self.ids.len() / PAGE) as u16;
            self.ids.resize(self.ids.len() + PAGE, NONE);
        }
        let slot = &mut self.ids[usize::from(*page) * PAGE + c as usize % PAGE];
        if *slot == NONE {
            *slot = id;
        }
    }

    /// The token of `c`, or [`NONE`].
    pub(super) fn get(&self, c: char) -> TokenId {
        self.ids[usize::from(self.pages[c as usize / PAGE]) * PAGE + c as usize % PAGE]
    }
}

/// Appends `text` with every space as [`SPACE`].
pub(super) fn push_normalised(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(' ') {
        out.push_str(&rest[..at]);
        out.push(SPACE);
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

/// How both schemes write a space: U+2581, LOWER ONE EIGHTH BLOCK.
pub(super) const SPACE: char = '\u{2581}';

/// No token.
pub(super) const NONE: TokenId = TokenId::MAX;

/// Characters per page of [`CharMap`]; page 0 is the empty one.
const PAGE: usize = 256;

/// Above any vocabulary in use by a factor of hundreds, and far from [`NONE`].
const TOKENS_MAX: usize = 1 << 28;
