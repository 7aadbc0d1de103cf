//! What is said in a conversation.

use crate::chat::ToolCall;
use crate::session::Medium;

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Whoever set the conversation up.
    System,
    /// The person who is answered.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

impl Role {
    /// What templates call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// Words. Nothing in them is a special token, whatever it looks like.
    Text(String),
    /// A picture, sound or a video.
    Medium(Medium),
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Medium> for Content {
    fn from(medium: Medium) -> Self {
        Self::Medium(medium)
    }
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// By whom.
    pub role: Role,
    /// Words and media, in order.
    pub content: Vec<Content>,
    /// What the model thought before it answered; most templates drop it from the past.
    pub thought: String,
    /// The model's calls of tools, each with the identity that its result refers to.
    pub tool_calls: Vec<(String, ToolCall)>,
    /// For the result of a tool: the identity of the call.
    pub tool_call_id: Option<String>,
    /// For the result of a tool: the tool's name, where it is known.
    pub name: Option<String>,
}

impl Message {
    /// A message with one part, or several.
    #[must_use]
    pub fn new(role: Role, content: Vec<Content>) -> Self {
        Self {
            role,
            content,
            thought: String::new(),
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
        }
    }

    /// What the model should know before anybody speaks.
    #[must_use]
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, vec![Content::Text(text.into())])
    }

    /// What the user says.
    #[must_use]
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, vec![Content::Text(text.into())])
    }

    /// What the user shows or plays, and then says.
    #[must_use]
    pub fn showing(media: impl IntoIterator<Item = Medium>, text: impl Into<String>) -> Self {
        let media = media.into_iter().map(Content::Medium);
        Self::new(Role::User, media.chain([Content::Text(text.into())]).collect())
    }

    /// What the model said.
    #[must_use]
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, vec![Content::Text(text.into())])
    }

    /// What a tool gave for the call with the identity `id`.
    #[must_use]
    pub fn tool(id: impl Into<String>, result: impl Into<String>) -> Self {
        let message = Self::new(Role::Tool, vec![Content::Text(result.into())]);
        Self { tool_call_id: Some(id.into()), ..message }
    }

    /// All its words.
    #[must_use]
    pub fn text(&self) -> String {
        let words = self.content.iter().filter_map(|content| match content {
            Content::Text(text) => Some(text.as_str()),
            Content::Medium(_) => None,
        });
        words.collect()
    }

    /// Its media, in order.
    pub fn media(&self) -> impl Iterator<Item = &Medium> {
        self.content.iter().filter_map(|content| match content {
            Content::Medium(medium) => Some(medium),
            Content::Text(_) => None,
        })
    }
}
