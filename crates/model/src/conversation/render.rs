//! From messages to the tokens of a prompt.

use serde_json::{Value, json};

use super::{Content, ConversationError, Message, Role, Thinking};
use crate::TokenId;
use crate::chat::{ChatTemplate, Tool};
use crate::error::Result;
use crate::model::Model;
use crate::session::{MediaPrompt, Medium};

/// A conversation that is to be answered.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) model: &'a Model,
    pub(super) template: &'a ChatTemplate,
    pub(super) tools: &'a [Tool],
    pub(super) messages: &'a [Message],
}

impl Asked<'_> {
    /// The number of messages of the system at the beginning.
    pub(super) fn system_messages(&self) -> usize {
        system_messages(self.messages)
    }

    /// The tokens of the whole conversation up to where the model speaks, and the number of those
    /// that the prompts of later turns begin with as well: what a template writes after them
    /// belongs to this answer alone.
    pub(super) fn prompt(&self, thinking: Thinking) -> Result<(MediaPrompt, usize)> {
        self.check()?;
        let prompt = self.render(self.messages, thinking, true)?;
        // Whatever is answered comes at the same place in the next prompt.
        let mut later = self.messages.to_vec();
        later.push(Message::assistant("x"));
        let common = match self.render(&later, thinking, false) {
            Ok(later) => prompt.ids.iter().zip(&later.ids).take_while(|(a, b)| a == b).count(),
            Err(_) => prompt.ids.len(), // a template may refuse what it has not seen
        };
        Ok((prompt, common))
    }

    /// Refuses a conversation that nobody but the system has begun.
    fn check(&self) -> Result<()> {
        match self.messages.iter().all(|message| message.role == Role::System) {
            true => Err(ConversationError::NoMessage.into()),
            false => Ok(()),
        }
    }

    fn render(
        &self,
        messages: &[Message],
        thinking: Thinking,
        is_prompt: bool,
    ) -> Result<MediaPrompt> {
        let tokenizer = self.model.tokenizer();
        let special = |id: Option<TokenId>| id.and_then(|id| tokenizer.token(id));
        let mut context = json!({
            "messages": messages.iter().map(value).collect::<Vec<_>>(),
            "add_generation_prompt": is_prompt,
            "enable_thinking": thinking != Thinking::Off,
            "bos_token": special(tokenizer.bos()).unwrap_or_default(),
            "eos_token": special(tokenizer.eos()).unwrap_or_default(),
        });
        if !self.tools.is_empty() {
            context["tools"] = self.tools.iter().map(|tool| Value::from(tool.clone())).collect();
        }
        let rendered = self.template.render(&context)?;
        let media: Vec<Medium> = messages.iter().flat_map(Message::media).cloned().collect();
        let mut prompt = MediaPrompt::from_conversation(self.model, &rendered, &media)?;
        let bos = tokenizer.bos_before(prompt.ids.first().copied());
        prompt.ids.splice(0..0, bos);
        Ok(prompt)
    }
}

/// The prompt of the answer to the last of some messages, as an [`Answer`](super::Answer) makes a
/// session hold it: for whoever chooses among sessions the one that has read most of it.
///
/// # Errors
/// [`ConversationError::NoMessage`], [`ChatError`](crate::chat::ChatError) if the template does not
/// take the conversation, and those of media.
pub fn prompt(
    model: &Model,
    template: &ChatTemplate,
    tools: &[Tool],
    messages: &[Message],
    thinking: Thinking,
) -> Result<MediaPrompt> {
    let asked = Asked { model, template, tools, messages };
    asked.check()?;
    asked.render(messages, thinking, true)
}

/// The number of messages of the system at the beginning.
pub(super) fn system_messages(messages: &[Message]) -> usize {
    messages.iter().take_while(|message| message.role == Role::System).count()
}

/// A message as templates read it.
fn value(message: &Message) -> Value {
    let content = match &message.content[..] {
        [] => json!(""),
        [Content::Text(text)] => json!(text),
        parts => parts.iter().map(part).collect(),
    };
    let mut value = json!({ "role": message.role.name(), "content": content });
    if !message.thought.is_empty() {
        value["reasoning"] = json!(message.thought);
    }
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|(id, call)| {
            let function = json!({ "name": call.name, "arguments": call.arguments });
            json!({ "id": id, "type": "function", "function": function })
        });
        value["tool_calls"] = calls.collect();
    }
    if let Some(id) = &message.tool_call_id {
        value["tool_call_id"] = json!(id);
    }
    if let Some(name) = &message.name {
        value["name"] = json!(name);
    }
    value
}

fn part(content: &Content) -> Value {
    match content {
        Content::Text(text) => json!({ "type": "text", "text": text }),
        Content::Medium(Medium::Image(_)) => json!({ "type": "image" }),
        Content::Medium(Medium::Audio(_)) => json!({ "type": "audio" }),
        Content::Medium(Medium::Video { .. }) => json!({ "type": "video" }),
    }
}
