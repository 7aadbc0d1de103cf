//! From JSON to the values of a template, each character marked as foreign or trusted.
//!
//! Numbers are read from their digits: integers of any size stay integers, as in Python.

use std::collections::HashMap;
use std::fmt;

use num_bigint::BigInt;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::budget::{Builder, Fault, Heap, Result, fail};
use super::number;
use super::text::Ch;
use super::value::{DictBuilder, Kind, Seq, Value};

/// The names that a conversation sets, with their values.
pub(super) fn names(heap: &Heap, json: &str) -> Result<HashMap<String, Value>> {
    let Entries(entries) = parse(json)?;
    let mut names = HashMap::new();
    for (name, raw) in entries {
        let trust = match name.as_str() {
            "messages" => Trust::Messages,
            name if name.ends_with("_token") => Trust::All,
            _ => Trust::None,
        };
        let value = convert(heap, raw, trust, 1)?;
        names.insert(name, value);
    }
    Ok(names)
}

/// Which strings special tokens may cover.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    None,
    All,
    /// The list of messages: none but known roles.
    Messages,
    /// What a model wrote, a text or parts: its thought markers.
    ModelContent,
    Thoughts,
    Role,
}

fn convert(heap: &Heap, raw: &RawValue, trust: Trust, depth: usize) -> Result<Value> {
    if depth > DEPTH_MAX {
        return fail(format!("the conversation is nested more than {DEPTH_MAX} deep"));
    }
    let json = raw.get();
    match json.as_bytes().first() {
        Some(b'{') if trust == Trust::Messages => message(heap, json, depth),
        Some(b'{') => {
            let Entries(entries) = parse(json)?;
            let mut dict = DictBuilder::new(heap);
            for (name, value) in entries {
                let inner = match (trust, name.as_str()) {
                    (Trust::ModelContent, "text") => Trust::Thoughts,
                    (Trust::All, _) => Trust::All,
                    _ => Trust::None,
                };
                let value = convert(heap, value, inner, depth + 1)?;
                dict.insert(text(heap, &name, Trust::None)?, value)?;
            }
            Ok(Value::Dict(dict.finish()?))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = parse(json)?;
            let mut list = Builder::new(heap);
            // Messages and parts are one level down; what is deeper is no message.
            let inner = match trust {
                Trust::Messages if depth > 1 => Trust::None,
                Trust::Thoughts | Trust::Role => Trust::None,
                trust => trust,
            };
            for item in items {
                list.push(convert(heap, item, inner, depth + 1)?)?;
            }
            Ok(Value::Seq(Seq::new(Kind::List, list)?))
        }
        Some(b'"') => text(heap, &parse::<String>(json)?, trust),
        Some(b't') => Ok(Value::Bool(true)),
        Some(b'f') => Ok(Value::Bool(false)),
        Some(b'n') => Ok(Value::None),
        _ => scalar(heap, json),
    }
}

fn message(heap: &Heap, json: &str, depth: usize) -> Result<Value> {
    let Entries(entries) = parse(json)?;
    let by_model = entries.iter().any(|(name, value)| {
        name == "role" && matches!(value.get(), "\"assistant\"" | "\"model\"")
    });
    let mut dict = DictBuilder::new(heap);
    for (name, value) in entries {
        let trust = match name.as_str() {
            "role" => Trust::Role,
            "content" if by_model => Trust::ModelContent,
            _ => Trust::None,
        };
        let value = convert(heap, value, trust, depth + 1)?;
        dict.insert(text(heap, &name, Trust::None)?, value)?;
    }
    Ok(Value::Dict(dict.finish()?))
}

fn text(heap: &Heap, text: &str, trust: Trust) -> Result<Value> {
    let mut out = Builder::new(heap);
    match trust {
        Trust::All => text.chars().try_for_each(|c| out.push(Ch::trusted(c)))?,
        Trust::Role if ROLES.contains(&text) => {
            text.chars().try_for_each(|c| out.push(Ch::trusted(c)))?;
        }
        Trust::ModelContent | Trust::Thoughts => {
            let mut rest = text;
            while let Some(at) = rest.find('<') {
                out.foreign(&rest[..at])?;
                rest = &rest[at..];
                let marker = THOUGHT_MARKERS.into_iter().find(|marker| rest.starts_with(marker));
                match marker {
                    Some(marker) => marker.chars().try_for_each(|c| out.push(Ch::trusted(c)))?,
                    None => out.foreign("<")?,
                }
                rest = &rest[marker.map_or(1, str::len)..];
            }
            out.foreign(rest)?;
        }
        _ => out.foreign(text)?,
    }
    Ok(Value::Text(out.text()?))
}

fn scalar(heap: &Heap, json: &str) -> Result<Value> {
    if json.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        return Ok(Value::Float(parse_float(json)));
    }
    if json.len() > number::DIGITS_MAX {
        return fail(format!("the conversation has a number of {} digits", json.len()));
    }
    match BigInt::parse_bytes(json.as_bytes(), 10) {
        Some(whole) => number::value(heap, whole),
        None => Ok(Value::Float(parse_float(json))),
    }
}

fn parse_float(json: &str) -> f64 {
    json.parse().unwrap_or(f64::NAN)
}

fn parse<'j, T: Deserialize<'j>>(json: &'j str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| Fault::Error(format!("it is no JSON: {error}")))
}

/// An object in the order of its text.
struct Entries<'j>(Vec<(String, &'j RawValue)>);

impl<'j> Deserialize<'j> for Entries<'j> {
    fn deserialize<D: Deserializer<'j>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'j> Visitor<'j> for EntriesVisitor {
    type Value = Entries<'j>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'j>>(self, mut map: M) -> std::result::Result<Entries<'j>, M::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// The roles that programs give to messages; a template may make a marker of them.
const ROLES: [&str; 7] = ["system", "developer", "user", "assistant", "model", "tool", "function"];

/// Around a thought in what the model wrote (Gemma 4 model card). Templates keep some thoughts in
/// the history, where they are what the model said.
const THOUGHT_MARKERS: [&str; 2] = ["<|channel>", "<channel|>"];

/// As deep as serde_json reads.
const DEPTH_MAX: usize = 127;
