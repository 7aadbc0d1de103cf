//! Filters of strings, character by character.

use super::super::args::{self, Args, flag_or, optional_text, place_or, required};
use super::super::budget::{Builder, Heap, Result, fail};
use super::super::format::percent;
use super::super::methods;
use super::super::number;
use super::super::print;
use super::super::text::{self, Ch};
use super::super::value::{DictBuilder, Kind, Value, sequence};

pub(super) const NAMES: [&str; 16] = [
    "capitalize",
    "e",
    "escape",
    "filesizeformat",
    "forceescape",
    "format",
    "lower",
    "replace",
    "striptags",
    "title",
    "trim",
    "upper",
    "urlencode",
    "wordcount",
    "xmlattr",
    "center",
];

pub(super) fn call(heap: &Heap, name: &str, value: &Value, args: Args) -> Result<Value> {
    match name {
        "format" => return format(heap, value, args),
        "xmlattr" => return attributes(heap, value, args),
        "urlencode" => return url(heap, value, args),
        "filesizeformat" => return file_size(heap, value, args),
        _ => {}
    }
    let text = print::string(heap, value)?;
    let chars = text.chars();
    match name {
        "center" => {
            let [width] = args.bind(name, ["width"])?;
            let list = vec![width.unwrap_or(Value::Int(80))];
            methods::call(heap, &Value::Text(text), name, Args { list, named: Vec::new() })
        }
        "trim" => {
            let [set] = args.bind(name, ["chars"])?;
            let set = optional_text(name, set)?;
            let list = set.map(Value::Text).into_iter().collect();
            methods::call(heap, &Value::Text(text), "strip", Args { list, named: Vec::new() })
        }
        "replace" => {
            let [old, new, most] = args.bind(name, ["old", "new", "count"])?;
            let old = print::string(heap, &required(name, old)?)?;
            let new = print::string(heap, &required(name, new)?)?;
            let most = most.filter(|most| !matches!(most, Value::None));
            let most = usize::try_from(place_or(most, -1)?).unwrap_or(usize::MAX);
            methods::replace(heap, chars, old.chars(), new.chars(), most)
        }
        _ => {
            args.bind::<0>(name, [])?;
            match name {
                "title" => title(heap, chars),
                "wordcount" => {
                    heap.scan(chars.len())?;
                    let is_word = |c: &Ch| c.char() == '_' || c.char().is_alphanumeric();
                    let words = chars.split(|c| !is_word(c)).filter(|word| !word.is_empty());
                    Ok(Value::int(words.count()))
                }
                "striptags" => strip_tags(heap, chars),
                "e" | "escape" | "forceescape" => {
                    let mut out = Builder::new(heap);
                    escape(&mut out, chars)?;
                    Ok(Value::Text(out.text()?))
                }
                _ => methods::cased(heap, chars, name),
            }
        }
    }
}

/// `'%s %s' | format(a, b)`
fn format(heap: &Heap, value: &Value, args: Args) -> Result<Value> {
    let text = print::string(heap, value)?;
    if !args.list.is_empty() && !args.named.is_empty() {
        return fail("`format` takes arguments by place or by name, not both");
    }
    let values = if args.named.is_empty() {
        Value::Seq(sequence(heap, Kind::Tuple, args.list)?)
    } else {
        let mut names = DictBuilder::new(heap);
        for (name, value) in args.named {
            names.insert(Value::foreign(heap, &name)?, value)?;
        }
        Value::Dict(names.finish()?)
    };
    percent(heap, &text, &values)
}

/// A capital after a blank, a hyphen or an opening bracket only.
fn title(heap: &Heap, chars: &[Ch]) -> Result<Value> {
    let mut out = Builder::new(heap);
    out.reserve(chars.len())?;
    heap.scan(chars.len() * 4)?;
    let ends = |c: &Ch| c.is_space() || matches!(c.char(), '-' | '(' | '{' | '[' | '<');
    for word in chars.split_inclusive(ends) {
        if let Some((first, rest)) = word.split_first() {
            text::upper(&mut out, &[*first])?;
            text::lower(&mut out, rest)?;
        }
    }
    Ok(Value::Text(out.text()?))
}

pub(super) fn escape(out: &mut Builder<Ch>, chars: &[Ch]) -> Result<()> {
    for c in chars {
        match c.char() {
            '&' => out.foreign("&amp;")?,
            '<' => out.foreign("&lt;")?,
            '>' => out.foreign("&gt;")?,
            '\'' => out.foreign("&#39;")?,
            '"' => out.foreign("&#34;")?,
            _ => out.push(*c)?,
        }
    }
    Ok(())
}

/// Without comments and tags, with single blanks, and with the five entities of XML resolved.
fn strip_tags(heap: &Heap, chars: &[Ch]) -> Result<Value> {
    let mut kept = Builder::new(heap);
    let mut rest = chars;
    let comment: Vec<Ch> = "<!--".chars().map(Ch::foreign).collect();
    let end: Vec<Ch> = "-->".chars().map(Ch::foreign).collect();
    heap.scan(chars.len())?;
    let mut comments = true;
    while let Some(at) = rest.iter().position(|c| c.char() == '<') {
        kept.extend(&rest[..at])?;
        rest = &rest[at..];
        let closed = if comments && rest.starts_with(&comment) {
            let found = text::find(heap, rest, &end)?.map(|at| at + 3);
            comments = found.is_some();
            found
        } else {
            None
        };
        let closed = match closed {
            Some(closed) => Some(closed),
            None => rest.iter().position(|c| c.char() == '>').map(|at| at + 1),
        };
        let Some(closed) = closed else { break };
        rest = &rest[closed..];
    }
    kept.extend(rest)?;
    let mut out = Builder::new(heap);
    for word in kept.items().split(|c| c.is_space()).filter(|word| !word.is_empty()) {
        if out.len() > 0 {
            out.foreign(" ")?;
        }
        unescape(&mut out, word)?;
    }
    Ok(Value::Text(out.text()?))
}

fn unescape(out: &mut Builder<Ch>, word: &[Ch]) -> Result<()> {
    let mut rest = word;
    while let Some((first, more)) = rest.split_first() {
        let found = ENTITIES.iter().find(|(name, _)| {
            first.char() == '&' && more.len() >= name.len() && text::is(&more[..name.len()], name)
        });
        match found {
            Some((name, meant)) => {
                out.push(first.with(*meant))?;
                rest = &more[name.len()..];
            }
            None => {
                out.push(*first)?;
                rest = more;
            }
        }
    }
    Ok(())
}

fn attributes(heap: &Heap, value: &Value, args: Args) -> Result<Value> {
    let [space] = args.bind("xmlattr", ["autospace"])?;
    let Value::Dict(dict) = value else {
        return fail(format!("`xmlattr` wants a dict, found {}", value.type_name()));
    };
    let mut out = Builder::new(heap);
    for (key, value) in dict.entries.iter() {
        if matches!(value, Value::None | Value::Undefined) {
            continue;
        }
        let key = args::text("xmlattr", Some(key.clone()))?;
        let bad = |c: &Ch| c.is_space() || matches!(c.char(), '/' | '>' | '=');
        if key.chars().iter().any(bad) {
            return fail("a key is no name of an attribute");
        }
        if out.len() > 0 || flag_or(space.clone(), true) {
            out.foreign(" ")?;
        }
        escape(&mut out, key.chars())?;
        out.foreign("=\"")?;
        escape(&mut out, print::string(heap, value)?.chars())?;
        out.foreign("\"")?;
    }
    Ok(Value::Text(out.text()?))
}

fn url(heap: &Heap, value: &Value, args: Args) -> Result<Value> {
    args.bind::<0>("urlencode", [])?;
    let mut out = Builder::new(heap);
    let pairs = match value {
        Value::Dict(dict) => {
            dict.entries.iter().map(|(key, value)| [key.clone(), value.clone()]).collect()
        }
        Value::Seq(seq) => {
            let mut pairs = Vec::new();
            for item in seq.items.iter() {
                match &*item.iterate(heap)?.items {
                    [key, value] => pairs.push([key.clone(), value.clone()]),
                    _ => return fail("`urlencode` wants pairs"),
                }
            }
            pairs
        }
        _ => {
            quote(&mut out, print::string(heap, value)?.chars(), false)?;
            return Ok(Value::Text(out.text()?));
        }
    };
    for [key, value] in pairs {
        if out.len() > 0 {
            out.foreign("&")?;
        }
        quote(&mut out, print::string(heap, &key)?.chars(), true)?;
        out.foreign("=")?;
        quote(&mut out, print::string(heap, &value)?.chars(), true)?;
    }
    Ok(Value::Text(out.text()?))
}

fn quote(out: &mut Builder<Ch>, chars: &[Ch], query: bool) -> Result<()> {
    for c in chars {
        match c.char() {
            ' ' if query => out.foreign("+")?,
            '/' if !query => out.push(*c)?,
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '.' | '-' | '~' => out.push(*c)?,
            other => {
                for byte in other.encode_utf8(&mut [0; 4]).bytes() {
                    out.foreign(&format!("%{byte:02X}"))?;
                }
            }
        }
    }
    Ok(())
}

fn file_size(heap: &Heap, value: &Value, args: Args) -> Result<Value> {
    let [binary] = args.bind("filesizeformat", ["binary"])?;
    let binary = flag_or(binary, false);
    let bytes = match value {
        Value::Text(text) => number::parse_float(&text.plain()),
        value => number::float(value).ok(),
    };
    let Some(bytes) = bytes else { return fail("`filesizeformat` wants a number") };
    let base = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return Value::foreign(heap, "1 Byte");
    }
    if bytes < base {
        return Value::foreign(heap, &format!("{} Bytes", bytes.trunc()));
    }
    let mut unit = base;
    let last = UNITS.len() - 1;
    for (at, name) in UNITS.chars().enumerate() {
        unit *= base;
        if bytes < unit || at == last {
            let prefix =
                if binary { format!("{}iB", name.to_uppercase()) } else { format!("{name}B") };
            return Value::foreign(heap, &format!("{:.1} {prefix}", base * bytes / unit));
        }
    }
    fail("`filesizeformat` wants a number")
}

/// kilo, mega, giga, tera, peta, exa, zetta, yotta
const UNITS: &str = "kMGTPEZY";

const ENTITIES: [(&str, char); 6] =
    [("amp;", '&'), ("lt;", '<'), ("gt;", '>'), ("quot;", '"'), ("#39;", '\''), ("#34;", '"')];
