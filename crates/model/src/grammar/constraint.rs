//! One generation under a grammar.

use std::fmt;

use llguidance::Matcher;
use toktrie::SimpleVob;

use crate::TokenId;
use crate::grammar::error::first_line;
use crate::grammar::{Grammar, GrammarEnv, GrammarError};

/// Where a generation stands in a grammar, and which tokens may come next.
///
/// A clone goes its own way; it costs as much as the parser's state, so that taking back tokens
/// ([`Constraint::rollback`]) is cheaper for drafts.
///
/// ```no_run
/// # fn main() -> Result<(), carat::Error> {
/// use carat::{Constraint, Grammar, Model};
///
/// let model = Model::open("gemma.gguf")?;
/// let grammar = Grammar::json_schema(model.grammar_env()?, r#"{"type": "boolean"}"#)?;
/// let mut constraint = Constraint::new(&grammar);
/// while !constraint.is_finished() {
///     let mask = constraint.mask()?;
///     let token = (0..).find(|id: &u32| mask[*id as usize / 32] >> (id % 32) & 1 == 1);
///     constraint.accept(token.expect("a mask is never empty"))?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct Constraint {
    env: GrammarEnv,
    matcher: Matcher,
    /// The mask of this place, once it was asked for.
    mask: Option<SimpleVob>,
    /// What was forced and not accepted yet, the next one last.
    forced: Vec<TokenId>,
    /// Tokens that were accepted, the end among them.
    accepted: usize,
    ended: bool,
}

impl Constraint {
    /// Stands at the beginning of `grammar`.
    #[must_use]
    pub fn new(grammar: &Grammar) -> Self {
        // The states of the lexer are counted against a limit: every generation has its own.
        let matcher = grammar.matcher.deep_clone();
        let env = grammar.env.clone();
        Self { env, matcher, mask: None, forced: Vec::new(), accepted: 0, ended: false }
    }

    /// The tokens that may come next: bit `i % 32` of word `i / 32` stands for token `i`. There are
    /// as many words as the vocabulary needs; bits beyond it are zero.
    ///
    /// Tokens that end a generation are allowed exactly where the grammar accepts, all of them.
    /// At least one token is allowed. Once the constraint has finished, only the ends are.
    ///
    /// # Errors
    /// [`GrammarError::Stuck`] if the grammar needs more work than is allowed for one token.
    pub fn mask(&mut self) -> Result<&[u32], GrammarError> {
        let mask = match self.mask.take() {
            Some(mask) => mask,
            None if self.ended => self.env.factory().tok_env().tok_trie().eos_token_set(),
            None => self.matcher.compute_mask_or_eos().map_err(|e| stuck(&e))?,
        };
        let words = self.env.tokenizer().vocab_size().div_ceil(32);
        Ok(&self.mask.insert(mask).as_slice()[..words])
    }

    /// Whether `token` may come next: whether its bit is set in the mask, which is not made for
    /// what was forced.
    ///
    /// # Errors
    /// As [`Constraint::mask`].
    pub fn allows(&mut self, token: TokenId) -> Result<bool, GrammarError> {
        if self.forced.last() == Some(&token) {
            return Ok(true);
        }
        let word = self.mask()?.get(token as usize / 32);
        Ok(word.is_some_and(|word| word >> (token % 32) & 1 == 1))
    }

    /// Goes on by `token`, which was sampled under the mask, forced or drafted.
    ///
    /// # Errors
    /// [`GrammarError::NotAllowed`] if the grammar forbids it here; nothing has changed then.
    pub fn accept(&mut self, token: TokenId) -> Result<(), GrammarError> {
        if self.ended || !self.allows(token)? {
            return Err(GrammarError::NotAllowed { token });
        }
        if self.env.tokenizer().is_eog(token) {
            self.ended = true;
        } else {
            self.matcher.consume_token(token).map_err(|e| stuck(&e))?;
        }
        self.mask = None;
        if self.forced.pop() != Some(token) {
            self.forced.clear();
        }
        self.accepted += 1;
        Ok(())
    }

    /// The tokens that must come next, cut as the tokeniser cuts their text; empty where there is a
    /// choice. They are still to be accepted, and can be evaluated in one pass.
    pub fn forced(&mut self) -> Vec<TokenId> {
        if self.is_finished() {
            return Vec::new();
        }
        let tokens = self.matcher.compute_ff_tokens();
        self.forced = tokens.iter().rev().copied().collect();
        tokens
    }

    /// Takes back the last `count` accepted tokens.
    ///
    /// # Errors
    /// [`GrammarError::TooFew`] if there are not so many.
    pub fn rollback(&mut self, count: usize) -> Result<(), GrammarError> {
        if count > self.accepted {
            return Err(GrammarError::TooFew { wanted: count, found: self.accepted });
        }
        if count == 0 {
            return Ok(());
        }
        let end = usize::from(self.ended);
        self.matcher.rollback(count - end).map_err(|e| stuck(&e))?;
        (self.mask, self.ended) = (None, false);
        self.forced.clear();
        self.accepted -= count;
        Ok(())
    }

    /// Whether the generation may end here.
    ///
    /// # Errors
    /// As [`Constraint::mask`].
    pub fn is_accepting(&mut self) -> Result<bool, GrammarError> {
        Ok(self.ended || self.matcher.is_accepting().map_err(|e| stuck(&e))?)
    }

    /// Whether nothing but an end may follow, or the end was accepted.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.ended || self.matcher.is_stopped()
    }

    /// How many tokens were accepted and not taken back, the end among them.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted
    }
}

impl Clone for Constraint {
    fn clone(&self) -> Self {
        Self {
            env: self.env.clone(),
            matcher: self.matcher.deep_clone(),
            mask: self.mask.clone(),
            forced: self.forced.clone(),
            accepted: self.accepted,
            ended: self.ended,
        }
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, ended, .. } = self;
        f.debug_struct("Constraint")
            .field("accepted", accepted)
            .field("ended", ended)
            .finish_non_exhaustive()
    }
}

fn stuck(error: &impl ToString) -> GrammarError {
    GrammarError::Stuck { reason: first_line(&error.to_string()) }
}
