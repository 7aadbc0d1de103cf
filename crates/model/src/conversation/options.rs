//! How an answer is given.

use crate::chat::ToolChoice;
use crate::sampler::SamplerConfig;

/// How an answer is given.
#[derive(Clone, Debug)]
pub struct AnswerOptions {
    /// How tokens are chosen. The random number of a token depends on the seed and on its place in
    /// the conversation.
    pub sampling: SamplerConfig,
    /// Most tokens of the answer, thoughts among them; `None` leaves the end to the model.
    pub max_tokens: Option<usize>,
    /// Strings that end the answer; no part of one is given out.
    pub stop: Vec<String>,
    /// Whether the model thinks before it answers.
    pub thinking: Thinking,
    /// Whether it calls tools, where the conversation has some.
    pub tool_choice: ToolChoice,
    /// What the answer must be, once thoughts are over: JSON of a schema, for instance.
    #[cfg(feature = "grammar")]
    pub format: Option<std::sync::Arc<crate::grammar::Grammar>>,
    /// Log-probabilities of each token and of so many likeliest ones, as
    /// [`Event::Token`](super::Event::Token); `None` gives none.
    pub log_probabilities: Option<usize>,
    /// What happens when the conversation outgrows the context.
    pub overflow: Overflow,
    /// Whether an answer that does nothing but repeat itself is ended.
    pub loop_guard: bool,
}

impl Default for AnswerOptions {
    /// What the model card advises, thinking off, tools at the model's choice, an error when the
    /// context is full, and a guard against loops.
    fn default() -> Self {
        Self {
            sampling: SamplerConfig::gemma(),
            max_tokens: None,
            stop: Vec::new(),
            thinking: Thinking::Off,
            tool_choice: ToolChoice::Auto,
            #[cfg(feature = "grammar")]
            format: None,
            log_probabilities: None,
            overflow: Overflow::Error,
            loop_guard: true,
        }
    }
}

/// Whether the model thinks before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Thinking {
    /// It answers at once.
    #[default]
    Off,
    /// As long as it likes.
    On,
    /// At most so many tokens, after which the thought is closed and the answer begins.
    Budget(usize),
}

/// What happens when the conversation outgrows the context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// [`SessionError::ContextFull`](crate::SessionError::ContextFull) says the numbers.
    #[default]
    Error,
    /// The oldest turns go, and an event says so; what the system said and the newest turn stay.
    DropOldest,
}
