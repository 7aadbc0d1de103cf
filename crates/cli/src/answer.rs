//! The options that say what an answer is to be and how it is shown, read before the model is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use carat::{AnswerOptions, Grammar, GrammarEnv, Overflow, Thinking, Tool, ToolChoice};
use clap::Args;

use crate::chosen::Chosen;
use crate::{Usage, load};

/// What an answer is to be.
#[derive(Debug, Args)]
#[command(next_help_heading = "Answer")]
pub(crate) struct AnswerArgs {
    /// Let the model think first, at most BUDGET tokens if that is given; thoughts go to standard
    /// error
    #[arg(long, value_name = "BUDGET", num_args = 0..=1, require_equals = true)]
    think: Option<Option<usize>>,
    /// Answer with JSON that satisfies the JSON Schema in FILE
    #[arg(long, value_name = "FILE", group = "format")]
    schema: Option<PathBuf>,
    /// Answer with text that EXPR matches as a whole
    #[arg(long, value_name = "EXPR", group = "format", allow_hyphen_values = true)]
    regex: Option<String>,
    /// Answer with text of the Lark grammar in FILE
    #[arg(long, value_name = "FILE", group = "format")]
    lark: Option<PathBuf>,
    /// Offer the tools in FILE, a JSON array as OpenAI's API takes it; nobody runs them here
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// Whether tools are called: auto, none, required, or the name of the one to call
    #[arg(long, value_name = "CHOICE")]
    tool_choice: Option<String>,
    /// Print one JSON object a line: text, thoughts and tool calls as they come, then usage
    #[arg(long)]
    pub(crate) json: bool,
    /// Print each token's log-probability and those of the N likeliest ones as well
    #[arg(long, value_name = "N", requires = "json", value_parser = log_probabilities)]
    pub(crate) logprobs: Option<usize>,
    /// Forget the oldest turns once the context is full, instead of stopping
    #[arg(long)]
    drop_oldest: bool,
    /// Go on with the conversation in FILE if it exists, and save it there at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) session: Option<PathBuf>,
}

/// What was read for these options.
pub(crate) struct Wanted {
    format: Option<Arc<Grammar>>,
    pub(crate) tools: Vec<Tool>,
    choice: ToolChoice,
    pub(crate) thinking: Thinking,
    overflow: Overflow,
    log_probabilities: Option<usize>,
}

impl AnswerArgs {
    /// The first option that makes sense in a conversation only.
    pub(crate) fn of_conversations(&self) -> Option<&'static str> {
        let given = [
            (self.think.is_some(), "--think"),
            (self.schema.is_some(), "--schema"),
            (self.regex.is_some(), "--regex"),
            (self.lark.is_some(), "--lark"),
            (self.tools.is_some(), "--tools"),
            (self.drop_oldest, "--drop-oldest"),
            (self.session.is_some(), "--session"),
        ];
        given.into_iter().find_map(|(is_given, name)| is_given.then_some(name))
    }

    /// Reads the files and compiles the grammars, for which the vocabulary of `model` is enough.
    pub(crate) fn read(&self, model: &Chosen) -> Result<Wanted> {
        let tools = self.tools.as_deref().map(tools).transpose()?.unwrap_or_default();
        let choice = match self.tool_choice.as_deref() {
            None | Some("auto") => ToolChoice::Auto,
            Some("none") => ToolChoice::None,
            Some("required") => ToolChoice::Required,
            // Whether a saved conversation has such a tool is known once it is read.
            Some(name) if tools.is_empty() => ToolChoice::Named(name.to_owned()),
            Some(name) => named(name, &tools)?,
        };
        if self.tool_choice.is_some() && self.tools.is_none() && self.session.is_none() {
            bail!(Usage("--tool-choice chooses among --tools: name their file".to_owned()));
        }
        let has_format = self.schema.is_some() || self.regex.is_some() || self.lark.is_some();
        if has_format && !tools.is_empty() && choice != ToolChoice::None {
            bail!(Usage(
                "an answer has a format or calls tools: leave one of them out, or add \
                 --tool-choice none"
                    .to_owned()
            ));
        }
        let source = self.format()?;
        let mut format = None;
        if source.is_some() || !tools.is_empty() {
            let env = GrammarEnv::new(Arc::new(load::tokenizer(model)?))?;
            if !tools.is_empty() {
                Grammar::tools(&env, &tools, &choice).context("cannot offer the tools")?;
            }
            format = source.map(|source| source.compile(&env)).transpose()?;
        }
        Ok(Wanted {
            format: format.map(Arc::new),
            tools,
            choice,
            thinking: match self.think {
                None => Thinking::Off,
                Some(None) => Thinking::On,
                Some(Some(tokens)) => Thinking::Budget(tokens),
            },
            overflow: if self.drop_oldest { Overflow::DropOldest } else { Overflow::Error },
            log_probabilities: self.logprobs,
        })
    }
}

impl AnswerArgs {
    /// The format that is wanted, of which there is one at most.
    fn format(&self) -> Result<Option<Format<'_>>> {
        Ok(if let Some(path) = &self.schema {
            Some(Format::Schema(path, schema(path)?))
        } else if let Some(path) = &self.lark {
            Some(Format::Lark(path, load::text(path)?))
        } else {
            self.regex.as_deref().map(Format::Regex)
        })
    }
}

/// What an answer must be, and where that stands.
enum Format<'a> {
    Schema(&'a Path, serde_json::Value),
    Regex(&'a str),
    Lark(&'a Path, String),
}

impl Format<'_> {
    fn compile(&self, env: &GrammarEnv) -> Result<Grammar> {
        let about = |path: &Path| format!("cannot use {}", path.display());
        match self {
            Self::Schema(path, schema) => {
                Grammar::json_schema_value(env, schema).with_context(|| about(path))
            }
            Self::Regex(regex) => Grammar::regex(env, regex).context("cannot use --regex"),
            Self::Lark(path, text) => Grammar::lark(env, text).with_context(|| about(path)),
        }
    }
}

impl Wanted {
    /// The options of an answer with these settings.
    pub(crate) fn options(&self) -> AnswerOptions {
        AnswerOptions {
            thinking: self.thinking,
            tool_choice: self.choice.clone(),
            format: self.format.clone(),
            log_probabilities: self.log_probabilities,
            overflow: self.overflow,
            ..AnswerOptions::default()
        }
    }
}

fn schema(path: &Path) -> Result<serde_json::Value> {
    serde_json::from_str(&load::text(path)?)
        .with_context(|| format!("cannot use {}, a JSON Schema is wanted", path.display()))
}

fn tools(path: &Path) -> Result<Vec<Tool>> {
    let tools: Vec<Tool> = serde_json::from_str(&load::text(path)?).with_context(|| {
        format!("cannot use {}, a JSON array of tools is wanted", path.display())
    })?;
    if tools.is_empty() {
        bail!("{} has no tools: name one at least, or leave --tools out", path.display());
    }
    Ok(tools)
}

fn named(name: &str, tools: &[Tool]) -> Result<ToolChoice> {
    let names: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
    match names.contains(&name) {
        true => Ok(ToolChoice::Named(name.to_owned())),
        false => bail!(Usage(format!(
            "--tool-choice is {name}: auto, none, required or one of the tools is wanted ({})",
            names.join(", ")
        ))),
    }
}

fn log_probabilities(text: &str) -> Result<usize, String> {
    let most = carat::sampler::LIKELIEST_MAX;
    match text.parse() {
        Ok(n) if n <= most => Ok(n),
        Ok(_) => Err(format!("it must be at most {most}")),
        Err(e) => Err(format!("{e}")),
    }
}
