//! `carat run`: one prompt, one answer.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use carat::{ChatTemplate, MediaPrompt, Medium, Model, Sampler, SamplerConfig, Session};

use crate::args::RunArgs;
use crate::interrupt::{self, Guard, Interrupted};
use crate::load;
use crate::media::{self, Reading, Source};
use crate::prompt::{self, Conversation};
use crate::reply::{End, reply};
use crate::room;
use crate::text::{self, bytes, say};

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    let template = load::chat_template(args.chat_template.as_deref())?;
    let (sources, reading) = (args.media.sources(), args.media.senses.reading()?);
    let is_stdin_taken = media::check_stdin(&sources, args.prompt.as_deref())?;
    let text = prompt::given_or_stdin(args.prompt.as_deref(), is_stdin_taken)?;
    let stop = args.sampling.stop()?;
    interrupt::install()?;
    let begun = Instant::now();
    let media = read(&sources, reading)?;
    let read = begun.elapsed();
    let begun = Instant::now();
    let projector = match sources.is_empty() {
        true => None,
        false => Some(media::projector(&args.model, args.media.senses.mmproj.as_deref())?),
    };
    room::check(args, &text, &media)?;
    let cache = args.engine.cache(&args.model);
    let model = load::model(&args.model, args.engine.open(projector.as_deref(), cache.as_deref()))?;
    let loaded = begun.elapsed();
    let tokenizer = model.tokenizer();
    let settings = args.sampling.config();
    let mut sampler = Sampler::new(settings.clone(), tokenizer.vocab_size())?;

    let shown: usize = media.iter().map(media::Read::tokens).sum();
    let said = text.len() + args.system.as_ref().map_or(0, String::len) + TEMPLATE_ROOM;
    let max_tokens = args.max_tokens.tokens();
    let room = max_tokens.unwrap_or(ANSWER_ROOM);
    let limit = model.config().context;
    let config = args.engine.session(said.saturating_add(shown).saturating_add(room), limit);
    let mut session = load::session(&model, config)?;
    let begun = Instant::now();
    let media =
        media.iter().map(|m| m.embed(&mut session, reading.long)).collect::<Result<Vec<_>, _>>()?;
    let embedded = begun.elapsed();
    let prompt = written(args, &model, template.as_ref(), &media, &text)?;
    if args.verbose {
        say!("loaded in {:.2} s", loaded.as_secs_f64());
        say!("{}", engine_line(&session));
        say!("{}", sampling_line(&settings));
    }
    let (session, mut shown) = (&mut session, Vec::new());
    let reply = reply(session, &mut sampler, tokenizer, &prompt, &mut shown, max_tokens, stop)?;
    end_line(&reply.text)?;
    if args.verbose && !sources.is_empty() {
        say!("{}", media_line(read, embedded, reply.speed.first.unwrap_or_default()));
    }
    say!("{}", reply.speed.line());
    match reply.end {
        End::ContextFull => {
            say!("the context of {} tokens is full, --ctx N makes more room", session.context());
        }
        End::Interrupted if reply.speed.tokens == 0 => {
            bail!(Interrupted("interrupted before the first token"))
        }
        _ => {}
    }
    Ok(())
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
    let (context, memory) = (session.context(), bytes(session.memory().total()));
    format!("{isa}, {threads} threads, context {context}, {memory} when full")
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

/// The prompt in tokens.
fn written(
    args: &RunArgs,
    model: &Model,
    template: Option<&ChatTemplate>,
    media: &[Medium],
    text: &str,
) -> Result<MediaPrompt> {
    if !args.chat {
        return prompt::raw_prompt(model, media, text);
    }
    let mut conversation = Conversation::new(model, &args.model, template, args.think)?;
    if let Some(system) = &args.system {
        conversation.say("system", system);
    }
    conversation.show(media, text);
    conversation.prompt()
}

/// Tokens kept free for an answer of no stated length.
const ANSWER_ROOM: usize = 1024;

/// Tokens that a chat template writes around a message, at most; the words themselves are never
/// more tokens than bytes.
pub(crate) const TEMPLATE_ROOM: usize = 1024;
