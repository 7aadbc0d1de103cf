//! Conversations: messages in, typed events out.
//!
//! [`Chat`] holds the messages of one conversation and the session that has read them.
//! [`Chat::reply`] renders all messages with the model's template, evaluates what the session does
//! not hold yet, and yields what the model says as [`Event`]s: text, thoughts, calls of tools.
//!
//! ```no_run
//! use carat::{AnswerOptions, Chat, ChatConfig, Event, Message, Model};
//!
//! # fn main() -> Result<(), carat::Error> {
//! let model = Model::open("gemma.gguf")?;
//! let mut chat = Chat::new(&model, ChatConfig::default())?;
//! chat.push(Message::system("You answer in one sentence."));
//! chat.push(Message::user("Why is the sky blue?"));
//! for event in chat.reply(AnswerOptions::default())? {
//!     match event? {
//!         Event::Text(text) => print!("{text}"),
//!         Event::Done(done) => println!("\n{} tokens", done.usage.completion_tokens),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A conversation may go on turn by turn, as here, or be given as a whole each time
//! ([`Chat::set_messages`]), as clients of a server do: either way the longest beginning that the
//! session holds is reused, media compared by their content. Where an answer begins is marked
//! ([`Session::mark`]), so that thoughts which the template drops from the past cost nothing but
//! the tokens after them.
//!
//! [`Chat::save`] and [`Chat::restore`] keep a conversation in a file, with its session.
//!
//! Several conversations can be answered at once: [`Answer`] is the state of one answer without its
//! session, to be used with [`evaluate`](crate::evaluate).

mod answer;
mod event;
#[cfg(feature = "extract")]
mod extract;
mod guide;
mod message;
mod options;
mod render;
mod reply;
mod saved;

use std::sync::Arc;

use crate::chat::{ChatTemplate, Tool};
use crate::error::Result;
use crate::model::Model;
use crate::session::{Session, SessionConfig};

pub use answer::Answer;
pub use event::{Done, Event, Finish, Timings, Usage};
pub use message::{Content, Message, Role};
pub use options::{AnswerOptions, Overflow, Thinking};
pub use render::prompt;
pub use reply::Reply;

/// How a [`Chat`] is made.
#[derive(Clone, Debug)]
pub struct ChatConfig {
    /// The session's settings.
    pub session: SessionConfig,
    /// A template in place of the model's own.
    pub template: Option<Arc<ChatTemplate>>,
    /// What the model may call.
    pub tools: Vec<Tool>,
}

impl Default for ChatConfig {
    /// The session's defaults with marks for two answers, the model's own template, no tools.
    fn default() -> Self {
        let session = SessionConfig { marks: 2, ..SessionConfig::default() };
        Self { session, template: None, tools: Vec::new() }
    }
}

/// Why a conversation cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum ConversationError {
    /// A model without a template, as those are that were not tuned to talk.
    #[error(
        "the model has no chat template (tokenizer.chat_template): give one in ChatConfig, or \
         continue text with Session"
    )]
    NoTemplate,

    /// Nothing was said that could be answered.
    #[error("there is no message to answer: push one first")]
    NoMessage,

    /// A stop string that cannot be looked for.
    #[error(transparent)]
    Stop(#[from] crate::reply::StopStringError),

    /// A format and tools at once.
    #[error("an answer has a format or calls tools: set tool_choice to none, or drop the format")]
    FormatAndTools,

    /// A saved session without messages that can be read.
    #[error(
        "{} holds no conversation that can be gone on with ({reason}): name a file that a \
         conversation was saved to",
        path.display()
    )]
    Saved { path: std::path::PathBuf, reason: String },

    /// An answer that was to be a value and ended before it was one.
    #[error(
        "the answer ended ({reason}) before it was a whole value, with {text:?}: \
         allow more tokens or a larger context"
    )]
    Unfinished { reason: String, text: String },

    /// A value that its type does not take, though its schema does.
    #[error("the answer {text:?} is no such value: {reason}")]
    Value { text: String, reason: String },

    /// More stop strings, or more likeliest tokens, than there may be.
    #[error("{setting} is {found}, at most {most} is possible")]
    Setting { setting: &'static str, found: usize, most: usize },
}

/// One conversation: its messages, and the session that has read them.
#[derive(Debug)]
pub struct Chat {
    model: Model,
    session: Session,
    template: Option<Arc<ChatTemplate>>,
    tools: Vec<Tool>,
    messages: Vec<Message>,
}

impl Chat {
    /// An empty conversation.
    ///
    /// # Errors
    /// As [`Session::new`], and [`ConversationError::NoTemplate`].
    pub fn new(model: &Model, config: ChatConfig) -> Result<Self> {
        let session = Session::new(model, config.session)?;
        Self::with_session(session, config.template, config.tools)
    }

    /// A conversation in a session, which may have read the beginning of it already.
    ///
    /// # Errors
    /// [`ConversationError::NoTemplate`].
    pub fn with_session(
        session: Session,
        template: Option<Arc<ChatTemplate>>,
        tools: Vec<Tool>,
    ) -> Result<Self> {
        let model = session.model().clone();
        if template.is_none() && model.chat_template().is_none() {
            return Err(ConversationError::NoTemplate.into());
        }
        Ok(Self { model, session, template, tools, messages: Vec::new() })
    }

    /// Adds a message.
    pub fn push(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// The messages so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Replaces all messages: what they have in common with those before is not evaluated again.
    pub fn set_messages(&mut self, messages: Vec<Message>) {
        self.messages = messages;
    }

    /// Takes back the last message of the user and all that followed it; says whether there was
    /// one.
    pub fn undo(&mut self) -> bool {
        let last = self.messages.iter().rposition(|message| message.role == Role::User);
        if let Some(last) = last {
            self.messages.truncate(last);
        }
        last.is_some()
    }

    /// Takes back all messages but those of the system at the beginning.
    pub fn clear(&mut self) {
        self.messages.truncate(render::system_messages(&self.messages));
    }

    /// What the model may call.
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// Replaces the tools. They stand at the beginning of every prompt, so that all of it is
    /// evaluated again after a change.
    pub fn set_tools(&mut self, tools: Vec<Tool>) {
        self.tools = tools;
    }

    /// The session: what the model has read, in tokens, and what embeds pictures and sound.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The session, to embed pictures and sound for messages, or to evaluate it together with
    /// others. Whatever is done to its tokens, the next answer makes it hold the prompt again.
    pub fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The session, without the messages.
    pub fn into_session(self) -> Session {
        self.session
    }

    /// Answers the last message: reads the conversation as far as that is new, and returns an
    /// iterator over what the model says. The answer becomes the last message once the iterator has
    /// ended or is dropped.
    ///
    /// # Errors
    /// As [`Answer::begin`], and those of the evaluation: after
    /// [`Error::Cancelled`](crate::Error::Cancelled) the session holds a beginning of the prompt,
    /// and the messages are as they were.
    pub fn reply(&mut self, options: AnswerOptions) -> Result<Reply<'_>> {
        self.reply_with(options, &mut |_| std::ops::ControlFlow::Continue(()))
    }
}
