//! How values are written: as Python's `str` and `repr`, and as `json.dumps`.
//!
//! What is written here comes from no template, so no special token may cover it; the characters
//! of strings keep their own places.

use num_bigint::BigInt;

use super::budget::{Builder, Heap, Result, fail};
use super::text::{Ch, Text};
use super::value::{Kind, Value};

/// `str(value)`; undefined is empty, as in Jinja.
pub(super) fn push_str(out: &mut Builder<Ch>, value: &Value) -> Result<()> {
    match value {
        Value::Text(text) => out.extend(text.chars()),
        Value::Undefined => Ok(()),
        _ => write(out, value, Style::Repr, 0),
    }
}

pub(super) fn string(heap: &Heap, value: &Value) -> Result<Text> {
    if let Value::Text(text) = value {
        return Ok(text.clone());
    }
    let mut out = Builder::new(heap);
    push_str(&mut out, value)?;
    out.text()
}

/// `repr(value)`
pub(super) fn push_repr(out: &mut Builder<Ch>, value: &Value) -> Result<()> {
    write(out, value, Style::Repr, 0)
}

/// `json.dumps(value)`
pub(super) fn push_json(out: &mut Builder<Ch>, value: &Value, json: &Json) -> Result<()> {
    write(out, value, Style::Json(json), 0)
}

/// The options of `json.dumps`.
pub(super) struct Json {
    pub(super) ascii: bool,
    pub(super) sort: bool,
    /// What a level of depth adds to the front of a line.
    pub(super) indent: Option<Vec<Ch>>,
    pub(super) item: Vec<Ch>,
    pub(super) key: Vec<Ch>,
}

#[derive(Clone, Copy)]
enum Style<'a> {
    Repr,
    Json(&'a Json),
}

impl Style<'_> {
    /// None, False and True.
    fn names(self) -> [&'static str; 3] {
        match self {
            Self::Repr => ["None", "False", "True"],
            Self::Json(_) => ["null", "false", "true"],
        }
    }

    fn item_end(self, out: &mut Builder<Ch>) -> Result<()> {
        match self {
            Self::Repr => out.foreign(", "),
            Self::Json(json) => out.extend(&json.item),
        }
    }

    fn key_end(self, out: &mut Builder<Ch>) -> Result<()> {
        match self {
            Self::Repr => out.foreign(": "),
            Self::Json(json) => out.extend(&json.key),
        }
    }

    /// Starts a new line where the style has lines.
    fn line(self, out: &mut Builder<Ch>, depth: usize) -> Result<()> {
        if let Self::Json(Json { indent: Some(indent), .. }) = self {
            out.foreign("\n")?;
            out.repeat(indent, depth)?;
        }
        Ok(())
    }

    fn text(self, out: &mut Builder<Ch>, text: &[Ch]) -> Result<()> {
        match self {
            Self::Repr => repr(out, text),
            Self::Json(json) => quoted(out, text, json.ascii),
        }
    }
}

fn write(out: &mut Builder<Ch>, value: &Value, style: Style<'_>, depth: usize) -> Result<()> {
    out.heap().work(1)?;
    let [none, no, yes] = style.names();
    match value {
        Value::None => out.foreign(none),
        Value::Bool(value) => out.foreign(if *value { yes } else { no }),
        Value::Int(number) => out.foreign(&number.to_string()),
        Value::Big(number) => {
            let text = digits(out.heap(), number)?;
            out.foreign(&text)
        }
        Value::Float(number) => out.foreign(&float(*number, matches!(style, Style::Json(_)))),
        Value::Text(text) => style.text(out, text.chars()),
        Value::Seq(seq) => match (seq.kind, style) {
            (Kind::List, _) | (Kind::Tuple, Style::Json(_)) => {
                items(out, &seq.items, ['[', ']'], style, depth)
            }
            (Kind::Tuple, Style::Repr) => {
                let mark = if seq.items.len() == 1 { ",)" } else { ")" };
                items(out, &seq.items, ['(', ' '], style, depth)?;
                out.truncate(out.len() - 1);
                out.foreign(mark)
            }
            (_, Style::Json(_)) => not_json(value),
            (Kind::Range([start, stop, 1]), _) => out.foreign(&format!("range({start}, {stop})")),
            (Kind::Range([start, stop, step]), _) => {
                out.foreign(&format!("range({start}, {stop}, {step})"))
            }
            (Kind::Keys | Kind::Values | Kind::Items, _) => {
                out.foreign(value.type_name())?;
                out.foreign("(")?;
                items(out, &seq.items, ['[', ']'], style, depth)?;
                out.foreign(")")
            }
        },
        Value::Dict(dict) => {
            let mut entries: Vec<&(Value, Value)> = Vec::new();
            let heap = out.heap().clone();
            // The list of entries lives while they are written.
            let mut room = Builder::<usize>::new(&heap);
            room.reserve(dict.entries.len())?;
            entries.extend(dict.entries.iter());
            if matches!(style, Style::Json(json) if json.sort) {
                entries = sorted(&heap, entries)?;
            }
            map(out, &entries, style, depth)
        }
        Value::Undefined if matches!(style, Style::Repr) => out.foreign("Undefined"),
        _ if matches!(style, Style::Json(_)) => not_json(value),
        _ => fail(format!("a value of type {} cannot be printed", value.type_name())),
    }
}

fn not_json(value: &Value) -> Result<()> {
    fail(format!("a value of type {} cannot be written as JSON", value.type_name()))
}

fn items(
    out: &mut Builder<Ch>,
    items: &[Value],
    [open, close]: [char; 2],
    style: Style<'_>,
    depth: usize,
) -> Result<()> {
    out.push(Ch::foreign(open))?;
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            style.item_end(out)?;
        }
        style.line(out, depth + 1)?;
        write(out, item, style, depth + 1)?;
    }
    if !items.is_empty() {
        style.line(out, depth)?;
    }
    out.push(Ch::foreign(close))
}

fn map(
    out: &mut Builder<Ch>,
    entries: &[&(Value, Value)],
    style: Style<'_>,
    depth: usize,
) -> Result<()> {
    out.foreign("{")?;
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 {
            style.item_end(out)?;
        }
        style.line(out, depth + 1)?;
        match (key, style) {
            (Value::Text(_), _) | (_, Style::Repr) => write(out, key, style, depth + 1)?,
            // Keys of JSON are strings, whatever they were.
            (Value::Seq(_) | Value::Undefined, _) => return not_json(key),
            _ => {
                out.foreign("\"")?;
                write(out, key, style, depth + 1)?;
                out.foreign("\"")?;
            }
        }
        style.key_end(out)?;
        write(out, value, style, depth + 1)?;
    }
    if !entries.is_empty() {
        style.line(out, depth)?;
    }
    out.foreign("}")
}

fn sorted<'v>(heap: &Heap, entries: Vec<&'v (Value, Value)>) -> Result<Vec<&'v (Value, Value)>> {
    super::sort::sorted(heap, entries, |a, b| a.0.order(&b.0, heap))
}

/// The decimal digits of a large integer.
pub(super) fn digits(heap: &Heap, number: &BigInt) -> Result<String> {
    heap.work((number.bits() as usize / 64).pow(2) / 8 + 1)?;
    Ok(number.to_string())
}

/// Python's `float.__repr__`: the shortest digits that read back, with an exponent below 1e-4 and
/// from 1e16.
pub(super) fn float(number: f64, json: bool) -> String {
    if !number.is_finite() {
        let name = match (number.is_nan(), number > 0.0, json) {
            (true, _, true) => "NaN",
            (true, _, false) => "nan",
            (_, true, true) => "Infinity",
            (_, true, false) => "inf",
            (_, false, true) => "-Infinity",
            (_, false, false) => "-inf",
        };
        return name.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return format!("{number:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Python's `str.__repr__`: single quotes unless the text has some and no double ones.
fn repr(out: &mut Builder<Ch>, text: &[Ch]) -> Result<()> {
    let has = |quote| text.iter().any(|c| c.char() == quote);
    let quote = if has('\'') && !has('"') { '"' } else { '\'' };
    out.push(Ch::foreign(quote))?;
    for c in text {
        match c.char() {
            '\n' => out.foreign("\\n")?,
            '\r' => out.foreign("\\r")?,
            '\t' => out.foreign("\\t")?,
            '\\' => out.foreign("\\\\")?,
            q if q == quote => {
                out.foreign("\\")?;
                out.push(*c)?;
            }
            ' '..='~' => out.push(*c)?,
            other if is_printable(other) => out.push(*c)?,
            other => {
                let code = u32::from(other);
                out.foreign(&match code {
                    0..0x100 => format!("\\x{code:02x}"),
                    0x100..0x1_0000 => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                })?;
            }
        }
    }
    out.push(Ch::foreign(quote))
}

/// As Python's `str.isprintable`. The standard library leaves printable characters as they are
/// when it shows a string for debugging, and marks too where they follow a letter.
pub(super) fn is_printable(c: char) -> bool {
    let mut pair = [0; 5];
    pair[0] = b'a';
    let length = 1 + c.encode_utf8(&mut pair[1..]).len();
    let shown = std::str::from_utf8(&pair[..length]).unwrap_or_default().escape_debug().nth(1);
    shown == Some(c)
}

fn quoted(out: &mut Builder<Ch>, text: &[Ch], ascii: bool) -> Result<()> {
    out.foreign("\"")?;
    for c in text {
        match c.char() {
            '"' => {
                out.foreign("\\")?;
                out.push(*c)?;
            }
            '\\' => out.foreign("\\\\")?,
            '\n' => out.foreign("\\n")?,
            '\r' => out.foreign("\\r")?,
            '\t' => out.foreign("\\t")?,
            '\x08' => out.foreign("\\b")?,
            '\x0c' => out.foreign("\\f")?,
            other if other < ' ' => {
                out.foreign(&format!("\\u{:04x}", u32::from(other)))?;
            }
            other if ascii && !other.is_ascii() => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    out.foreign(&format!("\\u{unit:04x}"))?;
                }
            }
            _ => out.push(*c)?,
        }
    }
    out.foreign("\"")
}
