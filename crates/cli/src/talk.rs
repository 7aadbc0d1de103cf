//! Conversations of the command line: how they begin, and the files that they are kept in.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use carat::{
    Chat, ChatConfig, ChatTemplate, Content, Finish, Message, Model, Role, SavedSession, Session,
    SessionConfig,
};

use crate::answer::Wanted;
use crate::args::EngineArgs;
use crate::chosen::Chosen;
use crate::interrupt;
use crate::text::say;
use crate::voice::Ended;

/// How a conversation is begun, anew or from a file.
pub(crate) struct Beginning<'a> {
    pub(crate) model: &'a Model,
    /// Where the model comes from.
    pub(crate) chosen: &'a Chosen,
    pub(crate) config: SessionConfig,
    pub(crate) template: Option<Arc<ChatTemplate>>,
    pub(crate) wanted: &'a Wanted,
    pub(crate) system: Option<&'a str>,
}

impl Beginning<'_> {
    /// A conversation in which nobody but the system has spoken.
    pub(crate) fn new_chat(&self) -> Result<Chat> {
        self.check_template()?;
        let mut chat =
            Chat::new(self.model, self.chat_config()).context("cannot start a session")?;
        if let Some(system) = self.system {
            chat.push(Message::system(system));
        }
        Ok(hearing(chat))
    }

    /// The conversation that was saved in a file.
    pub(crate) fn restore(&self, file: &Path) -> Result<Chat> {
        self.check_template()?;
        let chat = Chat::restore(self.model, file, self.chat_config());
        let chat = chat.context("cannot go on with the conversation")?;
        if let Some(system) = self.system {
            let first = chat.messages().first().filter(|message| message.role == Role::System);
            if first.is_none_or(|message| message.text() != system) {
                bail!(
                    "{} begins with other instructions than --system: leave --system out, or name \
                     a new file",
                    file.display()
                );
            }
        }
        Ok(hearing(chat))
    }

    fn chat_config(&self) -> ChatConfig {
        ChatConfig {
            session: self.config.clone(),
            template: self.template.clone(),
            tools: self.wanted.tools.clone(),
        }
    }

    fn check_template(&self) -> Result<()> {
        if self.template.is_some() || self.model.chat_template().is_some() {
            return Ok(());
        }
        bail!(
            "{} has no chat template (tokenizer.chat_template): give one with --chat-template \
             FILE, or continue text with `carat run --raw`",
            self.chosen.name()
        )
    }
}

/// The conversation, which Ctrl-C ends during an answer.
fn hearing(mut chat: Chat) -> Chat {
    chat.session_mut().set_cancel(interrupt::stop());
    chat
}

/// Settings of a session that goes on after answers, with room for `tokens` at least.
///
/// Templates render an answer differently than it came about: without its thoughts, for instance. A
/// mark where each answer begins leads back there.
pub(crate) fn session_config(engine: &EngineArgs, model: &Model, tokens: usize) -> SessionConfig {
    SessionConfig { marks: MARKS, ..engine.session(model, tokens) }
}

/// What a file of a conversation holds, if it is there; `context` is what --ctx says.
///
/// # Errors
/// If it is something else, other than an empty file, or too long, or no file can be made there.
pub(crate) fn saved(file: &Path, context: Option<usize>) -> Result<Option<SavedSession>> {
    let metadata = file.metadata();
    if metadata.as_ref().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
        return Ok(None);
    }
    if let Err(e) = metadata
        && e.kind() == io::ErrorKind::NotFound
    {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) || file.file_name().is_none() {
            bail!("{} cannot be made, its folder is not there: make it first", file.display());
        }
        return Ok(None);
    }
    let saved = Session::saved(file).context("cannot go on with the conversation")?;
    if let Some(context) = context.filter(|context| *context < saved.tokens) {
        bail!(
            "{} has {} tokens, which do not fit into a context of {context}: ask for more with \
             --ctx N, or leave it out",
            file.display(),
            saved.tokens
        );
    }
    Ok(Some(saved))
}

/// Saves a conversation.
pub(crate) fn save(chat: &Chat, file: &Path) -> Result<()> {
    chat.save(file).with_context(|| format!("cannot save the conversation to {}", file.display()))
}

/// Makes a turn complete: one that nothing was answered in before Ctrl-C leaves no trace, and an
/// answer without a word is one, too. Says whether the turn stays.
pub(crate) fn close_turn(chat: &mut Chat, ended: &Ended) -> bool {
    if ended.before_first_token() {
        chat.undo();
        return false;
    }
    if chat.messages().last().is_none_or(|message| message.role != Role::Assistant) {
        chat.push(Message::new(Role::Assistant, vec![Content::Text(String::new())]));
    }
    true
}

/// Says what to do where the context is full.
pub(crate) fn say_if_full(ended: &Ended, context: usize, hint: &str) {
    if ended.reason == Finish::ContextFull {
        say!("the context of {context} tokens is full{hint}");
    }
}

/// One for the last answer and one for the answer before, which /undo comes back to.
pub(crate) const MARKS: usize = 2;
