//! Methods of strings that take them apart.

use std::rc::Rc;

use super::super::args::{self, Args, flag_or, optional_text, place_or};
use super::super::budget::{Builder, Heap, Result, fail};
use super::super::text::{self, Ch, Text};
use super::super::value::{Kind, Seq, Value, tuple};

/// `split` and `rsplit`
pub(super) fn split(heap: &Heap, text: &Text, name: &str, args: Args) -> Result<Value> {
    let [separator, most] = args.bind(name, ["sep", "maxsplit"])?;
    let most = usize::try_from(place_or(most, -1)?).unwrap_or(usize::MAX);
    let from_end = name == "rsplit";
    let chars = text.chars();
    heap.scan(chars.len())?;
    let mut parts = match optional_text(name, separator)? {
        Some(separator) if separator.chars().is_empty() => {
            return fail("a string cannot be split at nothing");
        }
        Some(separator) if from_end => split_end(heap, chars, separator.chars(), most)?,
        Some(separator) => split_start(heap, chars, separator.chars(), most)?,
        None => split_space(heap, chars, most, from_end)?,
    };
    if from_end {
        parts.items_mut().reverse();
    }
    Ok(Value::Seq(Seq::new(Kind::List, parts)?))
}

fn split_start(heap: &Heap, chars: &[Ch], separator: &[Ch], most: usize) -> Result<Builder<Value>> {
    let mut parts = Builder::new(heap);
    let mut rest = chars;
    while parts.len() < most
        && let Some(at) = find_next(heap, rest, separator)?
    {
        parts.push(Value::text(heap, &rest[..at])?)?;
        rest = &rest[at + separator.len()..];
    }
    parts.push(Value::text(heap, rest)?)?;
    Ok(parts)
}

/// As [`text::find`], at the cost of what lies before the place that is found.
fn find_next(heap: &Heap, text: &[Ch], needle: &[Ch]) -> Result<Option<usize>> {
    let Some(last) = text.len().checked_sub(needle.len()) else { return Ok(None) };
    for at in 0..=last {
        if text[at] == needle[0] {
            heap.scan(needle.len())?;
            if text[at..].starts_with(needle) {
                return Ok(Some(at));
            }
        }
    }
    Ok(None)
}

fn split_end(heap: &Heap, chars: &[Ch], separator: &[Ch], most: usize) -> Result<Builder<Value>> {
    let mut parts = Builder::new(heap);
    let mut end = chars.len();
    let mut at = end;
    while parts.len() < most && at >= separator.len() {
        let start = at - separator.len();
        if chars[start] == separator[0] {
            heap.scan(separator.len())?;
        }
        if chars[start..at] == *separator {
            parts.push(Value::text(heap, &chars[at..end])?)?;
            (end, at) = (start, start);
        } else {
            at -= 1;
        }
    }
    parts.push(Value::text(heap, &chars[..end])?)?;
    Ok(parts)
}

/// At runs of white space.
fn split_space(heap: &Heap, chars: &[Ch], most: usize, from_end: bool) -> Result<Builder<Value>> {
    let mut parts = Builder::new(heap);
    let mut rest = text::trim(chars, !from_end, from_end, Ch::is_space);
    while !rest.is_empty() {
        let space = if from_end {
            rest.iter().rposition(|c| c.is_space())
        } else {
            rest.iter().position(|c| c.is_space())
        };
        let Some(at) = space.filter(|_| parts.len() < most) else {
            // What is left keeps the white space at its far end.
            parts.push(Value::text(heap, rest)?)?;
            break;
        };
        let (part, more) =
            if from_end { (&rest[at + 1..], &rest[..at]) } else { (&rest[..at], &rest[at..]) };
        parts.push(Value::text(heap, part)?)?;
        rest = text::trim(more, !from_end, from_end, Ch::is_space);
    }
    Ok(parts)
}

pub(super) fn lines(heap: &Heap, text: &Text, name: &str, args: Args) -> Result<Value> {
    let [keep] = args.bind(name, ["keepends"])?;
    let keep = flag_or(keep, false);
    let chars = text.chars();
    heap.scan(chars.len())?;
    let mut parts = Builder::new(heap);
    let mut from = 0;
    while from < chars.len() {
        let (end, next) = text::line_end(chars, from).unwrap_or((chars.len(), chars.len()));
        parts.push(Value::text(heap, &chars[from..if keep { next } else { end }])?)?;
        from = next;
    }
    Ok(Value::Seq(Seq::new(Kind::List, parts)?))
}

/// `partition` and `rpartition`
pub(super) fn partition(heap: &Heap, text: &Text, name: &str, args: Args) -> Result<Value> {
    let [separator] = args.places(name)?;
    let separator = args::text(name, separator)?;
    if separator.chars().is_empty() {
        return fail("a string cannot be split at nothing");
    }
    let (chars, from_end) = (text.chars(), name == "rpartition");
    let at = match from_end {
        true => text::rfind(heap, chars, separator.chars())?,
        false => text::find(heap, chars, separator.chars())?,
    };
    let empty = || Value::text(heap, &[]);
    let whole = Value::Text(text.clone());
    match at {
        Some(at) => {
            let end = at + separator.chars().len();
            let before = Value::text(heap, &chars[..at])?;
            let middle = Value::text(heap, &chars[at..end])?;
            tuple(heap, [before, middle, Value::text(heap, &chars[end..])?])
        }
        None if from_end => tuple(heap, [empty()?, empty()?, whole]),
        None => tuple(heap, [whole, empty()?, empty()?]),
    }
}

/// `separator.join(items)`
pub(super) fn join(heap: &Heap, separator: &[Ch], items: &Rc<Seq>) -> Result<Value> {
    let mut out = Builder::new(heap);
    for (at, item) in items.items.iter().enumerate() {
        heap.work(1)?;
        if at > 0 {
            out.extend(separator)?;
        }
        match item {
            Value::Text(text) => out.extend(text.chars())?,
            other => {
                return fail(format!("`join` wants strings, found {}", other.type_name()));
            }
        }
    }
    Ok(Value::Text(out.text()?))
}
