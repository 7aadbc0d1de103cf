//! One answer of the model: evaluate what is new, then stream what it says until something ends it.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use carat::reply::{Piece, Splitter, StopStrings};
use carat::sampler::log_probabilities;
use carat::{
    AnswerOptions, Chat, Done, DraftStats, Error, Event, Finish, Input, MediaPrompt, Sampler,
    Session, SessionError, Stop, Timings, Usage, WeightReading,
};

use crate::interrupt::Guard;
use crate::progress::{Progress, Unit};
use crate::voice::{Ended, Voice};

/// Answers the last message of a conversation. `hint` says what to do, beside --ctx, if it outgrew
/// the context.
pub(crate) fn reply(
    chat: &mut Chat,
    options: AnswerOptions,
    hint: &str,
    voice: &mut Voice<'_>,
) -> Result<Ended> {
    let _guard = Guard::new();
    let begun = Instant::now();
    let result = streamed(chat, options, hint, voice);
    // Ctrl-C came while the prompt was read: an answer that is under way tells it by itself.
    if let Err(e) = &result
        && let Some(Error::Cancelled { done, total }) = e.downcast_ref()
    {
        let (done, total) = (*done as usize, *total as usize);
        let ended = cancelled(chat.session(), done, total, begun.elapsed());
        voice.end(&ended)?;
        return Ok(ended);
    }
    result
}

fn streamed(
    chat: &mut Chat,
    options: AnswerOptions,
    hint: &str,
    voice: &mut Voice<'_>,
) -> Result<Ended> {
    let limit = chat.model().config().context;
    let mut bar = Progress::new("reading", Unit::Tokens);
    let begin = chat.reply_with(options, &mut |progress| {
        bar.set(progress.done as u64, progress.total as u64);
        ControlFlow::Continue(())
    });
    drop(bar);
    let answer = match begin {
        Err(Error::Session(SessionError::ContextFull { wanted, context })) => {
            bail!(too_long(wanted, context, limit) + hint)
        }
        begin => begin.context("cannot read the conversation")?,
    };
    for event in answer {
        match event.context("cannot generate the next token")? {
            Event::Done(done) => {
                let evaluated = done.usage.prompt_tokens - done.usage.cached_tokens;
                let Done { reason, usage, timings, drafts, .. } = done;
                let ended = Ended { reason, usage, timings, drafts, evaluated };
                voice.end(&ended)?;
                return Ok(ended);
            }
            event => voice.event(&event)?,
        }
    }
    bail!("the answer ended without a reason, which is a fault of this program")
}

/// How an answer ended that Ctrl-C ended while the prompt was read: `done` of `total` new tokens.
fn cancelled(session: &Session, done: usize, total: usize, time: Duration) -> Ended {
    let (mut usage, mut timings) = (Usage::default(), Timings::default());
    usage.cached_tokens = session.len().saturating_sub(done);
    usage.prompt_tokens = usage.cached_tokens + total;
    timings.prompt = time;
    let (reason, drafts) = (Finish::Cancelled, DraftStats::default());
    Ended { reason, usage, timings, drafts, evaluated: done }
}

/// How a text is continued.
pub(crate) struct Continuation {
    pub(crate) sampler: Sampler,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) stop: Vec<String>,
    /// Log-probabilities of how many likeliest tokens are wanted.
    pub(crate) log_probabilities: Option<usize>,
}

/// Continues `prompt` in an empty session.
pub(crate) fn continue_text(
    session: &mut Session,
    prompt: &MediaPrompt,
    how: Continuation,
    voice: &mut Voice<'_>,
) -> Result<Ended> {
    let guard = Guard::new();
    let begun = Instant::now();
    let drafts_before = session.draft_stats();
    let is_read = evaluate(session, prompt)?;
    let (mut usage, mut timings) = (Usage::default(), Timings::default());
    usage.prompt_tokens = prompt.ids.len();
    timings.prompt = begun.elapsed();
    let evaluated = session.len();
    session.draft_until(evaluated.saturating_add(how.max_tokens.unwrap_or(usize::MAX)));
    let mut reason = Finish::Cancelled;
    if is_read {
        let mut words = Words { stop: StopStrings::new(&how.stop)?, strings: &how.stop, voice };
        let (mut sampler, tokenizer) = (how.sampler, session.model().clone());
        let mut splitter = Splitter::after(tokenizer.tokenizer(), &prompt.ids);
        sampler.begin_answer();
        reason = loop {
            if usage.completion_tokens >= how.max_tokens.unwrap_or(usize::MAX) {
                break Finish::MaxTokens;
            }
            if guard.stopped() {
                break Finish::Cancelled;
            }
            let logits = match how.log_probabilities.map(|_| session.logits().map(<[f32]>::to_vec))
            {
                Some(Err(Error::Cancelled { .. })) => break Finish::Cancelled,
                logits => logits.transpose().context("cannot generate the next token")?,
            };
            let token = match session.generate(&mut sampler).next() {
                Some(Err(Error::Cancelled { .. })) => break Finish::Cancelled,
                Some(token) => token.context("cannot generate the next token")?,
                None if session.stop() == Some(Stop::ContextFull) => break Finish::ContextFull,
                None => break Finish::EndOfTurn,
            };
            usage.completion_tokens += 1;
            let now = begun.elapsed();
            timings.rest = now - *timings.first.get_or_insert(now);
            if let Some((logits, count)) = logits.zip(how.log_probabilities) {
                words.voice.token(&log_probabilities(&logits, token, count)?)?;
            }
            let was_thinking = splitter.is_thinking();
            words.say(splitter.push(token))?;
            usage.thought_tokens += usize::from(was_thinking || splitter.is_thinking());
            if let Some(stop) = words.stopped() {
                break Finish::StopString(stop.clone());
            }
        };
        words.finish(splitter.finish())?;
    }
    let drafts = session.draft_stats().since(&drafts_before);
    let ended = Ended { reason, usage, timings, drafts, evaluated };
    voice.end(&ended)?;
    Ok(ended)
}

/// A text on its way out, up to the first string that ends it.
struct Words<'a, 'v, 't> {
    stop: StopStrings,
    strings: &'a [String],
    voice: &'v mut Voice<'t>,
}

impl Words<'_, '_, '_> {
    fn say(&mut self, piece: Option<Piece>) -> Result<()> {
        match piece {
            Some(Piece::Thought(thought)) => self.voice.think(&thought),
            // Nobody told the model of tools: its call is text.
            Some(Piece::Text(text) | Piece::ToolCall(text) | Piece::CutToolCall(text)) => {
                self.voice.say(self.stop.push(&text))
            }
            _ => Ok(()),
        }
    }

    /// The string that has ended the text.
    fn stopped(&self) -> Option<&String> {
        self.stop.stopped().map(|index| &self.strings[index])
    }

    fn finish(mut self, rest: Option<Piece>) -> Result<()> {
        self.say(rest)?;
        self.voice.say(self.stop.finish())
    }
}

/// Evaluates a prompt; false if Ctrl-C came first.
fn evaluate(session: &mut Session, prompt: &MediaPrompt) -> Result<bool> {
    let MediaPrompt { ids, media } = prompt;
    let mut bar = Progress::new("reading", Unit::Tokens);
    bar.set(0, ids.len() as u64);
    let pushed = session.push_with(Input::Filled { ids, media }, &mut |progress| {
        bar.set(progress.done as u64, progress.total as u64);
        ControlFlow::Continue(())
    });
    match pushed {
        Ok(()) => Ok(true),
        Err(Error::Cancelled { .. }) => Ok(false),
        Err(Error::Session(SessionError::ContextFull { wanted, context })) => {
            let limit = session.model().config().context;
            bail!(too_long(wanted, context, limit))
        }
        Err(e) => Err(e).context("cannot evaluate the prompt"),
    }
}

/// What to do about a prompt that does not fit.
pub(crate) fn too_long(tokens: usize, context: usize, limit: usize) -> String {
    if context < limit {
        format!(
            "the prompt has {tokens} tokens and the context {context}, --ctx N sets up to {limit}"
        )
    } else {
        format!("the prompt has {tokens} tokens and the model reads at most {limit}, shorten it")
    }
}

/// How fast an answer came, in one line for people.
pub(crate) fn speed_line(ended: &Ended) -> String {
    let Ended { usage, timings, evaluated, .. } = ended;
    let wanted = usage.prompt_tokens - usage.cached_tokens;
    let mut line = format!("prompt: {evaluated}");
    if *evaluated < wanted {
        let _ = write!(line, " of {wanted}");
    }
    line.push_str(" tokens");
    if let Some(rate) = rate(*evaluated, timings.prompt) {
        let _ = write!(line, ", {rate} tokens/s");
    }
    if let Some(first) = timings.first {
        let _ = write!(line, "; first token after {:.2} s", first.as_secs_f64());
    }
    let _ = write!(line, "; generated: {} tokens", usage.completion_tokens);
    if let Some(rate) = rate(usage.completion_tokens.saturating_sub(1), timings.rest) {
        let _ = write!(line, ", {rate} tokens/s");
    }
    line
}

/// What drafts were good for, in one line for people; `None` where there were no passes that could
/// have had some.
pub(crate) fn drafts_line(drafts: &DraftStats) -> Option<String> {
    let DraftStats { drafted, accepted, passes, .. } = drafts;
    let each = drafts.tokens_per_pass()?;
    Some(format!(
        "drafts: {accepted} of {drafted} tokens accepted; {each:.2} tokens a pass in {passes} passes"
    ))
}

/// How decoding read the weights of each format, in one line for people; `None` where nothing was
/// measured.
pub(crate) fn readings_line(readings: &[WeightReading]) -> Option<String> {
    let mut largest: Vec<&WeightReading> = Vec::new();
    for reading in readings.iter().filter(|reading| reading.tokens == 1) {
        match largest.iter_mut().find(|known| known.format == reading.format) {
            Some(known) if known.bytes < reading.bytes => *known = reading,
            Some(_) => (),
            None => largest.push(reading),
        }
    }
    let of_format = |reading: &&WeightReading| {
        let WeightReading { format, gb_s: [few, four], is_four, .. } = reading;
        match is_four {
            true => format!("{format} in four streams at {four:.1} GB/s (few: {few:.1})"),
            false => format!("{format} in few streams at {few:.1} GB/s (four: {four:.1})"),
        }
    };
    let formats: Vec<String> = largest.iter().map(of_format).collect();
    (!formats.is_empty()).then(|| format!("weights read: {}", formats.join(", ")))
}

/// Tokens per second with three digits; `None` where nothing was measured.
fn rate(tokens: usize, time: Duration) -> Option<String> {
    let rate = tokens as f64 / time.as_secs_f64();
    let decimals = if rate < 100.0 { 1 } else { 0 };
    (tokens > 0 && rate.is_finite()).then(|| format!("{rate:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use carat::Tokenizer;

    use super::*;

    fn ended(prompt: usize, cached: usize, evaluated: usize, tokens: usize) -> Ended {
        let (mut usage, mut timings) = (Usage::default(), Timings::default());
        (usage.prompt_tokens, usage.cached_tokens) = (prompt, cached);
        usage.completion_tokens = tokens;
        timings.prompt = Duration::from_millis(100);
        if tokens > 0 {
            timings.first = Some(Duration::from_millis(120));
            timings.rest = Duration::from_secs(2);
        }
        let (reason, drafts) = (Finish::EndOfTurn, DraftStats::default());
        Ended { reason, usage, timings, drafts, evaluated }
    }

    #[test]
    fn speed_counts_the_gaps_between_tokens() {
        let line = "prompt: 50 tokens, 500 tokens/s; first token after 0.12 s; \
                    generated: 21 tokens, 10.0 tokens/s";
        assert_eq!(speed_line(&ended(60, 10, 50, 21)), line);
        let broken = "prompt: 50 of 200 tokens, 500 tokens/s; generated: 0 tokens";
        assert_eq!(speed_line(&ended(200, 0, 50, 0)), broken);
    }

    #[test]
    fn drafts_are_counted_where_there_are_some() {
        let drafts = DraftStats { drafted: 50, accepted: 37, passes: 40, tokens: 77 };
        let line = "drafts: 37 of 50 tokens accepted; 1.93 tokens a pass in 40 passes";
        assert_eq!(drafts_line(&drafts).as_deref(), Some(line)); // 77 / 40 = 1.925
        assert_eq!(drafts_line(&DraftStats::default()), None);
    }

    #[test]
    fn of_each_format_the_largest_product_says_how_it_was_read() {
        let reading = |format, tokens, bytes, is_four, gb_s| WeightReading {
            format,
            tokens,
            bytes,
            is_four,
            gb_s,
        };
        let readings = [
            reading("Q4_0", 1, 1 << 20, false, [15.0, 14.0]),
            reading("Q4_0", 1, 1 << 25, true, [19.12, 28.57]),
            reading("Q4_0", 2, 1 << 26, true, [17.0, 25.0]),
            reading("Q6_K", 1, 1 << 29, false, [16.0, 15.96]),
        ];
        let line = "weights read: Q4_0 in four streams at 28.6 GB/s (few: 19.1), \
                    Q6_K in few streams at 16.0 GB/s (four: 16.0)";
        assert_eq!(readings_line(&readings).as_deref(), Some(line));
        assert_eq!(readings_line(&readings[2..3]), None);
    }

    #[test]
    fn speed_of_nothing_is_not_shown() {
        assert_eq!(speed_line(&ended(7, 7, 0, 0)), "prompt: 0 tokens; generated: 0 tokens");
    }

    #[test]
    fn the_answer_is_what_stands_outside_of_thoughts_up_to_a_stop_string() {
        let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data/tiny-s");
        let source = carat_gguf::Source::open(&kit.join("text-f32.gguf")).expect("tiny-s");
        let gguf = source.parse().expect("tiny-s parses");
        let tokenizer = Tokenizer::from_gguf(&gguf).expect("a vocabulary");
        let prompt = tokenizer.encode_prompt("<|turn>model\n<|channel>thought\nwell, ");
        let stops = ["no".to_owned()];
        let words = |said: &str| {
            let mut voice = Voice::new(&tokenizer, false);
            let stop = StopStrings::new(&stops).expect("a stop string");
            let mut words = Words { stop, strings: &stops, voice: &mut voice };
            let mut splitter = Splitter::after(&tokenizer, &prompt);
            for token in tokenizer.encode_prompt(said) {
                words.say(splitter.push(token)).unwrap();
            }
            let is_stopped = words.stopped().is_some();
            words.finish(splitter.finish()).unwrap();
            (voice.said().to_owned(), is_stopped)
        };
        let said = "no<channel|>yn<|channel>thought\no<channel|>n<|tool_call>f<tool_call|>n";
        assert_eq!(words(said), ("ynnfn".to_owned(), false));
        let said = "no<channel|>yes<|channel>thought\nno<channel|>no more";
        assert_eq!(words(said), ("yes".to_owned(), true));
    }
}
