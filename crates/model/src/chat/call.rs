//! Calls of tools as Gemma writes them: `call:NAME{key:value,...}`.
//!
//! Keys are bare, strings stand raw between two `<|"|>`, numbers, `true`, `false`, lists and
//! objects are those of JSON without white space. It is what the model's template writes for a
//! call in the history (`format_argument` with `escape_keys=False`), with one difference: the
//! template prints nothing as `None`, the models say `null`, and both are read.

use serde_json::{Map, Number, Value};

/// A call that a model made.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// The tool's name.
    pub name: String,
    /// The arguments in the order of the call. Integers beyond 64 bits are the nearest `f64`.
    pub arguments: Map<String, Value>,
    /// The arguments as JSON text in which every number has the digits that the model wrote.
    pub json: String,
}

/// Why a text is no call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum CallError {
    /// The beginning is not that of a call.
    #[error(
        "a tool call begins with {found:?} where call:NAME{{ is wanted; \
         pass the text between <|tool_call> and <tool_call|>"
    )]
    NoCall { found: String },

    /// Something else than the syntax allows.
    #[error(
        "byte {at} of the tool call has {found:?} where {wanted} is wanted; \
         let the model repeat the call, or constrain it with the tools' grammar"
    )]
    Unexpected { at: usize, found: String, wanted: &'static str },

    /// Lists and objects in each other without end.
    #[error(
        "the tool call nests more than {max} lists and objects by byte {at}; \
         let the model repeat the call with flat arguments"
    )]
    TooDeep { at: usize, max: usize },
}

/// Reads the text between `<|tool_call>` and `<tool_call|>`.
///
/// A key that occurs twice in an object has its last value, as with most readers of JSON.
///
/// # Errors
/// A [`CallError`] that names the first byte at which the text is no call.
pub fn parse_call(text: &str) -> Result<ToolCall, CallError> {
    let start = || CallError::NoCall { found: shortened(text) };
    let (name, _) = text.strip_prefix("call:").and_then(|t| t.split_once('{')).ok_or_else(start)?;
    if name.is_empty() {
        return Err(start());
    }
    let mut reader = Reader { text, at: "call:".len() + name.len(), json: String::new(), keys: 0 };
    reader.arguments()?;
    if reader.at < text.len() {
        return Err(reader.unexpected("the end of the call"));
    }
    let Reader { mut json, keys, .. } = reader;
    let arguments: Map<String, Value> =
        serde_json::from_str(&json).map_err(|_| CallError::NoCall { found: shortened(text) })?;
    if keys != arguments.iter().map(|(_, value)| 1 + keys_of(value)).sum::<usize>() {
        // A key came twice: only the last value may be in the text as well.
        json = Value::Object(arguments.clone()).to_string();
    }
    Ok(ToolCall { name: name.to_owned(), arguments, json })
}

/// Goes through the arguments and writes them as JSON.
struct Reader<'t> {
    text: &'t str,
    at: usize,
    json: String,
    /// How many keys were read.
    keys: usize,
}

/// What stands at the cursor.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    /// An item, or the end of the list or object that was just opened.
    FirstItem,
    Item,
    /// A comma, or the end.
    Separator,
}

impl Reader<'_> {
    fn arguments(&mut self) -> Result<(), CallError> {
        let mut open = Vec::new();
        let mut next = self.value(&mut open)?;
        while let Some(close) = open.last().copied() {
            if next != Next::Item && self.take(close) {
                self.json.push_str(close);
                open.pop();
                next = Next::Separator;
            } else if next == Next::Separator {
                if !self.take(",") {
                    let object = close == "}";
                    return Err(self.unexpected(if object {
                        "a comma or }"
                    } else {
                        "a comma or ]"
                    }));
                }
                self.json.push(',');
                next = Next::Item;
            } else {
                if close == "}" {
                    self.key()?;
                }
                next = self.value(&mut open)?;
            }
        }
        Ok(())
    }

    fn key(&mut self) -> Result<(), CallError> {
        let key = match self.take(QUOTE) {
            true => self.up_to(QUOTE, "<|\"|> after the key")?,
            false => {
                let key = self.up_to(":", "a key and a colon")?;
                self.at -= 1;
                key
            }
        };
        if !self.take(":") {
            return Err(self.unexpected("a colon"));
        }
        self.keys += 1;
        self.json.push_str(&Value::from(key).to_string());
        self.json.push(':');
        Ok(())
    }

    /// Reads a scalar, or the bracket that opens a list or an object.
    fn value(&mut self, open: &mut Vec<&'static str>) -> Result<Next, CallError> {
        for (bracket, close) in [("{", "}"), ("[", "]")] {
            if self.take(bracket) {
                if open.len() == DEPTH_MAX {
                    return Err(CallError::TooDeep { at: self.at, max: DEPTH_MAX });
                }
                self.json.push_str(bracket);
                open.push(close);
                return Ok(Next::FirstItem);
            }
        }
        if self.take(QUOTE) {
            let text = self.up_to(QUOTE, "<|\"|> after the string")?;
            self.json.push_str(&Value::from(text).to_string());
            return Ok(Next::Separator);
        }
        for (word, json) in
            [("true", "true"), ("false", "false"), ("null", "null"), ("None", "null")]
        {
            if self.take(word) {
                self.json.push_str(json);
                return Ok(Next::Separator);
            }
        }
        let rest = &self.text[self.at..];
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let number = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        if serde_json::from_str::<Number>(number).is_err() {
            return Err(self.unexpected("a value"));
        }
        self.json.push_str(number);
        self.at += number.len();
        Ok(Next::Separator)
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.text[self.at..].starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    /// The text before `end`; the cursor then stands after it.
    fn up_to(&mut self, end: &str, wanted: &'static str) -> Result<String, CallError> {
        let rest = &self.text[self.at..];
        let Some(length) = rest.find(end) else { return Err(self.unexpected(wanted)) };
        let text = rest[..length].to_owned();
        self.at += length + end.len();
        Ok(text)
    }

    fn unexpected(&self, wanted: &'static str) -> CallError {
        let found = shortened(&self.text[self.at..]);
        CallError::Unexpected { at: self.at, found, wanted }
    }
}

fn keys_of(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.values().map(|value| 1 + keys_of(value)).sum(),
        Value::Array(items) => items.iter().map(keys_of).sum(),
        _ => 0,
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

/// What stands before and after a string.
pub(crate) const QUOTE: &str = "<|\"|>";

/// Less than the 128 that serde_json reads.
const DEPTH_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_syntax_is_read() {
        // The call of the case `tool-call` in `tests/data/chat-cases.json`.
        let text = "call:get_weather{city:<|\"|>Oslo<|\"|>,days:2,flag:true,tags:[<|\"|>a<|\"|>,\
                    <|\"|>b<|\"|>],unit:<|\"|>celsius<|\"|>,where:{lat:59.9}}";
        let call = parse_call(text).expect("a call");
        let wanted = json!({"city": "Oslo", "days": 2, "flag": true, "tags": ["a", "b"],
            "unit": "celsius", "where": {"lat": 59.9}});
        assert_eq!((call.name.as_str(), Value::Object(call.arguments)), ("get_weather", wanted));
        for (text, wanted) in [
            ("call:f{}", json!({})),
            ("call:f{a:[],b:{},c:[[{}]]}", json!({"a": [], "b": {}, "c": [[{}]]})),
            ("call:f{a:null,b:None}", json!({"a": null, "b": null})),
            ("call:f{a:<|\"|>{\"x\\}],:\n<|\"|>}", json!({"a": "{\"x\\}],:\n"})),
            ("call:f{:<|\"|><|\"|>, b é:1}", json!({"": "", " b é": 1})),
            ("call:f{<|\"|>a:b<|\"|>:-1.5e3}", json!({"a:b": -1500.0})),
        ] {
            let call = parse_call(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(Value::Object(call.arguments), wanted, "{text}");
        }
    }

    #[test]
    fn digits_stay() {
        let call = parse_call("call:f{a:123456789012345678901234567890,b:1.50}").expect("a call");
        assert_eq!(call.json, r#"{"a":123456789012345678901234567890,"b":1.50}"#);
        let call = parse_call("call:f{a:1,b:{c:2,c:3},a:4}").expect("a call");
        assert_eq!(call.json, r#"{"a":4,"b":{"c":3}}"#);
    }

    #[test]
    fn what_is_no_call_says_where() {
        for (text, at) in [
            ("call:f{a:1", 10),
            ("call:f{a:1}}", 11),
            ("call:f{a:1,}", 11),
            ("call:f{a}", 7),
            ("call:f{a:}", 9),
            ("call:f{a:01}", 9),
            ("call:f{a:1e999}", 9),
            ("call:f{a:NaN}", 9),
            ("call:f{a:[1 ,2]}", 11),
            ("call:f{a:<|\"|>b}", 14),
            ("call:f{a:b}", 9),
        ] {
            match parse_call(text) {
                Err(CallError::Unexpected { at: found, .. }) => assert_eq!(found, at, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        for text in ["", "f{}", "call:{}", "call:f", "call:f(a)"] {
            assert!(matches!(parse_call(text), Err(CallError::NoCall { .. })), "{text}");
        }
    }

    #[test]
    fn depth_has_an_end() {
        let nested = |n: usize| format!("call:f{{a:{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(parse_call(&nested(DEPTH_MAX - 1)).is_ok());
        for n in [DEPTH_MAX, 1_000_000] {
            let error = parse_call(&nested(n)).expect_err("too deep");
            assert!(matches!(error, CallError::TooDeep { max: DEPTH_MAX, .. }), "{error}");
        }
    }

    /// The writer of the template, for values without floats.
    fn written(value: &Value) -> String {
        match value {
            Value::String(text) => format!("{QUOTE}{text}{QUOTE}"),
            Value::Array(items) => {
                format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(","))
            }
            Value::Object(map) => {
                let pairs: Vec<_> =
                    map.iter().map(|(k, v)| format!("{k}:{}", written(v))).collect();
                format!("{{{}}}", pairs.join(","))
            }
            other => other.to_string(),
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_filter("no quote", |t| !t.contains(QUOTE)).prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from);
            let pairs = proptest::collection::btree_map("[a-zé_ ]{1,8}", inner, 0..4);
            prop_oneof![list, pairs.prop_map(|pairs| pairs.into_iter().collect::<Value>())]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            arguments in proptest::collection::btree_map("[a-zé_ ]{1,8}", values(), 0..5)
        ) {
            let wanted: Value = arguments.into_iter().collect();
            let call = parse_call(&format!("call:t.o-o_l{}", written(&wanted))).unwrap();
            prop_assert_eq!(&Value::Object(call.arguments), &wanted);
            prop_assert_eq!(serde_json::from_str::<Value>(&call.json).unwrap(), wanted);
        }

        #[test]
        fn nothing_panics(text in "(call:f\\{)?([a-z:{}\\[\\],0-9.é-]|<\\|\"\\|>){0,40}") {
            drop(parse_call(&text));
        }
    }
}
