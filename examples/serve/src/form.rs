//! What the forms of a response have in common.

use std::time::{SystemTime, UNIX_EPOCH};

use carat::{Event, Model, Usage};
use serde_json::{Value, json};

use crate::options::random;

/// One of OpenAI's forms for an answer.
pub(crate) trait Form: Send + 'static {
    /// What comes before the first piece of a stream.
    fn first(&mut self) -> Option<Value>;

    /// What an event means for a stream.
    fn pieces(&mut self, event: Event) -> Vec<Value>;

    /// The response that is not a stream, from all events.
    fn whole(&mut self, events: Vec<Event>) -> Value;
}

/// What every object of one response repeats.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    /// The model.
    pub(crate) model: &'static Model,
    id: String,
    created: u64,
    name: String,
}

impl Header {
    /// A new response of the model with this name.
    pub(crate) fn new(prefix: &str, model: &'static Model, name: &str) -> Self {
        let id = format!("{prefix}-{:016x}{:016x}", random(), random());
        Self { model, id, created: now(), name: name.to_owned() }
    }

    /// An object of the response, without its choices.
    pub(crate) fn object(&self, kind: &str) -> Value {
        json!({ "id": self.id, "object": kind, "created": self.created, "model": self.name })
    }
}

/// The tokens of an answer as OpenAI counts them.
pub(crate) fn tokens(usage: Usage) -> Value {
    let (prompt, completion) = (usage.prompt_tokens, usage.completion_tokens);
    json!({
        "prompt_tokens": prompt, "completion_tokens": completion,
        "total_tokens": prompt + completion,
    })
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
