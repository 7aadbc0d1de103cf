//! How an answer is given, from the fields of a request.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use carat::chat::{Tool, ToolChoice};
use carat::{AnswerOptions, Grammar, Model, SamplerConfig, Thinking, TokenId};
use serde_json::Value;

use crate::error::ApiError;
use crate::fields::{Fields, whole, wrong};

/// Reads what chats and raw completions share: how tokens are chosen, and what ends the answer.
pub(crate) fn common(request: &Fields<'_>) -> Result<AnswerOptions, ApiError> {
    request.count("n", 1..=1)?;
    let mut options = AnswerOptions { sampling: sampling(request)?, ..AnswerOptions::default() };
    options.max_tokens = request.count("max_tokens", 0..=usize::MAX)?;
    options.stop = match request.get("stop") {
        None => Vec::new(),
        Some(Value::String(stop)) => vec![stop.clone()],
        Some(Value::Array(list)) if list.len() <= STOP_MAX => {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let wanted = "a string or a list of strings";
            list.iter()
                .map(|v| text(v).ok_or_else(|| wrong("stop", v, wanted)))
                .collect::<Result<_, _>>()?
        }
        Some(Value::Array(list)) => {
            let message =
                format!("stop has {} strings, at most {STOP_MAX} are possible", list.len());
            return Err(ApiError::invalid("stop", message));
        }
        Some(other) => return Err(wrong("stop", other, "a string or a list of strings")),
    };
    Ok(options)
}

/// Reads what only chats have.
pub(crate) fn chat(request: &Fields<'_>, model: &Model) -> Result<AnswerOptions, ApiError> {
    let mut options = common(request)?;
    let newer = request.count("max_completion_tokens", 0..=usize::MAX)?;
    options.max_tokens = newer.or(options.max_tokens);
    options.thinking = match request.text("reasoning_effort")? {
        None | Some("none") => Thinking::Off,
        Some("minimal" | "low" | "medium" | "high" | "xhigh") => Thinking::On,
        Some(other) => {
            let message = format!(
                "reasoning_effort is {other:?}, none, minimal, low, medium, high and xhigh are known"
            );
            return Err(ApiError::invalid("reasoning_effort", message));
        }
    };
    let with = request.flag("logprobs")?.unwrap_or_default();
    let likeliest = request.count("top_logprobs", 0..=20)?;
    options.log_probabilities = with.then(|| likeliest.unwrap_or_default());
    if likeliest.is_some_and(|n| n > 0) && !with {
        let message = "top_logprobs is given without logprobs: set logprobs to true";
        return Err(ApiError::invalid("top_logprobs", message));
    }
    options.format = format(request, model)?;
    if let Some(choice) = request.get("tool_choice") {
        options.tool_choice = ToolChoice::try_from(choice.clone())
            .map_err(|error| ApiError::invalid("tool_choice", error.to_string()))?;
    }
    Ok(options)
}

/// What the model may call.
pub(crate) fn tools(request: &Fields<'_>) -> Result<Vec<Tool>, ApiError> {
    let tools = request.list("tools")?.unwrap_or_default().iter().enumerate();
    let tool = |(i, value): (usize, &Value)| {
        let refused = |error: carat::chat::ToolError| {
            let at = format!("tools[{i}]");
            ApiError::invalid(at.clone(), format!("{at}: {error}"))
        };
        Tool::try_from(value.clone()).map_err(refused)
    };
    tools.map(tool).collect()
}

/// What the answer must be.
fn format(request: &Fields<'_>, model: &Model) -> Result<Option<Arc<Grammar>>, ApiError> {
    let Some(format) = request.object("response_format")? else { return Ok(None) };
    let refused = |error: carat::GrammarError| {
        ApiError::invalid("response_format", format!("response_format: {error}"))
    };
    let grammar = match format.need_text("type")? {
        "text" => return Ok(None),
        "json_object" => Grammar::json_object(model.grammar_env()?),
        "json_schema" => {
            let named = format.need("json_schema")?;
            let named = Fields::of(named, format.at("json_schema"))?;
            Grammar::json_schema_value(model.grammar_env()?, named.need("schema")?)
        }
        other => {
            let at = format.at("type");
            let message = format!("{at} is {other:?}, text, json_object and json_schema are known");
            return Err(ApiError::invalid(at, message));
        }
    };
    Ok(Some(Arc::new(grammar.map_err(refused)?)))
}

/// OpenAI's settings in their ranges, and three more that local servers have.
fn sampling(request: &Fields<'_>) -> Result<SamplerConfig, ApiError> {
    let advised = SamplerConfig::gemma();
    let seed = request.read("seed", "a whole number", whole)?;
    Ok(SamplerConfig {
        temperature: request.number("temperature", 0.0..=2.0)?.unwrap_or(advised.temperature),
        // 0 is allowed and means the likeliest token, as the least positive number does.
        top_p: request.number("top_p", 0.0..=1.0)?.unwrap_or(advised.top_p).max(f32::MIN_POSITIVE),
        top_k: request.count("top_k", 0..=usize::MAX)?.unwrap_or(advised.top_k),
        min_p: request.number("min_p", 0.0..=1.0)?.unwrap_or(advised.min_p),
        repetition_penalty: request.number("repetition_penalty", 0.01..=100.0)?.unwrap_or(1.0),
        frequency_penalty: request.number("frequency_penalty", -2.0..=2.0)?.unwrap_or_default(),
        presence_penalty: request.number("presence_penalty", -2.0..=2.0)?.unwrap_or_default(),
        logit_bias: logit_bias(request)?,
        seed: seed.map_or_else(random, |seed| seed as u64),
        ..advised
    })
}

fn logit_bias(request: &Fields<'_>) -> Result<Vec<(TokenId, f32)>, ApiError> {
    let Some(bias) = request.get("logit_bias") else { return Ok(Vec::new()) };
    let wanted = "an object with numbers from -100 to 100 by token ids";
    let wrong = |value: &Value| wrong("logit_bias", value, wanted);
    let object = bias.as_object().ok_or_else(|| wrong(bias))?;
    let pair = |(key, value): (&String, &Value)| {
        let id = key.parse().map_err(|_| wrong(&Value::from(key.as_str())))?;
        let number = value.as_f64().filter(|number| (-100.0..=100.0).contains(number));
        Ok((id, number.ok_or_else(|| wrong(value))? as f32))
    };
    object.iter().map(pair).collect()
}

/// A number that nobody can know beforehand: the keys of a hash map are.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// More strings that end an answer are a mistake.
const STOP_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_read_and_ranges_are_kept() {
        let request = json!({ "temperature": 0, "top_p": 0, "stop": "x", "seed": -1,
            "logit_bias": { "5": -100, "7": 1.5 }, "max_tokens": 9, "unknown": [] });
        let options = common(&Fields::of(&request, "").expect("an object")).expect("options");
        assert_eq!((options.max_tokens, options.stop), (Some(9), vec!["x".to_owned()]));
        assert_eq!(options.sampling.logit_bias, [(5, -100.0), (7, 1.5)]);
        assert_eq!((options.sampling.seed, options.sampling.temperature), (u64::MAX, 0.0));
        assert!(options.sampling.top_p > 0.0);
        for (request, param) in [
            (json!({ "n": 2 }), "n"),
            (json!({ "temperature": 2.1 }), "temperature"),
            (json!({ "temperature": "hot" }), "temperature"),
            (json!({ "stop": [1] }), "stop"),
            (json!({ "stop": {} }), "stop"),
            (json!({ "logit_bias": { "x": 1 } }), "logit_bias"),
            (json!({ "logit_bias": { "1": 101 } }), "logit_bias"),
            (json!({ "logit_bias": [] }), "logit_bias"),
            (json!({ "max_tokens": -1 }), "max_tokens"),
            (json!({ "seed": 1.5 }), "seed"),
        ] {
            let error =
                common(&Fields::of(&request, "").expect("an object")).expect_err("an error");
            assert_eq!(error.param.as_deref(), Some(param), "{request}");
        }
    }
}
