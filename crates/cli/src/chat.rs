//! `carat chat`: a conversation that keeps what the model has already read.
//!
//! Every turn renders the whole conversation with the file's template and evaluates only what
//! differs from what the session holds; mostly that is the new message. Templates may render the
//! past differently than it came about (thoughts are dropped), then the session goes back to the
//! common beginning.

use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use carat::{AnswerOptions, Medium, Message, Model, Role};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Editor};

use crate::args::ChatArgs;
use crate::chosen::Chosen;
use crate::interrupt::{self, Guard};
use crate::media::{self, Reading, Source};
use crate::memory::Planned;
use crate::reply::{drafts_line, readings_line, reply, speed_line};
use crate::run::{ANSWER_ROOM, end_line, engine_line, sampling_line};
use crate::talk::{self, Beginning};
use crate::text::{self, say};
use crate::voice::Voice;
use crate::{load, sentence};
use complete::Completion;
use history::Keeper;
use lent::Lent;
use line::Line;

mod complete;
mod history;
mod lent;
mod line;

pub(crate) fn chat(args: &ChatArgs) -> Result<()> {
    let stop = args.sampling.stop()?;
    let template = load::chat_template(args.chat_template.as_deref())?;
    let reading = args.senses.reading()?;
    let file = args.answer.session.clone();
    let saved = file.as_deref().map(|file| talk::saved(file, args.engine.ctx)).transpose()?;
    let saved = saved.flatten();
    let chosen = Chosen::of(args.model.as_deref())?;
    let wanted = args.answer.read(&chosen)?;
    interrupt::install()?;
    let held = saved.map_or(0, |saved| saved.tokens.saturating_add(ANSWER_ROOM));
    let (model, senses) = open(args, &chosen, Planned { tokens: held, marks: talk::MARKS })?;
    let config = talk::session_config(&args.engine, &model, held);
    let beginning = Beginning {
        model: &model,
        chosen: &chosen,
        config,
        template: template.map(Arc::new),
        wanted: &wanted,
        system: args.system.as_deref(),
    };
    let chat = match file.as_deref().filter(|_| saved.is_some()) {
        Some(file) => beginning.restore(file)?,
        None => beginning.new_chat()?,
    };
    let mut options = wanted.options();
    options.max_tokens = args.max_tokens.tokens();
    (options.sampling, options.stop) = (args.sampling.config(&chosen), stop);
    if args.verbose {
        say!("{}\n{}", engine_line(chat.session()), sampling_line(&options.sampling));
    }
    let mut talk = Talk {
        args,
        beginning,
        chat: Lent::new(chat),
        options,
        file,
        is_changed: false,
        reading,
        senses,
        attached: Vec::new(),
        failures: 0,
    };
    if args.answer.session.is_some() {
        interrupt::ask_before_end(lent::may_end);
    }
    let held = match io::stdin().is_terminal() && io::stdout().is_terminal() {
        true => talk.interactive(),
        false => talk.piped(),
    };
    // What was said is saved however the conversation ended.
    let saved = talk.keep();
    if let (Err(_), Err(e)) = (&held, &saved) {
        say!("carat: {}", sentence(e.as_ref()));
    }
    if let Some(signal) = lent::asked() {
        interrupt::exit_by(signal);
    }
    held.and(saved)
}

/// The model, with its projector where there is one, and why there is none otherwise: a
/// conversation may do without.
fn open(args: &ChatArgs, chosen: &Chosen, planned: Planned) -> Result<(Model, Result<(), String>)> {
    let cache = args.engine.cache(chosen)?;
    let open = |projector: Option<&Path>| {
        load::with_drafter(chosen, &args.engine, projector, cache.as_deref(), planned)
    };
    let named = args.senses.mmproj.as_deref();
    let without = match media::projector_of(chosen, named) {
        Ok(path) => match open(path.as_deref()) {
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

struct Talk<'a> {
    args: &'a ChatArgs,
    beginning: Beginning<'a>,
    chat: Lent,
    options: AnswerOptions,
    /// Where /save without a name saves, and with --session the end of the conversation.
    file: Option<PathBuf>,
    /// Whether anything happened since the conversation was begun, loaded or saved.
    is_changed: bool,
    reading: Reading,
    /// Why the model has no senses, if it has none.
    senses: Result<(), String>,
    /// Media for the next message.
    attached: Vec<Medium>,
    /// Commands that failed.
    failures: usize,
}

impl Talk<'_> {
    /// A person: line editing, and errors that do not end the conversation.
    fn interactive(&mut self) -> Result<()> {
        let config = rustyline::Config::builder().completion_type(CompletionType::List);
        let editor = history::bounded(config).and_then(Terminal::with_config);
        let mut editor = editor.context("cannot use this terminal")?;
        editor.set_helper(Some(Completion));
        let mut keeper = Keeper::new(&mut editor, !self.args.no_history);
        interrupt::stay();
        say!("/help shows the commands, Ctrl-D leaves");
        loop {
            let read = || read_message(&mut editor);
            let Some(text) = self.read(read)? else { return Ok(()) };
            keeper.keep(&mut editor, &text);
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
        while let Some(text) = self.read(|| join_lines(|_| lines.next().transpose()))? {
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

    /// Reads a message by `read`; none at the end of the input, or once a signal asked for the end.
    fn read(&mut self, read: impl FnOnce() -> Result<Option<String>>) -> Result<Option<String>> {
        let file = self.kept().map(Path::to_owned);
        self.chat.while_reading(file.as_deref(), read).unwrap_or(Ok(None))
    }

    /// Does what a line asks for; true if that is to leave.
    fn line(&mut self, text: &str) -> Result<bool> {
        let done = match Line::parse(text) {
            Line::Nothing => Ok(()),
            Line::Say(text) => return self.say(text).map(|()| false),
            Line::Help => {
                say!("{HELP}");
                Ok(())
            }
            Line::Clear => {
                self.clear();
                Ok(())
            }
            Line::Undo => {
                self.undo();
                Ok(())
            }
            Line::Exit => return Ok(true),
            Line::Path("/save", path) => self.save(path),
            Line::Path("/load", path) => self.load(path),
            Line::Path(command, path) => self.attach(command, path),
            Line::Unknown(command) => {
                say!("there is no command {command}, /help lists them");
                Ok(())
            }
        };
        if let Err(e) = done {
            say!("carat: {}", sentence(e.as_ref()));
            self.failures += 1;
        }
        Ok(false)
    }

    /// Begins the conversation anew: nothing but the instructions has been said.
    fn clear(&mut self) {
        self.attached.clear();
        self.chat.clear();
        self.is_changed = true;
        say!("the conversation begins anew");
    }

    /// Takes the last turn back.
    fn undo(&mut self) {
        let is_done = self.chat.undo();
        self.is_changed |= is_done;
        say!("{}", if is_done { "the last turn is taken back" } else { "nothing was said yet" });
    }

    /// Saves the conversation to a file, or to that which it belongs to.
    fn save(&mut self, written: &str) -> Result<()> {
        let named = (!written.is_empty()).then(|| line::path(written));
        let Some(file) = named.or_else(|| self.file.clone()) else {
            bail!("/save needs a path, as in /save rain.session")
        };
        talk::save(&self.chat, &file)?;
        say!("saved to {}", file.display());
        if self.file.get_or_insert(file.clone()) == &file {
            self.is_changed = false;
        }
        Ok(())
    }

    /// Goes on with the conversation in a file, from then on the one that it belongs to.
    fn load(&mut self, written: &str) -> Result<()> {
        if written.is_empty() {
            bail!("/load needs a path, as in /load rain.session");
        }
        let file = line::path(written);
        self.keep()?;
        let chat = self.beginning.restore(&file)?;
        self.chat = Lent::new(chat);
        self.attached.clear();
        self.is_changed = false;
        let turns = self.chat.messages().iter().filter(|message| message.role == Role::User);
        match turns.count() {
            1 => say!("the conversation goes on after one turn"),
            n => say!("the conversation goes on after {n} turns"),
        }
        self.file = Some(file);
        Ok(())
    }

    /// Saves what would be lost, if it is to be kept.
    fn keep(&mut self) -> Result<()> {
        if let Some(file) = self.kept() {
            talk::save(&self.chat, file)?;
            self.is_changed = false;
        }
        Ok(())
    }

    /// Where to save what would be lost, if something would and is to be kept.
    fn kept(&self) -> Option<&Path> {
        let is_kept = self.is_changed && self.args.answer.session.is_some();
        self.file.as_deref().filter(|_| is_kept)
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
        let medium = read.embed(self.chat.session_mut(), self.reading.long);
        guard.check()?;
        self.attached.push(medium?);
        say!("the next message shows it in {} tokens, about", read.tokens());
        Ok(())
    }

    /// One turn. A message without an answer leaves no trace in the conversation.
    fn say(&mut self, text: &str) -> Result<()> {
        self.chat.push(Message::showing(std::mem::take(&mut self.attached), text));
        let mut voice = Voice::new(self.beginning.model.tokenizer(), self.args.answer.json);
        let ended = match reply(&mut self.chat, self.options.clone(), TOO_LONG, &mut voice) {
            Ok(ended) => ended,
            Err(e) => {
                self.chat.undo();
                return Err(e);
            }
        };
        self.is_changed |= talk::close_turn(&mut self.chat, &ended);
        if !voice.is_json() {
            match io::stdout().is_terminal() {
                true => end_line(voice.said())?,
                false => text::print("\n")?,
            }
        }
        if self.args.verbose {
            say!("{}", speed_line(&ended));
            let readings = self.chat.session().weight_readings();
            let lines = [drafts_line(&ended.drafts), readings_line(&readings)];
            lines.iter().flatten().for_each(|line| say!("{line}"));
        }
        talk::say_if_full(&ended, self.chat.session().context(), FULL);
        Ok(())
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

/// What to do, beside --ctx, about a message that has no room.
const TOO_LONG: &str = "; /undo takes back the last turn, /clear all of them, and --drop-oldest \
                        forgets the oldest ones by itself";

/// What to do about an answer that had no room to end.
const FULL: &str = ": /undo takes back this turn, /clear begins anew, --ctx N makes room and \
                    --drop-oldest forgets the oldest turns";

const HELP: &str = "\
/image PATH  show a picture with the next message
/audio PATH  play sound with the next message
/video PATH  show a video with the next message
/undo        take back the last message and its answer
/clear       forget the conversation but for the instructions (or /reset)
/save [FILE] save the conversation, without a name to where it was loaded from
/load FILE   go on with a conversation that was saved
/help        this list
/exit        leave (or Ctrl-D)
Tab completes commands and paths, arrows bring back what was typed.
A line that ends in \\ goes on in the next one.
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
