//! Answers in the form of `/v1/chat/completions`.

use carat::sampler::LogProbabilities;
use carat::{Event, Finish, Usage};
use serde_json::{Value, json};

use crate::form::{Form, Header, tokens};
use crate::logprobs;
use crate::request::Shape;

/// The pieces of one answer.
#[derive(Debug)]
pub(crate) struct ChatReply {
    header: Header,
    shape: Shape,
    /// Tokens whose text has not come out yet.
    tokens: Vec<LogProbabilities>,
    calls: usize,
}

impl ChatReply {
    /// A reply of which nothing is said yet.
    pub(crate) fn new(header: Header, shape: Shape) -> Self {
        Self { header, shape, tokens: Vec::new(), calls: 0 }
    }

    fn chunk(&self, delta: &Value, logprobs: &Value, finish: Option<&str>) -> Value {
        let choice = json!({
            "index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish,
        });
        let mut chunk = self.header.object("chat.completion.chunk");
        chunk["choices"] = json!([choice]);
        if self.shape.usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// The log-probabilities of what comes out now.
    fn logprobs(&mut self) -> Value {
        let tokens = std::mem::take(&mut self.tokens);
        match self.shape.logprobs {
            true => json!({
                "content": logprobs::content(self.header.model, &tokens), "refusal": null,
            }),
            false => Value::Null,
        }
    }

    fn call(&mut self, id: &str, name: &str, json: &str) -> Value {
        let index = self.calls;
        self.calls += 1;
        let function = json!({ "name": name, "arguments": json });
        json!({ "index": index, "id": id, "type": "function", "function": function })
    }
}

impl Form for ChatReply {
    fn first(&mut self) -> Option<Value> {
        Some(self.chunk(&json!({ "role": "assistant", "content": "" }), &Value::Null, None))
    }

    fn pieces(&mut self, event: Event) -> Vec<Value> {
        match event {
            Event::Token(token) => {
                self.tokens.push(token);
                Vec::new()
            }
            // A call of a tool that nobody offered, or one that was cut off, is what the model
            // said.
            Event::Text(text) | Event::InvalidToolCall { text, .. } => {
                let logprobs = self.logprobs();
                vec![self.chunk(&json!({ "content": text }), &logprobs, None)]
            }
            Event::Thought(text) => {
                self.tokens.clear();
                vec![self.chunk(&json!({ "reasoning_content": text }), &Value::Null, None)]
            }
            Event::ToolCall { id, name, json, .. } => {
                self.tokens.clear();
                let call = self.call(&id, &name, &json);
                vec![self.chunk(&json!({ "tool_calls": [call] }), &Value::Null, None)]
            }
            Event::Done(done) => {
                let finish = finish(&done.reason);
                let mut chunks = vec![self.chunk(&json!({}), &Value::Null, Some(finish))];
                if self.shape.usage {
                    let mut last = self.header.object("chat.completion.chunk");
                    (last["choices"], last["usage"]) = (json!([]), usage(done.usage));
                    chunks.push(last);
                }
                chunks
            }
            _ => Vec::new(),
        }
    }

    fn whole(&mut self, events: Vec<Event>) -> Value {
        let (mut text, mut thought) = (String::new(), String::new());
        let (mut calls, mut logprobs) = (Vec::new(), Vec::new());
        let (mut reason, mut used) = ("stop", Usage::default());
        for event in events {
            match event {
                Event::Token(token) => self.tokens.push(token),
                Event::Text(more) | Event::InvalidToolCall { text: more, .. } => {
                    text.push_str(&more);
                    logprobs.append(&mut self.tokens);
                }
                Event::Thought(more) => {
                    thought.push_str(&more);
                    self.tokens.clear();
                }
                Event::ToolCall { id, name, json, .. } => {
                    self.tokens.clear();
                    let mut call = self.call(&id, &name, &json);
                    call.as_object_mut().map(|call| call.shift_remove("index"));
                    calls.push(call);
                }
                Event::Done(done) => (reason, used) = (finish(&done.reason), done.usage),
                _ => {}
            }
        }
        let mut message = json!({ "role": "assistant", "content": text, "refusal": null });
        if !calls.is_empty() {
            if text.is_empty() {
                message["content"] = Value::Null;
            }
            message["tool_calls"] = calls.into();
        }
        if !thought.is_empty() {
            message["reasoning_content"] = thought.into();
        }
        self.tokens = logprobs;
        let logprobs = self.logprobs();
        let choice = json!({
            "index": 0, "message": message, "logprobs": logprobs, "finish_reason": reason,
        });
        let mut whole = self.header.object("chat.completion");
        (whole["choices"], whole["usage"]) = (json!([choice]), usage(used));
        whole
    }
}

/// OpenAI's word for why an answer is over.
pub(crate) fn finish(reason: &Finish) -> &'static str {
    match reason {
        Finish::ToolCalls => "tool_calls",
        Finish::MaxTokens | Finish::ContextFull | Finish::Repetition(_) => "length",
        _ => "stop",
    }
}

fn usage(usage: Usage) -> Value {
    let mut value = tokens(usage);
    value["prompt_tokens_details"] = json!({ "cached_tokens": usage.cached_tokens });
    value["completion_tokens_details"] = json!({ "reasoning_tokens": usage.thought_tokens });
    value
}
