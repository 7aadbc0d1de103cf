//! How the gallery and its answers look: to a person, or with --json to a program.

use std::time::Duration;

use anyhow::{Context, Result};
use carat::audio::Clip;
use serde::Serialize;

use super::gallery::{File, Item, Kind};
use super::picture::{self, INDENT};
use super::screen::{BAD, BOLD, DIM, GOOD, SOUND, Screen};
use super::wave;
use crate::text::print;

/// Shows what happens.
pub(super) struct Show {
    is_json: bool,
    /// Whether pictures and recordings are drawn.
    draws: bool,
    screen: Screen,
}

/// An item and what came of it.
pub(super) struct Answered<'a> {
    pub(super) number: usize,
    pub(super) item: &'a Item,
    pub(super) answer: String,
    pub(super) is_right: bool,
    /// The time from the files to the end of the prompt.
    pub(super) read: Duration,
    /// The time from the first token of the answer to the last.
    pub(super) rest: Duration,
    pub(super) prompt_tokens: usize,
    pub(super) completion_tokens: usize,
}

/// All items together.
pub(super) struct Sum {
    pub(super) asked: usize,
    pub(super) right: usize,
    pub(super) of: usize,
    pub(super) time: Duration,
}

impl Show {
    pub(super) fn new(is_json: bool, draws: bool) -> Self {
        Self { is_json, draws, screen: Screen::of_stdout() }
    }

    /// An item that nothing is asked about.
    pub(super) fn listed(&self, number: usize, item: &Item) -> Result<()> {
        if self.is_json {
            return json(&Line::Listed { number, item });
        }
        let files = match &item.files[..] {
            [] => "text alone".to_owned(),
            files => files.join(", "),
        };
        let Item { question, expected, .. } = item;
        print(&format!("{number:>2}  {files}\n    {question}  ({expected})\n"))
    }

    /// Says what is about to speak.
    pub(super) fn introduction(&self) -> Result<()> {
        if self.is_json { Ok(()) } else { print(INTRODUCTION) }
    }

    /// An item before it is asked about.
    pub(super) fn item(&self, number: usize, item: &Item, files: &[File]) -> Result<()> {
        if self.is_json {
            return Ok(());
        }
        let mut lines = vec![String::new()];
        let number = self.screen.styled(&format!("{number:>2}"), BOLD);
        if files.is_empty() {
            lines.push(format!("{number}  text alone"));
        }
        for (i, file) in files.iter().enumerate() {
            let (description, drawn) = self.medium(file)?;
            let before = if i == 0 { &number } else { INDENT };
            lines.push(format!("{before}  {description}"));
            lines.extend(drawn);
        }
        lines.push(format!("{INDENT}  {}", self.screen.styled(&item.question, BOLD)));
        // The answer begins this line.
        print(&format!("{}\n{INDENT}  ", lines.join("\n")))
    }

    /// A piece of the answer.
    pub(super) fn piece(&self, text: &str) -> Result<()> {
        if self.is_json { Ok(()) } else { print(text) }
    }

    /// What the answer is worth.
    pub(super) fn answered(&self, answered: &Answered<'_>) -> Result<()> {
        if self.is_json {
            return json(&answered.line());
        }
        let (mark, word, style) = match answered.is_right {
            true => ("✓ ", "right".to_owned(), GOOD),
            false => ("✗ ", format!("wrong, {} is expected", answered.item.expected), BAD),
        };
        let mark = if self.screen.has_blocks { mark } else { "" };
        let word = self.screen.styled(&format!("{mark}{word}"), style);
        let speed = self.screen.styled(&answered.speed(), DIM);
        print(&format!("  {word}\n{INDENT}  {speed}\n"))
    }

    /// How it went, and what to do next.
    pub(super) fn sum(&self, sum: &Sum) -> Result<()> {
        let Sum { asked, right, of, time } = *sum;
        if self.is_json {
            let seconds = time.as_secs_f64();
            return json(&Line::Sum { model: MODEL, right, asked, of, seconds });
        }
        let cut =
            if asked < of { format!(" (interrupted, {of} were to come)") } else { String::new() };
        let result = format!("{right} of {asked} right in {:.1} s{cut}", time.as_secs_f64());
        let style = if asked > 0 && right == asked { GOOD } else { BOLD };
        // An answer that was cut has begun the line.
        let begin = if asked < of { "\n\n" } else { "\n" };
        print(&format!("{begin}{}\n{NEXT}", self.screen.styled(&result, style)))
    }

    /// What a file is, in a line, and its lines where it can be drawn.
    fn medium(&self, file: &File) -> Result<(String, Vec<String>)> {
        let cannot = || format!("cannot read {} of the gallery", file.name);
        match file.kind {
            Kind::Picture => {
                let picture = image::load_from_memory(file.bytes).with_context(cannot)?;
                let (name, width, height) = (file.name, picture.width(), picture.height());
                let description = format!("{name}, a picture of {width} x {height} pixels");
                let drawn =
                    if self.draws { picture::drawn(&picture, &self.screen) } else { Vec::new() };
                let indented = drawn.into_iter().map(|line| format!("{INDENT}{line}"));
                Ok((description, indented.collect()))
            }
            Kind::Sound => {
                let clip = Clip::decode(file.bytes).with_context(cannot)?;
                let description = format!("{}, a recording of {:.1} s", file.name, clip.seconds());
                Ok((description, self.wave(clip.samples())))
            }
        }
    }

    fn wave(&self, samples: &[f32]) -> Vec<String> {
        let columns = self.screen.width.saturating_sub(2 * INDENT.len() + 1).min(WAVE_MAX);
        if !self.draws || !self.screen.has_blocks || columns == 0 {
            return Vec::new();
        }
        let lines = wave::drawn(samples, columns).into_iter();
        let styled = |line: String| self.screen.styled(line.trim_end(), SOUND);
        lines.map(|line| format!("{INDENT}  {}", styled(line))).collect()
    }
}

impl Answered<'_> {
    /// Tokens of the answer a second; `None` where there is one token or none.
    fn rate(&self) -> Option<f64> {
        let seconds = self.rest.as_secs_f64();
        let between = self.completion_tokens.checked_sub(1).filter(|n| *n > 0 && seconds > 0.0)?;
        Some(between as f64 / seconds)
    }

    fn speed(&self) -> String {
        let read = self.read.as_secs_f64();
        let mut line = format!("{} tokens read in {read:.2} s", self.prompt_tokens);
        if let Some(rate) = self.rate() {
            line += &format!(", {} said at {rate:.0} tokens/s", self.completion_tokens);
        }
        line
    }

    fn line(&self) -> Line<'_> {
        Line::Item {
            number: self.number,
            item: self.item,
            answer: &self.answer,
            right: self.is_right,
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            prompt_seconds: self.read.as_secs_f64(),
            tokens_per_second: self.rate(),
        }
    }
}

/// A line of --json.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Listed {
        number: usize,
        #[serde(flatten)]
        item: &'a Item,
    },
    Item {
        number: usize,
        #[serde(flatten)]
        item: &'a Item,
        answer: &'a str,
        right: bool,
        prompt_tokens: usize,
        completion_tokens: usize,
        prompt_seconds: f64,
        tokens_per_second: Option<f64>,
    },
    Sum {
        model: &'static str,
        right: usize,
        asked: usize,
        of: usize,
        seconds: f64,
    },
}

fn json(line: &Line<'_>) -> Result<()> {
    let mut json = serde_json::to_string(line).context("cannot write JSON")?;
    json.push('\n');
    print(&json)
}

/// The most columns of a recording.
const WAVE_MAX: usize = 60;

/// What --json calls the model.
const MODEL: &str = "built-in toy";

const INTRODUCTION: &str = "\
A toy shows the engine: the model in this program has the
architecture of Gemma 4 12B and a thousandth of its size. This
project trained it on drawn scenes, spoken digits and a few
sentences, and it knows nothing else.
";

const NEXT: &str = "
What next:
  carat chat           talk with the toy, /image PATH
  carat pull 12b       fetch the real Gemma 4 12B, 7 GB
  carat chat 12b       and talk with that
  carat run --help     pictures, sound, JSON, tools, pipes
";
