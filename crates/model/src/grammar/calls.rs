//! The grammar of calls of tools.

use std::fmt::Write as _;

use crate::chat::{Tool, ToolChoice};
use crate::grammar::lark::{Spelling, Writer};
use crate::grammar::{GrammarError, large, limits};
use crate::tokenizer::Tokenizer;

/// The grammar, in Lark.
pub(super) fn grammar(
    tokenizer: &Tokenizer,
    tools: &[Tool],
    choice: &ToolChoice,
) -> Result<String, GrammarError> {
    large("tools", tools.len(), limits::TOOLS)?;
    let all: usize = tools.iter().map(|tool| tool.name.len()).sum();
    large("bytes of tools' names", all, limits::TEXT_BYTES)?;
    for (at, tool) in tools.iter().enumerate() {
        check_name(&tool.name)?;
        if tools[..at].iter().any(|other| other.name == tool.name) {
            return Err(refused(&tool.name, "another tool has that name; rename one"));
        }
    }
    let offered = match choice {
        ToolChoice::None => &[],
        ToolChoice::Auto | ToolChoice::Required => tools,
        ToolChoice::Named(name) => {
            let at = tools.iter().position(|tool| tool.name == *name);
            let at =
                at.ok_or_else(|| refused(name, "it is chosen but not declared; declare it"))?;
            &tools[at..=at]
        }
    };
    if offered.is_empty() {
        return match choice {
            ToolChoice::Required => Err(refused("", "a call is required and no tool declared")),
            _ => Ok(format!("start: TEXT?\n{TEXT}\n")),
        };
    }
    let token = |text| tokenizer.special(text).ok_or(GrammarError::NoToken { token: text });
    let (open, close, quote) = (token("<|tool_call>")?, token("<tool_call|>")?, token("<|\"|>")?);
    let start = match choice {
        ToolChoice::Auto | ToolChoice::None => "TEXT? call*",
        ToolChoice::Required => "call+",
        ToolChoice::Named(_) => "call",
    };
    let mut writer = Writer::new(Spelling::Call(quote));
    let mut options = String::new();
    for tool in offered {
        let what = format!("the parameters of {:?}", tool.name);
        let arguments = writer.schema(&tool.parameters, true, &what);
        let arguments = arguments.map_err(|error| match error {
            GrammarError::Unsatisfiable { .. } => error,
            other => refused(&tool.name, &other.to_string()),
        })?;
        let bar = if options.is_empty() { "" } else { " | " };
        write!(options, "{bar}\"call:{}\" {arguments}", tool.name)
            .expect("a string takes all text");
    }
    let rules = writer.finish();
    Ok(format!("start: {start}\n{TEXT}\ncall: <[{open}]> ({options}) <[{close}]>\n{rules}"))
}

/// Names stand bare before a brace.
fn check_name(name: &str) -> Result<(), GrammarError> {
    let is_bare = |c: char| {
        c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '$' | '@' | '+' | '#')
    };
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_bare) {
        let reason = "a name has up to 256 bytes of letters, digits and _-./:$@+#; rename it";
        return Err(refused(name, reason));
    }
    Ok(())
}

fn refused(name: &str, reason: &str) -> GrammarError {
    let name = name.chars().take(80).collect();
    GrammarError::Tool { name, reason: reason.to_owned() }
}

/// Bytes of a name.
const NAME_MAX: usize = 256;

/// What is said before the first call; special tokens are no text.
const TEXT: &str = "TEXT: /(?s:.+)/";
