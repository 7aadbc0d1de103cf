//! Answers in the form of `/v1/completions`.

use carat::sampler::LogProbabilities;
use carat::{Event, Usage};
use serde_json::{Value, json};

use crate::chat_reply::finish;
use crate::form::{Form, Header, tokens};
use crate::logprobs;
use crate::request::Shape;

/// The pieces of one text.
#[derive(Debug)]
pub(crate) struct CompletionReply {
    header: Header,
    shape: Shape,
    /// Tokens whose text has not come out yet.
    tokens: Vec<LogProbabilities>,
    /// Characters that have come out.
    offset: usize,
}

impl CompletionReply {
    /// A text of which nothing has come yet.
    pub(crate) fn new(header: Header, shape: Shape) -> Self {
        Self { header, shape, tokens: Vec::new(), offset: 0 }
    }

    fn choice(&mut self, text: &str, finish: Option<&str>) -> Value {
        let tokens = std::mem::take(&mut self.tokens);
        let logprobs = match self.shape.logprobs {
            true => logprobs::completion(self.header.model, &tokens, self.offset),
            false => Value::Null,
        };
        self.offset += text.chars().count();
        json!({ "text": text, "index": 0, "logprobs": logprobs, "finish_reason": finish })
    }

    fn object(&self, choices: Value) -> Value {
        let mut object = self.header.object("text_completion");
        object["choices"] = choices;
        object
    }
}

impl Form for CompletionReply {
    fn first(&mut self) -> Option<Value> {
        None
    }

    fn pieces(&mut self, event: Event) -> Vec<Value> {
        let (text, done) = match event {
            Event::Token(token) => {
                self.tokens.push(token);
                return Vec::new();
            }
            Event::Done(done) => (String::new(), Some(done)),
            other => match said(other) {
                Some(text) => (text, None),
                None => return Vec::new(),
            },
        };
        let choice = self.choice(&text, done.as_ref().map(|done| finish(&done.reason)));
        let mut chunks = vec![self.object(json!([choice]))];
        if let Some(done) = done.filter(|_| self.shape.usage) {
            let mut last = self.object(json!([]));
            last["usage"] = usage(done.usage);
            chunks.push(last);
        }
        chunks
    }

    fn whole(&mut self, events: Vec<Event>) -> Value {
        let (mut text, mut reason, mut used) = (String::new(), "stop", Usage::default());
        for event in events {
            match event {
                Event::Token(token) => self.tokens.push(token),
                Event::Done(done) => (reason, used) = (finish(&done.reason), done.usage),
                other => text.push_str(&said(other).unwrap_or_default()),
            }
        }
        let choice = self.choice(&text, Some(reason));
        let mut whole = self.object(json!([choice]));
        whole["usage"] = usage(used);
        whole
    }
}

/// What belongs to the text. In a raw text thoughts and calls are nothing but that.
fn said(event: Event) -> Option<String> {
    match event {
        Event::Text(text) | Event::Thought(text) | Event::InvalidToolCall { text, .. } => {
            Some(text)
        }
        Event::ToolCall { name, json, .. } => Some(format!("call:{name}{json}")),
        _ => None,
    }
}

fn usage(usage: Usage) -> Value {
    let mut value = tokens(usage);
    value["prompt_tokens_details"] = json!({ "cached_tokens": usage.cached_tokens });
    value
}
