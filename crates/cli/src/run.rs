//! `carat run`: one prompt, one answer.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use carat::{ChatTemplate, MediaPrompt, Medium, Model, Sampler, SamplerConfig, Session};

use crate::args::RunArgs;
use crate::media;
use crate::prompt::{self, Conversation};
use crate::reply::{End, reply};
use crate::text::bytes;
use crate::{interrupt, load};

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    let text = prompt::given_or_stdin(args.prompt.as_deref())?;
    interrupt::install()?;
    let template = load::chat_template(args.chat_template.as_deref())?;
    let (sources, reading) = (args.media.sources(), args.media.senses.reading()?);
    let begun = Instant::now();
    let media = sources.iter().map(|s| s.read(reading)).collect::<Result<Vec<_>>>()?;
    let read = begun.elapsed();
    let begun = Instant::now();
    let projector = match sources.is_empty() {
        true => None,
        false => Some(media::projector(&args.model, args.media.senses.mmproj.as_deref())?),
    };
    let cache = args.engine.cache(&args.model);
    let model = load::model(&args.model, args.engine.open(projector.as_deref(), cache.as_deref()))?;
    let loaded = begun.elapsed();

    let shown: usize = media.iter().map(media::Read::tokens).sum();
    let said = text.len() + args.system.as_ref().map_or(0, String::len) + TEMPLATE_ROOM;
    let room = args.max_tokens.unwrap_or(ANSWER_ROOM);
    let limit = model.config().context;
    let config = args.engine.session(said.saturating_add(shown).saturating_add(room), limit);
    let mut session = load::session(&model, config)?;
    let begun = Instant::now();
    let media =
        media.iter().map(|m| m.embed(&mut session, reading.long)).collect::<Result<Vec<_>, _>>()?;
    let embedded = begun.elapsed();
    let prompt = written(args, &model, template.as_ref(), &media, &text)?;
    let settings = args.sampling.config();
    if args.verbose {
        eprintln!("loaded in {:.2} s", loaded.as_secs_f64());
        eprintln!("{}", engine_line(&session));
        eprintln!("{}", sampling_line(&settings));
    }
    let tokenizer = model.tokenizer();
    let mut sampler = Sampler::new(settings, tokenizer.vocab_size())?;
    let reply =
        reply(&mut session, &mut sampler, tokenizer, &prompt, &mut Vec::new(), args.max_tokens)?;
    end_line(&reply.text)?;
    if args.verbose && !sources.is_empty() {
        eprintln!("{}", media_line(read, embedded, reply.speed.first.unwrap_or_default()));
    }
    eprintln!("{}", reply.speed.line());
    match reply.end {
        End::ContextFull => {
            eprintln!(
                "the context of {} tokens is full, --ctx N makes more room",
                session.context()
            );
        }
        End::Interrupted if reply.speed.tokens == 0 => bail!("interrupted before the first token"),
        _ => {}
    }
    Ok(())
}

/// The engine in one line: what runs, on what, in how much memory.
pub(crate) fn engine_line(session: &Session<'_>) -> String {
    let (isa, threads) = (session.isa().name(), session.threads());
    let (context, memory) = (session.context(), bytes(session.memory().total()));
    format!("{isa}, {threads} threads, context {context}, {memory} when full")
}

pub(crate) fn sampling_line(s: &SamplerConfig) -> String {
    if s.temperature == 0.0 {
        return "greedy".to_owned();
    }
    let SamplerConfig { temperature, top_k, top_p, min_p, seed, .. } = s;
    format!("temperature {temperature}, top-k {top_k}, top-p {top_p}, min-p {min_p}, seed {seed}")
}

/// On a terminal the next line begins at the left; elsewhere the output is what the model said.
pub(crate) fn end_line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    if out.is_terminal() && !text.ends_with('\n') {
        writeln!(out)?;
    }
    Ok(out.flush()?)
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
const TEMPLATE_ROOM: usize = 1024;
