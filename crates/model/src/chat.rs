//! From a conversation to a prompt, by the Jinja template in the model file.
//!
//! # What the user writes stays text
//!
//! A rendered prompt is one string in which the template's `<|turn>` and a user's `<|turn>` look
//! alike. To keep them apart, the four characters that begin and end every special token of the
//! family, `<`, `>`, `[` and `]`, are replaced in the conversation by four stand-ins from a
//! private-use plane, one for one, before the template runs. They are put back afterwards, and
//! where they stood is remembered: a special token counts only where it covers no such place
//! ([`Rendered::trusted`], [`Tokenizer::encode_rendered`]). This also holds for markers that only
//! come together during rendering, from two parts of a message or by changing case, and it leaves
//! trimming, splitting, joining and lengths as they are. A template that compares or sorts the
//! conversation by one of the four characters sees the stand-in.
//!
//! Trusted are the template itself and what the program sets at the top of the context under names
//! that end in `_token`. Everything else is not: messages of every role, tools, their names, keys
//! and descriptions, tool calls and responses, documents. Messages of the model are no exception,
//! since a model repeats what it is told to repeat; only the thought markers `<|channel>` and
//! `<channel|>` in their content are left in place, because templates cut the thoughts out of the
//! history there.
//!
//! [`Tokenizer::encode_rendered`]: crate::tokenizer::Tokenizer::encode_rendered

mod python;

use std::collections::BTreeSet;
use std::ops::Range;
use std::thread;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value;

/// A compiled chat template.
///
/// The environment is that of Hugging Face: `trim_blocks`, `lstrip_blocks`, loop controls, Python's
/// string methods and spelling of values, `tojson` without HTML escapes, `raise_exception`.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
}

/// A prompt, and which of its characters come from the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    text: String,
    /// Places in bytes of the guarded characters that the conversation holds, ascending.
    untrusted: Vec<usize>,
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
    #[error("the chat template refuses the conversation: {reason}")]
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
    Thread(#[source] std::io::Error),
    /// The template does not come to an end.
    #[error("the chat template runs for more than {limit} steps; use another")]
    TooLong {
        /// The limit, in instructions.
        limit: u64,
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
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        environment.set_syntax(syntax.build().map_err(error)?);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(STEPS_MAX));
        python::install(&mut environment);
        let template = Self { source: source.to_owned(), environment };
        on_deep_stack(|| {
            template.environment.template_from_str(&template.source).map(drop).map_err(error)
        })?;
        Ok(template)
    }

    /// The template's source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders `context`, an object: `messages`, and as the template wants them `tools`,
    /// `add_generation_prompt`, `bos_token`, `enable_thinking` and others.
    ///
    /// # Errors
    /// [`ChatError::Refused`], [`ChatError::Render`] or [`ChatError::TooLong`].
    pub fn render(&self, context: &Value) -> Result<Rendered, ChatError> {
        let mut guarded = context.clone();
        let guard = Guard::unused_in(&self.source, context);
        if let Value::Object(entries) = &mut guarded {
            for (name, value) in entries.iter_mut() {
                match (name.as_str(), value) {
                    (name, _) if name.ends_with("_token") => {}
                    ("messages", Value::Array(messages)) => {
                        messages.iter_mut().for_each(|message| guard.message(message));
                    }
                    (_, value) => guard.value(value),
                }
            }
        }
        let text = on_deep_stack(|| {
            let template = self.environment.template_from_str(&self.source).map_err(error)?;
            template.render(minijinja::Value::from(Serde(&guarded))).map_err(error)
        })?;
        Ok(guard.remove(&text))
    }
}

impl Rendered {
    /// The prompt as the model's template has it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The spans of [`Rendered::text`], in bytes, in which special tokens count: ascending, without
    /// overlap, and without any guarded character of the conversation. The conversation's other
    /// characters may lie in them.
    pub fn trusted(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        // Every guarded character is one byte long.
        let starts = std::iter::once(0).chain(self.untrusted.iter().map(|at| at + 1));
        let ends = self.untrusted.iter().copied().chain([self.text.len()]);
        starts.zip(ends).map(|(start, end)| start..end).filter(|span| !span.is_empty())
    }
}

/// Four stand-ins for [`GUARDED`], in its order.
struct Guard {
    stand_ins: [char; 4],
}

impl Guard {
    /// Stand-ins that neither the template nor the conversation holds.
    fn unused_in(source: &str, context: &Value) -> Self {
        let mut used = BTreeSet::new();
        collect_private(source, &mut used);
        visit_strings(context, &mut |text| collect_private(text, &mut used));
        let free = |first: &u32| used.range(*first..*first + 4).next().is_none();
        let first = PRIVATE.step_by(4).find(free);
        // A conversation that uses up 16 384 groups of a private plane gets stand-ins that it holds
        // itself: then too much of it is untrusted, never too little.
        let first = first.unwrap_or(PRIVATE.start);
        let stand_in = |at: u32| char::from_u32(first + at).unwrap_or(char::REPLACEMENT_CHARACTER);
        Self { stand_ins: [stand_in(0), stand_in(1), stand_in(2), stand_in(3)] }
    }

    fn message(&self, message: &mut Value) {
        let role = message.get("role").and_then(Value::as_str);
        let by_model = matches!(role, Some("assistant" | "model"));
        let Value::Object(entries) = message else { return self.value(message) };
        for (name, value) in entries.iter_mut() {
            match value {
                Value::String(text) if by_model && name == "content" => self.model_text(text),
                Value::Array(parts) if by_model && name == "content" => {
                    parts.iter_mut().for_each(|part| self.model_part(part));
                }
                value => self.value(value),
            }
        }
    }

    fn model_part(&self, part: &mut Value) {
        let Value::Object(entries) = part else { return self.value(part) };
        for (name, value) in entries.iter_mut() {
            match value {
                Value::String(text) if name == "text" => self.model_text(text),
                value => self.value(value),
            }
        }
    }

    /// Guards all but the thought markers.
    fn model_text(&self, text: &mut String) {
        let mut guarded = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find(GUARDED) {
            guarded.push_str(&rest[..at]);
            rest = &rest[at..];
            let marker = THOUGHT_MARKERS.into_iter().find(|marker| rest.starts_with(marker));
            let taken = marker.map_or(1, str::len);
            match marker {
                Some(marker) => guarded.push_str(marker),
                None => guarded.extend(rest[..1].chars().map(|c| self.stand_in(c))),
            }
            rest = &rest[taken..];
        }
        guarded.push_str(rest);
        *text = guarded;
    }

    /// Guards every string within, keys too.
    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(entries) => {
                entries.values_mut().for_each(|value| self.value(value));
                if entries.keys().any(|key| key.contains(GUARDED)) {
                    let guarded = std::mem::take(entries).into_iter().map(|(mut key, value)| {
                        self.text(&mut key);
                        (key, value)
                    });
                    entries.extend(guarded);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&self, text: &mut String) {
        if text.contains(GUARDED) {
            *text = text.chars().map(|c| self.stand_in(c)).collect();
        }
    }

    fn stand_in(&self, c: char) -> char {
        GUARDED.iter().position(|g| *g == c).map_or(c, |at| self.stand_ins[at])
    }

    /// Puts the characters back and notes where they stood.
    fn remove(&self, rendered: &str) -> Rendered {
        let mut text = String::with_capacity(rendered.len());
        let mut untrusted = Vec::new();
        for c in rendered.chars() {
            match self.stand_ins.iter().position(|stand_in| *stand_in == c) {
                Some(at) => {
                    untrusted.push(text.len());
                    text.push(GUARDED[at]);
                }
                None => text.push(c),
            }
        }
        Rendered { text, untrusted }
    }
}

/// Runs `work` on a thread with a stack for the deepest template that the limits allow: minijinja
/// frees nested expressions and values by recursion.
fn on_deep_stack<T: Send>(
    work: impl FnOnce() -> Result<T, ChatError> + Send,
) -> Result<T, ChatError> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(STACK_BYTES);
        let running = builder.spawn_scoped(scope, work).map_err(ChatError::Thread)?;
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn collect_private(text: &str, used: &mut BTreeSet<u32>) {
    used.extend(text.chars().map(u32::from).filter(|c| PRIVATE.contains(c)));
}

fn visit_strings(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| visit_strings(item, visit)),
        Value::Object(entries) => {
            for (key, value) in entries {
                visit(key);
                visit_strings(value, visit);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn error(error: minijinja::Error) -> ChatError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(python::Raised(reason)) = inner.downcast_ref() {
            return ChatError::Refused { reason: reason.clone() };
        }
        cause = inner.source();
    }
    let line = error.line().unwrap_or(1);
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let reason = format!("{}{detail}", error.kind()).replace('\n', " ");
    match error.kind() {
        ErrorKind::OutOfFuel => ChatError::TooLong { limit: STEPS_MAX },
        ErrorKind::SyntaxError => ChatError::Syntax { line, reason },
        _ => ChatError::Render { line, reason },
    }
}

/// The characters that begin and end the special tokens of the family.
const GUARDED: [char; 4] = ['<', '>', '[', ']'];

/// Around a thought in what the model wrote (Gemma 4 model card).
const THOUGHT_MARKERS: [&str; 2] = ["<|channel>", "<channel|>"];

/// Supplementary Private Use Area-A without its two noncharacters.
const PRIVATE: Range<u32> = 0xF_0000..0xF_FFFC;

/// Fifteen times the official template.
const SOURCE_BYTES_MAX: usize = 1 << 18;

/// Address space only: pages are used when the stack reaches them.
const STACK_BYTES: usize = 1 << 28;

/// Bounds time (about a second) and memory (64 bytes a step, as minijinja counts) of a template.
const STEPS_MAX: u64 = 10_000_000;
