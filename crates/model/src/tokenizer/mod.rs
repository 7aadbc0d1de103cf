//! Text to tokens and back, built from the `tokenizer.ggml.*` keys of a GGUF file.
//!
//! Two schemes: `gemma4`, ranked merges (`bpe.rs`), and `llama`, SentencePiece scores (`spm.rs`).
//! Files that Ollama made call the first one `llama` as well, with `gemma4` as pre-tokenizer.
//! Around both, in this order:
//!
//! 1. Special tokens are cut out, and only where the caller says that the text is a prompt of the
//!    program's own making ([`Tokenizer::encode_prompt`], [`Tokenizer::encode_rendered`]). In user
//!    text ([`Tokenizer::encode`]) they are characters like all others, and no merge can give one:
//!    whatever a user writes, the ids of special tokens do not come out.
//! 2. Spaces become U+2581, with one more before the text where the vocabulary asks for it.
//! 3. User-defined plain tokens are cut out, leftmost first, of those the longest.
//! 4. The rest is merged; a character that is no token becomes the byte tokens of its UTF-8.
//!
//! ```no_run
//! # fn main() -> Result<(), carat::Error> {
//! let model = carat::Model::open("gemma.gguf")?;
//! let tokenizer = model.tokenizer();
//! let ids = tokenizer.encode("Where does <turn|> stand?"); // no special token among them
//! assert_eq!(tokenizer.decode(&ids, false), "Where does <turn|> stand?");
//! # Ok(())
//! # }
//! ```

mod bpe;
mod decode;
mod encode;
mod error;
mod merge;
mod special;
mod spm;
mod vocab;

use carat_gguf::{Gguf, Metadata};

use crate::TokenId;
use crate::pages;
use crate::rendered::Rendered;
use crate::weights;
use crate::words::head;
use bpe::Bpe;
use encode::Encoding;
use merge::Neighbours;
use special::Matcher;
use spm::Spm;
use vocab::{CharMap, Kind, NONE, Vocab};

pub use decode::Decoder;
pub use error::TokenizerError;

/// A vocabulary ready to encode and decode.
///
/// Where all 256 byte tokens exist, as in every real file, this holds for any text:
/// `decode(&encode(text), false) == text.replace('\u{2581}', " ")`. U+2581 is how the vocabulary
/// writes a space, so a literal one comes back as a space, as it does from SentencePiece and
/// Hugging Face.
#[derive(Debug)]
pub struct Tokenizer {
    vocab: Vocab,
    scheme: Scheme,
    chars: CharMap,
    neighbours: Neighbours,
    special: Matcher,
    user_defined: Matcher,
    bytes: Box<[TokenId; 256]>,
    unknown: Option<TokenId>,
    add_space_prefix: bool,
    bos: Option<TokenId>,
    eos: Option<TokenId>,
    add_bos: bool,
    eog: Vec<TokenId>,
    suppressed: Vec<TokenId>,
}

/// What a token stands for.
#[cfg(feature = "grammar")]
pub(crate) enum Meaning<'t> {
    /// Text, with U+2581 for spaces.
    Text(&'t str),
    /// One byte of a character.
    Byte(u8),
    /// Structure, with its text.
    Special(&'t str),
    /// Not to be generated.
    Nothing,
}

#[derive(Debug)]
enum Scheme {
    Bpe(Bpe),
    Spm(Spm),
}

impl Tokenizer {
    /// Reads the vocabulary. Everything is copied: the file may be closed afterwards.
    ///
    /// Of tokens with the same text the lowest id is used for encoding. `add_space_prefix` counts
    /// for `llama` (default true, as in llama.cpp) and not for `gemma4`, which never has a prefix.
    /// `add_bos_token` defaults to true and is always true for `gemma4`.
    ///
    /// # Errors
    /// A [`TokenizerError`] that names the key and what is wrong with it.
    pub fn from_metadata(metadata: &Metadata<'_>) -> Result<Self, TokenizerError> {
        Self::read(metadata, usize::MAX)
    }

    /// The vocabulary of a model file, which may list a few tokens more than the model has.
    ///
    /// Nothing but metadata is read: a prompt can be counted before the model is opened.
    ///
    /// # Errors
    /// As [`Tokenizer::from_metadata`].
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Self, TokenizerError> {
        let tokens = gguf.metadata().array(TOKENS)?.len();
        Self::read(gguf.metadata(), weights::vocab(gguf, tokens))
    }

    /// Reads the first `count` tokens.
    fn read(metadata: &Metadata<'_>, count: usize) -> Result<Self, TokenizerError> {
        pages::ask("the vocabulary", bytes_of(metadata))?;
        let gemma4 = has_ranked_merges(metadata)?;
        let tokens = metadata.strings(TOKENS)?;
        let types = metadata.ints(TYPES)?;
        if types.len() != tokens.len() {
            let (key, found, wanted) = (TYPES, types.len(), tokens.len());
            return Err(TokenizerError::WrongLength { key, found, wanted });
        }
        let (tokens, types) = (tokens.take(count), types.take(count));
        let mut vocab = Vocab::new(tokens.clone())?;
        vocab.kinds = special::classify(types.zip(tokens))?;
        let named = Named::read(metadata, &vocab)?;
        for id in named.all() {
            if !matches!(vocab.kind(id), Kind::Byte(_)) {
                vocab.kinds[id as usize] = Kind::Special;
            }
        }
        let add_bos = gemma4 || metadata.opt_boolean(ADD_BOS)?.unwrap_or(true);
        if add_bos && named.bos.is_none() {
            metadata.uint(BOS)?;
        }
        let scheme = if gemma4 {
            Scheme::Bpe(Bpe::new(&mut vocab, metadata.strings(MERGES)?)?)
        } else {
            Scheme::Spm(Spm::new(&mut vocab, metadata.floats(SCORES)?.take(count))?)
        };
        let special = Matcher::new(&vocab, Kind::Special)?;
        let (bytes, unknown) = fallback(&vocab, named.unknown)?;
        let prefix = metadata.opt_boolean(ADD_SPACE_PREFIX)?.unwrap_or(true);
        Ok(Self {
            eog: named.end_of_generation(|text| special.token(&vocab, text)),
            suppressed: ids(metadata, SUPPRESSED, &vocab)?,
            scheme,
            chars: CharMap::new(&vocab),
            neighbours: Neighbours::new(&vocab),
            special,
            user_defined: Matcher::new(&vocab, Kind::UserDefined)?,
            bytes,
            unknown,
            add_space_prefix: !gemma4 && prefix,
            bos: named.bos,
            eos: named.eos,
            add_bos,
            vocab,
        })
    }

    /// The tokens of text that somebody else wrote: never a special token, no BOS.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<TokenId> {
        let mut encoding = Encoding::new(self, text.len());
        encoding.text(text, true);
        encoding.finish()
    }

    /// The tokens of a prompt that the program wrote itself: special tokens are parsed, no BOS is
    /// added.
    ///
    /// For a chat use [`Tokenizer::encode_rendered`], which tells the template's words from the
    /// user's.
    #[must_use]
    pub fn encode_prompt(&self, text: &str) -> Vec<TokenId> {
        let mut encoding = Encoding::new(self, text.len());
        encoding.prompt(text, std::iter::once(0..text.len()));
        encoding.finish()
    }

    /// The tokens of a rendered chat: special tokens are parsed where the template wrote them and
    /// nowhere else; no BOS is added (templates write it).
    #[must_use]
    pub fn encode_rendered(&self, rendered: &Rendered) -> Vec<TokenId> {
        let mut encoding = Encoding::new(self, rendered.text().len());
        encoding.prompt(rendered.text(), rendered.trusted());
        encoding.finish()
    }

    /// The text of whole `tokens`, from its beginning. `skip_special` leaves out special tokens.
    #[must_use]
    pub fn decode(&self, tokens: &[TokenId], skip_special: bool) -> String {
        let mut decoder = self.decoder().show_special(!skip_special).from_start();
        let mut text = String::new();
        for token in tokens {
            text.push_str(decoder.push(*token));
        }
        text.push_str(decoder.finish());
        text
    }

    /// A decoder for tokens that continue a text, as generated ones do.
    #[must_use]
    pub fn decoder(&self) -> Decoder<'_> {
        Decoder::new(self)
    }

    /// Beginning of sequence.
    #[must_use]
    pub fn bos(&self) -> Option<TokenId> {
        self.bos
    }

    /// Whether a sequence starts with BOS; then [`Tokenizer::bos`] is there.
    #[must_use]
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// The BOS that belongs before a prompt that begins with the token `first`: none where the
    /// vocabulary wants none, or the prompt has it already.
    #[must_use]
    pub fn bos_before(&self, first: Option<TokenId>) -> Option<TokenId> {
        self.bos.filter(|bos| self.add_bos && first != Some(*bos))
    }

    /// End of sequence.
    #[must_use]
    pub fn eos(&self) -> Option<TokenId> {
        self.eos
    }

    /// Tokens that end a generation, ascending: the keys' and those that the family is known to
    /// use.
    #[must_use]
    pub fn eog(&self) -> &[TokenId] {
        &self.eog
    }

    /// Whether `token` ends a generation.
    #[must_use]
    pub fn is_eog(&self, token: TokenId) -> bool {
        self.eog.contains(&token)
    }

    /// Tokens that must never be sampled.
    #[must_use]
    pub fn suppressed(&self) -> &[TokenId] {
        &self.suppressed
    }

    /// Number of tokens.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// Memory in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let scheme = match &self.scheme {
            Scheme::Bpe(bpe) => bpe.bytes(),
            Scheme::Spm(spm) => spm.bytes(),
        };
        let matchers = self.special.bytes() + self.user_defined.bytes();
        let tables = self.chars.bytes() + self.neighbours.bytes() + size_of_val(&*self.bytes);
        self.vocab.bytes() + scheme + matchers + tables
    }

    /// The text of a token as the vocabulary has it, with U+2581 for spaces.
    #[must_use]
    pub fn token(&self, token: TokenId) -> Option<&str> {
        self.vocab.get(token)
    }

    /// What a token stands for in generated text; nothing for one that text is never made of.
    #[cfg(feature = "grammar")]
    pub(crate) fn meaning(&self, token: TokenId) -> Meaning<'_> {
        if self.suppressed.contains(&token) {
            return Meaning::Nothing;
        }
        match (self.vocab.get(token), self.vocab.kinds.get(token as usize)) {
            (Some(_), Some(Kind::Byte(byte))) => Meaning::Byte(*byte),
            (Some(text), Some(Kind::Special)) => Meaning::Special(text),
            (Some(text), Some(Kind::Text | Kind::UserDefined)) => Meaning::Text(text),
            _ => Meaning::Nothing,
        }
    }

    /// The tokens of text that continues other text: as [`Tokenizer::encode`], without the space
    /// that some vocabularies put before a text.
    #[cfg(feature = "grammar")]
    pub(crate) fn encode_continued(&self, text: &str) -> Vec<TokenId> {
        let mut encoding = Encoding::new(self, text.len());
        encoding.text(text, false);
        encoding.finish()
    }

    /// The token of one byte, if there is one.
    #[cfg(feature = "grammar")]
    pub(crate) fn byte(&self, byte: u8) -> Option<TokenId> {
        Some(self.bytes[usize::from(byte)]).filter(|id| *id != NONE)
    }

    /// The special token with this text, such as `<|image|>`.
    #[must_use]
    pub fn special(&self, text: &str) -> Option<TokenId> {
        let mut normalised = String::with_capacity(text.len());
        vocab::push_normalised(&mut normalised, text);
        self.special.token(&self.vocab, &normalised)
    }

    /// Whether `token` is structure and not text.
    #[must_use]
    pub fn is_special(&self, token: TokenId) -> bool {
        self.vocab.kinds.get(token as usize) == Some(&Kind::Special)
    }
}

/// Whether the scheme is that of Gemma 4, ranked merges, and not SentencePiece's scores.
///
/// Converters name it in three ways: `tokenizer.ggml.model` is `gemma4` (llama.cpp), or it is
/// another one and `tokenizer.ggml.pre` is `gemma4` (Ollama's `convert_gemma4.go`), or the file is
/// a Gemma 4 with merges.
fn has_ranked_merges(metadata: &Metadata<'_>) -> Result<bool, TokenizerError> {
    let model = metadata.string(MODEL)?;
    let pre = metadata.opt_string(PRE)?;
    let is_gemma4 = metadata.opt_string("general.architecture")? == Some("gemma4");
    let merges = metadata.opt_array(MERGES)?.is_some_and(|merges| !merges.is_empty());
    match model {
        "gemma4" => Ok(true),
        "llama" | "gpt2" if pre == Some("gemma4") => Ok(true),
        "llama" => Ok(is_gemma4 && merges),
        _ => {
            let found = head(model);
            Err(TokenizerError::UnknownModel { found })
        }
    }
}

/// About what the tables of a vocabulary take while they are made: its texts twice, and a few
/// numbers for each of its entries.
fn bytes_of(metadata: &Metadata<'_>) -> usize {
    let arrays = [TOKENS, TYPES, MERGES, SCORES].map(|key| metadata.get(key)?.as_array());
    let arrays = arrays.into_iter().flatten();
    arrays.map(|array| 2 * array.bytes().len() + ENTRY_BYTES * array.len()).sum()
}

/// The ids that keys of their own name.
struct Named {
    bos: Option<TokenId>,
    eos: Option<TokenId>,
    unknown: Option<TokenId>,
    ends: Vec<TokenId>,
}

impl Named {
    fn read(metadata: &Metadata<'_>, vocab: &Vocab) -> Result<Self, TokenizerError> {
        let id = |key| -> Result<Option<TokenId>, TokenizerError> {
            metadata.opt_uint(key)?.map(|id| check(key, id, vocab)).transpose()
        };
        let eos = id("tokenizer.ggml.eos_token_id")?;
        let ends = [eos, id("tokenizer.ggml.eot_token_id")?, id("tokenizer.ggml.eom_token_id")?];
        // These two must exist, but files also name ordinary tokens here.
        id("tokenizer.ggml.padding_token_id")?;
        id("tokenizer.ggml.mask_token_id")?;
        Ok(Self {
            bos: id(BOS)?,
            eos,
            unknown: id("tokenizer.ggml.unknown_token_id")?,
            ends: ends.into_iter().flatten().collect(),
        })
    }

    fn all(&self) -> impl Iterator<Item = TokenId> {
        self.ends.iter().copied().chain(self.bos).chain(self.unknown)
    }

    fn end_of_generation(&self, special: impl Fn(&str) -> Option<TokenId>) -> Vec<TokenId> {
        let mut eog = self.ends.clone();
        eog.extend(special::END_OF_GENERATION.iter().filter_map(|text| special(text)));
        eog.sort_unstable();
        eog.dedup();
        eog
    }
}

/// The byte tokens, and what stands for a character whose bytes are not all there.
fn fallback(
    vocab: &Vocab,
    unknown: Option<TokenId>,
) -> Result<(Box<[TokenId; 256]>, Option<TokenId>), TokenizerError> {
    let mut bytes = Box::new([NONE; 256]);
    for id in vocab.ids().rev() {
        if let Kind::Byte(byte) = vocab.kind(id) {
            bytes[usize::from(byte)] = id;
        }
    }
    let missing = (0..=u8::MAX).find(|byte| bytes[usize::from(*byte)] == NONE);
    match missing {
        Some(missing) if unknown.is_none() => Err(TokenizerError::NoFallback { missing }),
        _ => Ok((bytes, unknown)),
    }
}

fn ids(
    metadata: &Metadata<'_>,
    key: &'static str,
    vocab: &Vocab,
) -> Result<Vec<TokenId>, TokenizerError> {
    let Some(ids) = metadata.opt_uints(key)? else { return Ok(Vec::new()) };
    ids.map(|id| check(key, id, vocab)).collect()
}

fn check(key: &'static str, id: u64, vocab: &Vocab) -> Result<TokenId, TokenizerError> {
    let vocab_size = vocab.len();
    match TokenId::try_from(id) {
        Ok(id) if (id as usize) < vocab_size => Ok(id),
        _ => Err(TokenizerError::IdOutOfRange { key, id, vocab_size }),
    }
}

/// Numbers beside the text of an entry: hashes, ids and ranks in tables that are half full.
const ENTRY_BYTES: usize = 64;

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const BOS: &str = "tokenizer.ggml.bos_token_id";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
const SUPPRESSED: &str = "tokenizer.ggml.suppress_tokens";
