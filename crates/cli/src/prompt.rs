//! From what the user said to the tokens of a session.

use std::io::{self, IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use carat::{ChatTemplate, MediaPrompt, Medium, Model, Part, TokenId};
use serde_json::{Value, json};

use crate::Usage;

/// Messages, and how the model's template renders them.
pub(crate) struct Conversation<'m> {
    model: &'m Model,
    template: &'m ChatTemplate,
    messages: Vec<Value>,
    /// What the messages show, each with the number of its message.
    media: Vec<(usize, Medium)>,
    think: bool,
}

impl<'m> Conversation<'m> {
    /// An empty conversation with `model`, which was read from the file at `path`. `template`
    /// stands in for the model's own.
    pub(crate) fn new(
        model: &'m Model,
        path: &Path,
        template: Option<&'m ChatTemplate>,
        think: bool,
    ) -> Result<Self> {
        let Some(template) = template.or_else(|| model.chat_template()) else {
            let path = path.display();
            bail!(
                "{path} has no chat template (tokenizer.chat_template): \
                 give one with --chat-template FILE, or continue text with `carat run` and \
                 without --chat"
            );
        };
        Ok(Self { model, template, messages: Vec::new(), media: Vec::new(), think })
    }

    /// Adds a message by `role`: system, user or assistant.
    pub(crate) fn say(&mut self, role: &str, text: &str) {
        self.messages.push(json!({ "role": role, "content": text }));
    }

    /// Adds a message of the user that shows media before it says something.
    pub(crate) fn show(&mut self, media: &[Medium], text: &str) {
        if media.is_empty() {
            return self.say("user", text);
        }
        let parts = media.iter().map(|medium| json!({ "type": part(medium) }));
        let parts: Vec<_> = parts.chain([json!({ "type": "text", "text": text })]).collect();
        let number = self.messages.len();
        self.media.extend(media.iter().map(|medium| (number, medium.clone())));
        self.messages.push(json!({ "role": "user", "content": parts }));
    }

    /// Takes the last message back.
    pub(crate) fn unsay(&mut self) {
        self.messages.pop();
        self.media.retain(|(number, _)| *number < self.messages.len());
    }

    /// Takes all messages back.
    pub(crate) fn reset(&mut self) {
        self.messages.clear();
        self.media.clear();
    }

    /// The tokens of the whole conversation up to where the model speaks. What the messages say
    /// is text and never a special token, whatever it looks like.
    pub(crate) fn prompt(&self) -> Result<MediaPrompt> {
        let tokenizer = self.model.tokenizer();
        let special = |id: Option<TokenId>| id.and_then(|id| tokenizer.token(id));
        let context = json!({
            "messages": self.messages,
            "add_generation_prompt": true,
            "enable_thinking": self.think,
            "bos_token": special(tokenizer.bos()).unwrap_or_default(),
            "eos_token": special(tokenizer.eos()).unwrap_or_default(),
        });
        let rendered = self.template.render(&context).context("cannot render the conversation")?;
        let media: Vec<_> = self.media.iter().map(|(_, medium)| medium.clone()).collect();
        let prompt = MediaPrompt::from_conversation(self.model, &rendered, &media)
            .context("cannot write the media into the prompt")?;
        Ok(with_bos(self.model, prompt))
    }
}

/// The part of a message that a chat template expects for a medium.
fn part(medium: &Medium) -> &'static str {
    match medium {
        Medium::Image(_) => "image",
        Medium::Audio(_) => "audio",
        Medium::Video { .. } => "video",
    }
}

/// The tokens of a text to be continued: BOS where the model wants it, and no special tokens.
pub(crate) fn raw_tokens(model: &Model, text: &str) -> Vec<TokenId> {
    let ids = model.tokenizer().encode(text);
    with_bos(model, MediaPrompt { ids, media: Vec::new() }).ids
}

/// Media, then a text to be continued: BOS where the model wants it, no special tokens in the text.
pub(crate) fn raw_prompt(model: &Model, media: &[Medium], text: &str) -> Result<MediaPrompt> {
    let media = media.iter().map(Part::Medium);
    let parts: Vec<_> = media.chain([Part::Text(text)]).collect();
    Ok(with_bos(model, MediaPrompt::from_parts(model, &parts)?))
}

/// The prompt of the command line, or standard input for `-` and for nothing in a pipe.
pub(crate) fn given_or_stdin(given: Option<&str>) -> Result<String> {
    let text = match given {
        Some(text) if text != "-" => text.to_owned(),
        None if io::stdin().is_terminal() => {
            bail!(Usage("there is no prompt: give one in quotes, or pipe a text in".to_owned()))
        }
        _ => {
            let mut text = stdin_text()?;
            // Shells and editors end a text with a newline that nobody typed.
            text.truncate(
                text.strip_suffix('\n')
                    .map_or(text.len(), |t| t.strip_suffix('\r').unwrap_or(t).len()),
            );
            text
        }
    };
    if text.is_empty() {
        bail!(Usage("the prompt is empty: there is nothing to continue".to_owned()));
    }
    Ok(text)
}

/// All of standard input.
pub(crate) fn stdin_text() -> Result<String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    Ok(text)
}

fn with_bos(model: &Model, mut prompt: MediaPrompt) -> MediaPrompt {
    let tokenizer = model.tokenizer();
    if let Some(bos) = tokenizer.bos().filter(|_| tokenizer.add_bos())
        && prompt.ids.first() != Some(&bos)
    {
        prompt.ids.insert(0, bos);
    }
    prompt
}
