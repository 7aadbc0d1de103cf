//! From the body of a request to what is to be answered, and to the form of the response.

use std::sync::Arc;

use carat::chat::{ChatTemplate, ToolChoice};
use carat::{Model, Role};
use serde_json::Value;

use crate::desk::Ask;
use crate::error::ApiError;
use crate::fields::{Fields, wrong};
use crate::media::Piece;
use crate::messages::{self, Turn};
use crate::options;

/// The form of a response.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape {
    /// Whether it comes piece by piece.
    pub(crate) stream: bool,
    /// Whether the last piece tells the number of tokens.
    pub(crate) usage: bool,
    /// Whether log-probabilities were asked for.
    pub(crate) logprobs: bool,
}

/// The value of a body. Nesting beyond serde_json's 128 levels is an error.
pub(crate) fn json(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is no JSON ({error}): send a JSON object");
        ApiError { param: None, ..ApiError::invalid("", message) }
    })
}

/// Reads a request to `/v1/chat/completions`, for a context of so many tokens.
pub(crate) fn chat(body: &[u8], model: &Model, context: usize) -> Result<(Ask, Shape), ApiError> {
    let value = json(body)?;
    let request = Fields::of(&value, "")?;
    let mut shape = shape(&request)?;
    let options = options::chat(&request, model)?;
    shape.logprobs = options.log_probabilities.is_some();
    let tools = options::tools(&request)?;
    if tools.is_empty() && !matches!(options.tool_choice, ToolChoice::Auto | ToolChoice::None) {
        let message = "tool_choice is given without tools: add them, or leave it out";
        return Err(ApiError::invalid("tool_choice", message));
    }
    let one_call = request.flag("parallel_tool_calls")? == Some(false);
    let turns = messages::read(&request, context)?;
    if turns.iter().all(|turn| turn.message.role == Role::System) {
        let message = "messages has nothing to answer: add a message of the user";
        return Err(ApiError::invalid("messages", message));
    }
    let ask = Ask { turns, tools, one_call, options, template: None };
    check_length(&ask, model, context)?;
    Ok((ask, shape))
}

/// Reads a request to `/v1/completions`: a text that is continued as it stands.
pub(crate) fn completion(
    body: &[u8],
    model: &Model,
    context: usize,
) -> Result<(Ask, Shape), ApiError> {
    let value = json(body)?;
    let request = Fields::of(&value, "")?;
    let mut shape = shape(&request)?;
    let mut options = options::common(&request)?;
    options.max_tokens = options.max_tokens.or(Some(MAX_TOKENS));
    options.log_probabilities = request.count("logprobs", 0..=5)?;
    options.loop_guard = false; // a text may repeat itself
    shape.logprobs = options.log_probabilities.is_some();
    request.count("best_of", 1..=1)?;
    for (key, is_wanted) in [
        ("echo", request.flag("echo")?.unwrap_or_default()),
        ("suffix", request.text("suffix")?.is_some_and(|suffix| !suffix.is_empty())),
    ] {
        if is_wanted {
            let message = format!("{key} is not supported: leave it out");
            return Err(ApiError::invalid(key, message));
        }
    }
    let text = match request.need("prompt")? {
        Value::String(text) => text.clone(),
        Value::Array(list) if list.len() == 1 && list[0].is_string() => {
            list[0].as_str().unwrap_or_default().to_owned()
        }
        other => return Err(wrong("prompt", other, "a string, or a list of one")),
    };
    let template = ChatTemplate::new(AS_IT_STANDS).map_err(carat::Error::from)?;
    let ask = Ask {
        turns: vec![Turn::user(vec![Piece::Text(text)])],
        tools: Vec::new(),
        one_call: false,
        options,
        template: Some(Arc::new(template)),
    };
    check_length(&ask, model, context)?;
    Ok((ask, shape))
}

fn shape(request: &Fields<'_>) -> Result<Shape, ApiError> {
    request.text("model")?;
    let stream = request.flag("stream")?.unwrap_or_default();
    let stream_options = request.object("stream_options")?;
    if stream_options.is_some() && !stream {
        let message = "stream_options is given without stream: set stream to true";
        return Err(ApiError::invalid("stream_options", message));
    }
    let usage = stream_options.map(|options| options.flag("include_usage")).transpose()?;
    Ok(Shape { stream, usage: usage.flatten().unwrap_or_default(), logprobs: false })
}

/// Refuses here what cannot fit, so that the scheduler, for whom all answers wait, does not read
/// megabytes in vain. What is a little too long, it refuses itself, with the exact number.
pub(crate) fn check_length(ask: &Ask, model: &Model, context: usize) -> Result<(), ApiError> {
    let calls = ask.turns.iter().flat_map(|turn| &turn.message.tool_calls);
    let thoughts = ask.turns.iter().map(|turn| turn.message.thought.len());
    let structured = ask
        .tools
        .iter()
        .map(|tool| tool.parameters.to_string().len())
        .chain(ask.tools.iter().map(|tool| tool.description.len()))
        .chain(calls.map(|(_, call)| call.json.len()))
        .chain(thoughts)
        .sum::<usize>();
    if structured > context.saturating_mul(BYTES_A_TOKEN) {
        let found = format!("{structured} bytes of tools, calls and thoughts");
        return Err(ApiError::too_long(found, context));
    }
    let pieces = || ask.turns.iter().flat_map(|turn| &turn.pieces);
    let texts = pieces().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text.trim()), // as templates do
        _ => None,
    });
    let media = pieces().map(Piece::media_tokens).sum::<usize>();
    // A token is at least a byte, so that shorter texts fit in any case.
    let mut tokens = media;
    if media + texts.clone().map(str::len).sum::<usize>() > context {
        for mut text in texts {
            while !text.is_empty() && tokens <= context {
                let (some, rest) = text.split_at(text.floor_char_boundary(SAMPLE_BYTES));
                // A cut may make a few tokens more.
                tokens += model.tokenizer().encode(some).len().saturating_sub(CUT_TOKENS);
                text = rest;
            }
        }
    }
    match tokens > context {
        true => Err(ApiError::too_long(format!("at least {tokens}"), context)),
        false => Ok(()),
    }
}

/// What is encoded at once to count tokens.
const SAMPLE_BYTES: usize = 1 << 16;

/// Tokens that a cut in a text may add.
const CUT_TOKENS: usize = 16;

/// More bytes of JSON than this cannot be read into one token.
const BYTES_A_TOKEN: usize = 64;

/// OpenAI's default for raw completions.
const MAX_TOKENS: usize = 16;

/// The template of a text that is continued as it stands.
const AS_IT_STANDS: &str = "{{ messages[0]['content'] }}";
