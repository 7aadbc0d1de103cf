//! What a model says, on its way to whoever reads it: a person, or with --json a program.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use carat::sampler::{LogProbabilities, LogProbability};
use carat::{DraftStats, Event, Finish, Timings, TokenId, Tokenizer, Usage};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::text::{self, say};

/// Prints an answer as it comes, and keeps its text.
pub(crate) struct Voice<'t> {
    tokenizer: &'t Tokenizer,
    is_json: bool,
    /// Whether a terminal shows the text.
    is_shown: bool,
    /// Whether one shows the thoughts, and whether it can dim them.
    shows_thoughts: bool,
    dims: bool,
    /// Whether the last thing said was a part of a thought.
    is_thinking: bool,
    calls: usize,
    text: String,
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) reason: Finish,
    pub(crate) usage: Usage,
    pub(crate) timings: Timings,
    /// What drafts were good for.
    pub(crate) drafts: DraftStats,
    /// Tokens of the prompt that were evaluated: fewer than were wanted where Ctrl-C came first.
    pub(crate) evaluated: usize,
}

impl Ended {
    /// Whether nothing was said since Ctrl-C came first.
    pub(crate) fn before_first_token(&self) -> bool {
        self.reason == Finish::Cancelled && self.usage.completion_tokens == 0
    }
}

impl<'t> Voice<'t> {
    pub(crate) fn new(tokenizer: &'t Tokenizer, is_json: bool) -> Self {
        Self {
            tokenizer,
            is_json,
            is_shown: io::stdout().is_terminal(),
            shows_thoughts: io::stderr().is_terminal(),
            dims: io::stderr().is_terminal() && text::follows_escapes(),
            is_thinking: false,
            calls: 0,
            text: String::new(),
        }
    }

    /// The visible text so far, without thoughts.
    pub(crate) fn said(&self) -> &str {
        &self.text
    }

    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    /// Says what happened, unless it is the end.
    pub(crate) fn event(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Text(text) => self.say(text),
            Event::Thought(text) => self.think(text),
            Event::Token(token) => self.token(token),
            Event::ToolCall { id, name, json, .. } => self.call(id, name, json),
            Event::InvalidToolCall { text, reason } => {
                self.end_thought();
                match self.is_json {
                    true => print(&Line::InvalidToolCall { text, reason }),
                    false => self.shown(&format!("{text}\n")).map(|()| {
                        say!("carat: {}", text::visible(reason));
                    }),
                }
            }
            Event::Dropped(messages) => {
                match messages {
                    1 => say!("the oldest message is forgotten to make room"),
                    n => say!("the {n} oldest messages are forgotten to make room"),
                }
                if self.is_json { print(&Line::Dropped { messages: *messages }) } else { Ok(()) }
            }
            Event::ThoughtRepeated(_) => {
                self.end_thought();
                say!("the thought repeated itself and was ended");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Says a piece of the text.
    pub(crate) fn say(&mut self, text: &str) -> Result<()> {
        self.end_thought();
        match self.is_json {
            true if text.is_empty() => Ok(()),
            true => {
                self.text.push_str(text);
                print(&Line::Text { text })
            }
            false => self.shown(text),
        }
    }

    /// Says a piece of a thought: it is shown on the way, and nothing is lost where nobody can see
    /// it.
    pub(crate) fn think(&mut self, text: &str) -> Result<()> {
        if self.is_json {
            return if text.is_empty() { Ok(()) } else { print(&Line::Thought { text }) };
        }
        self.is_thinking = true;
        let (on, off) = if self.dims { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let text = if self.shows_thoughts { text::visible(text) } else { text.into() };
        let _ = write!(io::stderr(), "{on}{text}{off}");
        Ok(())
    }

    /// Tells how likely a token was.
    pub(crate) fn token(&mut self, token: &LogProbabilities) -> Result<()> {
        if !self.is_json {
            return Ok(());
        }
        let line = |token: &LogProbability| TokenLine {
            id: token.token,
            text: self.tokenizer.decode(&[token.token], false),
            // JSON has no infinities: nothing is said of what was impossible.
            logprob: Some(token.log_probability).filter(|p| p.is_finite()),
        };
        let top = token.likeliest.iter().map(line).collect();
        print(&Line::Token { token: line(&token.chosen), top })
    }

    fn call(&mut self, id: &str, name: &str, arguments: &str) -> Result<()> {
        self.end_thought();
        self.calls += 1;
        if !self.is_json {
            return self.shown(&format!("{name}({arguments})\n"));
        }
        // A line break between two tokens of JSON is a blank like others.
        let arguments = RawValue::from_string(arguments.replace('\n', " "))?;
        print(&Line::ToolCall { id, name, arguments: &arguments })
    }

    /// Says how the answer ended.
    pub(crate) fn end(&mut self, ended: &Ended) -> Result<()> {
        self.end_thought();
        if self.calls > 0 && !self.is_json {
            say!(
                "carat: the model calls tools and waits for what they give: nobody runs them here"
            );
        }
        if let Finish::Repetition(_) = ended.reason {
            say!("the answer repeated itself and was ended");
        }
        if self.is_json { print(&done(ended)) } else { Ok(()) }
    }

    fn shown(&mut self, text: &str) -> Result<()> {
        self.text.push_str(text);
        match self.is_shown {
            true => text::print(&text::visible(text)),
            false => text::print(text),
        }
    }

    /// Lets what follows a thought begin a line.
    fn end_thought(&mut self) {
        if std::mem::take(&mut self.is_thinking) {
            say!();
        }
    }
}

/// A line of --json.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Text {
        text: &'a str,
    },
    Thought {
        text: &'a str,
    },
    Token {
        #[serde(flatten)]
        token: TokenLine,
        top: Vec<TokenLine>,
    },
    ToolCall {
        id: &'a str,
        name: &'a str,
        arguments: &'a RawValue,
    },
    InvalidToolCall {
        text: &'a str,
        reason: &'a str,
    },
    Dropped {
        messages: usize,
    },
    Done {
        reason: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop_string: Option<&'a str>,
        usage: UsageLine,
        timings: TimingsLine,
        #[serde(skip_serializing_if = "Option::is_none")]
        drafts: Option<DraftStats>,
    },
}

#[derive(Serialize)]
struct TokenLine {
    id: TokenId,
    text: String,
    logprob: Option<f64>,
}

#[derive(Serialize)]
struct UsageLine {
    prompt_tokens: usize,
    cached_tokens: usize,
    completion_tokens: usize,
    thought_tokens: usize,
}

/// Seconds.
#[derive(Serialize)]
struct TimingsLine {
    /// From the beginning to the end of the prompt.
    prompt: f64,
    /// From the beginning to the first token.
    first_token: Option<f64>,
    /// From the first token to the last.
    rest: f64,
}

fn done(ended: &Ended) -> Line<'_> {
    let Ended { reason, usage, timings, drafts, .. } = ended;
    let mut stop_string = None;
    let reason = match reason {
        Finish::ToolCalls => "tool_calls",
        Finish::StopString(text) => {
            stop_string = Some(text.as_str());
            "stop_string"
        }
        Finish::MaxTokens => "length",
        Finish::ContextFull => "context",
        Finish::Repetition(_) => "repetition",
        Finish::Cancelled => "cancelled",
        _ => "stop",
    };
    let usage = UsageLine {
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: usage.cached_tokens,
        completion_tokens: usage.completion_tokens,
        thought_tokens: usage.thought_tokens,
    };
    let timings = TimingsLine {
        prompt: timings.prompt.as_secs_f64(),
        first_token: timings.first.map(|first| first.as_secs_f64()),
        rest: timings.rest.as_secs_f64(),
    };
    let drafts = (drafts.passes > 0).then_some(*drafts);
    Line::Done { reason, stop_string, usage, timings, drafts }
}

/// Prints a line of its own.
fn print(line: &Line<'_>) -> Result<()> {
    let mut json = serde_json::to_string(line).context("cannot write JSON")?;
    json.push('\n');
    text::print(&json)
}
