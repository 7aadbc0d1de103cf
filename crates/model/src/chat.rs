//! From a conversation to a prompt, by the Jinja template in the model file.
//!
//! ```
//! use carat::ChatTemplate;
//! use serde_json::json;
//!
//! # fn main() -> Result<(), carat::chat::ChatError> {
//! let source = "{% for m in messages %}<|turn>{{ m.role }}\n{{ m.content }}<turn|>\n{% endfor %}";
//! let template = ChatTemplate::new(source)?;
//! let conversation = json!({ "messages": [{ "role": "user", "content": "Hello" }] });
//! let prompt = template.render(&conversation)?;
//! assert_eq!(prompt.text(), "<|turn>user\nHello<turn|>\n");
//! assert_eq!(prompt.trusted().count(), 2); // all but "Hello"
//! # Ok(())
//! # }
//! ```
//!
//! # What the user writes stays text
//!
//! A rendered prompt is one string in which the template's `<|turn>` and a user's `<|turn>` look
//! alike. To keep them apart, every character of a template's value knows whether it stands in the
//! template or comes from elsewhere, through slices, joins, changes of case and everything else
//! that a template does. A special token counts only where all its characters are the template's
//! ([`Rendered::trusted`], [`Tokenizer::encode_rendered`]). So it does not matter which tokens a
//! vocabulary has, with brackets or without: none can be written by the conversation, neither
//! whole nor in part.
//!
//! Trusted are the template itself, what the program sets at the top of the context under names
//! that end in `_token`, and the known roles of messages. Everything else is not: messages of every
//! role, tools, their names, keys and descriptions, tool calls and responses, documents, printed
//! numbers. Messages of the model are no exception, since a model repeats what it is told to
//! repeat; only the thought markers `<|channel>` and `<channel|>` in their content are trusted.
//!
//! # What a template may spend
//!
//! A template comes with a file, so it is not believed. It has a budget of steps and of bytes
//! that its values may hold at one time, and both are taken before they are spent (`budget`):
//! no repetition, width, join or loop allocates what it is not allowed to. The budget grows with
//! the conversation and with nothing else.
//!
//! [`Tokenizer::encode_rendered`]: crate::tokenizer::Tokenizer::encode_rendered

mod args;
mod ast;
mod budget;
mod call;
mod clock;
mod conversation;
mod eval;
mod filters;
mod format;
mod functions;
mod lexer;
mod methods;
mod number;
mod ops;
mod parser;
mod print;
mod sort;
mod tests;
mod text;
mod tool;
mod value;

use std::io;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::pages;
use crate::words::one_line;
use ast::Parsed;
use budget::{Budget, Builder, Fault};
use text::Ch;

pub use crate::rendered::Rendered;
#[cfg(feature = "grammar")]
pub(crate) use call::QUOTE;
pub use call::{CallError, ToolCall, parse_call};
pub use tool::{Tool, ToolChoice, ToolError};

/// A compiled chat template.
///
/// The language is Jinja 2 as Hugging Face sets it up: `trim_blocks`, `lstrip_blocks`, loop
/// controls, an immutable sandbox, `tojson` without HTML escapes, `raise_exception`,
/// `strftime_now` (in UTC), `{% generation %}`. Values behave and print as in Python. Missing are
/// what needs other templates, markup-safe strings (`escape` gives a plain string), and the filters
/// `pprint`, `random` and `urlize`.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    parsed: Parsed,
}

/// Why a template cannot be used or a conversation not be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The template is not Jinja.
    #[error("the chat template is not valid at line {line}: {reason}")]
    Syntax {
        /// Line in the template, from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// The template called `raise_exception`: it does not take this conversation.
    #[error("the chat template refuses the conversation: {reason}", reason = one_line(reason))]
    Refused {
        /// The template's words.
        reason: String,
    },
    /// The template failed on this conversation.
    #[error("the chat template fails at line {line}: {reason}")]
    Render {
        /// Line in the template, from 1.
        line: usize,
        /// What went wrong.
        reason: String,
    },
    /// The conversation is no JSON object, or holds what no template can read.
    #[error("the conversation cannot be read: {reason}")]
    Conversation {
        /// What is wrong with it.
        reason: String,
    },
    /// The template is too long to be one.
    #[error("the chat template has {found} bytes, at most {max} are supported; use another")]
    TooLarge {
        /// Length in bytes.
        found: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The system has no thread for the template to run on.
    #[error("the chat template cannot be run, no thread could be started")]
    Thread(#[source] io::Error),
    /// The template does not come to an end.
    #[error("the chat template runs for more than {limit} steps; use another")]
    TooLong {
        /// The limit for this conversation, in operations.
        limit: u64,
    },
    /// The template makes values that are too large.
    #[error("the chat template wants more than {limit} bytes of memory; use another")]
    TooMuchMemory {
        /// The limit for this conversation, in bytes.
        limit: usize,
    },
}

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`ChatError::Syntax`] or [`ChatError::TooLarge`].
    pub fn new(source: &str) -> Result<Self, ChatError> {
        let (found, max) = (source.len(), SOURCE_BYTES_MAX);
        if found > max {
            return Err(ChatError::TooLarge { found, max });
        }
        let parsed = on_deep_stack(|| {
            parser::parse(source).map_err(|parser::Syntax { line, reason }| ChatError::Syntax {
                line: line as usize,
                reason: one_line(&reason),
            })
        })?;
        Ok(Self { source: source.to_owned(), parsed })
    }

    /// The template's source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders `context`, an object: `messages`, and as the template wants them `tools`,
    /// `add_generation_prompt`, `bos_token`, `enable_thinking` and others.
    ///
    /// A [`Value`] holds integers beyond 64 bits as floats; [`Self::render_json`] keeps them.
    ///
    /// # Errors
    /// [`ChatError::Refused`], [`ChatError::Render`], [`ChatError::TooLong`],
    /// [`ChatError::TooMuchMemory`] or [`ChatError::Conversation`].
    pub fn render(&self, context: &Value) -> Result<Rendered, ChatError> {
        self.render_json(&context.to_string())
    }

    /// Renders the context that `json` is the text of, as [`Self::render`].
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_json(&self, json: &str) -> Result<Rendered, ChatError> {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(elapsed.as_secs()).unwrap_or_default();
        on_deep_stack(|| self.render_at(json, now))
    }

    fn render_at(&self, json: &str, now: i64) -> Result<Rendered, ChatError> {
        let heap = Budget::new(u64::MAX, usize::MAX);
        let names = conversation::names(&heap, json).map_err(|fault| match fault {
            Fault::Error(reason) => ChatError::Conversation { reason },
            fault => error(fault, 1, u64::MAX, usize::MAX),
        })?;
        let held = heap.held();
        let bytes = held.saturating_mul(4).saturating_add(BYTES_MAX);
        let messages = match names.get("messages") {
            Some(value::Value::Seq(messages)) => messages.items.len() as u64,
            _ => 0,
        };
        let pairs = messages.saturating_mul(messages).saturating_mul(STEPS_PER_PAIR);
        let steps = pairs.saturating_add(held as u64).saturating_add(STEPS_MAX);
        heap.limit(steps, bytes);
        match eval::render(&self.parsed, &heap, &names, now) {
            Ok(out) => Ok(rendered(&out)),
            Err(failure) => Err(error(failure.fault, failure.line, steps, bytes)),
        }
    }
}

fn rendered(out: &Builder<Ch>) -> Rendered {
    let mut rendered = Rendered::default();
    for c in out.items() {
        rendered.push(c.char(), c.is_trusted());
    }
    rendered
}

/// Runs `work` on a thread with a stack for the deepest template that the limits allow.
fn on_deep_stack<T: Send>(
    work: impl FnOnce() -> Result<T, ChatError> + Send,
) -> Result<T, ChatError> {
    // The stack may be the last that the system has, and the first value of the template an abort.
    let room = pages::ask("a chat template", STACK_BYTES + BYTES_MAX + pages::SMALL_BYTES);
    room.map_err(|e| ChatError::Thread(io::Error::new(io::ErrorKind::OutOfMemory, e)))?;
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(STACK_BYTES);
        let running = builder.spawn_scoped(scope, work).map_err(ChatError::Thread)?;
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn error(fault: Fault, line: u32, steps: u64, bytes: usize) -> ChatError {
    match fault {
        Fault::Error(reason) => {
            ChatError::Render { line: line as usize, reason: one_line(&reason) }
        }
        Fault::Raised(reason) => ChatError::Refused { reason },
        Fault::Steps => ChatError::TooLong { limit: steps },
        Fault::Bytes => ChatError::TooMuchMemory { limit: bytes },
    }
}

/// Fifteen times the official template.
pub(crate) const SOURCE_BYTES_MAX: usize = 1 << 18;

/// Address space only: pages are used when the stack reaches them.
const STACK_BYTES: usize = 1 << 28;

/// Operations of a template, beside one for each byte of the conversation's values and those for
/// its pairs of messages: about a tenth of a second. The official template takes a hundred for a
/// message.
pub(crate) const STEPS_MAX: u64 = 1_000_000;

/// Operations for the square of the number of messages: from every message the official template
/// looks back over all messages before it, seven operations for each.
pub(crate) const STEPS_PER_PAIR: u64 = 8;

/// Bytes of values alive, beside four times those of the conversation's.
pub(crate) const BYTES_MAX: usize = 24 << 20;
