//! `carat chat`: a conversation that keeps what the model has already read.
//!
//! Every turn renders the whole conversation with the file's template and evaluates only what
//! differs from what the session holds; mostly that is the new message. Templates may render the
//! past differently than it came about (thoughts are dropped), then the session goes back to the
//! common beginning.

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use anyhow::{Context, Result, bail};
use carat::reply::StopStrings;
use carat::{Embedding, Medium, Model, Sampler, Session, SessionConfig};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Editor};

use crate::args::ChatArgs;
use crate::interrupt::{self, Guard};
use crate::media::{self, Reading, Source};
use crate::prompt::Conversation;
use crate::reply::{End, reply};
use crate::run::{end_line, engine_line, sampling_line};
use crate::text::{self, say};
use crate::{load, sentence};
use complete::Completion;
use line::Line;

mod complete;
mod line;

pub(crate) fn chat(args: &ChatArgs) -> Result<()> {
    let stop = args.sampling.stop()?;
    interrupt::install()?;
    let template = load::chat_template(args.chat_template.as_deref())?;
    let reading = args.senses.reading()?;
    let (model, senses) = open(args)?;
    let base = args.engine.session(0, model.config().context);
    let config = SessionConfig { rollback: ROLLBACK.min(base.context), ..base };
    let settings = args.sampling.config();
    let conversation = Conversation::new(&model, &args.model, template.as_ref(), args.think)?;
    let mut chat = Chat {
        args,
        model: &model,
        session: load::session(&model, config)?,
        sampler: Sampler::new(settings.clone(), model.tokenizer().vocab_size())?,
        stop,
        conversation,
        shown: Vec::new(),
        reading,
        senses,
        attached: Vec::new(),
        failures: 0,
    };
    chat.reset();
    if args.verbose {
        say!("{}\n{}", engine_line(&chat.session), sampling_line(&settings));
    }
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        chat.interactive()
    } else {
        chat.piped()
    }
}

/// The model, with its projector where there is one, and why there is none otherwise: a
/// conversation may do without.
fn open(args: &ChatArgs) -> Result<(Model, Result<(), String>)> {
    let cache = args.engine.cache(&args.model);
    let open = |projector: Option<&Path>| {
        load::model(&args.model, args.engine.open(projector, cache.as_deref()))
    };
    let named = args.senses.mmproj.as_deref();
    let without = match media::projector(&args.model, named) {
        Ok(path) => match open(Some(&path)) {
            Ok(model) => return Ok((model, Ok(()))),
            Err(e) if named.is_none() && is_projector(&e) => e,
            Err(e) => return Err(e),
        },
        Err(e) => e,
    };
    Ok((open(None)?, Err(sentence(without.as_ref()))))
}

fn is_projector(e: &anyhow::Error) -> bool {
    matches!(e.downcast_ref(), Some(carat::Error::Projector { .. }))
}

struct Chat<'a> {
    args: &'a ChatArgs,
    model: &'a Model,
    session: Session,
    sampler: Sampler,
    stop: StopStrings,
    conversation: Conversation<'a>,
    /// Media that the session holds.
    shown: Vec<Embedding>,
    reading: Reading,
    /// Why the model has no senses, if it has none.
    senses: Result<(), String>,
    /// Media for the next message.
    attached: Vec<Medium>,
    /// Commands that failed.
    failures: usize,
}

impl Chat<'_> {
    /// A person: line editing, and errors that do not end the conversation.
    fn interactive(&mut self) -> Result<()> {
        let config = rustyline::Config::builder().completion_type(CompletionType::List).build();
        let mut editor = Terminal::with_config(config).context("cannot use this terminal")?;
        editor.set_helper(Some(Completion));
        interrupt::stay();
        say!("/help shows the commands, Ctrl-D leaves");
        loop {
            let Some(text) = read_message(&mut editor)? else { return Ok(()) };
            // A line that the editor does not want to remember is no reason to stop.
            let _ = editor.add_history_entry(&text);
            match self.line(&text) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(e) if crate::is_broken_pipe(&e) => return Err(e),
                Err(e) => say!("carat: {}", sentence(e.as_ref())),
            }
        }
    }

    /// A program or a file: a line is a message, and the first answer that fails ends it. A
    /// command that fails only makes the whole fail in the end.
    fn piped(&mut self) -> Result<()> {
        let mut lines = io::stdin().lock().lines();
        while let Some(text) = join_lines(|_| lines.next().transpose())? {
            if self.line(&text)? {
                break;
            }
        }
        match self.failures {
            0 => Ok(()),
            1 => bail!("one command of the conversation failed"),
            n => bail!("{n} commands of the conversation failed"),
        }
    }

    /// Does what a line asks for; true if that is to leave.
    fn line(&mut self, text: &str) -> Result<bool> {
        match Line::parse(text) {
            Line::Nothing => {}
            Line::Say(text) => self.say(text)?,
            Line::Help => say!("{HELP}"),
            Line::Reset => {
                self.reset();
                say!("the conversation begins anew");
            }
            Line::Exit => return Ok(true),
            Line::Attach(command, path) => {
                if let Err(e) = self.attach(command, path) {
                    say!("carat: {}", sentence(e.as_ref()));
                    self.failures += 1;
                }
            }
            Line::Unknown(command) => say!("there is no command {command}, /help lists them"),
        }
        Ok(false)
    }

    /// Begins the conversation: nothing but the instructions has been said.
    fn reset(&mut self) {
        self.attached.clear();
        self.conversation.reset();
        self.sampler.reset();
        if let Some(system) = &self.args.system {
            self.conversation.say("system", system);
        }
    }

    /// Reads what the next message shows.
    fn attach(&mut self, command: &str, path: &str) -> Result<()> {
        if path.is_empty() {
            bail!("{command} needs a path, as in {command} holiday/photo");
        }
        if let Err(why) = &self.senses {
            bail!("{why}");
        }
        let path = line::path(path);
        let source = match command {
            "/image" => Source::Image(path),
            "/audio" => Source::Audio(path),
            _ => Source::Video(path),
        };
        if source.is_stdin() {
            bail!("standard input is where the messages come from, {command} needs a file");
        }
        let guard = Guard::new();
        let read = source.read(self.reading);
        guard.check()?;
        let read = read?;
        let medium = read.embed(&mut self.session, self.reading.long);
        guard.check()?;
        self.attached.push(medium?);
        say!("the next message shows it in {} tokens, about", read.tokens());
        Ok(())
    }

    /// One turn. A message without an answer leaves no trace in the conversation.
    fn say(&mut self, text: &str) -> Result<()> {
        self.conversation.show(&std::mem::take(&mut self.attached), text);
        match self.answer() {
            Ok(Some(answer)) => self.conversation.say("assistant", &answer),
            Ok(None) => self.conversation.unsay(),
            Err(e) => {
                self.conversation.unsay();
                return Err(e);
            }
        }
        Ok(())
    }

    fn answer(&mut self) -> Result<Option<String>> {
        let prompt = self.conversation.prompt()?;
        let tokenizer = self.model.tokenizer();
        let (session, sampler) = (&mut self.session, &mut self.sampler);
        let (shown, max_tokens) = (&mut self.shown, self.args.max_tokens.tokens());
        let stop = self.stop.clone();
        let reply = reply(session, sampler, tokenizer, &prompt, shown, max_tokens, stop)?;
        match io::stdout().is_terminal() {
            true => end_line(&reply.text)?,
            false => text::print("\n")?,
        }
        if self.args.verbose {
            say!("{}", reply.speed.line());
        }
        if reply.end == End::ContextFull {
            let context = self.session.context();
            say!("the context of {context} tokens is full: /reset begins anew, --ctx N makes room");
        }
        let nothing = reply.end == End::Interrupted && reply.speed.tokens == 0;
        Ok((!nothing).then_some(reply.text))
    }
}

/// A terminal with line editing.
type Terminal = Editor<Completion, DefaultHistory>;

/// A message of one or more lines, empty where Ctrl-C took it back; `None` at the end of the input.
fn read_message(editor: &mut Terminal) -> Result<Option<String>> {
    let message = join_lines(|prompt| match editor.readline(prompt) {
        Ok(line) => Ok(Some(line)),
        Err(ReadlineError::Eof) => Ok(None),
        Err(ReadlineError::Interrupted) => Err(io::ErrorKind::Interrupted.into()),
        Err(ReadlineError::Io(e)) => Err(e),
        Err(e) => Err(io::Error::other(e)),
    });
    match message {
        Err(e) if e.downcast_ref().map(io::Error::kind) == Some(io::ErrorKind::Interrupted) => {
            say!("Ctrl-D or /exit leaves");
            Ok(Some(String::new()))
        }
        message => message,
    }
}

/// Joins a line that ends in a backslash with the next one. `next` is given the prompt to show.
fn join_lines(mut next: impl FnMut(&str) -> io::Result<Option<String>>) -> Result<Option<String>> {
    let read = "cannot read the next message";
    let Some(mut text) = next("> ").context(read)? else { return Ok(None) };
    while text.ends_with('\\') {
        text.pop();
        let Some(line) = next("… ").context(read)? else { break };
        text.push('\n');
        text.push_str(&line);
    }
    Ok(Some(text))
}

/// Templates render an answer differently than it came about, so the session goes back to where
/// the answer began. That is cheap for answers up to so many tokens; longer ones cost a full pass
/// over the conversation once it has outgrown the sliding window.
const ROLLBACK: usize = 1024;

const HELP: &str = "\
/image PATH  show a picture with the next message
/audio PATH  play sound with the next message
/video PATH  show a video with the next message
/reset       forget the conversation
/help        this list
/exit        leave (or Ctrl-D)
Tab completes commands and paths. A line that ends in \\ goes on in the next one.
Ctrl-C ends an answer and leads back here.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_joins_lines() {
        let mut lines = ["a\\", "b", "c", "d\\"].into_iter();
        let mut messages = Vec::new();
        while let Some(text) =
            join_lines(|_| Ok(lines.next().map(str::to_owned))).expect("lines are given")
        {
            messages.push(text);
        }
        assert_eq!(messages, ["a\nb", "c", "d"]);
    }
}
