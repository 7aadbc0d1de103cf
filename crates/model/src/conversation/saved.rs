//! Conversations on disk: a saved session with the messages in its caller's own section.
//!
//! That section has a `u64`, the bytes of a JSON text, then that text, then the rows of all media
//! in the order of the messages, f32 in little-endian. So a restored conversation can do all that
//! the saved one could: go back before a picture as well.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Chat, ChatConfig, Content, ConversationError, Message, Role};
use crate::chat::{Tool, ToolCall};
use crate::error::Result;
use crate::model::Model;
use crate::session::{Embedding, Medium, Session};
use crate::text::MediaKey;
use crate::vision::TOKENS_MAX;

impl Chat {
    /// Saves the conversation: its messages, media among them, its tools, and the session as
    /// [`Session::save`] does, so that going on costs no evaluation. The file is a saved session,
    /// too.
    ///
    /// # Errors
    /// As [`Session::save`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut rows = Vec::new();
        let messages = self.messages.iter().map(|message| saved(message, &mut rows)).collect();
        let saved = SavedChat { tools: self.tools.clone(), messages };
        let json = serde_json::to_vec(&saved).map_err(|error| unusable(path.as_ref(), &error))?;
        let length = (json.len() as u64).to_le_bytes();
        let mut own: Vec<&[u8]> = vec![&length, &json];
        own.extend(rows.iter().map(|rows| bytemuck::cast_slice(rows)));
        self.session.save_with(path, &own)
    }

    /// Goes on with a conversation that [`Chat::save`] saved. Its tools are those of `config` or,
    /// if there are none, those it was saved with.
    ///
    /// # Errors
    /// As [`Session::restore`], [`ConversationError::NoTemplate`], and
    /// [`ConversationError::Saved`] if the file has no messages that can be read.
    pub fn restore(model: &Model, path: impl AsRef<Path>, config: ChatConfig) -> Result<Self> {
        let path = path.as_ref();
        let ChatConfig { session, template, tools } = config;
        let (session, own) = Session::restore_with(model, path, session)?;
        let mut chat = Self::with_session(session, template, tools)?;
        if own.is_empty() {
            return Err(unusable(path, &"it was saved without messages").into());
        }
        let (tools, messages) =
            parse(&own, model.config().hidden).map_err(|e| unusable(path, &e))?;
        if chat.tools.is_empty() {
            chat.tools = tools;
        }
        chat.messages = messages;
        Ok(chat)
    }
}

#[derive(Serialize, Deserialize)]
struct SavedChat {
    tools: Vec<Tool>,
    messages: Vec<SavedMessage>,
}

#[derive(Serialize, Deserialize)]
struct SavedMessage {
    role: String,
    content: Vec<SavedContent>,
    thought: String,
    calls: Vec<SavedCall>,
    tool_call_id: Option<String>,
    name: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SavedContent {
    Text(String),
    Image(SavedEmbedding),
    Audio(Vec<SavedEmbedding>),
    Video {
        /// Each with the bits of its time in seconds, which JSON might round.
        frames: Vec<(u64, SavedEmbedding)>,
        sound: Vec<SavedEmbedding>,
    },
}

#[derive(Serialize, Deserialize)]
struct SavedEmbedding {
    tokens: usize,
    key: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct SavedCall {
    id: String,
    name: String,
    /// JSON as text: the digits of numbers stay as they are.
    arguments: String,
}

/// A message as it is written, of which `rows` receives the media.
fn saved<'m>(message: &'m Message, rows: &mut Vec<&'m [f32]>) -> SavedMessage {
    let mut embedding = |embedding: &'m Embedding| {
        rows.push(embedding.rows());
        SavedEmbedding { tokens: embedding.tokens(), key: embedding.key().0 }
    };
    let content = message.content.iter().map(|content| match content {
        Content::Text(text) => SavedContent::Text(text.clone()),
        Content::Medium(Medium::Image(image)) => SavedContent::Image(embedding(image)),
        Content::Medium(Medium::Audio(segments)) => {
            SavedContent::Audio(segments.iter().map(&mut embedding).collect())
        }
        Content::Medium(Medium::Video { frames, sound }) => {
            let frame = |(seconds, frame): &'m (f64, _)| (seconds.to_bits(), embedding(frame));
            let frames = frames.iter().map(frame).collect();
            SavedContent::Video { frames, sound: sound.iter().map(&mut embedding).collect() }
        }
    });
    let content = content.collect();
    let call = |(id, call): &(String, ToolCall)| SavedCall {
        id: id.clone(),
        name: call.name.clone(),
        arguments: call.json.clone(),
    };
    SavedMessage {
        role: message.role.name().to_owned(),
        content,
        thought: message.thought.clone(),
        calls: message.tool_calls.iter().map(call).collect(),
        tool_call_id: message.tool_call_id.clone(),
        name: message.name.clone(),
    }
}

/// Tools and messages of a model whose rows have `hidden` values.
fn parse(own: &[u8], hidden: usize) -> Result<(Vec<Tool>, Vec<Message>), String> {
    let short = || "its messages are cut short".to_owned();
    let (length, rest) = own.split_first_chunk().ok_or_else(short)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| short())?;
    let (json, rows) = rest.split_at_checked(length).ok_or_else(short)?;
    let saved: SavedChat = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let mut reader = Reader { rows, hidden };
    let messages = saved.messages.into_iter().map(|message| reader.message(message));
    let messages = messages.collect::<Result<_, _>>()?;
    match reader.rows.is_empty() {
        true => Ok((saved.tools, messages)),
        false => Err("it has more media than its messages".to_owned()),
    }
}

/// Reads messages and the rows of their media.
struct Reader<'a> {
    rows: &'a [u8],
    hidden: usize,
}

impl Reader<'_> {
    fn message(&mut self, saved: SavedMessage) -> Result<Message, String> {
        let roles = [Role::System, Role::User, Role::Assistant, Role::Tool];
        let role = roles.into_iter().find(|role| role.name() == saved.role);
        let role = role.ok_or_else(|| format!("nobody is called {:?}", saved.role))?;
        let content = saved.content.into_iter().map(|content| self.content(content));
        let content = content.collect::<Result<_, _>>()?;
        let call = |SavedCall { id, name, arguments: json }: SavedCall| {
            let arguments = serde_json::from_str(&json).map_err(|error| error.to_string())?;
            Ok((id, ToolCall { name, arguments, json }))
        };
        Ok(Message {
            thought: saved.thought,
            tool_calls: saved.calls.into_iter().map(call).collect::<Result<_, String>>()?,
            tool_call_id: saved.tool_call_id,
            name: saved.name,
            ..Message::new(role, content)
        })
    }

    fn content(&mut self, saved: SavedContent) -> Result<Content, String> {
        Ok(match saved {
            SavedContent::Text(text) => Content::Text(text),
            SavedContent::Image(image) => Medium::Image(self.embedding(&image, true)?).into(),
            SavedContent::Audio(segments) => Medium::Audio(self.sound(&segments)?).into(),
            SavedContent::Video { frames, sound } => {
                let mut pictures = Vec::new();
                for (bits, frame) in frames {
                    pictures.push((f64::from_bits(bits), self.embedding(&frame, true)?));
                }
                Medium::Video { frames: pictures, sound: self.sound(&sound)? }.into()
            }
        })
    }

    fn sound(&mut self, segments: &[SavedEmbedding]) -> Result<Vec<Embedding>, String> {
        segments.iter().map(|segment| self.embedding(segment, false)).collect()
    }

    fn embedding(&mut self, saved: &SavedEmbedding, is_image: bool) -> Result<Embedding, String> {
        let SavedEmbedding { tokens, key } = saved;
        // A picture is evaluated as a whole, in memory that was reserved for the longest one.
        if *tokens == 0 || is_image && *tokens > TOKENS_MAX {
            return Err(format!("a medium has {tokens} tokens"));
        }
        let bytes = tokens.checked_mul(self.hidden * size_of::<f32>());
        let taken = bytes.and_then(|bytes| self.rows.split_at_checked(bytes));
        let (bytes, rest) = taken.ok_or("its media are cut short")?;
        self.rows = rest;
        let (values, _) = bytes.as_chunks();
        let rows: Arc<[f32]> = values.iter().copied().map(f32::from_le_bytes).collect();
        Ok(Embedding::saved(is_image, rows, *tokens, MediaKey(*key)))
    }
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> ConversationError {
    ConversationError::Saved { path: path.to_owned(), reason: reason.to_string() }
}
