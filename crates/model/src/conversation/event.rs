//! What an answer consists of.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::draft::DraftStats;
use crate::reply::Repeat;
use crate::sampler::LogProbabilities;

/// Something that happened while a model answers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// So many of the oldest messages were dropped from the conversation to make room. Comes first.
    Dropped(usize),
    /// A token was chosen: comes before what it says, and only if log-probabilities were asked for.
    Token(LogProbabilities),
    /// More of the text.
    Text(String),
    /// More of a thought.
    Thought(String),
    /// A call of a tool.
    ToolCall {
        /// What the tool's result refers to.
        id: String,
        /// The tool.
        name: String,
        /// Its arguments. Integers beyond 64 bits are the nearest `f64`.
        arguments: Map<String, Value>,
        /// The arguments as JSON text, with the digits that the model wrote.
        json: String,
    },
    /// What was meant to be a call and is none: the model was cut off within it, or it calls tools
    /// that it was not told of.
    InvalidToolCall {
        /// What the model wrote.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A thought repeated itself and was closed.
    ThoughtRepeated(Repeat),
    /// The answer is over. Comes last.
    Done(Done),
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Done {
    /// Why.
    pub reason: Finish,
    /// How many tokens it took.
    pub usage: Usage,
    /// How long it took.
    pub timings: Timings,
    /// What drafts were good for, where the session has some.
    pub drafts: DraftStats,
}

/// Why an answer is over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finish {
    /// The model ended its turn.
    EndOfTurn,
    /// The model waits for the results of the tools that it called.
    ToolCalls,
    /// This stop string came.
    StopString(String),
    /// As many tokens as were asked for.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// The model did nothing but repeat itself.
    Repetition(Repeat),
    /// The session's [`Cancel`](crate::Cancel) handle was used.
    Cancelled,
}

/// Tokens of a prompt and its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that the session held already.
    pub cached_tokens: usize,
    /// Tokens of the answer, thoughts among them.
    pub completion_tokens: usize,
    /// Those of them that were thoughts.
    pub thought_tokens: usize,
}

/// Times of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// From the beginning to the end of the prompt.
    pub prompt: Duration,
    /// From the beginning to the first token; `None` where none came.
    pub first: Option<Duration>,
    /// From the first token to the last.
    pub rest: Duration,
}
