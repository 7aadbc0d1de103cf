//! What Python and Hugging Face add to Jinja: how values are spelt, `tojson`, `raise_exception`.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

/// The cause of an error that `raise_exception` makes; holds the template's words.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// Makes `environment` behave like the one of `apply_chat_template`.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.set_formatter(|out, _, value| Ok(out.write_str(&python_str(value)?)?));
    environment.add_filter("string", |value: Value| python_str(&value));
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", |reason: String| -> Result<Value, Error> {
        let error = Error::new(ErrorKind::InvalidOperation, reason.clone());
        Err(error.with_source(Raised(reason)))
    });
}

/// `str(value)`; undefined is empty, as in Jinja.
fn python_str(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    match value.as_str() {
        Some(text) => out.push_str(text),
        None if value.is_undefined() => {}
        None => write_value(&mut out, value, Style::Repr, 0)?,
    }
    Ok(out)
}

/// `json.dumps` with the defaults of Hugging Face: no ASCII escapes, key order kept, `", "` and `":
/// "`.
fn tojson(value: Value, indent: Option<usize>, options: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<usize>>("indent")?,
    };
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.as_str(), key.as_str()),
        Some(_) => {
            let reason = "separators of tojson are two strings";
            return Err(Error::new(ErrorKind::InvalidOperation, reason));
        }
        None => (if indent.is_some() { "," } else { ", " }, ": "),
    };
    let json = Json {
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        indent,
        item,
        key,
    };
    options.assert_all_used()?;
    let mut out = String::new();
    write_value(&mut out, &value, Style::Json(&json), 0)?;
    Ok(Value::from_safe_string(out))
}

/// How values are written.
#[derive(Clone, Copy)]
enum Style<'a> {
    /// Python's `repr`.
    Repr,
    Json(&'a Json<'a>),
}

struct Json<'a> {
    ascii: bool,
    sort: bool,
    indent: Option<usize>,
    item: &'a str,
    key: &'a str,
}

impl Style<'_> {
    /// None, False and True.
    fn names(self) -> [&'static str; 3] {
        match self {
            Self::Repr => ["None", "False", "True"],
            Self::Json(_) => ["null", "false", "true"],
        }
    }

    fn separators(&self) -> (&str, &str) {
        match self {
            Self::Repr => (", ", ": "),
            Self::Json(json) => (json.item, json.key),
        }
    }

    /// Starts a new line where the style has lines.
    fn line(self, out: &mut String, depth: usize) {
        if let Self::Json(Json { indent: Some(indent), .. }) = self {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent.min(&INDENT_MAX) * depth));
        }
    }

    fn string(self, out: &mut String, text: &str) {
        match self {
            Self::Repr => write_repr(out, text),
            Self::Json(json) => write_json(out, text, json.ascii),
        }
    }
}

fn write_value(
    out: &mut String,
    value: &Value,
    style: Style<'_>,
    depth: usize,
) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        let reason = format!("a value is nested more than {DEPTH_MAX} deep");
        return Err(Error::new(ErrorKind::InvalidOperation, reason));
    }
    let [none, no, yes] = style.names();
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => out.push_str(none),
        ValueKind::Bool => out.push_str(if value.is_true() { yes } else { no }),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => write_float(out, number, matches!(style, Style::Json(_))),
            Err(_) => write!(out, "{value}")?,
        },
        ValueKind::String => style.string(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| (None, item));
            write_items(out, items, ['[', ']'], style, depth)?;
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if matches!(style, Style::Json(json) if json.sort) {
                keys.sort();
            }
            let mut items = Vec::with_capacity(keys.len());
            for key in keys {
                let item = value.get_item(&key)?;
                items.push((Some(key), item));
            }
            write_items(out, items.into_iter(), ['{', '}'], style, depth)?;
        }
        _ => write!(out, "{value}")?,
    }
    Ok(())
}

fn write_items(
    out: &mut String,
    items: impl Iterator<Item = (Option<Value>, Value)>,
    [open, close]: [char; 2],
    style: Style<'_>,
    depth: usize,
) -> Result<(), Error> {
    let (item_separator, key_separator) = style.separators();
    out.push(open);
    let mut first = true;
    for (key, item) in items {
        if !std::mem::take(&mut first) {
            out.push_str(item_separator);
        }
        style.line(out, depth + 1);
        if let Some(key) = key {
            match (key.as_str(), style) {
                // Keys of JSON are strings, whatever they were.
                (None, Style::Json(_)) => {
                    out.push('"');
                    write_value(out, &key, style, depth + 1)?;
                    out.push('"');
                }
                _ => write_value(out, &key, style, depth + 1)?,
            }
            out.push_str(key_separator);
        }
        write_value(out, &item, style, depth + 1)?;
    }
    if !first {
        style.line(out, depth);
    }
    out.push(close);
    Ok(())
}

/// Python's `float.__repr__`: the shortest digits that read back, with an exponent below 1e-4 and
/// from 1e16.
fn write_float(out: &mut String, number: f64, json: bool) {
    if !number.is_finite() {
        out.push_str(match (number.is_nan(), number > 0.0, json) {
            (true, _, true) => "NaN",
            (true, _, false) => "nan",
            (_, true, true) => "Infinity",
            (_, true, false) => "inf",
            (_, false, true) => "-Infinity",
            (_, false, false) => "-inf",
        });
        return;
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let written = if (-4..16).contains(&exponent) {
        write!(out, "{number:?}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{digits}e{sign}{:02}", exponent.abs())
    };
    debug_assert!(written.is_ok(), "writing to a string does not fail");
}

/// Python's `str.__repr__`: single quotes unless the text has some and no double ones.
fn write_repr(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if c < ' ' || c == '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
}

fn write_json(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            // The stand-ins of `Guard` are there and stand for ASCII.
            c if ascii && !c.is_ascii() && u32::from(c) < 0xF_0000 => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// serde_json reads no deeper; only a template could make more.
const DEPTH_MAX: usize = 130;

/// Wider indents would only serve to fill memory.
const INDENT_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    /// Expected strings are what Python 3.11 with jinja2 3.1 prints.
    #[test]
    fn values_are_spelt_as_in_python() {
        let mut environment = Environment::new();
        install(&mut environment);
        let render = |source: &str, x: serde_json::Value| {
            let x = Value::from(minijinja::value::Serde(&x));
            environment.render_str(source, context!(x)).expect("the template is right")
        };
        let cases = [
            ("{{ x }}", "null", "None"),
            ("{{ x }}", "true", "True"),
            ("{{ x }}", "2.0", "2.0"),
            ("{{ x }}", "59.9", "59.9"),
            ("{{ x }}", "1e16", "1e+16"),
            ("{{ x }}", "123456789012345.6", "123456789012345.6"),
            ("{{ x }}", "0.0001", "0.0001"),
            ("{{ x }}", "0.00001234", "1.234e-05"),
            ("{{ x }}", "-12", "-12"),
            ("{{ x }}", r#"["it's", {"a": [null, false]}]"#, r#"["it's", {'a': [None, False]}]"#),
            ("{{ x|string }}", "[]", "[]"),
            (
                "{{ x|tojson }}",
                r#"{"b":1,"a":["<é>",null,1e22]}"#,
                r#"{"b": 1, "a": ["<é>", null, 1e+22]}"#,
            ),
            ("{{ x|tojson(sort_keys=true) }}", r#"{"b":1,"a":2}"#, r#"{"a": 2, "b": 1}"#),
            ("{{ x|tojson(ensure_ascii=true) }}", r#""é🦙""#, r#""\u00e9\ud83e\udd99""#),
            (
                "{{ x|tojson(indent=2) }}",
                r#"{"a":[1,{}]}"#,
                "{\n  \"a\": [\n    1,\n    {}\n  ]\n}",
            ),
            ("{{ x|tojson(separators=(',', ':')) }}", r#"{"a":[1,2]}"#, r#"{"a":[1,2]}"#),
            ("{{ x|tojson }}", r#""\u0001\b\"""#, r#""\u0001\b\"""#),
        ];
        for (source, x, wanted) in cases {
            let x = serde_json::from_str(x).expect("the case is JSON");
            assert_eq!(render(source, x), wanted, "{source}");
        }
        assert_eq!(render("{{ y }}", serde_json::Value::Null), "");
    }
}
