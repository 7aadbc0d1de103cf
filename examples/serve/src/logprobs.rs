//! Log-probabilities in OpenAI's two forms.

use carat::sampler::{LogProbabilities, LogProbability};
use carat::{Model, TokenId};
use serde_json::{Map, Value, json};

/// The list `content` of a chat.
pub(crate) fn content(model: &Model, tokens: &[LogProbabilities]) -> Vec<Value> {
    let entry = |found: &LogProbability| {
        let bytes = bytes(model, found.token);
        let text = String::from_utf8_lossy(&bytes);
        json!({ "token": text, "logprob": finite(found.log_probability), "bytes": bytes })
    };
    let token = |token: &LogProbabilities| {
        let mut value = entry(&token.chosen);
        value["top_logprobs"] = token.likeliest.iter().map(entry).collect();
        value
    };
    tokens.iter().map(token).collect()
}

/// The object `logprobs` of a raw completion whose text before has `offset` characters.
pub(crate) fn completion(model: &Model, tokens: &[LogProbabilities], mut offset: usize) -> Value {
    let text = |token| String::from_utf8_lossy(&bytes(model, token)).into_owned();
    let (mut texts, mut offsets) = (Vec::new(), Vec::new());
    for token in tokens {
        let text = text(token.chosen.token);
        offsets.push(offset);
        offset += text.chars().count();
        texts.push(text);
    }
    let chosen = tokens.iter().map(|token| finite(token.chosen.log_probability));
    let likeliest = tokens.iter().map(|token| {
        let pair =
            |found: &LogProbability| (text(found.token), json!(finite(found.log_probability)));
        token.likeliest.iter().map(pair).collect::<Map<_, _>>()
    });
    json!({
        "tokens": texts, "token_logprobs": chosen.collect::<Vec<_>>(),
        "top_logprobs": likeliest.collect::<Vec<_>>(), "text_offset": offsets,
    })
}

/// The bytes of a token, which need not be whole characters.
fn bytes(model: &Model, token: TokenId) -> Vec<u8> {
    let tokenizer = model.tokenizer();
    let hex = tokenizer.token(token).and_then(|text| text.strip_prefix("<0x")?.strip_suffix('>'));
    if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
        return vec![byte];
    }
    tokenizer.decode(&[token], false).into_bytes()
}

/// JSON has no infinities; this is what OpenAI writes for them.
fn finite(log_probability: f64) -> f64 {
    log_probability.max(-9999.0)
}
