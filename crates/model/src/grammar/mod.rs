//! Output that follows a grammar: JSON Schema, regular expressions, Lark, calls of tools.
//!
//! A [`Grammar`] is compiled once, against the vocabulary of a model ([`GrammarEnv`]); every
//! generation has a [`Constraint`] of its own that says which tokens may come next. llguidance does
//! the parsing; what a JSON Schema means and how Gemma writes a call is ours (`schema`, `lark`).
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use carat::{AnswerOptions, Chat, ChatConfig, Event, Grammar, Message, Model};
//!
//! # fn main() -> Result<(), carat::Error> {
//! let model = Model::open("gemma.gguf")?;
//! let schema = r#"{"type": "object", "properties": {"yes": {"type": "boolean"}}}"#;
//! let format = Some(Arc::new(Grammar::json_schema(model.grammar_env()?, schema)?));
//! let options = AnswerOptions { format, ..AnswerOptions::default() };
//! let mut chat = Chat::new(&model, ChatConfig::default())?;
//! chat.push(Message::user("Is the sky blue?"));
//! for event in chat.reply(options)? {
//!     if let Event::Text(json) = event? {
//!         print!("{json}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # JSON Schema
//!
//! One reading serves JSON output and arguments of tools, in two spellings. Whatever the grammar
//! lets through satisfies the schema; it does not let everything through that would:
//!
//! * Keys come in one order, that of the schema in JSON and that of the template (sorted without
//!   regard to case) in calls. Keys that are not under `properties` are not written, though
//!   `additionalProperties` would allow them, unless no key is declared at all.
//! * `integer` has up to 18 digits; other numbers have up to 15, so that they are what they say as
//!   an `f64`, and two of an exponent where there are no bounds.
//! * Anything, where a schema says nothing, nests 8 deep.
//! * Strings of calls do not hold `<|"|>`, which ends them. JSON strings with a `pattern` or a
//!   `format` hold no character that is written with a backslash.
//! * `anyOf` is a choice. `oneOf` is one too, where its options cannot both be true because of
//!   their types, their values, or a required key that tells them apart; otherwise it is an error.
//! * `allOf`, `$ref` within the schema and keywords beside them all hold at once. A list of
//!   alternatives in several of them multiplies out.
//! * `patternProperties` hold for declared keys; without declared keys there may be one pattern.
//! * `minProperties` and `maxProperties` are followed where no declared key is optional by them.
//! * `format` is followed for dates, times, mail and network addresses, UUIDs and URIs.
//! * Annotations and keywords that JSON Schema does not define are ignored. What it defines and is
//!   not followed (`not`, `if`, `contains`, `uniqueItems` and others) is an error by name.
//!
//! A schema that nothing satisfies is an error, as is one beyond these limits: 1 MB of text, 128
//! levels, 10000 rules after all alternatives were multiplied out, 10000 values of an `enum`,
//! 16384 for lengths and the least number of items. Lark and regular expressions have 64 KB.

mod bounds;
mod calls;
mod constraint;
mod env;
mod error;
mod facts;
mod formats;
mod lark;
pub(crate) mod limits;
mod schema;
mod shape;
mod strings;

use std::fmt;
use std::thread;

use llguidance::Matcher;
use llguidance::api::TopLevelGrammar;
use serde_json::Value;

use crate::chat::{Tool, ToolChoice};
use crate::pages;
use crate::quiet;
use error::first_line;

pub use constraint::Constraint;
pub use env::GrammarEnv;
pub use error::GrammarError;

/// A compiled grammar, for any number of generations.
pub struct Grammar {
    env: GrammarEnv,
    matcher: Matcher,
}

impl Grammar {
    /// JSON that satisfies a schema, written as text: see [the module](self).
    ///
    /// Between tokens of JSON there may be a space or a line break with up to 40 spaces.
    ///
    /// # Errors
    /// As [`Grammar::json_schema_value`], and if the text is no JSON.
    pub fn json_schema(env: &GrammarEnv, schema: &str) -> Result<Self, GrammarError> {
        large("bytes of schema", schema.len(), limits::SCHEMA_BYTES)?;
        let schema: Value = serde_json::from_str(schema)
            .map_err(|error| GrammarError::NotJson { reason: error.to_string() })?;
        Self::json_schema_value(env, &schema)
    }

    /// JSON that satisfies a schema.
    ///
    /// # Errors
    /// If the schema is malformed, cannot be satisfied, is too large, or has a keyword that is not
    /// supported.
    pub fn json_schema_value(env: &GrammarEnv, schema: &Value) -> Result<Self, GrammarError> {
        let text = lark::json(schema)?;
        Self::compile(env, TopLevelGrammar::from_lark(text))
    }

    /// Any JSON object.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn json_object(env: &GrammarEnv) -> Result<Self, GrammarError> {
        Self::json_schema(env, r#"{"type": "object"}"#)
    }

    /// Text that a regular expression matches as a whole, in the syntax of the `regex` crate
    /// without anchors and look-around.
    ///
    /// # Errors
    /// If it cannot be compiled or matches nothing.
    pub fn regex(env: &GrammarEnv, regex: &str) -> Result<Self, GrammarError> {
        large("bytes of regular expression", regex.len(), limits::TEXT_BYTES)?;
        if strings::is_empty(&[regex.to_owned()])? {
            return Err(GrammarError::Unsatisfiable { what: "the regular expression".to_owned() });
        }
        // An empty expression between slashes would be a comment.
        let regex = llguidance::regex_to_lark(&format!("(?:{regex})"), "");
        Self::compile(env, TopLevelGrammar::from_lark(format!("start: /{regex}/\n")))
    }

    /// Text of a Lark grammar, in llguidance's dialect. Special tokens are written by their text,
    /// as `<|tool_call>`, or by their number, as `<[48]>`.
    ///
    /// # Errors
    /// If it cannot be compiled.
    pub fn lark(env: &GrammarEnv, grammar: &str) -> Result<Self, GrammarError> {
        large("bytes of Lark", grammar.len(), limits::TEXT_BYTES)?;
        Self::compile(env, TopLevelGrammar::from_lark(grammar.to_owned()))
    }

    /// Calls of `tools` in Gemma's own syntax, `<|tool_call>call:NAME{key:value}<tool_call|>`, with
    /// arguments that satisfy each tool's schema; what stands between the two tokens is what
    /// [`parse_call`](crate::chat::parse_call) reads.
    ///
    /// [`ToolChoice::Auto`] and [`ToolChoice::None`] begin with text of any kind without special
    /// tokens. Calls follow each other directly; after the last one the generation ends, which
    /// Gemma says with `<|tool_response>`.
    ///
    /// # Errors
    /// As [`Grammar::json_schema`] for each tool's schema, if two tools have one name, if a name
    /// or a key cannot be written in that syntax, if the choice names none of the tools, and if
    /// the vocabulary has no tokens for calls.
    pub fn tools(
        env: &GrammarEnv,
        tools: &[Tool],
        choice: &ToolChoice,
    ) -> Result<Self, GrammarError> {
        let text = calls::grammar(env.tokenizer(), tools, choice)?;
        Self::compile(env, TopLevelGrammar::from_lark(text))
    }

    fn compile(env: &GrammarEnv, grammar: TopLevelGrammar) -> Result<Self, GrammarError> {
        let refused = |message: &str| GrammarError::Refused { reason: first_line(message) };
        let build = || {
            let mut matcher = Matcher::new(env.factory().create_parser(grammar));
            // The first mask shows whether anything can be said at all.
            let first = matcher.compute_mask_or_eos().map(drop);
            first.map(|()| matcher).map_err(|error| error.to_string())
        };
        let room = pages::ask("a grammar", limits::STACK + pages::SMALL_BYTES);
        room.map_err(|error| refused(&error.to_string()))?;
        let matcher = thread::scope(|scope| {
            let builder = thread::Builder::new().stack_size(limits::STACK);
            let thread = builder.spawn_scoped(scope, || quiet::catch(build));
            let thread = thread.map_err(|error| refused(&error.to_string()))?;
            let built = thread.join().map_err(|_| refused("compiling it panicked"))?;
            let built = built.map_err(|panic| refused(&panic.to_string()))?;
            built.map_err(|message| refused(&message))
        })?;
        Ok(Self { env: env.clone(), matcher })
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammar").field("env", &self.env).finish_non_exhaustive()
    }
}

/// Refuses what is over a limit.
fn large(what: &'static str, found: usize, max: usize) -> Result<(), GrammarError> {
    if found <= max { Ok(()) } else { Err(GrammarError::TooLarge { what, found, max }) }
}
