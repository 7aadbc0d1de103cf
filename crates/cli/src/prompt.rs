//! From what the user said to the tokens of a session.

use std::io::{self, IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use carat::{ChatTemplate, MediaPrompt, Medium, Model, Part, TokenId, Tokenizer};
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
        let number = self.messages.len();
        self.media.extend(media.iter().map(|medium| (number, medium.clone())));
        self.messages.push(showing(media.iter().map(part), text));
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
        let context = context(self.model.tokenizer(), &self.messages, self.think);
        let rendered = self.template.render(&context).context("cannot render the conversation")?;
        let media: Vec<_> = self.media.iter().map(|(_, medium)| medium.clone()).collect();
        let prompt = MediaPrompt::from_conversation(self.model, &rendered, &media)
            .context("cannot write the media into the prompt")?;
        Ok(with_bos(self.model, prompt))
    }
}

/// What a chat template renders: a conversation that the model is to continue.
pub(crate) fn context(tokenizer: &Tokenizer, messages: &[Value], think: bool) -> Value {
    let special = |id: Option<TokenId>| id.and_then(|id| tokenizer.token(id));
    json!({
        "messages": messages,
        "add_generation_prompt": true,
        "enable_thinking": think,
        "bos_token": special(tokenizer.bos()).unwrap_or_default(),
        "eos_token": special(tokenizer.eos()).unwrap_or_default(),
    })
}

/// A message of the user that shows media of these kinds before it says something.
pub(crate) fn showing(kinds: impl Iterator<Item = &'static str>, text: &str) -> Value {
    let parts = kinds.map(|kind| json!({ "type": kind }));
    let parts: Vec<_> = parts.chain([json!({ "type": "text", "text": text })]).collect();
    json!({ "role": "user", "content": parts })
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

/// The prompt of the command line after what is piped in, or either alone. `-` stands for standard
/// input. With `is_taken`, standard input is something else.
pub(crate) fn given_or_stdin(given: Option<&str>, is_taken: bool) -> Result<String> {
    let text = match given {
        Some(text) if text != "-" => match !is_taken && is_piped() {
            true => joined(&stdin_prompt()?, text),
            false => text.to_owned(),
        },
        _ if is_taken => bail!(Usage(
            "there is no prompt: give one in quotes, since standard input is a picture or a sound"
                .to_owned()
        )),
        None if io::stdin().is_terminal() => {
            bail!(Usage("there is no prompt: give one in quotes, or pipe a text in".to_owned()))
        }
        _ => stdin_prompt()?,
    };
    if text.is_empty() {
        bail!(Usage("the prompt is empty: there is nothing to continue".to_owned()));
    }
    Ok(text)
}

/// A text and what is asked about it, with an empty line between.
fn joined(piped: &str, given: &str) -> String {
    match (piped, given) {
        ("", one) | (one, "") => one.to_owned(),
        (piped, given) => format!("{piped}\n\n{given}"),
    }
}

/// Whether standard input is a pipe or a file. What else it may be, such as the socket of a
/// service, is often left open with nothing to come, and nobody should wait for that.
#[cfg(unix)]
fn is_piped() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;
    let file = io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let kind = file.and_then(|file| file.metadata()).map(|metadata| metadata.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_file())
}

/// Whether standard input is no terminal.
#[cfg(not(unix))]
fn is_piped() -> bool {
    !io::stdin().is_terminal()
}

/// Standard input without the newline that shells and editors put at the end, and nobody typed.
fn stdin_prompt() -> Result<String> {
    let mut text = stdin_text()?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
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
