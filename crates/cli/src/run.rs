//! `carat run`: one prompt, one answer.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use carat::{ChatTemplate, Medium, Message, Model, Sampler, SamplerConfig, Session};

use crate::answer::Wanted;
use crate::args::RunArgs;
use crate::chosen::Chosen;
use crate::interrupt::{self, Guard, Interrupted};
use crate::media::{self, Reading, Source};
use crate::memory::Planned;
use crate::reply::{Continuation, continue_text, drafts_line, readings_line, reply, speed_line};
use crate::talk::{self, Beginning};
use crate::text::{self, bytes, say};
use crate::voice::{Ended, Voice};
use crate::{Usage, load, prompt, room};

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    let template = load::chat_template(args.chat_template.as_deref())?;
    let (sources, reading) = (args.media.sources(), args.media.senses.reading()?);
    let is_stdin_taken = media::check_stdin(&sources, args.prompt.as_deref())?;
    let text = prompt::given_or_stdin(args.prompt.as_deref(), is_stdin_taken)?;
    args.sampling.stop()?;
    let file = args.answer.session.as_deref();
    let saved = file.map(|file| talk::saved(file, args.engine.ctx)).transpose()?.flatten();
    let chosen = Chosen::of(args.model.as_deref())?;
    let is_chat = is_chat(args, &chosen)?;
    let wanted = args.answer.read(&chosen)?;
    let cache = args.engine.cache(&chosen)?;
    interrupt::install()?;
    let begun = Instant::now();
    let media = read(&sources, reading)?;
    let read = begun.elapsed();
    let begun = Instant::now();
    let projector = match sources.is_empty() && !saved.is_some_and(|saved| saved.has_media) {
        true => None,
        false => media::projector_of(&chosen, args.media.senses.mmproj.as_deref())?,
    };
    room::check(args, &chosen, is_chat, &wanted, &text, &media)?;
    let shown: usize = media.iter().map(media::Read::tokens).sum();
    let said = text.len() + args.system.as_ref().map_or(0, String::len) + TEMPLATE_ROOM;
    let room = args.max_tokens.tokens().unwrap_or(ANSWER_ROOM);
    let held = saved.map_or(0, |saved| saved.tokens);
    let tokens = [said, shown, room, held].into_iter().fold(0, usize::saturating_add);
    let planned = Planned { tokens, marks: if file.is_some() { talk::MARKS } else { 0 } };
    let (projector, cache) = (projector.as_deref(), cache.as_deref());
    let model = load::with_drafter(&chosen, &args.engine, projector, cache, planned)?;
    let given = Given { chosen, text, media, reading, read, loaded: begun.elapsed(), tokens };
    match is_chat {
        true => answer(args, &model, template, &wanted, given, saved.is_some()),
        false => continued(args, &model, given),
    }
}

/// Whether the prompt is a message, which is known before the weights are read.
///
/// # Errors
/// If it is not, and an option makes sense for messages only.
fn is_chat(args: &RunArgs, model: &Chosen) -> Result<bool> {
    let option = args.answer.of_conversations();
    let option = option.or(args.system.as_ref().map(|_| "--system"));
    if args.raw {
        return match option {
            Some(option) => bail!(Usage(format!("{option} needs a message: leave --raw out"))),
            None => Ok(false),
        };
    }
    if args.chat_template.is_some() || load::has_chat_template(model)? {
        return Ok(true);
    }
    match option.or(args.chat.then_some("--chat")) {
        None => Ok(false),
        Some(option) => bail!(
            "{} has no chat template (tokenizer.chat_template): give one with --chat-template \
             FILE, or continue text without {option}",
            model.name()
        ),
    }
}

/// What the command line said, and what came of it so far.
struct Given {
    chosen: Chosen,
    text: String,
    media: Vec<media::Read>,
    reading: Reading,
    /// The time that reading media took, and that of loading the model.
    read: Duration,
    loaded: Duration,
    /// Room that a session should have.
    tokens: usize,
}

/// Answers a message.
fn answer(
    args: &RunArgs,
    model: &Model,
    template: Option<ChatTemplate>,
    wanted: &Wanted,
    given: Given,
    is_saved: bool,
) -> Result<()> {
    let file = args.answer.session.as_deref();
    let config = match file {
        Some(_) => talk::session_config(&args.engine, model, given.tokens),
        None => args.engine.session(model, given.tokens),
    };
    let beginning = Beginning {
        model,
        chosen: &given.chosen,
        config,
        template: template.map(Arc::new),
        wanted,
        system: args.system.as_deref(),
    };
    let mut chat = match file.filter(|_| is_saved) {
        Some(file) => beginning.restore(file)?,
        None => beginning.new_chat()?,
    };
    let begun = Instant::now();
    let (media, settings) = (given.embed(chat.session_mut())?, args.sampling.config(&given.chosen));
    let embedded = begun.elapsed();
    given.introduce(args, chat.session(), &settings);
    chat.push(Message::showing(media, given.text.as_str()));
    let mut options = wanted.options();
    options.max_tokens = args.max_tokens.tokens();
    (options.sampling, options.stop) = (settings, args.sampling.stop()?);
    let hint = if file.is_some() { ", --drop-oldest forgets the oldest turns" } else { "" };
    let mut voice = Voice::new(model.tokenizer(), args.answer.json);
    let ended = reply(&mut chat, options, hint, &mut voice)?;
    let stays = talk::close_turn(&mut chat, &ended);
    let saved = file.filter(|_| stays).map_or(Ok(()), |file| talk::save(&chat, file));
    given.report(args, &voice, &ended, chat.session(), embedded)?;
    saved
}

/// Continues a text.
fn continued(args: &RunArgs, model: &Model, given: Given) -> Result<()> {
    let settings = args.sampling.config(&given.chosen);
    let sampler = Sampler::new(settings.clone(), model.tokenizer().vocab_size())?;
    let config = args.engine.session(model, given.tokens);
    let mut session = load::session(model, config)?;
    let begun = Instant::now();
    let media = given.embed(&mut session)?;
    let embedded = begun.elapsed();
    let prompt = prompt::raw_prompt(model, &media, &given.text)?;
    given.introduce(args, &session, &settings);
    let how = Continuation {
        sampler,
        max_tokens: args.max_tokens.tokens(),
        stop: args.sampling.stop()?,
        log_probabilities: args.answer.logprobs,
    };
    let mut voice = Voice::new(model.tokenizer(), args.answer.json);
    let ended = continue_text(&mut session, &prompt, how, &mut voice)?;
    given.report(args, &voice, &ended, &session, embedded)
}

impl Given {
    fn embed(&self, session: &mut Session) -> Result<Vec<Medium>> {
        let embed = |medium: &media::Read| medium.embed(session, self.reading.long);
        Ok(self.media.iter().map(embed).collect::<Result<_, _>>()?)
    }

    /// Says what will run.
    fn introduce(&self, args: &RunArgs, session: &Session, settings: &SamplerConfig) {
        if args.verbose {
            say!("loaded in {:.2} s", self.loaded.as_secs_f64());
            say!("{}", engine_line(session));
            say!("{}", sampling_line(settings));
        }
    }

    /// Says how it went.
    fn report(
        &self,
        args: &RunArgs,
        voice: &Voice<'_>,
        ended: &Ended,
        session: &Session,
        embedded: Duration,
    ) -> Result<()> {
        if !voice.is_json() {
            end_line(voice.said())?;
        }
        if args.verbose && !self.media.is_empty() {
            let first = ended.timings.first.unwrap_or_default();
            say!("{}", media_line(self.read, embedded, first));
        }
        say!("{}", speed_line(ended));
        if let Some(line) = drafts_line(&ended.drafts).filter(|_| args.verbose) {
            say!("{line}");
        }
        if args.verbose {
            readings_line(&session.weight_readings()).iter().for_each(|line| say!("{line}"));
        }
        talk::say_if_full(ended, session.context(), ", --ctx N makes more room");
        if ended.before_first_token() {
            bail!(Interrupted("interrupted before the first token"));
        }
        Ok(())
    }
}

/// Reads all media; Ctrl-C ends the program once the one in work is dealt with.
fn read(sources: &[Source], reading: Reading) -> Result<Vec<media::Read>> {
    let guard = Guard::new();
    let mut media = Vec::new();
    for source in sources {
        let read = source.read(reading);
        if guard.stopped() {
            interrupt::exit();
        }
        media.push(read?);
    }
    Ok(media)
}

/// The engine in one line: what runs, on what, in how much memory.
pub(crate) fn engine_line(session: &Session) -> String {
    let (isa, threads) = (session.isa().name(), session.threads());
    let (context, memory) = (session.context(), session.memory());
    let full = bytes(memory.total());
    let mut line = format!("{isa}, {threads} threads, context {context}, {full} when full");
    if memory.experts > 0 {
        let (experts, read) = (bytes(memory.experts), bytes(memory.experts_of_token));
        let _ = write!(line, ", {experts} of it experts of which a token reads {read}");
    }
    if memory.on_disk > 0 {
        let _ = write!(line, ", {} of embeddings stay on the disk", bytes(memory.on_disk));
    }
    line
}

/// How tokens are chosen, in one line; penalties and biases where there are some.
pub(crate) fn sampling_line(s: &SamplerConfig) -> String {
    let SamplerConfig { temperature, top_k, top_p, min_p, seed, .. } = s;
    let mut line = match s.temperature {
        0.0 => "greedy".to_owned(),
        _ => format!("temperature {temperature}, top-k {top_k}, top-p {top_p}, min-p {min_p}"),
    };
    for (name, value, off) in [
        ("repetition", s.repetition_penalty, 1.0),
        ("frequency", s.frequency_penalty, 0.0),
        ("presence", s.presence_penalty, 0.0),
    ] {
        if value != off {
            let _ = write!(line, ", {name} penalty {value}");
        }
    }
    match s.logit_bias.len() {
        0 => {}
        1 => line.push_str(", one logit bias"),
        n => {
            let _ = write!(line, ", {n} logit biases");
        }
    }
    if s.temperature != 0.0 {
        let _ = write!(line, ", seed {seed}");
    }
    line
}

/// Lets what follows an answer begin a line. Standard output is what the model said unless it is a
/// terminal; the line break goes to standard error then, which often ends up in the same place.
pub(crate) fn end_line(answer: &str) -> Result<()> {
    if answer.is_empty() || answer.ends_with('\n') {
        return Ok(());
    }
    if io::stdout().is_terminal() {
        return text::print("\n");
    }
    say!();
    Ok(())
}

/// Where the time to the first token went.
fn media_line(read: Duration, embedded: Duration, rest: Duration) -> String {
    let total = read + embedded + rest;
    let share = |part: Duration| 100.0 * part.as_secs_f64() / total.as_secs_f64().max(1e-9);
    format!(
        "first token {:.2} s after the media were named: {:.1} % decoding and resizing them, \
         {:.1} % embedding, {:.1} % reading the prompt",
        total.as_secs_f64(),
        share(read),
        share(embedded),
        share(rest),
    )
}

/// Tokens kept free for an answer of no stated length.
pub(crate) const ANSWER_ROOM: usize = 1024;

/// Tokens that a chat template writes around a message, at most; the words themselves are never
/// more tokens than bytes.
pub(crate) const TEMPLATE_ROOM: usize = 1024;
