//! One answer of the model: evaluate what is new, then stream tokens until something ends it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use carat::reply::{Piece, Splitter, StopStrings};
use carat::{
    Embedding, Error, Input, MediaPrompt, Sampler, Session, SessionError, Stop, TokenId, Tokenizer,
};

use crate::interrupt::Guard;
use crate::progress::{Progress, Unit};
use crate::text::{self, say};

/// What came out of an answer.
pub(crate) struct Reply {
    /// The visible text, without thoughts.
    pub(crate) text: String,
    pub(crate) end: End,
    pub(crate) speed: Speed,
}

/// Why an answer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The model said so.
    Model,
    /// A stop string, which is no part of the text.
    StopString,
    /// As many tokens as were asked for.
    MaxTokens,
    /// No room is left in the context.
    ContextFull,
    /// Ctrl-C.
    Interrupted,
}

/// How fast an answer came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Speed {
    /// Tokens of the prompt that had to be evaluated.
    pub(crate) prompt_wanted: usize,
    /// Those that were, fewer where Ctrl-C came first, and the time they took.
    pub(crate) prompt_tokens: usize,
    pub(crate) prompt: Duration,
    /// From the start of the prompt to the first token; `None` where none came.
    pub(crate) first: Option<Duration>,
    /// Tokens generated, and the time from the first to the last.
    pub(crate) tokens: usize,
    pub(crate) rest: Duration,
}

/// Answers `prompt`, the tokens of everything said so far. What the session already holds of it
/// is kept; `shown` are the media it holds, and afterwards those of the prompt. Text goes to
/// standard output as it comes, up to the first string of `stop`; thoughts to standard error.
pub(crate) fn reply(
    session: &mut Session,
    sampler: &mut Sampler,
    tokenizer: &Tokenizer,
    prompt: &MediaPrompt,
    shown: &mut Vec<Embedding>,
    max_tokens: Option<usize>,
    stop: StopStrings,
) -> Result<Reply> {
    let guard = Guard::new();
    let mut speed = Speed::default();
    let begun = Instant::now();
    let (kept, media_kept) = keep_common(session, prompt, shown)?;
    speed.prompt_wanted = prompt.ids.len() - kept;
    shown.clone_from(&prompt.media);
    let (ids, media) = (&prompt.ids[kept..], &prompt.media[media_kept..]);
    let evaluated = evaluate(session, ids, media)?;
    speed.prompt = begun.elapsed();
    speed.prompt_tokens = session.tokens().len() - kept;
    let mut voice = Voice::new(tokenizer, &prompt.ids, stop);
    if !evaluated {
        return Ok(Reply { text: voice.text, end: End::Interrupted, speed });
    }
    let mut end = None;
    sampler.begin_answer();
    let mut tokens = session.generate(sampler);
    let max_tokens = max_tokens.unwrap_or(usize::MAX);
    while speed.tokens < max_tokens {
        if guard.stopped() {
            end = Some(End::Interrupted);
            break;
        }
        let token = match tokens.next() {
            None => break,
            Some(Err(Error::Cancelled { .. })) => {
                end = Some(End::Interrupted);
                break;
            }
            Some(token) => token.context("cannot generate the next token")?,
        };
        voice.say(token)?;
        speed.tokens += 1;
        let now = begun.elapsed();
        speed.rest = now - *speed.first.get_or_insert(now);
        if voice.is_stopped() {
            end = Some(End::StopString);
            break;
        }
    }
    voice.finish()?;
    let end = end.unwrap_or_else(|| match session.stop() {
        Some(Stop::EndOfGeneration(_)) => End::Model,
        Some(Stop::ContextFull) => End::ContextFull,
        None => End::MaxTokens,
    });
    Ok(Reply { text: voice.text, end, speed })
}

impl Speed {
    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("prompt: {}", self.prompt_tokens);
        if self.prompt_tokens < self.prompt_wanted {
            let _ = write!(line, " of {}", self.prompt_wanted);
        }
        line.push_str(" tokens");
        if let Some(rate) = rate(self.prompt_tokens, self.prompt) {
            let _ = write!(line, ", {rate} tokens/s");
        }
        if let Some(first) = self.first {
            let _ = write!(line, "; first token after {:.2} s", first.as_secs_f64());
        }
        let _ = write!(line, "; generated: {} tokens", self.tokens);
        if let Some(rate) = rate(self.tokens.saturating_sub(1), self.rest) {
            let _ = write!(line, ", {rate} tokens/s");
        }
        line
    }
}

/// Takes back what the session holds beyond its common beginning with `prompt`, and returns how
/// many tokens and media that beginning has. At least one token is left to evaluate: its logits
/// start the answer.
fn keep_common(
    session: &mut Session,
    prompt: &MediaPrompt,
    shown: &[Embedding],
) -> Result<(usize, usize)> {
    let most = prompt.ids.len().saturating_sub(1);
    let pairs = session.tokens().iter().zip(&prompt.ids);
    let mut common = pairs.take_while(|(a, b)| a == b).count().min(most);
    let mut media = 0;
    for (place, medium) in prompt.places(session.model())?.into_iter().zip(&prompt.media) {
        if place.start >= common {
            break;
        }
        // Pictures of one size have the same tokens. A medium is kept with the token after it.
        if shown.get(media) != Some(medium) || common <= place.end {
            common = place.start;
            break;
        }
        media += 1;
    }
    match session.truncate(common) {
        Ok(()) => Ok((common, media)),
        Err(Error::Session(SessionError::Rollback { .. })) => {
            session.truncate(0).context("cannot start the session anew")?;
            Ok((0, 0))
        }
        Err(e) => Err(e).context("cannot go back in the session"),
    }
}

/// Evaluates `tokens`; false if Ctrl-C came first.
fn evaluate(session: &mut Session, ids: &[TokenId], media: &[Embedding]) -> Result<bool> {
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

/// Prints the answer as it comes, and keeps the visible part.
struct Voice<'t> {
    splitter: Splitter<'t>,
    stop: StopStrings,
    text: String,
    dim: bool,
}

impl<'t> Voice<'t> {
    fn new(tokenizer: &'t Tokenizer, prompt: &[TokenId], stop: StopStrings) -> Self {
        let splitter = Splitter::after(tokenizer, prompt);
        Self { splitter, stop, text: String::new(), dim: io::stderr().is_terminal() }
    }

    fn say(&mut self, token: TokenId) -> Result<()> {
        self.give(|splitter| splitter.push(token))
    }

    /// Whether a stop string has ended the answer.
    fn is_stopped(&self) -> bool {
        self.stop.stopped().is_some()
    }

    fn finish(&mut self) -> Result<()> {
        self.give(Splitter::finish)?;
        let rest = self.stop.finish();
        self.text.push_str(rest);
        text::print(rest)
    }

    fn give(&mut self, next: impl FnOnce(&mut Splitter<'t>) -> Option<Piece>) -> Result<()> {
        let was_thinking = self.splitter.is_thinking();
        match next(&mut self.splitter) {
            Some(Piece::Thought(thought)) => {
                // Thoughts are shown on the way; nothing is lost where nobody can see them.
                let (on, off) = if self.dim { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
                let _ = write!(io::stderr(), "{on}{thought}{off}");
            }
            // Nobody here can call a tool: the person is shown what the model wanted.
            Some(Piece::Text(said) | Piece::ToolCall(said) | Piece::CutToolCall(said)) => {
                let said = self.stop.push(&said);
                self.text.push_str(said);
                text::print(said)?;
            }
            _ => {}
        }
        // What follows a thought begins a line.
        if was_thinking && !self.splitter.is_thinking() {
            say!();
        }
        Ok(())
    }
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

    use super::*;

    #[test]
    fn speed_counts_the_gaps_between_tokens() {
        let speed = Speed {
            prompt_wanted: 50,
            prompt_tokens: 50,
            prompt: Duration::from_millis(100),
            first: Some(Duration::from_millis(120)),
            tokens: 21,
            rest: Duration::from_secs(2),
        };
        let line = "prompt: 50 tokens, 500 tokens/s; first token after 0.12 s; \
                    generated: 21 tokens, 10.0 tokens/s";
        assert_eq!(speed.line(), line);
        let broken = Speed { prompt_wanted: 200, first: None, tokens: 0, ..speed };
        assert_eq!(broken.line(), "prompt: 50 of 200 tokens, 500 tokens/s; generated: 0 tokens");
    }

    #[test]
    fn speed_of_nothing_is_not_shown() {
        assert_eq!(Speed::default().line(), "prompt: 0 tokens; generated: 0 tokens");
    }

    #[test]
    fn the_answer_is_what_stands_outside_of_thoughts_up_to_a_stop_string() {
        let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data/tiny-s");
        let source = carat_gguf::Source::open(&kit.join("text-f32.gguf")).expect("tiny-s");
        let gguf = source.parse().expect("tiny-s parses");
        let tokenizer = Tokenizer::from_gguf(&gguf).expect("a vocabulary");
        let prompt = tokenizer.encode_prompt("<|turn>model\n<|channel>thought\nwell, ");
        let stop = StopStrings::new(&["no"]).expect("a stop string");
        let mut voice = Voice::new(&tokenizer, &prompt, stop);
        let said = "no<channel|>yn<|channel>thought\no<channel|>n<|tool_call>f<tool_call|>n";
        for token in tokenizer.encode_prompt(said) {
            voice.say(token).unwrap();
        }
        assert_eq!((voice.text.as_str(), voice.is_stopped()), ("ynnf", false));
        voice.finish().unwrap();
        assert_eq!(voice.text, "ynnfn");
        let said = "yes<|channel>thought\nno<channel|>no more";
        for token in tokenizer.encode_prompt(said) {
            voice.say(token).unwrap();
        }
        assert!(voice.is_stopped());
        voice.finish().unwrap();
        assert_eq!(voice.text, "ynnfnyes");
    }
}
