//! The vocabulary as llguidance walks it.

use std::fmt;
use std::sync::Arc;

use llguidance::ParserFactory;
use toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};

use crate::TokenId;
use crate::grammar::GrammarError;
use crate::grammar::limits;
use crate::quiet;
use crate::tokenizer::{Meaning, Tokenizer};

/// A trie over the bytes of all tokens, which all grammars of a model share. A clone is another
/// handle.
///
/// [`Model::grammar_env`](crate::Model::grammar_env) makes one when it is first asked for; about
/// 0.2 s and 50 MB for 262144 tokens.
#[derive(Clone)]
pub struct GrammarEnv {
    shared: Arc<Shared>,
}

struct Shared {
    tokenizer: Arc<Tokenizer>,
    factory: ParserFactory,
}

impl GrammarEnv {
    /// Builds the trie.
    ///
    /// Tokens that must never be sampled, unused ones and those of more than 1000 bytes are left
    /// out: no grammar lets them through.
    ///
    /// # Errors
    /// If the vocabulary has no token that ends a generation, or more text than a trie holds.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Result<Self, GrammarError> {
        let unusable = |reason: &str| GrammarError::Vocabulary { reason: reason.to_owned() };
        if tokenizer.eog().is_empty() {
            return Err(unusable("it has no token that ends a generation"));
        }
        let build = || {
            let trie = trie(&tokenizer);
            let vocab = Vocabulary { tokenizer: Arc::clone(&tokenizer), trie };
            let env: TokEnv = Arc::new(vocab);
            // Slices make masks faster and their tables larger: without them a mask takes about a
            // millisecond, where a token takes a hundred.
            ParserFactory::new(&env, InferenceCapabilities::default(), &[])
        };
        let factory = quiet::catch(build).map_err(|panic| unusable(&panic.to_string()))?;
        let mut factory = factory.map_err(|error| unusable(&error.to_string()))?;
        *factory.quiet().limits_mut() = limits::parser();
        Ok(Self { shared: Arc::new(Shared { tokenizer, factory }) })
    }

    /// The vocabulary.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.shared.tokenizer
    }

    pub(super) fn factory(&self) -> &ParserFactory {
        &self.shared.factory
    }
}

impl fmt::Debug for GrammarEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.tokenizer().vocab_size();
        f.debug_struct("GrammarEnv").field("tokens", &tokens).finish_non_exhaustive()
    }
}

fn trie(tokenizer: &Tokenizer) -> TokTrie {
    let bytes = |id: TokenId| match tokenizer.meaning(id) {
        Meaning::Text(text) if text.len() <= TOKEN_MAX => {
            text.replace('\u{2581}', " ").into_bytes()
        }
        Meaning::Special(text) if text.len() < TOKEN_MAX => {
            [&[TokTrie::SPECIAL_TOKEN_MARKER], text.as_bytes()].concat()
        }
        Meaning::Byte(byte) => vec![byte],
        _ => Vec::new(),
    };
    let size = tokenizer.vocab_size() as TokenId;
    let words: Vec<Vec<u8>> = (0..size).map(bytes).collect();
    let eog = tokenizer.eog();
    TokTrie::from(&TokRxInfo::new(size, eog[0]), &words).with_eos_tokens(eog)
}

/// Answers how text is cut into tokens, so that forced text gets the tokens that it has in a
/// prompt.
struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    trie: TokTrie,
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let mut tokens = Vec::new();
        for chunk in bytes.utf8_chunks() {
            tokens.extend(self.tokenizer.encode_continued(chunk.valid()));
            tokens.extend(chunk.invalid().iter().filter_map(|b| self.tokenizer.byte(*b)));
        }
        // A literal U+2581 is a space to the tokeniser, and a character may have no tokens.
        if self.trie.decode_raw(&tokens) == bytes {
            return tokens;
        }
        self.trie.greedy_tokenize(bytes)
    }
}

/// The trie counts the bytes of a token with ten bits.
const TOKEN_MAX: usize = 1000;
