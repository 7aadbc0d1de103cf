//! Answers that are values of Rust types.

use std::sync::Arc;

use schemars::{JsonSchema, schema_for};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{AnswerOptions, Chat, ConversationError, Event, Finish};
use crate::error::Result;
use crate::grammar::Grammar;

impl Chat {
    /// Answers the last message with a value: the type's JSON Schema is the format of the answer,
    /// so that nothing else can be said. The answer becomes the last message, as text.
    ///
    /// ```no_run
    /// use carat::{AnswerOptions, Chat, ChatConfig, Message, Model};
    ///
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// struct City {
    ///     name: String,
    ///     country: String,
    ///     inhabitants: u64,
    /// }
    ///
    /// # fn main() -> Result<(), carat::Error> {
    /// let model = Model::open("gemma.gguf")?;
    /// let mut chat = Chat::new(&model, ChatConfig::default())?;
    /// chat.push(Message::user("Which city has the Eiffel Tower?"));
    /// let city: City = chat.extract(AnswerOptions::default())?;
    /// println!("{} in {}, {}", city.name, city.country, city.inhabitants);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Chat::reply`], those of a schema that is not supported, and
    /// [`ConversationError::Unfinished`] if the answer ended before the value did.
    pub fn extract<T: DeserializeOwned + JsonSchema>(
        &mut self,
        options: AnswerOptions,
    ) -> Result<T> {
        let mut schema = schema_for!(T).to_value();
        bound_integers(&mut schema);
        let format = Grammar::json_schema_value(self.model.grammar_env()?, &schema)?;
        let options = AnswerOptions { format: Some(Arc::new(format)), ..options };
        let (mut text, mut reason) = (String::new(), Finish::Cancelled);
        for event in self.reply(options)? {
            match event? {
                Event::Text(more) => text.push_str(&more),
                Event::Done(done) => reason = done.reason,
                _ => {}
            }
        }
        if reason != Finish::EndOfTurn {
            let reason = format!("{reason:?}");
            return Err(ConversationError::Unfinished { reason, text }.into());
        }
        serde_json::from_str(&text).map_err(|error| {
            let reason = error.to_string();
            ConversationError::Value { text, reason }.into()
        })
    }
}

/// Writes out what the names of Rust's number types in a schema mean (`"format": "int32"`), which
/// are no formats of JSON Schema.
fn bound_integers(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(bound_integers),
        Value::Object(object) => {
            let bounds = object.get("format").and_then(Value::as_str).and_then(bounds);
            if let Some((least, most)) = bounds {
                object.remove("format");
                for (key, bound) in [("minimum", least), ("maximum", most)] {
                    if !bound.is_null() {
                        object.entry(key).or_insert(bound);
                    }
                }
            }
            object.values_mut().for_each(bound_integers);
        }
        _ => {}
    }
}

/// The bounds of a number type that schemars names; none of floating-point numbers.
fn bounds(format: &str) -> Option<(Value, Value)> {
    Some(match format {
        "int8" => (json!(i8::MIN), json!(i8::MAX)),
        "int16" => (json!(i16::MIN), json!(i16::MAX)),
        "int32" => (json!(i32::MIN), json!(i32::MAX)),
        "int64" | "int" | "int128" => (json!(i64::MIN), json!(i64::MAX)),
        "uint8" => (json!(0), json!(u8::MAX)),
        "uint16" => (json!(0), json!(u16::MAX)),
        "uint32" => (json!(0), json!(u32::MAX)),
        "uint64" | "uint" | "uint128" => (json!(0), json!(u64::MAX)),
        "float" | "double" => (Value::Null, Value::Null),
        _ => return None,
    })
}
