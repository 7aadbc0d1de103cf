//! The messages of a request.

use carat::chat::ToolCall;
use carat::{Message, Role};
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::fields::{Fields, wrong};
use crate::media::{self, Piece};

/// A message whose media are not embedded yet.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// All but the content.
    pub(crate) message: Message,
    /// The content.
    pub(crate) pieces: Vec<Piece>,
}

impl Turn {
    /// What a user says.
    pub(crate) fn user(pieces: Vec<Piece>) -> Self {
        Self { message: Message::new(Role::User, Vec::new()), pieces }
    }
}

/// Reads `messages`. No sound may be longer than `context` tokens.
pub(crate) fn read(request: &Fields<'_>, context: usize) -> Result<Vec<Turn>, ApiError> {
    request.need("messages")?;
    let list = request.list("messages")?.unwrap_or_default();
    let turn = |(i, value)| turn(&Fields::of(value, format!("messages[{i}]"))?, context);
    list.iter().enumerate().map(turn).collect()
}

fn turn(fields: &Fields<'_>, context: usize) -> Result<Turn, ApiError> {
    let role = match fields.need_text("role")? {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => {
            let at = fields.at("role");
            let known = "system, developer, user, assistant and tool";
            let message = format!("{at} is {other:?}, known are {known}");
            return Err(ApiError::invalid(at, message));
        }
    };
    let mut message = Message::new(role, Vec::new());
    message.name = fields.text("name")?.map(str::to_owned);
    if role == Role::Assistant {
        message.thought = fields.text("reasoning_content")?.unwrap_or_default().to_owned();
        let calls = fields.list("tool_calls")?.unwrap_or_default().iter().enumerate();
        let at = fields.at("tool_calls");
        let call = |(i, value)| call(&Fields::of(value, format!("{at}[{i}]"))?);
        message.tool_calls = calls.map(call).collect::<Result<_, _>>()?;
    } else {
        fields.need("content")?;
    }
    if role == Role::Tool {
        message.tool_call_id = Some(fields.need_text("tool_call_id")?.to_owned());
    }
    Ok(Turn { message, pieces: content(fields, role, context)? })
}

/// A text, or a list of parts.
fn content(fields: &Fields<'_>, role: Role, context: usize) -> Result<Vec<Piece>, ApiError> {
    let at = fields.at("content");
    match fields.get("content") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Piece::Text(text.clone())]),
        Some(Value::Array(parts)) => {
            let part = |(i, value)| part(&Fields::of(value, format!("{at}[{i}]"))?, role, context);
            parts.iter().enumerate().map(part).collect()
        }
        Some(other) => Err(wrong(&at, other, "a string or a list of parts")),
    }
}

fn part(fields: &Fields<'_>, role: Role, context: usize) -> Result<Piece, ApiError> {
    match fields.need_text("type")? {
        "text" => Ok(Piece::Text(fields.need_text("text")?.to_owned())),
        "refusal" if role == Role::Assistant => {
            Ok(Piece::Text(fields.need_text("refusal")?.to_owned()))
        }
        "image_url" if role == Role::User => {
            fields.need("image_url")?;
            let at = fields.at("image_url");
            // Some clients write the URL where the object should be.
            if let Some(Value::String(url)) = fields.get("image_url") {
                return Ok(Piece::Picture(media::picture(url, None, &at)?));
            }
            let image = Fields::of(fields.need("image_url")?, at.clone())?;
            let (url, detail) = (image.need_text("url")?, image.text("detail")?);
            Ok(Piece::Picture(media::picture(url, detail, &at)?))
        }
        "input_audio" if role == Role::User => {
            let audio = Fields::of(fields.need("input_audio")?, fields.at("input_audio"))?;
            let clip = media::sound(audio.need_text("data")?, &audio.at("data"), context)?;
            Ok(Piece::Sound(clip))
        }
        other => {
            let at = fields.at("type");
            let wanted = match role {
                Role::User => "\"text\", \"image_url\" or \"input_audio\"",
                _ => "\"text\"",
            };
            let message =
                format!("{at} is {other:?}, {wanted} is wanted in a message of this role");
            Err(ApiError::invalid(at, message))
        }
    }
}

/// A call that the model made earlier.
fn call(fields: &Fields<'_>) -> Result<(String, ToolCall), ApiError> {
    let id = fields.need_text("id")?.to_owned();
    let function = Fields::of(fields.need("function")?, fields.at("function"))?;
    let name = function.need_text("name")?.to_owned();
    let json = function.text("arguments")?.unwrap_or_default();
    let json = if json.trim().is_empty() { "{}" } else { json }.to_owned();
    let arguments: Map<String, Value> = serde_json::from_str(&json).map_err(|error| {
        let at = function.at("arguments");
        let message = format!("{at} is no JSON object ({error}): send what the model wrote");
        ApiError::invalid(at, message)
    })?;
    Ok((id, ToolCall { name, arguments, json }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_one(message: Value) -> Result<Turn, ApiError> {
        let request = json!({ "messages": [message] });
        let mut turns = read(&Fields::of(&request, "").expect("an object"), 100)?;
        Ok(turns.remove(0))
    }

    #[test]
    fn roles_and_parts_are_read() {
        let turn = read_one(json!({ "role": "developer", "content": "be brief" })).expect("a turn");
        assert_eq!(turn.message.role, Role::System);
        let turn = read_one(json!({ "role": "assistant", "content": null, "tool_calls": [
            { "id": "a", "type": "function", "function": { "name": "f", "arguments": "{\"n\": 1}" } },
            { "id": "b", "type": "function", "function": { "name": "g", "arguments": "" } },
        ]}))
        .expect("a turn");
        let calls = &turn.message.tool_calls;
        assert_eq!((calls.len(), calls[0].1.arguments["n"].as_i64()), (2, Some(1)));
        assert!(turn.pieces.is_empty() && calls[1].1.arguments.is_empty());
        let parts = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }]);
        let turn = read_one(json!({ "role": "tool", "tool_call_id": "a", "content": parts }));
        let turn = turn.expect("a turn");
        assert_eq!((turn.pieces.len(), turn.message.tool_call_id.as_deref()), (2, Some("a")));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (message, param) in [
            (json!(1), "messages[0]"),
            (json!({}), "messages[0].role"),
            (json!({ "role": "robot", "content": "" }), "messages[0].role"),
            (json!({ "role": "user" }), "messages[0].content"),
            (json!({ "role": "user", "content": 5 }), "messages[0].content"),
            (json!({ "role": "user", "content": [{}] }), "messages[0].content[0].type"),
            (
                json!({ "role": "user", "content": [{ "type": "file" }] }),
                "messages[0].content[0].type",
            ),
            (
                json!({ "role": "user", "content": [{ "type": "text" }] }),
                "messages[0].content[0].text",
            ),
            (json!({ "role": "tool", "content": "x" }), "messages[0].tool_call_id"),
            (
                json!({ "role": "assistant", "tool_calls": [
                    { "id": "a", "function": { "name": "f", "arguments": "[1]" } }] }),
                "messages[0].tool_calls[0].function.arguments",
            ),
            (
                json!({ "role": "user", "content": [{ "type": "image_url",
                    "image_url": { "url": "http://x/y.png" } }] }),
                "messages[0].content[0].image_url",
            ),
        ] {
            let error = read_one(message.clone()).expect_err("an error");
            assert_eq!(error.param.as_deref(), Some(param), "{message}");
        }
    }
}
