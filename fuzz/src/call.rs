//! Calls of tools, and the tokens of any answer: any text is a call that can be written and read
//! again, or an error; any tokens are pieces that hold all of the text and no more.
//!
//! The input is a text; its bytes are the token ids of an answer, too.

use carat::chat::parse_call;
use carat::reply::{Piece, Splitter, StopStrings};
use carat::{TokenId, ToolCall};
use serde_json::Value;

use crate::{kit, said};

/// Reads `data` as a call, and as the tokens of an answer.
pub fn call(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let is_call = match parse_call(&text) {
        Ok(call) => {
            is_written_again(&call);
            true
        }
        Err(error) => said::refused(&error),
    };
    let tokenizer = kit::model().tokenizer();
    let vocab = tokenizer.vocab_size() as TokenId;
    // Two bytes reach every token, and some ids that are none.
    let id = |pair: &[u8]| pair.iter().fold(0, |id, byte| id << 8 | TokenId::from(*byte));
    let spread: Vec<TokenId> = data.chunks(2).map(|pair| id(pair) % (vocab + 3)).collect();
    let spelt = tokenizer.encode_prompt(&text);
    let has_call = [spread, spelt].map(|ids| split(&ids));
    is_call || has_call.contains(&true)
}

/// What was read is JSON with the same values, and reads the same once it is written as a call.
fn is_written_again(call: &ToolCall) {
    assert!(!call.name.is_empty());
    let arguments = Value::Object(call.arguments.clone());
    let json: Value = serde_json::from_str(&call.json).expect("the JSON of a call is JSON");
    assert_eq!(json, arguments, "the JSON of a call has other values");
    if !can_be_written(&arguments) {
        return;
    }
    let again = format!("call:{}{}", call.name, written(&arguments));
    let again = parse_call(&again).expect("a call that was written can be read");
    assert_eq!((&again.name, &again.arguments), (&call.name, &call.arguments));
}

/// Whether [`written`] gives the same values: a key that was bare may hold the quotes, and
/// serde_json reads the digits of a fraction to the nearest number or the one beside it.
fn can_be_written(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => items.iter().all(can_be_written),
        Value::Object(map) => map.iter().all(|(k, v)| !k.contains(QUOTE) && can_be_written(v)),
        _ => true,
    }
}

/// A value as Gemma writes it, with the quotes around every key that a key may have.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{QUOTE}{text}{QUOTE}"),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(","))
        }
        Value::Object(map) => {
            let pair =
                |(key, value): (&String, &Value)| format!("{QUOTE}{key}{QUOTE}:{}", written(value));
            format!("{{{}}}", map.iter().map(pair).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// Cuts the tokens of an answer into pieces, and tells whether one is a whole call.
fn split(ids: &[TokenId]) -> bool {
    let tokenizer = kit::model().tokenizer();
    let mut splitter = Splitter::new(tokenizer);
    let mut pieces: Vec<Piece> = ids.iter().filter_map(|id| splitter.push(*id)).collect();
    pieces.extend(splitter.finish());
    let mut text = String::new();
    for piece in &pieces {
        match piece {
            Piece::Text(more) => {
                assert!(!more.is_empty(), "an empty piece");
                text.push_str(more);
            }
            Piece::Thought(more) => assert!(!more.is_empty(), "an empty piece"),
            Piece::ToolCall(inside) | Piece::CutToolCall(inside) => {
                if let Err(error) = parse_call(inside) {
                    said::is_a_sentence(&error);
                }
            }
            _ => {}
        }
    }
    // Without channels and calls the text is what a decoder gives.
    let marks = ["<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>"];
    let marks = marks.map(|mark| tokenizer.special(mark));
    if !ids.iter().any(|id| marks.contains(&Some(*id))) {
        let mut decoder = tokenizer.decoder();
        let mut whole: String = ids.iter().map(|id| decoder.push(*id).to_owned()).collect();
        whole.push_str(decoder.finish());
        assert_eq!(text, whole, "text was lost or added");
    }
    // A stop string ends the text before it, wherever the pieces are cut.
    let stop = text.chars().rev().take(2).collect::<Vec<_>>().into_iter().rev().collect::<String>();
    if !stop.is_empty() {
        stopped(&text, &stop);
    }
    pieces.iter().any(|piece| matches!(piece, Piece::ToolCall(_)))
}

/// Lets `text` through up to the first `stop` in it, a character at a time.
fn stopped(text: &str, stop: &str) {
    let Ok(mut stops) = StopStrings::new(&[stop.to_owned()]) else { return };
    let mut through = String::new();
    for c in text.chars() {
        through.push_str(stops.push(&c.to_string()));
        if stops.stopped().is_some() {
            break;
        }
    }
    through.push_str(stops.finish());
    let wanted = text.split(stop).next().unwrap_or_default();
    assert_eq!(through, wanted, "stopped at {stop:?}");
}

/// Calls with values of every kind, whole and broken, and answers with thoughts.
pub fn call_seeds() -> Vec<Vec<u8>> {
    let seeds = [
        "call:f{}",
        "call:get_weather{city:<|\"|>Oslo<|\"|>,days:2,flag:true,where:{lat:59.9,no:null}}",
        "call:f{a:[1,-2.5e3,[],{}],<|\"|>b:c<|\"|>:None,a:[false]}",
        "call:f{a:123456789012345678901234567890,b:1.50,c:1e400}",
        "call:f{a:<|\"|>{\"x\\}],:\n<|\"|>",
        "<|channel>thought\nwell<channel|>Yes<|tool_call>call:f{a:1}<tool_call|><|tool_response>",
        "<|tool_call>call:f{<|tool_call>call:g{}<tool_call|><channel|>naïve \u{1f999}",
        "call:f{a:[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    ];
    let mut seeds: Vec<Vec<u8>> = seeds.into_iter().map(|seed| seed.as_bytes().to_vec()).collect();
    seeds.push((0..=255).flat_map(|byte| [byte & 1, byte]).collect());
    seeds
}

/// What stands before and after a string.
const QUOTE: &str = "<|\"|>";
