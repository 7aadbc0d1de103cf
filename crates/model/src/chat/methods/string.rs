//! Methods of strings.

use super::super::args::{self, Args, count, optional_text, place_or, required};
use super::super::budget::{Builder, Heap, Result, fail};
use super::super::format::{format, names_in};
use super::super::number::place;
use super::super::print::is_printable;
use super::super::text::{self, Ch, Text};
use super::super::value::{Kind, Value};
use super::split;

pub(super) const METHODS: [&str; 44] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];

pub(super) fn call(heap: &Heap, text: &Text, name: &str, args: Args) -> Result<Value> {
    match name {
        "format" => {
            let find = |wanted: &str| {
                args.named.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
            };
            format(heap, text, &args.list, &find)
        }
        "format_map" => {
            let [names] = args.places(name)?;
            match required(name, names)? {
                Value::Dict(dict) => format(heap, text, &[], &names_in(&dict)),
                other => fail(format!("`format_map` wants a dict, found {}", other.type_name())),
            }
        }
        "split" | "rsplit" => split::split(heap, text, name, args),
        "splitlines" => split::lines(heap, text, name, args),
        "partition" | "rpartition" => split::partition(heap, text, name, args),
        "join" => {
            let [items] = args.places(name)?;
            split::join(heap, text.chars(), &required(name, items)?.iterate(heap)?)
        }
        "strip" | "lstrip" | "rstrip" => strip(heap, text, name, args),
        "startswith" | "endswith" => affix(heap, text, name, args),
        "find" | "index" | "rfind" | "rindex" | "count" => search(heap, text, name, args),
        "replace" => {
            let [old, new, most] = args.bind(name, ["", "", "count"])?;
            let (old, new) = (args::text(name, old)?, args::text(name, new)?);
            let most = usize::try_from(place_or(most, -1)?).unwrap_or(usize::MAX);
            replace(heap, text.chars(), old.chars(), new.chars(), most)
        }
        "removeprefix" | "removesuffix" => {
            let [affix] = args.places(name)?;
            let affix = args::text(name, affix)?;
            let (chars, affix) = (text.chars(), affix.chars());
            heap.scan(affix.len())?;
            let rest = match name {
                "removeprefix" => chars.strip_prefix(affix),
                _ => chars.strip_suffix(affix),
            };
            Value::text(heap, rest.unwrap_or(chars))
        }
        "center" | "ljust" | "rjust" | "expandtabs" => pad(heap, text, name, args),
        "zfill" => pad(heap, text, name, args),
        _ if name.starts_with("is") => {
            args.places::<0>(name)?;
            heap.scan(text.chars().len())?;
            Ok(Value::Bool(is(text.chars(), name)))
        }
        _ => {
            args.places::<0>(name)?;
            cased(heap, text.chars(), name)
        }
    }
}

/// Upper and lower case in all its ways.
pub(crate) fn cased(heap: &Heap, chars: &[Ch], name: &str) -> Result<Value> {
    let mut out = Builder::new(heap);
    out.reserve(chars.len())?;
    heap.scan(chars.len() * 4)?;
    match name {
        "upper" => text::upper(&mut out, chars)?,
        "lower" | "casefold" => {
            let folded = name == "casefold";
            for part in chars.split_inclusive(|c| folded && matches!(c.char(), 'ß' | 'ς')) {
                match part.split_last() {
                    Some((last, before)) if folded && last.char() == 'ß' => {
                        text::lower(&mut out, before)?;
                        out.extend(&[last.with('s'), last.with('s')])?;
                    }
                    Some((last, before)) if folded && last.char() == 'ς' => {
                        text::lower(&mut out, before)?;
                        out.push(last.with('σ'))?;
                    }
                    _ => text::lower(&mut out, part)?,
                }
            }
        }
        "capitalize" => {
            if let Some((first, rest)) = chars.split_first() {
                text::title_case(&mut out, *first)?;
                text::lower(&mut out, rest)?;
            }
        }
        "swapcase" => {
            for c in chars {
                match c.char() {
                    u if u.is_uppercase() => text::lower(&mut out, &[*c])?,
                    l if l.is_lowercase() => text::upper(&mut out, &[*c])?,
                    _ => out.push(*c)?,
                }
            }
        }
        "title" => {
            let mut word = false;
            for c in chars {
                if word {
                    text::lower(&mut out, &[*c])?;
                } else {
                    text::title_case(&mut out, *c)?;
                }
                word = text::is_cased(*c);
            }
        }
        _ => return fail(format!("a string has no method `{name}`")),
    }
    Ok(Value::Text(out.text()?))
}

fn strip(heap: &Heap, text: &Text, name: &str, args: Args) -> Result<Value> {
    let [chars] = args.places(name)?;
    let (start, end) = (name != "rstrip", name != "lstrip");
    let inner = match optional_text(name, chars)? {
        None => text::trim(text.chars(), start, end, Ch::is_space),
        Some(set) => {
            heap.work(text.chars().len().saturating_mul(set.chars().len()) / 64)?;
            text::trim(text.chars(), start, end, |c| set.chars().contains(&c))
        }
    };
    Value::text(heap, inner)
}

/// Where a method looks: `[start, stop)` as Python clamps them, and nothing where they cross.
fn window(len: usize, start: Option<Value>, stop: Option<Value>) -> Result<Option<(usize, usize)>> {
    let bound = |value: Option<Value>, otherwise: usize| match value {
        None | Some(Value::None) => Ok(otherwise),
        Some(value) => place(&value).map(|at| match at {
            0.. => usize::try_from(at).unwrap_or(usize::MAX),
            _ => count(at.saturating_add(len as i64)),
        }),
    };
    let (start, stop) = (bound(start, 0)?, bound(stop, len)?.min(len));
    Ok((start <= stop).then_some((start, stop)))
}

fn affix(heap: &Heap, text: &Text, name: &str, args: Args) -> Result<Value> {
    let [affixes, start, stop] = args.places(name)?;
    let chars = text.chars();
    let window = window(chars.len(), start, stop)?.map(|(start, stop)| &chars[start..stop]);
    let matches = |affix: &Value| match affix {
        Value::Text(affix) => {
            heap.scan(affix.chars().len())?;
            Ok(window.is_some_and(|window| match name {
                "startswith" => window.starts_with(affix.chars()),
                _ => window.ends_with(affix.chars()),
            }))
        }
        other => fail(format!("`{name}` wants strings, found {}", other.type_name())),
    };
    match required(name, affixes)? {
        Value::Seq(seq) if seq.kind == Kind::Tuple => {
            for affix in seq.items.iter() {
                if matches(affix)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        affix => matches(&affix).map(Value::Bool),
    }
}

fn search(heap: &Heap, text: &Text, name: &str, args: Args) -> Result<Value> {
    let [needle, start, stop] = args.places(name)?;
    let needle = args::text(name, needle)?;
    let (chars, needle) = (text.chars(), needle.chars());
    let window = window(chars.len(), start, stop)?;
    if name == "count" {
        let Some((start, stop)) = window else { return Ok(Value::Int(0)) };
        return occurrences(heap, &chars[start..stop], needle).map(Value::int);
    }
    let found = match window {
        Some((start, stop)) => {
            let window = &chars[start..stop];
            let at = match name {
                "find" | "index" => text::find(heap, window, needle)?,
                _ => text::rfind(heap, window, needle)?,
            };
            at.map(|at| at + start)
        }
        None => None,
    };
    match found {
        Some(at) => Ok(Value::int(at)),
        None if name.ends_with("find") => Ok(Value::Int(-1)),
        None => fail("the string has no such part"),
    }
}

fn occurrences(heap: &Heap, chars: &[Ch], needle: &[Ch]) -> Result<usize> {
    if needle.is_empty() {
        return Ok(chars.len() + 1);
    }
    heap.scan(chars.len())?;
    let (mut at, mut count) = (0, 0);
    while at + needle.len() <= chars.len() {
        let found = chars[at] == needle[0] && {
            heap.scan(needle.len())?;
            chars[at..].starts_with(needle)
        };
        count += usize::from(found);
        at += if found { needle.len() } else { 1 };
    }
    Ok(count)
}

/// `replace(old, new, most)`; nothing stands before, between and after all characters.
pub(crate) fn replace(
    heap: &Heap,
    chars: &[Ch],
    old: &[Ch],
    new: &[Ch],
    most: usize,
) -> Result<Value> {
    heap.scan(chars.len())?;
    let mut out = Builder::new(heap);
    let (mut at, mut replaced) = (0, 0);
    while at + old.len() <= chars.len() && replaced < most {
        let found = old.is_empty()
            || chars[at] == old[0] && {
                heap.scan(old.len())?;
                chars[at..].starts_with(old)
            };
        if found {
            out.extend(new)?;
            replaced += 1;
            at += old.len();
        }
        if !found || old.is_empty() {
            match chars.get(at) {
                Some(c) => out.push(*c)?,
                None => break,
            }
            at += 1;
        }
    }
    out.extend(chars.get(at..).unwrap_or_default())?;
    Ok(Value::Text(out.text()?))
}

fn pad(heap: &Heap, text: &Text, name: &str, args: Args) -> Result<Value> {
    let chars = text.chars();
    if name == "expandtabs" {
        let [size] = args.bind(name, ["tabsize"])?;
        return expand(heap, chars, count(place_or(size, 8)?));
    }
    let [width, fill] = args.places(name)?;
    let width = count(place(&required(name, width)?)?);
    let fill = match fill {
        Some(fill) => args::text(name, Some(fill))?,
        None => Text::foreign(heap, if name == "zfill" { "0" } else { " " })?,
    };
    if fill.chars().len() != 1 {
        return fail(format!("`{name}` fills with one character"));
    }
    let room = width.saturating_sub(chars.len());
    let signed = name == "zfill" && chars.first().is_some_and(|c| matches!(c.char(), '+' | '-'));
    let (before, after) = match name {
        "ljust" => (0, room),
        // Python's own way of halving.
        "center" => {
            let left = room / 2 + (room & width & 1);
            (left, room - left)
        }
        _ => (room, 0),
    };
    let mut out = Builder::new(heap);
    out.reserve(width.max(chars.len()))?;
    out.extend(&chars[..usize::from(signed)])?;
    out.repeat(fill.chars(), before)?;
    out.extend(&chars[usize::from(signed)..])?;
    out.repeat(fill.chars(), after)?;
    Ok(Value::Text(out.text()?))
}

fn expand(heap: &Heap, chars: &[Ch], size: usize) -> Result<Value> {
    let mut out = Builder::new(heap);
    let mut column = 0;
    for c in chars {
        match c.char() {
            '\t' => {
                let room = if size == 0 { 0 } else { size - column % size };
                out.repeat(&[c.with(' ')], room)?;
                column += room;
            }
            other => {
                column = if matches!(other, '\n' | '\r') { 0 } else { column + 1 };
                out.push(*c)?;
            }
        }
    }
    Ok(Value::Text(out.text()?))
}

/// The questions; for characters beyond ASCII, Rust's classes stand in for Python's.
fn is(chars: &[Ch], name: &str) -> bool {
    let all = |holds: fn(char) -> bool| !chars.is_empty() && chars.iter().all(|c| holds(c.char()));
    match name {
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isascii" => chars.iter().all(|c| c.char().is_ascii()),
        "isdecimal" | "isdigit" | "isnumeric" => all(char::is_numeric),
        "isspace" => !chars.is_empty() && chars.iter().all(|c| c.is_space()),
        "isprintable" => chars.iter().all(|c| is_printable(c.char())),
        "islower" => is_case(chars, char::is_lowercase),
        "isupper" => is_case(chars, char::is_uppercase),
        "istitle" => {
            let (mut word, mut any) = (false, false);
            chars.iter().all(|c| {
                let sound = match (c.char().is_uppercase(), c.char().is_lowercase()) {
                    (true, _) => !word,
                    (_, true) => word,
                    _ => true,
                };
                word = text::is_cased(*c);
                any |= word;
                sound
            }) && any
        }
        "isidentifier" => {
            let begins = |c: &Ch| c.char() == '_' || c.char().is_alphabetic();
            chars.first().is_some_and(begins)
                && chars.iter().all(|c| begins(c) || c.char().is_alphanumeric())
        }
        _ => false,
    }
}

pub(crate) fn is_case(chars: &[Ch], wanted: fn(char) -> bool) -> bool {
    let mut cased = chars.iter().filter(|c| text::is_cased(**c)).peekable();
    cased.peek().is_some() && cased.all(|c| wanted(c.char()))
}
