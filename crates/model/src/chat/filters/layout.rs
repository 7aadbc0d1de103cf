//! Filters that lay text out in lines.

use super::super::args::{Args, count, flag_or, place_or, required, text_or};
use super::super::budget::{Builder, Heap, Result, fail};
use super::super::print;
use super::super::text::{self, Ch};
use super::super::value::Value;

pub(super) const NAMES: [&str; 3] = ["indent", "truncate", "wordwrap"];

pub(super) fn call(heap: &Heap, name: &str, value: &Value, args: Args) -> Result<Value> {
    match name {
        "indent" => indent(heap, value, args),
        "truncate" => truncate(heap, value, args),
        _ => wrap(heap, value, args),
    }
}

fn indent(heap: &Heap, value: &Value, args: Args) -> Result<Value> {
    let [width, first, blank] = args.bind("indent", ["width", "first", "blank"])?;
    let (first, blank) = (flag_or(first, false), flag_or(blank, false));
    let text = match value {
        Value::Text(text) => text.clone(),
        Value::Undefined => print::string(heap, value)?,
        _ => return fail(format!("`indent` wants a string, found {}", value.type_name())),
    };
    let mut indent = Builder::new(heap);
    match width {
        Some(Value::Text(width)) => indent.extend(width.chars())?,
        width => indent.repeat(&[Ch::foreign(' ')], count(place_or(width, 4)?))?,
    }
    let chars = text.chars();
    let mut out = Builder::new(heap);
    let (mut from, mut number) = (0, 0);
    // A newline at the end makes one more line, which is empty.
    loop {
        let end = text::line_end(chars, from);
        let line = &chars[from..end.map_or(chars.len(), |(end, _)| end)];
        if number > 0 {
            out.foreign("\n")?;
        }
        if (number == 0 && first) || (number > 0 && (blank || !line.is_empty())) {
            out.extend(indent.items())?;
        }
        out.extend(line)?;
        number += 1;
        match end {
            Some((_, next)) => from = next,
            None => return Ok(Value::Text(out.text()?)),
        }
    }
}

fn truncate(heap: &Heap, value: &Value, args: Args) -> Result<Value> {
    let [length, kill, end, leeway] =
        args.bind("truncate", ["length", "killwords", "end", "leeway"])?;
    let length = count(place_or(length, 255)?);
    let end = text_or(heap, "truncate", end, "...")?;
    let leeway = leeway.filter(|leeway| !matches!(leeway, Value::None));
    let leeway = count(place_or(leeway, 5)?);
    let text = print::string(heap, value)?;
    let (chars, end) = (text.chars(), end.chars());
    if length < end.len() {
        return fail("`truncate` leaves no room for what ends the text");
    }
    if chars.len() <= length.saturating_add(leeway) {
        return Ok(Value::Text(text));
    }
    let mut kept = &chars[..length - end.len()];
    if !flag_or(kill, false)
        && let Some(space) = kept.iter().rposition(|c| c.char() == ' ')
    {
        kept = &kept[..space];
    }
    let mut out = Builder::new(heap);
    out.extend(kept)?;
    out.extend(end)?;
    Ok(Value::Text(out.text()?))
}

/// As Python's `textwrap`: each line of the text for itself.
fn wrap(heap: &Heap, value: &Value, args: Args) -> Result<Value> {
    let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let [width, long, separator, hyphens] = args.bind("wordwrap", names)?;
    let width = place_or(width, 79)?;
    if width < 1 {
        return fail(format!("`wordwrap` wants a width above zero, found {width}"));
    }
    let separator = separator.filter(|s| !matches!(s, Value::None));
    let separator = text_or(heap, "wordwrap", separator, "\n")?;
    let (long, hyphens) = (flag_or(long, true), flag_or(hyphens, true));
    let text = print::string(heap, &required("wordwrap", Some(value.clone()))?)?;
    let chars = text.chars();
    heap.scan(chars.len())?;
    let mut lines = Lines { out: Builder::new(heap), separator: separator.chars(), any: false };
    let mut from = 0;
    while from < chars.len() {
        let (end, next) = text::line_end(chars, from).unwrap_or((chars.len(), chars.len()));
        wrap_line(heap, &mut lines, &chars[from..end], count(width), long, hyphens)?;
        from = next;
    }
    Ok(Value::Text(lines.out.text()?))
}

struct Lines<'a> {
    out: Builder<Ch>,
    separator: &'a [Ch],
    any: bool,
}

impl Lines<'_> {
    fn push(&mut self, line: &[Ch]) -> Result<()> {
        if std::mem::replace(&mut self.any, true) {
            self.out.extend(self.separator)?;
        }
        self.out.extend(line)
    }
}

fn wrap_line(
    heap: &Heap,
    lines: &mut Lines<'_>,
    text: &[Ch],
    width: usize,
    long: bool,
    hyphens: bool,
) -> Result<()> {
    // The line is `text[start..end]`; `at` is where the next chunk begins.
    let (mut start, mut at, mut lines_here) = (0, 0, 0);
    while at < text.len() {
        heap.work(1)?;
        let next = chunk_end(text, at, hyphens);
        // A long word is looked at once for each of its lines.
        heap.scan(next - at)?;
        let space = text[at].is_space();
        if space && at == start && lines_here > 0 {
            // White space does not begin a line but the first.
            (start, at) = (next, next);
            continue;
        }
        if next - start <= width {
            at = next;
            continue;
        }
        let mut end = at;
        if next - at > width && !space || at == start {
            // The chunk fits into no line.
            end = match long {
                true => start + width,
                false if at == start => next,
                false => at,
            };
        }
        lines.push(text::trim(&text[start..end], false, true, Ch::is_space))?;
        lines_here += 1;
        (start, at) = (end, end);
    }
    let rest = text::trim(&text[start..], false, true, Ch::is_space);
    if !rest.is_empty() || lines_here == 0 {
        lines.push(rest)?;
    }
    Ok(())
}

/// Where the chunk that begins at `at` ends: white space, or a word up to a hyphen within.
fn chunk_end(text: &[Ch], at: usize, hyphens: bool) -> usize {
    let space = text[at].is_space();
    let mut end = at + 1;
    while end < text.len() && text[end].is_space() == space {
        let letter = |at: usize| text.get(at).is_some_and(|c| c.char().is_alphabetic());
        let broken = hyphens && end >= at + 2 && text[end - 1].char() == '-' && letter(end - 2);
        if broken && letter(end) && letter(end + 1) {
            return end;
        }
        end += 1;
    }
    end
}
