//! `carat chat`: a conversation that keeps what the model has already read.
//!
//! Every turn renders the whole conversation with the file's template and evaluates only what
//! differs from what the session holds; mostly that is the new message. Templates may render the
//! past differently than it came about (thoughts are dropped), then the session goes back to the
//! common beginning.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use carat::{Embedding, Medium, Model, Sampler, Session, SessionConfig};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::args::ChatArgs;
use crate::media::{self, Reading, Source};
use crate::prompt::Conversation;
use crate::reply::{End, reply};
use crate::run::{end_line, engine_line, sampling_line};
use crate::{interrupt, load, sentence};

pub(crate) fn chat(args: &ChatArgs) -> Result<()> {
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
        conversation,
        shown: Vec::new(),
        reading,
        senses,
        attached: Vec::new(),
        failures: 0,
    };
    chat.reset();
    if args.verbose {
        eprintln!("{}\n{}", engine_line(&chat.session), sampling_line(&settings));
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
    session: Session<'a>,
    sampler: Sampler,
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

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Say(&'a str),
    Nothing,
    Help,
    Reset,
    Exit,
    /// A command that shows or plays something, and its path.
    Attach(&'a str, &'a str),
    Unknown(&'a str),
}

impl Chat<'_> {
    /// A person: line editing, and errors that do not end the conversation.
    fn interactive(&mut self) -> Result<()> {
        let mut editor = DefaultEditor::new().context("cannot use this terminal")?;
        eprintln!("/help shows the commands, Ctrl-D leaves");
        loop {
            let Some(text) = read_message(&mut editor)? else { return Ok(()) };
            // A line that the editor does not want to remember is no reason to stop.
            let _ = editor.add_history_entry(&text);
            match self.line(&text) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(e) if crate::is_broken_pipe(&e) => return Err(e),
                Err(e) => eprintln!("carat: {}", sentence(e.as_ref())),
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
            Line::Help => eprintln!("{HELP}"),
            Line::Reset => {
                self.reset();
                eprintln!("the conversation begins anew");
            }
            Line::Exit => return Ok(true),
            Line::Attach(command, path) => {
                if let Err(e) = self.attach(command, path) {
                    eprintln!("carat: {}", sentence(e.as_ref()));
                    self.failures += 1;
                }
            }
            Line::Unknown(command) => eprintln!("there is no command {command}, /help lists them"),
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
        let path = PathBuf::from(path);
        let source = match command {
            "/image" => Source::Image(path),
            "/audio" => Source::Audio(path),
            _ => Source::Video(path),
        };
        let read = source.read(self.reading)?;
        self.attached.push(read.embed(&mut self.session, self.reading.long)?);
        eprintln!("the next message shows it in {} tokens, about", read.tokens());
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
        let (shown, max_tokens) = (&mut self.shown, self.args.max_tokens);
        let reply = reply(session, sampler, tokenizer, &prompt, shown, max_tokens)?;
        let mut out = io::stdout().lock();
        if out.is_terminal() {
            drop(out);
            end_line(&reply.text)?;
        } else {
            writeln!(out)?;
        }
        if self.args.verbose {
            eprintln!("{}", reply.speed.line());
        }
        if reply.end == End::ContextFull {
            let context = self.session.context();
            eprintln!(
                "the context of {context} tokens is full: /reset begins anew, --ctx N makes room"
            );
        }
        let nothing = reply.end == End::Interrupted && reply.speed.tokens == 0;
        Ok((!nothing).then_some(reply.text))
    }
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Self {
        let text = text.trim();
        match text {
            "" => Self::Nothing,
            "/help" | "/?" => Self::Help,
            "/reset" => Self::Reset,
            "/exit" | "/quit" => Self::Exit,
            _ if let Some((command, path)) = attachment(text) => Self::Attach(command, path),
            // A path or a comment is a message: commands are one word of letters.
            _ => match text.strip_prefix('/') {
                Some(word) if !word.is_empty() && word.chars().all(char::is_alphabetic) => {
                    Self::Unknown(text)
                }
                _ => Self::Say(text),
            },
        }
    }
}

/// A command that takes a path, and the path, with or without quotes around it.
fn attachment(text: &str) -> Option<(&str, &str)> {
    let (command, path) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let path = path.trim();
    let quoted = |quote| path.strip_prefix(quote).and_then(|path| path.strip_suffix(quote));
    let path = quoted('"').or_else(|| quoted('\'')).unwrap_or(path);
    ["/image", "/audio", "/video"].contains(&command).then_some((command, path))
}

/// A message of one or more lines, empty where Ctrl-C took it back; `None` at the end of the input.
fn read_message(editor: &mut DefaultEditor) -> Result<Option<String>> {
    let message = join_lines(|prompt| match editor.readline(prompt) {
        Ok(line) => Ok(Some(line)),
        Err(ReadlineError::Eof) => Ok(None),
        Err(ReadlineError::Interrupted) => Err(io::ErrorKind::Interrupted.into()),
        Err(ReadlineError::Io(e)) => Err(e),
        Err(e) => Err(io::Error::other(e)),
    });
    match message {
        Err(e) if e.downcast_ref().map(io::Error::kind) == Some(io::ErrorKind::Interrupted) => {
            eprintln!("Ctrl-D or /exit leaves");
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
A line that ends in \\ goes on in the next one. Ctrl-C ends an answer.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_one_word_of_letters() {
        let lines = [
            "/help",
            " /exit ",
            "/rest",
            "/etc/hosts",
            "/",
            "",
            "  ",
            "hi /exit",
            "/image a b.png ",
            "/audio  'a.wav'",
            "/video",
            "/imagine a cat",
        ];
        let parsed = lines.map(Line::parse);
        let wanted = [
            Line::Help,
            Line::Exit,
            Line::Unknown("/rest"),
            Line::Say("/etc/hosts"),
            Line::Say("/"),
            Line::Nothing,
            Line::Nothing,
            Line::Say("hi /exit"),
            Line::Attach("/image", "a b.png"),
            Line::Attach("/audio", "a.wav"),
            Line::Attach("/video", ""),
            Line::Say("/imagine a cat"),
        ];
        assert_eq!(parsed, wanted);
    }

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
