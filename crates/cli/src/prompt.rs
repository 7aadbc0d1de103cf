//! From what the user said to the tokens of a session.

use std::io::{self, IsTerminal, Read};

use anyhow::{Context, Result, bail};
use carat::{MediaPrompt, Medium, Model, Part, Thinking, TokenId, Tokenizer, Tool};
use serde_json::{Value, json};

use crate::Usage;

/// What a chat template renders: a conversation that the model is to continue.
pub(crate) fn context(
    tokenizer: &Tokenizer,
    messages: &[Value],
    tools: &[Tool],
    thinking: Thinking,
) -> Value {
    let special = |id: Option<TokenId>| id.and_then(|id| tokenizer.token(id));
    let mut context = json!({
        "messages": messages,
        "add_generation_prompt": true,
        "enable_thinking": thinking != Thinking::Off,
        "bos_token": special(tokenizer.bos()).unwrap_or_default(),
        "eos_token": special(tokenizer.eos()).unwrap_or_default(),
    });
    if !tools.is_empty() {
        context["tools"] = tools.iter().map(|tool| Value::from(tool.clone())).collect();
    }
    context
}

/// A message of the user that shows media of these kinds before it says something.
pub(crate) fn showing(kinds: impl Iterator<Item = &'static str>, text: &str) -> Value {
    let parts = kinds.map(|kind| json!({ "type": kind }));
    let parts: Vec<_> = parts.chain([json!({ "type": "text", "text": text })]).collect();
    json!({ "role": "user", "content": parts })
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
    let bos = model.tokenizer().bos_before(prompt.ids.first().copied());
    prompt.ids.splice(0..0, bos);
    prompt
}
