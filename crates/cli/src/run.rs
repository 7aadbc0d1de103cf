//! `carat run`: one prompt, one answer.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use anyhow::{Result, bail};
use carat::{Model, Sampler, SamplerConfig, Session, TokenId};

use crate::args::RunArgs;
use crate::prompt::{self, Conversation};
use crate::reply::{End, reply};
use crate::text::bytes;
use crate::{interrupt, load};

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    let text = prompt::given_or_stdin(args.prompt.as_deref())?;
    interrupt::install()?;
    let begun = Instant::now();
    let model = load::model(&args.model, args.engine.cpu.threads)?;
    let loaded = begun.elapsed();
    let tokens = tokens(args, &model, &text)?;
    let room = args.max_tokens.unwrap_or(ANSWER_ROOM);
    let limit = model.config().context;
    let config = args.engine.session(tokens.len().saturating_add(room), limit);
    let mut session = load::session(&model, config)?;
    let settings = args.sampling.config();
    if args.verbose {
        eprintln!("loaded in {:.2} s", loaded.as_secs_f64());
        eprintln!("{}", engine_line(&session));
        eprintln!("{}", sampling_line(&settings));
    }
    let tokenizer = model.tokenizer();
    let mut sampler = Sampler::new(settings, tokenizer.vocab_size())?;
    let reply = reply(&mut session, &mut sampler, tokenizer, &tokens, args.max_tokens)?;
    end_line(&reply.text)?;
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

fn tokens(args: &RunArgs, model: &Model, text: &str) -> Result<Vec<TokenId>> {
    if !args.chat {
        return Ok(prompt::raw_tokens(model, text));
    }
    let mut conversation = Conversation::new(model, &args.model, args.think)?;
    if let Some(system) = &args.system {
        conversation.say("system", system);
    }
    conversation.say("user", text);
    conversation.tokens()
}

/// Tokens kept free for an answer of no stated length.
const ANSWER_ROOM: usize = 1024;
